//! Routes requests by path: health, the list of models, background work, and calls of upstreams.

mod deferred;
mod health;
mod kept;
mod limited;
mod lists;
mod waiting;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::asked::{self, Asked};
use grapevine_base::bodies::{BodySender, Charge};
use grapevine_base::call_body::CallBody;
use grapevine_base::exchange::{CallLocal, CallPeer, TaskCaller, TaskRequestBody};
use grapevine_base::headers;
use grapevine_base::listener::http1::RequestBody;
use grapevine_base::websocket::UpgradeOffer;
use grapevine_core::forwarding::PathScope;
use grapevine_core::ids::ModelName;
use grapevine_core::request::RequestPriority;
use grapevine_keys::rights::ClientKey;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Method, Request, StatusCode};

use super::background;
use super::client_headers;
use super::intake;
use super::keys;
use super::limits;
use super::nearest;
use super::own_path::own_path;
use super::problem::Problem;
use super::reply::{self, Reply};
use super::request::{self, Admitted};
use super::track::Track;
use super::visitor::{ClientLocation, Visitor};
use super::{Context, IngressSettings};
use health::health_check;
use kept::Received;

const MODELS_PATH: &str = "/v1/models";

/// Marks requests of clients that connected after the node began to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Late;

/// Answers one request of a client. Its head is boxed, as what is rare and large below is: this future is moved, with room
/// for all that it may hold.
pub(super) async fn serve<L: CallLocal, P: CallPeer>(
    context: &Arc<Context<L, P>>,
    (head, body): (Box<Parts>, RequestBody),
    peer: SocketAddr,
) -> Reply {
    let settings = context.settings.load_full();
    let origin = head.headers.get(header::ORIGIN).cloned();
    let mut reply = dispatch(context, &settings, head, body, peer).await;
    if let Some(origin) = origin {
        settings.cors.mark(&origin, reply.response.headers_mut());
    }
    reply
}

async fn dispatch<L: CallLocal, P: CallPeer>(
    context: &Arc<Context<L, P>>,
    settings: &Arc<IngressSettings>,
    mut head: Box<Parts>,
    body: RequestBody,
    peer: SocketAddr,
) -> Reply {
    if let Some((status, headers)) = settings.cors.preflight(&head.method, &head.headers) {
        return reply::empty(status, headers);
    }
    let path = own_path(&head.uri);
    let own = health_check(context, &head.method, path.path());
    let track = Track::begin_request(
        &context.driver,
        &context.recorder,
        settings,
        client_headers::request_id(&head.headers),
        (head.method.clone(), path),
        &mut head.headers,
    );
    if let Some((status, body)) = own {
        return reply::own_unrecorded(track, status, &body);
    }
    let is_models =
        track.path().path() == MODELS_PATH || track.path().path().starts_with("/v1/models/");
    let is_nearest = track.path().path() == nearest::PATH;
    let mut visit = Visit {
        context,
        settings,
        track,
    };
    // Nearly all requests have no extensions: looking for this one costs them a comparison.
    if head.method == Method::CONNECT || head.extensions.get::<UpgradeOffer>().is_some() {
        return Box::pin(websocket::answer(visit, context, (head, body), peer)).await;
    }
    let answered = if is_models {
        visit.models(&head)
    } else if is_nearest {
        visit.nearest(&head, peer)
    } else {
        let path = visit.track.path().path();
        let admitted = match context.background.takes(path) {
            true if background::may_be_kept(&head.method, path) => {
                Box::pin(visit.admit_what_is_made(head, body, peer)).await
            }
            true => Box::pin(visit.admit_background(*head, body, peer)).await,
            false => visit.admit(head, body, peer).await,
        };
        match admitted {
            Ok(Way::Upstream(admitted)) => {
                return request::answer(context, admitted, visit.track).await;
            }
            Ok(Way::Background(caller, request)) => {
                let (background, polls_max) = (&context.background, settings.polls_max);
                let answered = background.answer(*caller, *request, visit.track, polls_max);
                return Box::pin(answered).await;
            }
            Err(problem) => Err(problem),
        }
    };
    match answered {
        Ok(list) => reply::own(visit.track, StatusCode::OK, &list),
        Err(problem) => reply::problem(visit.track, &problem),
    }
}

/// Where an admitted request goes.
enum Way {
    Upstream(Box<Admitted>),
    Background(Box<TaskCaller>, Box<Request<TaskRequestBody>>),
}

/// The checked head of a request.
struct Checked {
    /// `None` where no keys are needed.
    key: Option<Arc<ClientKey>>,
    options: client_headers::ClientOptions,
    scope: PathScope,
}

/// One request of a client.
struct Visit<'a, L, P> {
    context: &'a Context<L, P>,
    settings: &'a Arc<IngressSettings>,
    track: Track,
}

impl<L: CallLocal, P: CallPeer> Visit<'_, L, P> {
    /// Admits a request that goes to an upstream, and receives its body.
    async fn admit(
        &mut self,
        mut head: Box<Parts>,
        mut body: RequestBody,
        peer: SocketAddr,
    ) -> Result<Way, Problem> {
        let mut checked = self.let_in(&head, &mut body, peer).await?;
        let location = self.context.locate.locate(peer, &head.headers);
        let charge = self.account(checked.key.as_deref(), location, peer);
        let beside = charge.beside();
        let body: Bytes = intake::read(body, &mut head.headers, self.settings, charge).await?;
        let received = self.restore(&mut head.headers, body, beside)?;
        self.choose_keeper(&head.method, &mut checked);
        self.admit_whole(head, checked, location, received).await
    }

    /// Admits a request whose body is here, its ids as the upstream knows them.
    async fn admit_whole(
        &mut self,
        mut head: Box<Parts>,
        checked: Checked,
        location: ClientLocation,
        received: Received,
    ) -> Result<Way, Problem> {
        let Checked {
            key,
            options,
            scope,
        } = checked;
        let Received { raw, body, owner } = received;
        let path = self.track.path().path();
        let asked = asked::read(scope, &head.method, path, &head.headers, &body)?;
        self.track.body_is_in(&asked, scope);
        let session = asked.session(options.session, &body);
        self.track.set_kept(owner, session.map(|it| it.source));
        let refusal = key
            .as_ref()
            .and_then(|key| keys::refusal(key, asked.model.as_ref()));
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let mut visitor = self.visitor(location, key.as_deref(), asked.model.as_ref());
        visitor.caller.lossy = options.lossy;
        if !body.is_empty() && visitor.needs_model(self.settings, &self.context.driver.view()) {
            return Err(Problem::fence_needs_model());
        }
        let path = self.track.path().path();
        if asked.background && background::is_responses(&head.method, path) {
            if let Some(key) = &key {
                keys::check_scope(key, true)?;
            }
            let caller = self.caller(key.as_deref(), &options, &visitor)?;
            return Ok(Way::Background(
                caller,
                // With the ids that the client was given: whoever runs the task restores them.
                Box::new(background::whole(*head, raw.unwrap_or(body))),
            ));
        }
        let may_hedge = !options.sent_once
            && owner.is_none()
            && key.as_ref().is_none_or(|key| key.rights.hedge);
        if may_hedge {
            self.track.may_hedge(scope, &body);
        }
        let limited = limits::of_key(key.as_deref(), asked.model.as_ref());
        if !limited.is_empty() {
            Box::pin(self.apply_limits(limited, &asked, &body, &options)).await?;
        }
        headers::clean_request(&mut head.headers);
        let body = self.asking(&mut head.headers, &asked, body);
        Ok(Way::Upstream(Box::new(Admitted {
            headers: Arc::new(head.headers),
            options,
            visitor,
            head: asked,
            owner,
            session,
            body,
            tunnel: None,
            priority: RequestPriority::Interactive,
            model_lists: key
                .and_then(|key| key.rights.models.clone())
                .into_iter()
                .collect(),
        })))
    }

    /// The body as it is sent, with what is asked of the upstream beside.
    fn asking(&mut self, headers: &mut HeaderMap, asked: &Asked, body: Bytes) -> CallBody {
        let option = (asked.stream && self.settings.asks_usage)
            .then(|| asked::usage::to_add(self.track.path().path(), &body))
            .flatten();
        let Some(option) = option else {
            return CallBody::from(body);
        };
        self.track.hide_usage(true);
        // An event in an encoded stream could not be told from others.
        headers.insert(header::ACCEPT_ENCODING, headers::IDENTITY);
        CallBody::asking(body, option)
    }

    /// Everything that is checked before the body is received; the request is counted from here on.
    async fn let_in(
        &mut self,
        head: &Parts,
        body: &mut RequestBody,
        peer: SocketAddr,
    ) -> Result<Checked, Problem> {
        let checked = match self.check(head) {
            Ok(checked) => checked,
            Err(problem) => {
                Box::pin(intake::linger(body)).await;
                return Err(problem);
            }
        };
        if background::is_poll(&head.method, self.track.path().path()) {
            // It has a slot of another kind, see `Polls`.
            return Ok(checked);
        }
        let key = checked.key.as_deref();
        self.take_slot(key, checked.options.timeout, head, peer)
            .await?;
        Ok(checked)
    }

    /// Counts the request from here on; waits for the turn of its key where the node is at its limit.
    async fn take_slot(
        &mut self,
        key: Option<&ClientKey>,
        timeout: Option<Duration>,
        head: &Parts,
        peer: SocketAddr,
    ) -> Result<(), Problem> {
        let budget = self.context.driver.budget();
        let is_full = budget.requests() >= self.settings.in_flight_max;
        let slot = match is_full || self.context.queue.waiting() > 0 {
            true => Box::pin(self.wait_for_slot(key, timeout, head, peer)).await?,
            false => budget.request(),
        };
        self.track.let_in(slot);
        Ok(())
    }

    /// The account that the body is charged to.
    fn account(
        &self,
        key: Option<&ClientKey>,
        location: ClientLocation,
        peer: SocketAddr,
    ) -> Charge {
        self.context.bodies.account(match key {
            Some(key) => BodySender::Key(&key.name),
            None => BodySender::at(location.address.unwrap_or(peer.ip())),
        })
    }

    fn visitor(
        &mut self,
        location: ClientLocation,
        key: Option<&ClientKey>,
        model: Option<&ModelName>,
    ) -> Visitor {
        let key = key.map(|key| key.name.clone());
        let visitor = Visitor::new(
            self.settings,
            &self.context.driver.view().mesh_rules,
            location,
            key,
            model,
        );
        let mark = visitor.caller.mark;
        self.track.set_client(mark, location.origin, location.place);
        if let Some(fence) = visitor.fence() {
            self.track.set_fence(fence);
        }
        visitor
    }

    /// Everything that can be checked by the head alone.
    fn check(&mut self, head: &Parts) -> Result<Checked, Problem> {
        if head.extensions.get::<Late>().is_some() {
            return Err(Problem::draining());
        }
        let path = self.track.path();
        let scope = if self.context.background.takes(path.path()) {
            client_headers::check_form(path).map(|()| PathScope::Inference)?
        } else {
            client_headers::permit(self.settings, &head.method, path)?
        };
        client_headers::check_coding(&head.headers)?;
        if headers::has_passed(&head.headers, &self.settings.passed) {
            return Err(Problem::looped());
        }
        let key = self.key(head)?;
        let path = self.track.path().path();
        if let Some(key) = &key {
            keys::check_path(key, path, self.context.background.takes(path))?;
        }
        let mut options = client_headers::options(&head.headers)?;
        keys::fence(key.as_deref(), &mut options.allow_regions)?;
        keys::check_upstream(key.as_deref(), options.upstream.as_ref())?;
        Ok(Checked {
            key,
            options,
            scope,
        })
    }

    fn key(&mut self, head: &Parts) -> Result<Option<Arc<ClientKey>>, Problem> {
        keys::of_request(self.settings, &head.headers, &mut self.track)
    }
}
