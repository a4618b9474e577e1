//! Calls of the prober: those of requests, with the key in the header that the upstream takes it in.
//!
//! A request says by its path which API it is for, but `/models` is the path of a list at every provider: an
//! upstream whose key is refused in one header is asked with the other one, and what worked is remembered. Where the
//! provider is named, its own header is known.

use std::sync::Arc;

use grapevine_base::exchange::{Answer, Call, CallFailure, ProbeLocal};
use grapevine_core::ids::UpstreamName;
use http::StatusCode;
use http::uri::PathAndQuery;

use super::client::UpstreamClient;
use super::provider::{ANTHROPIC_VERSION, VERSION};
use super::target::KeyHeader;

impl ProbeLocal for UpstreamClient {
    async fn probe(&self, call: Call) -> Result<Answer, CallFailure> {
        let target = self.target(&call.upstream)?;
        let key = target.probe_key();
        let versioned = with_version(call.clone(), key);
        let answer = self.call_target(&target, &versioned, key).await?;
        let is_refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&answer.status);
        if !is_refused || !target.has_choice_of_key() {
            return Ok(answer);
        }
        let other = key.other();
        let versioned = with_version(call, other);
        match self.call_target(&target, &versioned, other).await {
            Ok(again) if again.status.is_success() => {
                target.set_probe_key(other);
                Ok(again)
            }
            Ok(_) | Err(_) => Ok(answer),
        }
    }

    fn shown_url(&self, upstream: &UpstreamName, path: &PathAndQuery) -> Option<String> {
        let uri = self.target(upstream).ok()?.shown_uri(path)?;
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        let (host, path) = (authority.host(), uri.path());
        let port = authority.port().map(|port| format!(":{port}"));
        Some(format!(
            "{scheme}://{host}{}{path}",
            port.unwrap_or_default()
        ))
    }
}

fn with_version(mut call: Call, key: KeyHeader) -> Call {
    if key == KeyHeader::ApiKey {
        Arc::make_mut(&mut call.headers).insert(ANTHROPIC_VERSION, VERSION);
    }
    call
}
