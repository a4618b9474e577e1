//! Requests about what an upstream keeps, and those that have it keep more.

use std::net::SocketAddr;

use bytes::Bytes;
use grapevine_base::bodies::Charge;
use grapevine_base::exchange::{CallLocal, CallPeer};
use grapevine_base::headers;
use grapevine_base::listener::http1::RequestBody;
use grapevine_core::route::{Session, SessionSource};
use grapevine_core::seal::Owner;
use http::Method;
use http::header::{self, HeaderMap};
use http::request::Parts;

use super::super::problem::Problem;
use super::super::sealed::{self, Restored};
use super::super::visitor::ClientLocation;
use super::super::{intake, keys, uploads};
use super::{Checked, Visit, Way};

/// Where files are made.
const FILES: &str = "/v1/files";

/// Where something is made that later requests name, and no model is named.
const MADE: [&str; 2] = [FILES, "/v1/conversations"];

/// A body that is here.
#[derive(Debug)]
pub(super) struct Received {
    /// As the client sent it; `None` where it is the same.
    pub(super) raw: Option<Bytes>,
    /// As the upstream takes it.
    pub(super) body: Bytes,
    /// The upstream that made what it names.
    pub(super) owner: Option<Owner>,
}

impl<L: CallLocal, P: CallPeer> Visit<'_, L, P> {
    /// `body` with its ids, and the path, as the upstream that made them knows them. An answer that may hold more is
    /// asked for without a coding.
    pub(super) fn restore(
        &mut self,
        headers: &mut HeaderMap,
        body: Bytes,
        mut charge: Charge,
    ) -> Result<Received, Problem> {
        let path = self.track.path();
        if sealed::holds_ids(path.path()) {
            headers.insert(header::ACCEPT_ENCODING, headers::IDENTITY);
        }
        let restored = sealed::restore(&self.settings.seal_keys, path, &body)?;
        let Restored {
            owner,
            path,
            body: other,
            is_reasoning_lost,
        } = restored;
        if is_reasoning_lost {
            self.track.lose_reasoning();
        }
        if let Some(path) = path {
            self.track.set_path(path);
        }
        let Some(other) = other else {
            let raw = None;
            return Ok(Received { raw, body, owner });
        };
        let held = charge.add(other.len());
        held.map_err(|over| intake::too_much(over, self.context.bodies.limit()))?;
        Ok(Received {
            raw: Some(body),
            body: charge.on(other),
            owner,
        })
    }

    /// Admits a request that makes a file or a batch: for an upstream that is to keep it, or for background work.
    pub(super) async fn admit_what_is_made(
        &mut self,
        mut head: Box<Parts>,
        mut body: RequestBody,
        peer: SocketAddr,
    ) -> Result<Way, Problem> {
        let mut checked = self.let_in(&head, &mut body, peer).await?;
        let location = self.context.locate.locate(peer, &head.headers);
        let charge = self.account(checked.key.as_deref(), location, peer);
        let beside = charge.beside();
        if self.track.path().path() != FILES {
            let raw = intake::read(body, &mut head.headers, self.settings, charge).await?;
            let received = self.restore(&mut head.headers, raw.clone(), beside)?;
            return match received.owner {
                Some(_) => self.admit_kept(head, checked, location, received).await,
                None => self.hand_over(*head, checked, location, RequestBody::Whole(raw), peer),
            };
        }
        let peeked = uploads::peek(body, &head.headers, self.settings, beside).await?;
        let (body, purpose) = peeked;
        let is_named = checked.options.upstream.is_some();
        if purpose.is_none_or(|purpose| !is_named && !purpose.is_upstreams()) {
            return self.hand_over(*head, checked, location, body, peer);
        }
        let body = intake::read(body, &mut head.headers, self.settings, charge).await?;
        head.headers
            .insert(header::ACCEPT_ENCODING, headers::IDENTITY);
        self.choose_keeper(&head.method, &mut checked);
        let received = Received {
            raw: None,
            body,
            owner: None,
        };
        self.admit_kept(head, checked, location, received).await
    }

    /// Admits what goes to an upstream although its path is one of background work, for which its key was checked.
    async fn admit_kept(
        &mut self,
        head: Box<Parts>,
        checked: Checked,
        location: ClientLocation,
        received: Received,
    ) -> Result<Way, Problem> {
        if let Some(key) = &checked.key {
            keys::check_scope(key, false)?;
        }
        self.admit_whole(head, checked, location, received).await
    }

    /// What one key makes that names no model goes to one upstream: the one that the client names, else the first of the
    /// key's, else the same one for all of it.
    pub(super) fn choose_keeper(&self, method: &Method, checked: &mut Checked) {
        let is_made = *method == Method::POST && MADE.contains(&self.track.path().path());
        let Some(key) = checked.key.as_ref().filter(|_| is_made) else {
            return;
        };
        let options = &mut checked.options;
        if options.upstream.is_none() {
            options.upstream = key
                .rights
                .upstreams
                .as_deref()
                .and_then(|all| all.first().cloned());
        }
        options.session = options
            .session
            .or_else(|| Some(Session::named(SessionSource::User, key.name.as_bytes())));
    }
}
