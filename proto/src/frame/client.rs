//! What a request's head contains about the client: where it is, the name of its key, and what tells it from others.

use grapevine_core::country::{Continent, CountryCode};
use grapevine_core::residency::ClientOrigin;

use super::DecodeError;

/// Header fields in order; names are lower-case ASCII where the HTTP library wrote them.
pub(super) type Headers<'a> = Vec<(&'a str, &'a [u8])>;

/// The fields that carry what residency and the judgement of failures ask about the client. As header fields, they
/// leave the bytes of version 1 as they are.
const CLIENT_AREA: &str = "x-grapevine-client-area";
const CLIENT_KEY: &str = "x-grapevine-client-key";
const CLIENT_MARK: &str = "x-grapevine-client-mark";
/// Absent where the client does not say; nodes of earlier versions send no refusal.
const CLIENT_LOSSY: &str = "x-grapevine-client-lossy";
const ALLOW: &str = "allow";
const REFUSE: &str = "refuse";

pub(super) fn area_text(client: ClientOrigin) -> Option<String> {
    match client {
        ClientOrigin::Unknown => None,
        ClientOrigin::Continent(continent) => Some(continent.to_string()),
        ClientOrigin::Country(country) => Some(country.to_string()),
    }
}

/// The fields with those about the client, which nobody else can have set.
pub(super) fn with_own<'b>(
    headers: Headers<'b>,
    area: Option<&'b str>,
    key: Option<&'b str>,
    mark: Option<&'b str>,
    lossy: Option<bool>,
) -> Headers<'b> {
    let mut headers = headers;
    headers.retain(|(name, _)| !is_own(name));
    let lossy = lossy.map(|allows| if allows { ALLOW } else { REFUSE });
    let own = [
        (CLIENT_AREA, area),
        (CLIENT_KEY, key),
        (CLIENT_MARK, mark),
        (CLIENT_LOSSY, lossy),
    ];
    headers.extend(
        own.map(|(name, value)| value.map(|value| (name, value.as_bytes())))
            .into_iter()
            .flatten(),
    );
    headers
}

fn is_own(name: &str) -> bool {
    [CLIENT_AREA, CLIENT_KEY, CLIENT_MARK, CLIENT_LOSSY].contains(&name)
}

/// What the fields say about the client.
pub(super) struct ClientFields<'a> {
    pub(super) origin: ClientOrigin,
    pub(super) key: Option<&'a str>,
    /// Zero where an earlier version sent none.
    pub(super) mark: u64,
    pub(super) lossy: Option<bool>,
}

/// A mark as it is sent.
pub(super) fn mark_text(mark: u64) -> String {
    format!("{mark:016x}")
}

/// Takes the fields about the client out of the others.
pub(super) fn without_own(
    mut headers: Headers<'_>,
) -> Result<(Headers<'_>, ClientFields<'_>), DecodeError> {
    let field = |name| {
        let found = headers.iter().find(|(field, _)| *field == name);
        let text = found.map(|(_, value)| std::str::from_utf8(value));
        text.transpose()
            .map_err(|_| DecodeError::OutOfRange { field: name })
    };
    let (area, key) = (field(CLIENT_AREA)?, field(CLIENT_KEY)?);
    let mark = field(CLIENT_MARK)?.map_or(Ok(0), |mark| u64::from_str_radix(mark, 16));
    let mark = mark.map_err(|_| DecodeError::OutOfRange { field: CLIENT_MARK })?;
    let origin = area.map_or(Ok(ClientOrigin::Unknown), |area| {
        let country = area.parse::<CountryCode>().map(ClientOrigin::Country);
        let area = country.or_else(|_| area.parse::<Continent>().map(ClientOrigin::Continent));
        area.map_err(|_| DecodeError::OutOfRange { field: CLIENT_AREA })
    })?;
    let lossy = match field(CLIENT_LOSSY)? {
        Some(ALLOW) => Some(true),
        Some(REFUSE) => Some(false),
        _ => None,
    };
    headers.retain(|(name, _)| !is_own(name));
    let client = ClientFields {
        origin,
        key,
        mark,
        lossy,
    };
    Ok((headers, client))
}
