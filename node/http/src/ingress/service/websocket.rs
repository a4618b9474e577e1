//! Admits a WebSocket, and opens it.
//!
//! The checks are those of every request. The model is that of the URL; where that names none on `/v1/responses`, it is in the client's
//! first message, and the client is answered before anybody is asked.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use grapevine_base::asked::Asked;
use grapevine_base::call_body::CallBody;
use grapevine_base::exchange::{CallLocal, CallPeer};
use grapevine_base::headers;
use grapevine_base::listener::http1::RequestBody;
use grapevine_base::websocket::UpgradeOffer;
use grapevine_core::fact::Phase;
use grapevine_core::forwarding::{PathScope, websocket_model};
use grapevine_core::ids::ModelName;
use grapevine_core::request::RequestPriority;
use grapevine_core::route::takes_websockets;
use grapevine_keys::rights::ClientKey;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tokio::sync::mpsc;

use super::{Late, Visit};
use crate::ingress::problem::Problem;
use crate::ingress::reply::{self, Reply};
use crate::ingress::reply_body::ReplyBody;
use crate::ingress::request::{self, Admitted, TunnelAsk};
use crate::ingress::tunnel::handshake::{self, Handshake};
use crate::ingress::tunnel::messages::{Messages, model_of};
use crate::ingress::tunnel::opening::{self, First, Opened};
use crate::ingress::tunnel::{ClientSlot, ClientStream, Tunnel};
use crate::ingress::visitor::{ClientLocation, Visitor};
use crate::ingress::{Context, client_headers, keys, limits};
use crate::websocket;

/// The path whose messages name their models.
const RESPONSES_PATH: &str = "/v1/responses";

/// What is known of a client whose handshake was accepted.
struct Accepted {
    head: Box<Parts>,
    accept: Option<HeaderValue>,
    key: Option<Arc<ClientKey>>,
    options: client_headers::ClientOptions,
    location: ClientLocation,
    /// The model of the URL.
    model: Option<ModelName>,
    client: ClientSlot,
}

/// Answers an offer of a WebSocket, and `CONNECT` without one.
pub(super) async fn answer<L: CallLocal, P: CallPeer>(
    mut visit: Visit<'_, L, P>,
    context: &Arc<Context<L, P>>,
    (head, body): (Box<Parts>, RequestBody),
    peer: SocketAddr,
) -> Reply {
    let accepted = match visit.accept(head, body, peer).await {
        Ok(accepted) => accepted,
        Err(problem) => return reply::problem(visit.track, &problem),
    };
    let is_of_responses = visit.track.path().path() == RESPONSES_PATH;
    if is_of_responses && accepted.model.is_none() && !accepted.options.dry_run {
        return visit.answer_first(context, accepted);
    }
    let model = accepted.model.clone();
    match visit.admit_tunnel(accepted, model, Bytes::new()).await {
        Ok(admitted) => request::answer(context, admitted, visit.track).await,
        Err(problem) => reply::problem(visit.track, &problem),
    }
}

impl<L: CallLocal, P: CallPeer> Visit<'_, L, P> {
    /// Everything that can be checked by the head alone; the request is counted from here on.
    async fn accept(
        &mut self,
        mut head: Box<Parts>,
        body: RequestBody,
        peer: SocketAddr,
    ) -> Result<Accepted, Problem> {
        let is_draining = self.context.driver.view().phase == Phase::Draining;
        if is_draining || head.extensions.get::<Late>().is_some() {
            return Err(Problem::draining());
        }
        match head.extensions.get::<UpgradeOffer>() {
            None => return Err(Problem::no_proxy()),
            Some(UpgradeOffer { fault: Some(fault) }) => {
                return Err(Problem::websocket_handshake(fault));
            }
            Some(UpgradeOffer { fault: None }) => {}
        }
        let path = self.track.path();
        let permitted =
            self.settings
                .forwarding
                .permit(Method::CONNECT.as_str(), path.path(), path.query());
        permitted.map_err(|refusal| Problem::not_forwarded(path.path(), &refusal))?;
        let Handshake { accept } = handshake::read(&mut head, &self.settings.cors)?;
        if headers::has_passed(&head.headers, &self.settings.passed) {
            return Err(Problem::looped());
        }
        let key = self.key(&head)?;
        let path = self.track.path();
        if let Some(key) = &key {
            keys::check_path(key, path.path(), false)?;
        }
        let mut options = client_headers::options(&head.headers)?;
        keys::fence(key.as_deref(), &mut options.allow_regions)?;
        keys::check_upstream(key.as_deref(), options.upstream.as_ref())?;
        let model = websocket_model(path.query()).ok().flatten();
        let model = model.map(|name| ModelName::new(&name));
        let model = model.transpose().map_err(|error| {
            Problem::invalid(Some("model"), format!("'model' in the query {error}"))
        })?;
        let is_of_responses = path.path() == RESPONSES_PATH;
        let location = self.context.locate.locate(peer, &head.headers);
        let charge = self.account(key.as_deref(), location, peer);
        let messages = is_of_responses.then(|| Messages::new(self.settings.body_bytes_max, charge));
        let visitor = self.visitor(location, key.as_deref(), model.as_ref());
        if is_of_responses && model.is_none() {
            self.check_any(&visitor, &options, key.as_deref())?;
        }
        self.take_slot(key.as_deref(), options.timeout, &head, peer)
            .await?;
        Ok(Accepted {
            client: ClientSlot::new(ClientStream::new(body, messages)),
            head,
            accept,
            key,
            options,
            location,
            model,
        })
    }

    /// Checks that some upstream could be asked, before the model is known.
    fn check_any(
        &self,
        visitor: &Visitor,
        options: &client_headers::ClientOptions,
        key: Option<&ClientKey>,
    ) -> Result<(), Problem> {
        // Rules about models may permit more, or less, once there is one.
        let view = self.context.driver.view();
        let regions = match visitor.needs_model(self.settings, &view) {
            true => options.allow_regions.as_slice().into(),
            false => visitor.allowed(&options.allow_regions),
        };
        let takes = takes_websockets(
            &view,
            |model| key.is_none_or(|key| key.allows(model)),
            |region| regions.is_empty() || regions.contains(region),
        );
        match takes {
            true => Ok(()),
            false => Err(Problem::no_websocket(None)),
        }
    }

    /// Admits a tunnel for `model`, which `first` asks for, or the URL.
    async fn admit_tunnel(
        &mut self,
        accepted: Accepted,
        model: Option<ModelName>,
        first: Bytes,
    ) -> Result<Box<Admitted>, Problem> {
        let Accepted {
            mut head,
            accept,
            key,
            options,
            location,
            client,
            ..
        } = accepted;
        let asked = Asked::stream_of(model);
        self.track.body_is_in(&asked, PathScope::WebSocket);
        let refusal = key
            .as_ref()
            .and_then(|key| keys::refusal(key, asked.model.as_ref()));
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let visitor = self.visitor(location, key.as_deref(), asked.model.as_ref());
        if visitor.needs_model(self.settings, &self.context.driver.view()) {
            return Err(Problem::fence_needs_model());
        }
        let limited = limits::of_key(key.as_deref(), asked.model.as_ref());
        if !limited.is_empty() {
            Box::pin(self.apply_limits(limited, &asked, &first, &options)).await?;
        }
        headers::clean_request(&mut head.headers);
        headers::remove_all(&mut head.headers, websocket::is_of_handshake);
        Ok(Box::new(Admitted {
            headers: Arc::new(head.headers),
            owner: None,
            session: options.session,
            options,
            visitor,
            head: asked,
            body: CallBody::default(),
            tunnel: Some(Box::new(TunnelAsk { client, accept })),
            priority: RequestPriority::Interactive,
            model_lists: Vec::new(),
        }))
    }

    /// Answers the client at once, and goes on with its first message.
    fn answer_first(self, context: &Arc<Context<L, P>>, mut accepted: Accepted) -> Reply {
        let headers = &accepted.head.headers;
        let mut response = Response::new(ReplyBody::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let protocol = handshake::first_protocol(headers);
        mark(response.headers_mut(), accepted.accept.take(), protocol);
        reply::mark_opening(response.headers_mut(), &self.track);
        let (context, settings) = (Arc::clone(context), Arc::clone(self.settings));
        let track = self.track;
        let (pongs, pongs_out) = mpsc::channel(opening::FRAMES_MAX);
        let opening = Box::pin(async move {
            let slot = accepted.client.clone();
            let Some(mut client) = slot.take() else {
                return Opened::Gone;
            };
            let first = client.first(&pongs, &context.driver, &settings).await;
            let text = match first {
                First::Came(message) => message.text(),
                First::Ended(end) => return Opened::Refused(opening::ended(end), Box::new(client)),
                First::Closed => return Opened::Refused(opening::closed(), Box::new(client)),
                First::Gone => return Opened::Gone,
            };
            let model = match model_of(&text) {
                Ok(model) => model,
                Err(end) => return Opened::Refused(opening::ended(end), Box::new(client)),
            };
            accepted.client = ClientSlot::new(client);
            let slot = accepted.client.clone();
            let mut visit = Visit {
                context: &*context,
                settings: &settings,
                track,
            };
            let reply = match visit.admit_tunnel(accepted, model, text).await {
                Ok(admitted) => request::answer(&context, admitted, visit.track).await,
                Err(problem) => reply::problem(visit.track, &problem),
            };
            opening::opened(reply, slot.take()).await
        });
        *response.body_mut() = ReplyBody::Tunnel(Box::new(Tunnel::opening(opening, pongs_out)));
        response.into()
    }
}

/// Adds what a client needs to see of the answer to its handshake.
pub(in crate::ingress) fn mark(
    headers: &mut HeaderMap,
    accept: Option<HeaderValue>,
    protocol: Option<HeaderValue>,
) {
    if let Some(accept) = accept {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
}
