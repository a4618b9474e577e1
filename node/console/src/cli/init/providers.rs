//! The upstreams that `grapevine init` knows by name, and self-hosted ones by their URL.

use std::str::FromStr as _;

use grapevine_config::address::BaseUrl;
use grapevine_core::ids::UpstreamName;

use super::super::import::known_endpoint;

/// Those that are known by name: the table of `grapevine import` says where they are.
pub(super) const WELL_KNOWN: [&str; 8] = [
    "openai",
    "anthropic",
    "gemini",
    "azure",
    "mistral",
    "groq",
    "deepseek",
    "openrouter",
];

/// An upstream of every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedUpstream {
    /// Its name in the configuration.
    pub(super) name: String,
    /// `provider` of the configuration; `None` where the URL says enough.
    pub(super) provider: Option<&'static str>,
    pub(super) base_url: String,
    /// The variable of its key; `None` where it takes none.
    pub(super) variable: Option<String>,
}

/// Reads `NAME` or `NAME=URL`.
///
/// # Errors
/// With what is wrong, and what to write instead.
pub(super) fn parse(text: &str) -> Result<PlannedUpstream, String> {
    let (name, url) = match text.split_once('=') {
        Some((name, url)) => (name, Some(url)),
        None => (text, None),
    };
    UpstreamName::new(name).map_err(|error| format!("the name {name:?} {error}"))?;
    let url = url.map(checked_url).transpose()?;
    let known = WELL_KNOWN.contains(&name).then(|| known_endpoint(name));
    let Some(known) = known.flatten() else {
        let url = url.ok_or_else(|| {
            let known = WELL_KNOWN.join(", ");
            format!("{name:?} is none of {known}; write {name}=URL for an API of your own, such as {name}=http://gpu-1:8000/v1")
        })?;
        return Ok(PlannedUpstream {
            name: name.to_owned(),
            provider: None,
            base_url: url,
            variable: None,
        });
    };
    let base_url = url.or(known.url.map(str::to_owned)).ok_or_else(|| {
        format!("{name} has no address of its own; write {name}=https://NAME.openai.azure.com with the resource's name")
    })?;
    Ok(PlannedUpstream {
        name: name.to_owned(),
        provider: known.provider,
        base_url,
        variable: known.variable.map(str::to_owned),
    })
}

fn checked_url(text: &str) -> Result<String, String> {
    let url = BaseUrl::from_str(text).map_err(|error| format!("{text:?} {error}"))?;
    match url.without_endpoint() {
        Some((base, endpoint)) => Err(format!("{text:?} ends in {endpoint}; write {base}")),
        None => Ok(url.to_string()),
    }
}
