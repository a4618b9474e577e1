//! The request id, the options in our own headers, and the checks of a request's head.

mod sessions;

use std::cell::RefCell;
use std::time::Duration;

use grapevine_base::coding::Coding;
use grapevine_base::entropy;
use grapevine_base::exchange::RequestId;
use grapevine_base::headers;
use grapevine_core::forwarding::{self, PathScope};
use grapevine_core::ids::{RegionName, UpstreamName};
use grapevine_core::route::{Session, SessionSource};
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::IngressSettings;
use super::problem::Problem;

/// What the ids that this node makes begin with.
const ID_PREFIX: &str = "req_";

/// The random bytes of an id that this node makes.
const RANDOM_BYTES: usize = 12;

/// The longest request id that is accepted from a client.
const REQUEST_ID_MAX: usize = 128;

/// Regions that one request may list.
const REGIONS_MAX: usize = 64;

/// The longest time limit that a client may ask for.
const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// The longest name of a conversation.
const SESSION_MAX: usize = 256;

/// In which OpenAI's and Anthropic's SDKs count their retries.
const SDK_RETRIES: HeaderName = HeaderName::from_static("x-stainless-retry-count");

const PREFER_REGION: &str = "x-grapevine-prefer-region";
const ALLOW_REGIONS: &str = "x-grapevine-allow-regions";
const TIMEOUT: &str = "x-grapevine-timeout-ms";
const SESSION: &str = "x-grapevine-session-id";
const DRY_RUN: &str = "x-grapevine-dry-run";
const UPSTREAM: &str = "x-grapevine-upstream";
const LOSSY: &str = "x-grapevine-lossy";
const HEDGE: &str = "x-grapevine-hedge";

/// The options that a client sets with our own headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientOptions {
    pub(super) prefer_region: Option<RegionName>,
    /// Empty allows all.
    pub(super) allow_regions: Vec<RegionName>,
    /// `None` leaves the node's own deadline.
    pub(super) timeout: Option<Duration>,
    /// The conversation that a header names.
    pub(super) session: Option<Session>,
    /// The upstream that is to answer; `None` is any.
    pub(super) upstream: Option<UpstreamName>,
    /// Return the plan and call nothing.
    pub(super) dry_run: bool,
    /// Whether what a translation of the request loses is accepted; `None` leaves that to the operator.
    pub(super) lossy: Option<bool>,
    /// Never send it a second time beside an attempt that is late.
    pub(super) sent_once: bool,
    /// The client's own SDK is retrying already.
    pub(super) is_retrying: bool,
}

thread_local! {
    static RNG: RefCell<ChaCha8Rng> = RefCell::new(entropy::generator());
}

/// Calls `draw` with this thread's generator.
pub(super) fn with_rng<T>(draw: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
    RNG.with_borrow_mut(draw)
}

/// The client's own name for the request where it can be used, else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> RequestId {
    let given = headers
        .get(headers::REQUEST_ID)
        .map(|value| value.as_bytes());
    let usable = given.filter(|id| {
        (1..=REQUEST_ID_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
    });
    match usable.and_then(|id| std::str::from_utf8(id).ok()) {
        Some(id) => id.into(),
        None => new_id(),
    }
}

/// An id that no other request has.
pub(super) fn new_id() -> RequestId {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut random = [0; RANDOM_BYTES];
    with_rng(|rng| rng.fill_bytes(&mut random));
    let mut id = [0; ID_PREFIX.len() + 2 * RANDOM_BYTES];
    let (prefix, digits) = id.split_at_mut(ID_PREFIX.len());
    prefix.copy_from_slice(ID_PREFIX.as_bytes());
    for (pair, byte) in digits.chunks_exact_mut(2).zip(random) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
    std::str::from_utf8(&id)
        .expect("a prefix and digits")
        .into()
}

/// Whether a request may be sent to an upstream, and what kind of a path it has.
///
/// # Errors
/// The error for a path or a method that is not forwarded.
pub(super) fn permit(
    settings: &IngressSettings,
    method: &Method,
    path: &PathAndQuery,
) -> Result<PathScope, Problem> {
    if *method == Method::CONNECT {
        return Err(Problem::no_proxy());
    }
    let permitted = settings
        .forwarding
        .permit(method.as_str(), path.path(), path.query());
    permitted.map_err(|refusal| Problem::not_forwarded(path.path(), &refusal))
}

/// Checks that a path that this node answers itself is written in the one form that all readers agree on.
///
/// # Errors
/// The error for another form.
pub(super) fn check_form(path: &PathAndQuery) -> Result<(), Problem> {
    let checked = forwarding::check_form(path.path(), path.query());
    checked.map_err(|refusal| Problem::not_forwarded(path.path(), &refusal))
}

/// Checks that the body can be decoded, and where it ends.
///
/// # Errors
/// When its coding is unknown, or its transfer coding is given in an unusual way.
pub(super) fn check_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let is =
        |value: &HeaderValue, word: &str| value.as_bytes().eq_ignore_ascii_case(word.as_bytes());
    Coding::of(headers)?;
    let mut transfers = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_plain = transfers.next().is_none_or(|value| is(value, "chunked"));
    if !is_plain || transfers.next().is_some() {
        let message =
            "the body must be sent with Content-Length, or with Transfer-Encoding: chunked alone";
        return Err(Problem::invalid(None, message));
    }
    Ok(())
}

/// The options that the client sets with our own headers.
///
/// # Errors
/// When a value cannot be understood: an option must not be ignored silently.
pub(super) fn options(headers: &HeaderMap) -> Result<ClientOptions, Problem> {
    let mut options = ClientOptions {
        is_retrying: headers
            .get(SDK_RETRIES)
            .is_some_and(|count| count.as_bytes() != b"0"),
        ..ClientOptions::default()
    };
    // One walk and no lookup: most requests have none of these.
    let mut has_own = false;
    for (name, value) in headers {
        has_own |= name.as_str().starts_with(headers::OWN_PREFIX);
        options.session = Session::first_of(options.session, sessions::named_by(name, value));
    }
    if !has_own {
        return Ok(options);
    }
    if let Some(value) = text(headers, PREFER_REGION)? {
        options.prefer_region = Some(region(PREFER_REGION, value)?);
    }
    if let Some(value) = text(headers, ALLOW_REGIONS)? {
        let regions = value
            .split(',')
            .map(|name| region(ALLOW_REGIONS, name.trim()));
        options.allow_regions = regions.take(REGIONS_MAX).collect::<Result<_, _>>()?;
    }
    if let Some(value) = text(headers, TIMEOUT)? {
        let milliseconds = value.parse().ok().filter(|count| *count > 0);
        let Some(milliseconds) = milliseconds else {
            return Err(bad(
                TIMEOUT,
                "must be a whole number of milliseconds above 0",
            ));
        };
        options.timeout = Some(Duration::from_millis(milliseconds).min(TIMEOUT_MAX));
    }
    if let Some(value) = text(headers, SESSION)? {
        if value.is_empty() || value.len() > SESSION_MAX {
            return Err(bad(SESSION, "must be 1 to 256 characters"));
        }
        options.session = Some(Session::named(SessionSource::Own, value.as_bytes()));
    }
    if let Some(value) = text(headers, UPSTREAM)? {
        let name = UpstreamName::new(value);
        let name = name.map_err(|error| bad(UPSTREAM, format_args!("'{value}' {error}")))?;
        options.upstream = Some(name);
    }
    options.dry_run = match text(headers, DRY_RUN)? {
        None | Some("0" | "false") => false,
        Some("1" | "true") => true,
        Some(_) => return Err(bad(DRY_RUN, "must be 'true' or 'false'")),
    };
    options.lossy = match text(headers, LOSSY)? {
        None => None,
        Some("refuse") => Some(false),
        Some("allow") => Some(true),
        Some(_) => return Err(bad(LOSSY, "must be 'allow' or 'refuse'")),
    };
    options.sent_once = match text(headers, HEDGE)? {
        None | Some("on") => false,
        Some("off") => true,
        Some(_) => return Err(bad(HEDGE, "must be 'on' or 'off'")),
    };
    Ok(options)
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(bad(name, "must be sent once"));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => Err(bad(name, "must be visible ASCII characters")),
    }
}

fn region(header: &'static str, name: &str) -> Result<RegionName, Problem> {
    RegionName::new(name).map_err(|error| bad(header, format_args!("'{name}' {error}")))
}

fn bad(header: &'static str, what: impl std::fmt::Display) -> Problem {
    Problem::invalid(Some(header), format!("header {header}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requested(name: &'static str, value: &'static str) -> Result<ClientOptions, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a valid value"));
        options(&headers)
    }

    #[test]
    fn bad_options_are_refused_by_name() {
        for (name, value) in [
            (PREFER_REGION, "two words"),
            (ALLOW_REGIONS, "sgp,,jpn"),
            (TIMEOUT, "-1"),
            (TIMEOUT, "0"),
            (TIMEOUT, "1s"),
            (SESSION, ""),
            (UPSTREAM, "two words"),
            (DRY_RUN, "perhaps"),
        ] {
            let problem = requested(name, value).expect_err(value);
            assert_eq!((problem.status.as_u16(), problem.param), (400, Some(name)));
        }
    }

    #[test]
    fn option_that_is_sent_twice_is_refused() {
        for name in [
            PREFER_REGION,
            ALLOW_REGIONS,
            TIMEOUT,
            SESSION,
            UPSTREAM,
            DRY_RUN,
        ] {
            let mut headers = HeaderMap::new();
            headers.append(name, "1".parse().expect("a valid value"));
            assert!(options(&headers).is_ok(), "{name}");
            headers.append(name, "0".parse().expect("a valid value"));
            assert_eq!(options(&headers).expect_err(name).param, Some(name));
        }
    }

    #[test]
    fn good_options_are_parsed() {
        let regions = requested(ALLOW_REGIONS, "sgp, jpn")
            .expect("valid")
            .allow_regions;
        assert_eq!(regions.len(), 2);
        let timeout = requested(TIMEOUT, "99999999").expect("valid").timeout;
        assert_eq!(timeout, Some(TIMEOUT_MAX));
        assert!(requested(DRY_RUN, "true").expect("valid").dry_run);
    }

    #[test]
    fn usable_request_id_is_kept_and_another_replaced() {
        let id = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(headers::REQUEST_ID, value.parse().expect("a valid value"));
            request_id(&headers)
        };
        assert_eq!(&*id("mine-1"), "mine-1");
        assert!(id("two words").starts_with("req_"));
        assert_ne!(id(""), id(""));
    }
}
