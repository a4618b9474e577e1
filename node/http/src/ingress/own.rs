//! Requests of this node's own, made for tasks: routed like any client's, at lower priority.
//!
//! They are counted apart from clients' requests, refused while at least half of the node's request slots are
//! taken, use at most half of an upstream's slots (one where it has just one), and have a retry budget of their
//! own. So no client is refused for one of them.

use std::sync::Arc;

use grapevine_base::coding::{Coding, Decoder};
use grapevine_base::exchange::{CallApi, CallFailure, CallLocal, CallPeer, OwnAnswer, OwnRequest};
use grapevine_base::{asked, headers};
use grapevine_core::limit::RetryBudget;
use grapevine_core::outcome::Outcome;
use grapevine_core::request::RequestPriority;
use grapevine_core::route::{Session, SessionSource};
use http::header;
use http_body_util::BodyExt;

use super::client_headers::{self, ClientOptions};
use super::decoded::Decoded;
use super::limited;
use super::limits;
use super::problem::Problem;
use super::reply;
use super::request::{self, Admitted};
use super::sealed;
use super::track::Track;
use super::visitor::{ClientLocation, Visitor};
use super::{Context, IngressSettings};

/// Makes the node's own requests, on a runtime of one thread.
#[derive(Clone, Debug)]
pub struct OwnCalls<L, P> {
    context: Context<L, P>,
    budget: RetryBudget,
}

impl<L: CallLocal, P: CallPeer> OwnCalls<L, P> {
    /// Calls with a request thread's context, for the runtime that is current when they are made.
    pub fn new(context: Context<L, P>) -> Self {
        Self {
            context,
            budget: RetryBudget::full(),
        }
    }

    fn admit(
        &self,
        settings: &IngressSettings,
        request: OwnRequest,
        track: &mut Track,
    ) -> Result<Admitted, Problem> {
        let in_flight = self.context.driver.budget().requests() + self.budget.requests();
        if in_flight >= settings.in_flight_max.div_ceil(2) {
            return Err(Problem::reserved_for_clients());
        }
        track.let_in(self.budget.request());
        let restored = sealed::restore(&settings.seal_keys, &request.path, &request.body)?;
        if restored.is_reasoning_lost {
            track.lose_reasoning();
        }
        let (owner, body) = (restored.owner, restored.body.unwrap_or(request.body));
        if let Some(path) = restored.path {
            track.set_path(path);
        }
        let scope = client_headers::permit(settings, &request.method, track.path())?;
        let path = track.path().path();
        let mut headers = request.headers;
        let asked = asked::read(scope, &request.method, path, &headers, &body)?;
        track.body_is_in(&asked, scope);
        let key = request.caller.key;
        let key_now = key.as_deref().and_then(|name| settings.keys.named(name));
        // Both as the key was when the task was created and, where this node knows the key, as it is now.
        let models_now = key_now.as_ref().and_then(|key| key.rights.models.clone());
        let model_lists = [request.allow_models, models_now].into_iter().flatten();
        let model_lists: Vec<_> = model_lists.collect();
        for models in &model_lists {
            match &asked.model {
                Some(model) if models.contains(model) => {}
                Some(model) => return Err(Problem::model_not_allowed(model)),
                None => return Err(Problem::model_not_shown()),
            }
        }
        let location = ClientLocation {
            origin: request.caller.client,
            ..ClientLocation::default()
        };
        let view = self.context.driver.view();
        let peers = &view.mesh_rules;
        let visitor = Visitor::new(settings, peers, location, key, asked.model.as_ref());
        if !body.is_empty() && visitor.needs_model(settings, &view) {
            return Err(Problem::fence_needs_model());
        }
        if let Some(fence) = visitor.fence() {
            track.set_fence(fence);
        }
        headers::clean_request(&mut headers);
        headers.insert(header::ACCEPT_ENCODING, headers::IDENTITY);
        Ok(Admitted {
            headers: Arc::new(headers),
            options: ClientOptions {
                allow_regions: request.allow_regions,
                timeout: request.timeout,
                ..ClientOptions::default()
            },
            visitor,
            session: asked.session(own_session(request.session), &body),
            head: asked,
            owner,
            body: body.into(),
            tunnel: None,
            priority: RequestPriority::Background,
            model_lists,
        })
    }
}

#[async_trait::async_trait]
impl<L: CallLocal, P: CallPeer> CallApi for OwnCalls<L, P> {
    async fn call(&self, mut request: OwnRequest) -> OwnAnswer {
        let settings = self.context.settings.load_full();
        let mut track = Track::begin_request(
            &self.context.driver,
            &self.context.recorder,
            &settings,
            client_headers::new_id(),
            (request.method.clone(), request.path.clone()),
            &mut request.headers,
        );
        track.set_own();
        if let Some(key) = &request.caller.key {
            track.set_key(key.clone());
        }
        let key = request.caller.key.as_deref();
        let key = key.and_then(|name| settings.keys.named(name));
        let (body, carried) = (request.body.clone(), std::mem::take(&mut request.limits));
        let mut admitted = self.admit(&settings, request, &mut track);
        if let Ok(admit) = &admitted {
            let (model, timeout) = (admit.head.model.as_ref(), admit.options.timeout);
            let limited = match carried.is_empty() {
                true => limits::of_key(key.as_deref(), model),
                false => limits::of_carried(&carried, model),
            };
            let handle = &self.context.limits;
            let applied = limited::apply(handle, limited, &mut track, model, &body, timeout);
            if let Err(problem) = Box::pin(applied).await {
                admitted = Err(problem);
            }
        }
        let reply = match admitted {
            Ok(admitted) => request::answer(&self.context, Box::new(admitted), track).await,
            Err(problem) => reply::problem(track, &problem),
        };
        let (mut head, body) = reply.response.into_parts();
        reply.lines.move_into(&mut head.headers);
        let broken = |error: super::broken::BrokenOff| {
            CallFailure::new(Outcome::BrokenOff, error.to_string())
        };
        let body = body.map_err(broken).boxed_unsync();
        decoded(OwnAnswer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

/// The conversation that the task names.
fn own_session(number: Option<u64>) -> Option<Session> {
    let source = SessionSource::Own;
    number.map(|number| Session { number, source })
}

/// An upstream may encode an answer although it was asked not to. One in a coding that is not known here stays as it
/// is.
fn decoded(mut answer: OwnAnswer) -> OwnAnswer {
    let coding = Coding::of(&answer.headers).ok().flatten();
    let Some(decoder) = coding.and_then(|coding| Decoder::new(coding).ok()) else {
        return answer;
    };
    answer.headers.remove(header::CONTENT_ENCODING);
    answer.headers.remove(header::CONTENT_LENGTH);
    answer.body = Decoded::new(answer.body, decoder, None).boxed_unsync();
    answer
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};
    use http_body_util::Full;

    use super::*;

    async fn read(coding: &'static str, body: Vec<u8>) -> (HeaderMap, Result<Bytes, CallFailure>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
        let answer = decoded(OwnAnswer {
            status: StatusCode::OK,
            headers,
            body: body.boxed_unsync(),
        });
        let body = answer.body.collect().await;
        (
            answer.headers,
            body.map(http_body_util::Collected::to_bytes),
        )
    }

    #[tokio::test]
    async fn answer_that_is_encoded_without_being_asked_is_read_decoded() {
        let text = b"{\"choices\":[]}".repeat(10_000);
        let encoded = zstd::stream::encode_all(&text[..], 3).expect("encoded");
        let (headers, body) = read("zstd", encoded.clone()).await;
        assert!(headers.is_empty(), "{headers:?}");
        assert!(body.is_ok_and(|body| body == text));
        let (_, body) = read("zstd", encoded[..encoded.len() - 1].to_vec()).await;
        let failure = body.expect_err("it breaks off");
        assert_eq!(failure.outcome, Outcome::BrokenOff);
        let (headers, body) = read("compress", encoded.clone()).await;
        assert_eq!(headers.len(), 2);
        assert!(body.is_ok_and(|body| body == encoded));
    }
}
