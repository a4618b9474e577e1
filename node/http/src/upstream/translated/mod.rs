//! A call whose client and upstream speak different dialects.
//!
//! Translation happens here, at the node that serves the request, so that a body crosses the mesh as it came. What the
//! upstream's dialect cannot say refuses the request, unless the client accepts that, or it is advice alone: then the
//! answer names it.
//!
//! Reading order: `request` (the call in the upstream's dialect),
//! `body` (a stream, as it arrives).
//!
//! Bound: a request's body and its translation; of an answer that is no stream [`ANSWER_BYTES_MAX`] and its
//! translation; of a stream one event.

mod body;
mod losses;
mod refused;
mod request;
mod rewritten;

use bytes::Bytes;
use grapevine_base::clock;
use grapevine_base::coding::{self, Coding};
use grapevine_base::exchange::{Answer, AnswerBody, Call, CallFailure};
use grapevine_base::headers;
use grapevine_core::dialect::Dialect;
use grapevine_core::outcome::Outcome;
use grapevine_dialect::grammar::AnswerTerms;
use grapevine_dialect::{Framing, TranslateError, TranslatedError, Translation};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full, Limited};

use self::body::TranslatedBody;
use super::client::UpstreamClient;
use super::dialects::{Crossing, DialectWay};
use super::provider::NotProvided;
use super::target::UpstreamTarget;

/// The longest answer that is translated whole. Images in base64 are the largest.
const ANSWER_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// The longest error that is.
const ERROR_BYTES_MAX: usize = 256 * 1_024;

/// The most text of an upstream's own error that a header holds.
const ERROR_TEXT_MAX: usize = 512;

impl UpstreamClient {
    /// Makes `call` in another way than as it is.
    pub(super) async fn call_otherwise(
        &self,
        target: &UpstreamTarget,
        call: Call,
        way: DialectWay,
    ) -> Result<Answer, CallFailure> {
        match way {
            DialectWay::Rewritten(form) => self.call_rewritten(target, call, form).await,
            way => self.call_in_own_form(target, call, way).await,
        }
    }

    /// Makes `call`, which is in no cloud's form of messages.
    async fn call_in_own_form(
        &self,
        target: &UpstreamTarget,
        call: Call,
        way: DialectWay,
    ) -> Result<Answer, CallFailure> {
        match way {
            DialectWay::Translated(crossing) => self.call_translated(target, call, crossing).await,
            DialectWay::Assumed(crossing) => self.call_assumed(target, call, crossing).await,
            DialectWay::Reframed => self.call_reframed(target, &call).await,
            DialectWay::Unlisted => self.call_unlisted(target, &call).await,
            DialectWay::Unread | DialectWay::Rewritten(_) => Err(NotProvided::Path.into()),
            DialectWay::AsItIs => self.call_as_it_is(target, &call).await,
        }
    }

    /// Makes `call` as it is, and translated where the upstream turns out not to have its path. That is learned once
    /// a translation helped, so that no error of another cause changes anything.
    async fn call_assumed(
        &self,
        target: &UpstreamTarget,
        call: Call,
        crossing: Crossing,
    ) -> Result<Answer, CallFailure> {
        let mut answer = self.call_as_it_is(target, &call).await?;
        if !matches!(answer.status.as_u16(), 404 | 405 | 501) {
            return Ok(answer);
        }
        let body = collected(&mut answer, ERROR_BYTES_MAX).await?;
        let is_about_a_model = memchr::memmem::find(&body, b"model").is_some();
        if !is_about_a_model {
            let translated = self.call_translated(target, call, crossing).await;
            if let Ok(translated) = translated
                && !matches!(translated.status.as_u16(), 404 | 405 | 501)
            {
                if translated.status.is_success() {
                    target.dialects.is_unread(crossing.client);
                }
                return Ok(translated);
            }
        }
        answer.headers.remove(header::CONTENT_ENCODING);
        answer
            .headers
            .insert(header::CONTENT_LENGTH, body.len().into());
        answer.body = full(body);
        Ok(answer)
    }

    /// Makes `call` in the upstream's dialect, and its answer one of the client's.
    async fn call_translated(
        &self,
        target: &UpstreamTarget,
        call: Call,
        crossing: Crossing,
    ) -> Result<Answer, CallFailure> {
        let Crossing { client, upstream } = crossing;
        let translation = Translation::new(client, upstream);
        let model = target.rename(call.model.as_ref()).or(call.model.as_ref());
        let model = model.map(|model| model.as_str());
        let translated = translation.request_with(model, Some(call.stream), call.body.received());
        let mut translated = match translated {
            Ok(translated) => translated,
            Err(error) => return Ok(refused::malformed(client, &error)),
        };
        if let Some(lost) = losses::refused(&translated.losses, &call, &target.lossy) {
            return Ok(refused::not_said(lost, crossing));
        }
        let mut terms = std::mem::take(&mut translated.terms);
        terms.created = clock::wall().as_secs();
        terms.usage |= call.body.asks_usage();
        let is_stream = call.stream;
        let body = Bytes::from(translated.body);
        let call = request::in_dialect(&call, crossing, model, body).ok_or(NotProvided::Path)?;
        let answer = match upstream == Dialect::Messages && target.dialects.frames_messages() {
            true => self.call_reframed(target, &call).await?,
            false => self.call_stripped(target, &call).await?,
        };
        drop(call);
        let losses = losses::paths(&translated.losses);
        let answer = if !answer.status.is_success() {
            error(&translation, answer).await?
        } else if is_stream && is_stream_answer(&answer.headers) {
            stream(&translation, answer, &terms)
        } else {
            whole(&translation, answer, &terms).await?
        };
        Ok(marked(answer, crossing, losses))
    }

    /// Calls an upstream of Google's for chat completions.
    async fn call_unlisted(
        &self,
        target: &UpstreamTarget,
        call: &Call,
    ) -> Result<Answer, CallFailure> {
        let mut answer = self.call_as_it_is(target, call).await?;
        if !answer.status.is_success() {
            let body = collected(&mut answer, ERROR_BYTES_MAX).await?;
            let body = unlisted(body);
            answer.headers.remove(header::CONTENT_ENCODING);
            let length = body.len().into();
            answer.headers.insert(header::CONTENT_LENGTH, length);
            answer.body = full(body);
        }
        Ok(answer)
    }

    /// Calls the upstream as it is. What it says in headers of ours is left out: they are this node's to write.
    async fn call_stripped(
        &self,
        target: &UpstreamTarget,
        call: &Call,
    ) -> Result<Answer, CallFailure> {
        let mut answer = self.call_as_it_is(target, call).await?;
        headers::remove_all(&mut answer.headers, headers::is_own);
        Ok(answer)
    }

    /// Calls Bedrock for Anthropic's messages, whose streams come in Amazon's framing and errors in Amazon's form.
    async fn call_reframed(
        &self,
        target: &UpstreamTarget,
        call: &Call,
    ) -> Result<Answer, CallFailure> {
        let mut answer = self.call_stripped(target, call).await?;
        if !answer.status.is_success() {
            let translation = Translation::new(Dialect::Messages, Dialect::Converse);
            return error(&translation, answer).await;
        }
        if is_stream_answer(&answer.headers) {
            let body = TranslatedBody::reframed(answer.body);
            answer.body = AnswerBody::new(body);
            written_anew(
                &mut answer.headers,
                Framing::ServerSentEvents.content_type(),
            );
        }
        Ok(answer)
    }
}

fn full(body: Bytes) -> AnswerBody {
    AnswerBody::new(Full::new(body).map_err(|never| match never {}))
}

/// Headers of a body that is another one now.
fn written_anew(headers: &mut HeaderMap, content_type: &'static str) {
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::ETAG,
        header::CONTENT_LANGUAGE,
    ] {
        headers.remove(name);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
}

fn is_stream_answer(headers: &HeaderMap) -> bool {
    let kinds = [Framing::ServerSentEvents, Framing::EventStream];
    let mut kinds = kinds.into_iter().map(Framing::content_type);
    kinds.any(|kind| headers::is_media_type(headers, kind))
}

/// All of a body of at most `bytes_max`, decoded.
async fn collected(answer: &mut Answer, bytes_max: usize) -> Result<Bytes, CallFailure> {
    let body = std::mem::take(&mut answer.body);
    let body = Limited::new(body, bytes_max).collect().await;
    let body = body.map_err(|error| match error.downcast::<CallFailure>() {
        Ok(failure) => *failure,
        Err(error) => CallFailure::new(Outcome::BrokenOff, format!("the answer: {error}")),
    });
    let body = body?.to_bytes();
    let decoded = match Coding::of(&answer.headers) {
        Ok(None) => return Ok(body),
        Ok(Some(coding)) => coding::decoded(coding, body, bytes_max),
        Err(error) => Err(error),
    };
    decoded.map_err(|error| CallFailure::new(Outcome::BrokenOff, format!("the answer: {error}")))
}

async fn whole(
    translation: &Translation,
    mut answer: Answer,
    terms: &AnswerTerms,
) -> Result<Answer, CallFailure> {
    let body = collected(&mut answer, ANSWER_BYTES_MAX).await?;
    let translated = match translation.response(&body, terms) {
        Ok(translated) => translated,
        // An error under a status of success is one all the same.
        Err(TranslateError::Reported(error)) => {
            return Ok(failed(answer, &body, translation.reported(*error)));
        }
        Err(error) => return Err(unreadable(error)),
    };
    written_anew(&mut answer.headers, "application/json");
    answer
        .headers
        .insert(header::CONTENT_LENGTH, translated.body.len().into());
    answer.body = full(translated.body.into());
    Ok(answer)
}

fn stream(translation: &Translation, mut answer: Answer, terms: &AnswerTerms) -> Answer {
    let body = TranslatedBody::new(answer.body, translation.stream(terms));
    answer.body = AnswerBody::new(body);
    let framing = Framing::of(translation.from());
    written_anew(&mut answer.headers, framing.content_type());
    answer
}

async fn error(translation: &Translation, mut answer: Answer) -> Result<Answer, CallFailure> {
    let body = unlisted(collected(&mut answer, ERROR_BYTES_MAX).await?);
    let name = answer.headers.remove(headers::AMAZON_ERROR);
    let name = name.as_ref().and_then(|name| name.to_str().ok());
    let translated = translation.error_with(answer.status.as_u16(), name, &body);
    Ok(failed(answer, &body, translated))
}

/// The one error in a list, as Google's endpoints of OpenAI's form answer; any other body as it is.
fn unlisted(body: Bytes) -> Bytes {
    if !body.trim_ascii_start().starts_with(b"[") {
        return body;
    }
    match serde_json::from_slice::<[serde_json::Value; 1]>(&body) {
        Ok([error]) => error.to_string().into(),
        Err(_) => body,
    }
}

/// `answer` with an error that its client reads, and the beginning of the upstream's `own`.
fn failed(mut answer: Answer, own: &[u8], translated: TranslatedError) -> Answer {
    answer.status = StatusCode::from_u16(translated.status).unwrap_or(answer.status);
    written_anew(&mut answer.headers, "application/json");
    if let Some(name) = translated
        .name
        .and_then(|name| HeaderValue::try_from(name).ok())
    {
        answer.headers.insert(headers::AMAZON_ERROR, name);
    }
    if let Some(own) = visible(own, ERROR_TEXT_MAX) {
        // An error that is rewritten once more keeps its first text.
        let entry = answer.headers.entry(headers::UPSTREAM_ERROR);
        entry.or_insert(own);
    }
    answer.body = full(translated.body.into());
    answer
}

/// An answer of the upstream that is none of its dialect.
fn unreadable(error: TranslateError) -> CallFailure {
    CallFailure::new(
        Outcome::BrokenOff,
        format!("the answer is none of the upstream's dialect: {error}"),
    )
}

/// The beginning of a text as a header may hold it: what is not visible ASCII is a question mark.
fn visible(text: &[u8], bytes_max: usize) -> Option<HeaderValue> {
    let bytes = text.iter().take(bytes_max);
    let shown: Vec<u8> = bytes
        .map(|byte| match byte {
            b' ' | b'\t' | b'\r' | b'\n' => b' ',
            byte if byte.is_ascii_graphic() => *byte,
            _ => b'?',
        })
        .collect();
    HeaderValue::from_bytes(&shown).ok()
}

fn marked(mut answer: Answer, crossing: Crossing, losses: Option<HeaderValue>) -> Answer {
    answer.headers.insert(headers::DIALECT, crossing.shown());
    if let Some(losses) = losses {
        answer.headers.insert(headers::LOST, losses);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_is_taken_out_of_its_list() {
        let of = |body: &'static str| unlisted(Bytes::from_static(body.as_bytes()));
        assert_eq!(of(" [{\"error\": {}}]"), r#"{"error":{}}"#);
        for other in [r#"{"error":{}}"#, "[]", "[{},{}]", "[{", ""] {
            assert_eq!(of(other), other);
        }
    }
}
