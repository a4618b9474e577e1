//! A call as one upstream gets it: as it came, or as its provider takes it.

use grapevine_base::exchange::Call;
use http::header::{HeaderMap, HeaderValue};
use http::uri::PathAndQuery;

use super::dress;
use super::payload::Payload;
use super::provider::ProvidedRequest;
use super::target::{KeyHeader, UpstreamTarget};

/// A request as its provider takes it, with its credential.
pub(super) struct AuthorizedRequest {
    pub(super) request: ProvidedRequest,
    /// The headers of the credential.
    pub(super) added: HeaderMap,
}

/// A call as one upstream gets it.
pub(super) struct Outbound<'a> {
    pub(super) target: &'a UpstreamTarget,
    pub(super) call: &'a Call,
    pub(super) key: KeyHeader,
    /// What its provider makes of it; `None` where it passes as it is.
    pub(super) provided: Option<&'a AuthorizedRequest>,
}

impl Outbound<'_> {
    /// The path at the upstream; `None` where it does not fit the base URL.
    pub(super) fn path(&self) -> Option<PathAndQuery> {
        match self.provided {
            None => self.target.path(&self.call.path),
            Some(provided) => Some(provided.request.path.clone()),
        }
    }

    /// The body as the upstream gets it; `None` where its model cannot be renamed with certainty.
    pub(super) fn body(&self) -> Option<Payload> {
        if let Some(provided) = self.provided {
            return Some(provided.request.body.clone());
        }
        match self.target.rename(self.call.model.as_ref()) {
            Some(model) => Payload::renamed(&self.call.body, &self.call.headers, model),
            None => Some(Payload::whole(&self.call.body)),
        }
    }

    /// Writes the headers into the `head` of a request of HTTP/1.1.
    pub(super) fn write_headers(&self, passed: &HeaderValue, head: &mut Vec<u8>) {
        let dress = self.target.dress(self.key);
        match self.provided {
            None => dress.write(&self.call.headers, passed, head),
            Some(provided) => {
                dress.write(&provided.request.headers, passed, head);
                dress::write_all(&provided.added, head);
            }
        }
    }

    /// The headers as a map, for HTTP/2.
    pub(super) fn headers(&self, passed: &HeaderValue) -> HeaderMap {
        let dress = self.target.dress(self.key);
        match self.provided {
            None => dress.map(&self.call.headers, passed),
            Some(provided) => {
                let mut headers = dress.map(&provided.request.headers, passed);
                headers.extend(provided.added.clone());
                headers
            }
        }
    }
}
