//! Anthropic's messages in a cloud's form, at an upstream that takes another form or another dialect.
//!
//! The request becomes one for `/v1/messages`, and is made in whatever way such a one is. The answer becomes the
//! cloud's again: Bedrock's streams are frames, and its errors have names; Vertex AI passes on Anthropic's.

use std::sync::Arc;

use grapevine_base::call_body::CallBody;
use grapevine_base::exchange::{Answer, AnswerBody, Call, CallFailure};
use grapevine_base::headers;
use grapevine_core::dialect::Dialect;
use grapevine_core::ids::ModelName;
use grapevine_core::native_path::{MessagesForm, is_count_at_vertex};
use grapevine_dialect::{Framing, Translation};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use serde_json::Value;

use super::super::client::UpstreamClient;
use super::super::provider::own_form::{OwnForm, OwnFormError, own_form};
use super::super::provider::{ANTHROPIC_BETA, ANTHROPIC_VERSION, VERSION};
use super::super::target::UpstreamTarget;
use super::body::TranslatedBody;
use super::{ERROR_BYTES_MAX, collected, failed, full, is_stream_answer, refused, written_anew};

/// What kind of events Bedrock's frames hold.
const CHUNK_CONTENT_TYPE: HeaderName = HeaderName::from_static("x-amzn-bedrock-content-type");

/// What AWS's SDKs say of their calls.
const OF_AWS: [&str; 2] = ["x-amz-", "amz-sdk-"];

impl UpstreamClient {
    /// Makes `call`, which is in the form of a cloud, in Anthropic's own.
    pub(super) async fn call_rewritten(
        &self,
        target: &UpstreamTarget,
        call: Call,
        form: MessagesForm,
    ) -> Result<Answer, CallFailure> {
        let answer = match in_own_form(call) {
            Ok(call) => {
                let model = target.rename(call.model.as_ref()).or(call.model.as_ref());
                let way = target.dialects.way(&call, model);
                self.call_in_own_form(target, call, way).await?
            }
            Err(error) => refused::malformed(Dialect::Messages, &error),
        };
        match form {
            MessagesForm::Vertex => Ok(answer),
            MessagesForm::Bedrock => of_bedrock(answer).await,
        }
    }
}

/// `call` for Anthropic's own path.
fn in_own_form(call: Call) -> Result<Call, OwnFormError> {
    let is_count = is_count_at_vertex(call.path.path());
    let of_path = (call.model.as_ref().filter(|_| !is_count)).map(ModelName::as_str);
    let of_path = of_path.map(|model| (model, call.stream));
    let form = own_form(call.body.received(), of_path)?;
    let headers = own_headers(&call.headers, &form)?;
    Ok(Call {
        path: PathAndQuery::from_static(match is_count {
            true => "/v1/messages/count_tokens",
            false => "/v1/messages",
        }),
        headers: Arc::new(headers),
        body: CallBody::from(form.body),
        ..call
    })
}

fn own_headers(client: &HeaderMap, form: &OwnForm) -> Result<HeaderMap, OwnFormError> {
    let mut headers = client.clone();
    headers::remove_all(&mut headers, |name: &HeaderName| {
        let is_of_aws = OF_AWS
            .iter()
            .any(|prefix| name.as_str().starts_with(prefix));
        is_of_aws || *name == header::ACCEPT
    });
    headers.insert(header::ACCEPT_ENCODING, headers::IDENTITY);
    if let Some(version) = &form.version {
        let version = HeaderValue::try_from(version).map_err(|_| OwnFormError::Version)?;
        headers.insert(ANTHROPIC_VERSION, version);
    }
    headers.entry(ANTHROPIC_VERSION).or_insert(VERSION);
    if !form.betas.is_empty() {
        let betas = form.betas.join(",");
        let betas = HeaderValue::try_from(betas).map_err(|_| OwnFormError::Betas)?;
        headers.insert(ANTHROPIC_BETA, betas);
    }
    Ok(headers)
}

/// An answer of messages as clients of Bedrock read it.
async fn of_bedrock(mut answer: Answer) -> Result<Answer, CallFailure> {
    if !answer.status.is_success() {
        return error_of_bedrock(answer).await;
    }
    if is_stream_answer(&answer.headers) {
        let body = TranslatedBody::in_frames(answer.body);
        answer.body = AnswerBody::new(body);
        written_anew(&mut answer.headers, Framing::EventStream.content_type());
        let kind = HeaderValue::from_static("application/json");
        answer.headers.insert(CHUNK_CONTENT_TYPE, kind);
    }
    Ok(answer)
}

async fn error_of_bedrock(mut answer: Answer) -> Result<Answer, CallFailure> {
    let body = collected(&mut answer, ERROR_BYTES_MAX).await?;
    let translation = Translation::new(Dialect::Converse, Dialect::Messages);
    let translated = translation.error_with(answer.status.as_u16(), None, &body);
    let is_refused = answer.headers.get(headers::REASON) == Some(&headers::NOT_TRANSLATABLE);
    if !is_refused {
        return Ok(failed(answer, &body, translated));
    }
    // No upstream was asked: there is no error of it to show.
    let mut written = serde_json::from_slice(&translated.body).unwrap_or(Value::Null);
    refused::put_code(Dialect::Converse, &mut written, "not_translatable");
    let mut answer = failed(answer, &[], translated);
    answer.headers.remove(headers::UPSTREAM_ERROR);
    answer.body = full(written.to_string().into());
    Ok(answer)
}
