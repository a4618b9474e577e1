//! A request's way to a peer and its answer's way back, in the frames of the wire.

use std::time::Duration;

use grapevine_core::latency::RequestShape;
use grapevine_core::link::CALLS_MAX;
use grapevine_core::outcome::{Outcome, Refusal};
use grapevine_core::residency::ClientOrigin;
use grapevine_core::retry_after;
use grapevine_proto::frame::{LENGTH_BYTES, RequestHead, ResponseHead, ResponseStart};

use super::event::{AnswerStart, CallMessage};
use super::node::IncarnationNumber;
use super::{Policy, World};
use crate::membership::NodeIndex;

/// The header in which an upstream asks callers to wait.
pub(super) const RETRY_AFTER: &str = "retry-after";

impl World {
    /// Sends a request's head to the owner of the chosen upstream.
    ///
    /// # Errors
    /// How the attempt ended, where nothing could be sent.
    pub(super) fn forward(
        &mut self,
        attempt: (u64, u32),
        (entry, incarnation): (NodeIndex, IncarnationNumber),
        owner: NodeIndex,
    ) -> Result<(), Outcome> {
        let all_seeing = self.policy == Policy::Oracle;
        let mut sent_at = self.now;
        if self.link_of(entry, owner).is_none() && !all_seeing {
            match self.open_for(attempt, (entry, incarnation), owner)? {
                Some(opened_at) => sent_at = opened_at,
                None => return Ok(()),
            }
        }
        for (node, peer) in [(entry, owner), (owner, entry)] {
            let now = self.now;
            if let Some(link) = self.link_of(node, peer) {
                link.called_at = Some(now);
            }
        }
        let links = self.nodes[entry.at()].process.as_ref();
        let link = links.and_then(|process| process.links.get(&owner));
        let owner_incarnation = match link {
            Some(link) => Some(link.incarnation),
            None => self.incarnation_of(owner).filter(|_| all_seeing),
        };
        let permit = link.map(|link| (link.sent.enter_below(CALLS_MAX), link.sent.count()));
        let (Some(owner_incarnation), Some(frame)) = (owner_incarnation, self.head(attempt.0))
        else {
            return Err(Outcome::PeerUnreached);
        };
        if let Some((permit, count)) = permit {
            let Some(permit) = permit else {
                self.record.tally.hops_full += 1;
                return Err(Outcome::Refused(Refusal::Full));
            };
            let peak = &mut self.record.tally.streams_per_hop;
            *peak = (*peak).max(u64::from(count));
            let client = self.requests.get_mut(&attempt.0);
            if let Some(current) = client.and_then(|client| client.current.as_mut()) {
                current.sent = Some(permit);
            }
        }
        let work = self.scenario.processing.hop;
        let sender = self.nodes[entry.at()].process.as_mut();
        let sent_at = sender.map_or(sent_at, |process| process.cpu.takes(sent_at, work));
        let message = CallMessage::Request {
            from: incarnation,
            to: owner_incarnation,
            frame,
        };
        self.send_message_at(sent_at, (entry, owner), attempt, message);
        Ok(())
    }

    fn head(&self, id: u64) -> Option<Vec<u8>> {
        let request = self.requests.get(&id)?;
        let attempt = request.current.as_ref()?;
        let name = format!("r{id}.{}", request.tries);
        let regions = request.permitted.regions().unwrap_or_default();
        let ignores = self.sabotage.ignores_residency();
        let head = RequestHead {
            lossy: None,
            request_id: &name,
            upstream: attempt.choice.candidate.upstream.name.clone(),
            model: Some(request.model.clone()),
            method: "POST",
            path: "/v1/chat/completions",
            headers: Vec::new(),
            body_bytes: self.request_bytes(id),
            remaining: self.now.until(request.deadline),
            hops: self.sabotage.hops(),
            last_resort: attempt.is_last_resort
                || self.policy != Policy::Grapevine
                || self.sabotage.ignores_ejection(),
            allow_regions: if ignores {
                Vec::new()
            } else {
                regions.to_vec()
            },
            traceparent: None,
            client: if ignores {
                ClientOrigin::Unknown
            } else {
                request.origin
            },
            key: None,
            mark: request.asks.client,
        };
        head.encode().ok()
    }

    /// What the time of a request's answer depends on.
    pub(super) fn shape(&self, id: u64) -> RequestShape {
        let is_stream = self.requests.get(&id).is_none_or(|it| it.asks.is_stream);
        RequestShape::new(is_stream, self.request_bytes(id))
    }

    /// Bytes of a request's body.
    pub(super) fn request_bytes(&self, id: u64) -> usize {
        let request = self.requests.get(&id);
        let long_prompt = request.and_then(|request| request.asks.long_prompt);
        let usual = self.scenario.workload.request_bytes;
        long_prompt.map_or(usual, |prompt| prompt.request_bytes)
    }

    /// Tokens of a usual prompt: four bytes each.
    pub(super) fn request_tokens(&self) -> u64 {
        self.scenario.workload.request_bytes as u64 / 4
    }

    /// The first frame of an answer came from a peer.
    pub(super) fn returns(&mut self, (id, number): (u64, u32), answer: &AnswerStart) {
        let Some(attempt) = self.current(id, number) else {
            return;
        };
        let upstream = attempt.choice.candidate.upstream.name.clone();
        let payload = answer.frame.get(LENGTH_BYTES..).unwrap_or_default();
        match ResponseStart::decode(payload) {
            Ok(ResponseStart::Answer(head)) => {
                let retry_after = retry_after_of(&head);
                let load = Some(head.load.of(upstream));
                self.head_came(
                    id,
                    (head.status, retry_after),
                    answer.error.as_deref(),
                    load,
                );
            }
            Ok(ResponseStart::None(none)) => {
                let load = none.load.map(|load| load.of(upstream));
                self.attempt_failed(id, none.outcome, load);
            }
            Err(_) => self.attempt_failed(id, Outcome::Refused(Refusal::Protocol), None),
        }
    }
}

/// The `Retry-After` of an answer's head, read as the product's entry reads it.
fn retry_after_of(head: &ResponseHead<'_>) -> Option<Duration> {
    let mut headers = head.headers.iter();
    let (_, value) = headers.find(|(name, _)| *name == RETRY_AFTER)?;
    retry_after::seconds(std::str::from_utf8(value).ok()?)
}

#[cfg(test)]
mod tests {
    use grapevine_proto::frame::WireLoad;

    use super::*;

    #[test]
    fn retry_after_of_a_429_survives_the_hop() {
        let load = WireLoad {
            in_flight: 0,
            ttft: Duration::ZERO,
        };
        let read = |retry_after: Option<&str>| {
            let head = ResponseHead {
                status: 429,
                headers: retry_after
                    .map(|value| (RETRY_AFTER, value.as_bytes()))
                    .into_iter()
                    .collect(),
                load,
            };
            let frame = ResponseStart::Answer(head).encode().expect("it fits");
            match ResponseStart::decode(&frame[LENGTH_BYTES..]) {
                Ok(ResponseStart::Answer(head)) => retry_after_of(&head),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(read(Some("1.5")), Some(Duration::from_millis(1_500)));
        assert_eq!(read(None), None);
    }
}
