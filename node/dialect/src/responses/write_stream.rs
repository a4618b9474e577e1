//! Writes a stream of a response's events.
//!
//! An event of home is written as it was. From another dialect the end of the response waits for the end of the
//! stream, since it says the usage too, and repeats the whole response.

use serde_json::{Value, json};

use super::open_item::Output;
use super::read_stream::DONE;
use super::{DIALECT, answer, error, usage};
use crate::dialect::Dialect;
use crate::fields::put;
use crate::grammar::{AnswerTerms, Object, ServerEvent, StreamWriter};
use crate::hub::answer::{HubAnswer, Stop, TokenUsage};
use crate::hub::error::ReportedError;
use crate::hub::part::{Part, PartKind};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::loss::LossList;
use crate::rest::Rest;

/// Writes one stream.
pub(super) struct Writer {
    terms: AnswerTerms,
    upstream: Dialect,
    head: Option<Object>,
    output: Output,
    usage: Option<TokenUsage>,
    stop: Option<Stop>,
}

impl StreamWriter for Writer {
    fn write(&mut self, frame: StreamFrame, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        if frame.rest.is_from(DIALECT) {
            self.write_home(frame, out);
            return;
        }
        self.upstream = frame.rest.from();
        for event in frame.events {
            self.write_event(event, out, losses);
        }
        frame.rest.lose(losses);
    }
}

impl Writer {
    pub(super) fn new(terms: &AnswerTerms) -> Self {
        Self {
            terms: terms.clone(),
            upstream: DIALECT,
            head: None,
            output: Output::default(),
            usage: None,
            stop: None,
        }
    }

    fn write_home(&mut self, frame: StreamFrame, out: &mut Vec<ServerEvent>) {
        match frame.rest.form(DIALECT, "data") {
            Some("event") => {
                let event = frame.rest.blanks;
                if let Some(number) = event.get("sequence_number").and_then(Value::as_u64) {
                    self.output.follow(number);
                }
                out.push(ServerEvent::typed(event));
            }
            Some(_) => out.push(ServerEvent {
                name: None,
                data: DONE.to_string(),
            }),
            // One that the caller reports.
            None => {
                for event in frame.events {
                    if let StreamEvent::Error(failure) = event {
                        let mut report = error::write_report(&failure);
                        report.insert("param".to_string(), Value::Null);
                        self.output.say("error", Value::Object(report), out);
                    }
                }
            }
        }
    }

    fn write_event(
        &mut self,
        event: StreamEvent,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        match event {
            StreamEvent::Start(answer) => self.start(*answer, out, losses),
            StreamEvent::PartStart {
                choice: 0,
                index,
                part,
            } => {
                self.start_part(index, &part, out, losses);
            }
            StreamEvent::PartDelta {
                choice: 0,
                index,
                delta,
                rest,
            } => {
                rest.lose(losses);
                if matches!(delta, PartDelta::Unknown(_)) {
                    losses.add(rest.path(), "responses has no such piece of a part");
                }
                self.output.extend(index, delta, out);
            }
            StreamEvent::PartStop { choice: 0, index } => self.output.stop(index, out),
            StreamEvent::Stop { choice: 0, stop } => {
                answer::lose_stop(&stop, "stop".to_string(), losses);
                self.stop = Some(stop);
            }
            StreamEvent::Logprobs { choice: 0, value } => {
                if let Some(tokens) = value["content"].as_array() {
                    self.output.logprobs.extend(tokens.iter().cloned());
                }
            }
            StreamEvent::PartStart { choice, .. }
            | StreamEvent::PartDelta { choice, .. }
            | StreamEvent::PartStop { choice, .. }
            | StreamEvent::Logprobs { choice, .. }
            | StreamEvent::Stop { choice, .. } => {
                losses.add(format!("choices[{choice}]"), "responses gives one answer");
            }
            StreamEvent::Usage(usage) => usage.add_to(&mut self.usage),
            StreamEvent::Choice { rest, turn, .. } => {
                rest.lose(losses);
                turn.lose(losses);
            }
            StreamEvent::Error(failure) => self.fail(&failure, out, losses),
            StreamEvent::End => self.end(out, losses),
            StreamEvent::Ping => {}
            StreamEvent::Unknown { name, .. } => {
                losses.add(name.unwrap_or_default(), "responses has no such event");
            }
        }
    }

    fn start(&mut self, answer: HubAnswer, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        if let Some(usage) = answer.usage.clone() {
            usage.add_to(&mut self.usage);
        }
        let mut head = HubAnswer::new(Rest::new(answer.rest.from(), ""));
        head.id = answer.id;
        head.model = answer.model;
        head.created = answer.created;
        head.service_tier = answer.service_tier;
        answer.rest.lose(losses);
        let head = answer::write(&head, &self.terms, losses);
        self.output.answer_id = head["id"].as_str().unwrap_or_default().to_string();
        self.head = Some(head);
        for kind in ["response.created", "response.in_progress"] {
            let response = self.response("in_progress", Value::Null);
            self.output.say(kind, json!({"response": response}), out);
        }
    }

    // Some upstreams begin without saying so.
    fn begin(&mut self, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        if self.head.is_none() {
            let answer = HubAnswer::new(Rest::new(self.upstream, ""));
            self.start(answer, out, losses);
        }
    }

    fn response(&self, status: &str, details: Value) -> Object {
        let mut response = self.head.clone().unwrap_or_default();
        response.insert("status".to_string(), json!(status));
        response.insert("incomplete_details".to_string(), details);
        response.insert("output".to_string(), Value::Array(self.output.whole()));
        response
    }

    fn start_part(
        &mut self,
        index: usize,
        part: &Part,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        self.begin(out, losses);
        part.rest.lose(losses);
        let comes = matches!(
            part.kind,
            PartKind::Text(_)
                | PartKind::Refusal(_)
                | PartKind::Thinking(_)
                | PartKind::ToolCall(_)
        );
        if !comes {
            losses.add(part.rest.path(), "responses has no such part");
        }
        self.output.start(index, part, out);
    }

    fn end(&mut self, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        self.begin(out, losses);
        self.output.stop_all(out);
        let (status, details) = answer::status(self.stop.as_ref());
        let mut response = self.response(status, details);
        let spent = self.usage.as_ref();
        let spent = spent.map(|spent| usage::write(spent, losses));
        put(&mut response, "usage", spent);
        let kind = format!("response.{status}");
        self.output.say(&kind, json!({"response": response}), out);
    }

    fn fail(&mut self, failure: &ReportedError, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        self.begin(out, losses);
        let mut response = self.response("failed", Value::Null);
        let report = error::write_report(failure);
        response.insert("error".to_string(), Value::Object(report));
        self.output
            .say("response.failed", json!({"response": response}), out);
    }
}
