//! Verification of AWS Signature Version 4 in its header form.
//!
//! After "Create a signed AWS API request" of AWS's IAM guide: the path of the wire is encoded once more, the query is
//! sorted, `host` and every `x-amz-*` header must be signed, and the time may be off by five minutes.

use ring::digest::{SHA256, digest};
use ring::hmac;

use super::exchange::{Call, percent_decoded, seconds};
use super::refusal::Refusal;
use crate::mock::stats::hex;

/// How far the request's time may be from the server's.
const SKEW_SECONDS_MAX: u64 = 5 * 60;

/// What signs requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SigningKey {
    pub(super) secret: String,
    /// The session's token that must come with the key, when it is a temporary one.
    pub(super) session_token: Option<String>,
    pub(super) expired: bool,
}

/// The parts of an `Authorization` header.
struct Authorization<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

fn refused(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::new(403, message).code(code)
}

fn incomplete(what: &str) -> Refusal {
    refused(
        "IncompleteSignatureException",
        format!("Authorization header requires {what}."),
    )
}

/// Verifies the signature of a request to `service` in `region`. `find` knows the keys by their ids.
pub(super) fn verify(
    call: &Call<'_>,
    region: &str,
    service: &str,
    find: impl Fn(&str) -> Option<SigningKey>,
) -> Result<(), Refusal> {
    let header = call.header("authorization").ok_or_else(|| {
        refused(
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        )
    })?;
    let parts = parse(header)?;
    let key = find(parts.access_key).ok_or_else(|| {
        refused(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )
    })?;
    if parts.region != region {
        return Err(refused(
            "AccessDeniedException",
            format!(
                "Credential should be scoped to a valid region, not '{}'.",
                parts.region
            ),
        ));
    }
    if parts.service != service {
        return Err(refused(
            "InvalidSignatureException",
            format!("Credential should be scoped to correct service: '{service}'."),
        ));
    }
    if key.session_token.as_deref() != call.header("x-amz-security-token") {
        return Err(refused(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ));
    }
    if key.expired {
        return Err(refused(
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ));
    }
    check_time(call, &parts)?;
    check_signed(call, &parts)?;
    let expected = signature(call, &parts, &key.secret)?;
    // Compared as the mock's own: a test double has no timing to hide.
    if expected != parts.signature {
        return Err(refused(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
        ));
    }
    Ok(())
}

fn parse(header: &str) -> Result<Authorization<'_>, Refusal> {
    let rest = header.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(|| {
        refused(
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        )
    })?;
    let part = |name: &'static str| {
        rest.split(',')
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
            .ok_or_else(|| incomplete(&format!("'{name}' parameter")))
    };
    let credential: Vec<&str> = part("Credential")?.split('/').collect();
    let [access_key, date, region, service, "aws4_request"] = credential[..] else {
        return Err(incomplete("a credential of five parts"));
    };
    Ok(Authorization {
        access_key,
        date,
        region,
        service,
        signed_headers: part("SignedHeaders")?.split(';').collect(),
        signature: part("Signature")?,
    })
}

fn check_time(call: &Call<'_>, parts: &Authorization<'_>) -> Result<(), Refusal> {
    let date = call
        .header("x-amz-date")
        .ok_or_else(|| incomplete("existence of either a 'X-Amz-Date' or a 'Date' header"))?;
    let sent = unix_seconds(date).ok_or_else(|| incomplete("a valid 'X-Amz-Date'"))?;
    if !date.starts_with(parts.date) {
        return Err(refused(
            "InvalidSignatureException",
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP",
        ));
    }
    let now = seconds(call.now);
    if sent.abs_diff(now) > SKEW_SECONDS_MAX {
        let message = match sent < now {
            true => format!(
                "Signature expired: {date} is now earlier than the server's time less 5 min."
            ),
            false => format!(
                "Signature not yet current: {date} is still later than the server's time plus 5 min."
            ),
        };
        return Err(refused("InvalidSignatureException", message));
    }
    Ok(())
}

/// `host` and every header of Amazon's must be signed, in order.
fn check_signed(call: &Call<'_>, parts: &Authorization<'_>) -> Result<(), Refusal> {
    let signed = |name: &str| parts.signed_headers.contains(&name);
    let unsigned = call
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .find(|name| name.starts_with("x-amz-") && !signed(name));
    match unsigned {
        None if signed("host") && parts.signed_headers.is_sorted() => Ok(()),
        None if signed("host") => Err(refused(
            "InvalidSignatureException",
            "The signed headers are not sorted.",
        )),
        name => Err(refused(
            "InvalidSignatureException",
            format!(
                "'{}' must be a signed header in the AWS Authorization.",
                name.unwrap_or("host")
            ),
        )),
    }
}

fn signature(call: &Call<'_>, parts: &Authorization<'_>, secret: &str) -> Result<String, Refusal> {
    let mut headers = String::new();
    for name in &parts.signed_headers {
        let mut values = Vec::new();
        for value in call.headers.get_all(*name) {
            let value = value.to_str().unwrap_or_default();
            values.push(value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        if values.is_empty() {
            return Err(incomplete(&format!("the signed header '{name}'")));
        }
        headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    let payload = sha256(call.body);
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{}\n{payload}",
        call.method,
        encoded(call.path, true),
        canonical_query(call.query),
        parts.signed_headers.join(";"),
    );
    if call
        .header("x-amz-content-sha256")
        .is_some_and(|given| given != payload)
    {
        return Err(refused(
            "InvalidSignatureException",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        ));
    }
    let scope = format!(
        "{}/{}/{}/aws4_request",
        parts.date, parts.region, parts.service
    );
    let date = call.header("x-amz-date").unwrap_or_default();
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        sha256(canonical.as_bytes())
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [parts.date, parts.region, parts.service, "aws4_request"] {
        key = mac(&key, part);
    }
    Ok(hex(&mac(&key, &to_sign)))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let again = |text: &str| encoded(&percent_decoded(text), false);
            format!("{}={}", again(name), again(value))
        })
        .collect();
    pairs.sort();
    pairs.join("&")
}

/// Everything but unreserved characters as `%XX`.
fn encoded(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (byte == b'/' && keep_slash) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Seconds since the Unix epoch of a time such as `20150830T123600Z`.
fn unix_seconds(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since the epoch in the proleptic Gregorian calendar, with years that begin in March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + number(9, 11)? * 3_600 + number(11, 13)? * 60 + number(13, 15)?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// `get-vanilla` of AWS's test suite for Signature Version 4.
    const VANILLA: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
        SignedHeaders=host;x-amz-date, \
        Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

    fn verified(authorization: &str, path: &str, now: u64, region: &str) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("example.amazonaws.com"));
        headers.insert("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
        headers.insert(
            "authorization",
            HeaderValue::from_str(authorization).expect("a header"),
        );
        let body = Bytes::new();
        let call = Call {
            method: &Method::GET,
            path,
            query: "",
            headers: &headers,
            body: &body,
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(now),
            number: 1,
            chunks: 1,
            in_flight: 0,
            cached: None,
        };
        verify(&call, region, "service", |id| {
            (id == "AKIDEXAMPLE").then(|| SigningKey {
                secret: SECRET.to_owned(),
                session_token: None,
                expired: false,
            })
        })
    }

    const SENT: u64 = 1_440_938_160;

    #[test]
    fn the_published_vector_verifies() {
        assert_eq!(unix_seconds("20150830T123600Z"), Some(SENT));
        assert_eq!(verified(VANILLA, "/", SENT, "us-east-1"), Ok(()));
    }

    #[test]
    fn each_deviation_has_its_own_error() {
        let code =
            |result: Result<(), Refusal>| result.expect_err("refused").aws_type().into_owned();
        assert_eq!(
            code(verified(VANILLA, "/x", SENT, "us-east-1")),
            "InvalidSignatureException"
        );
        assert_eq!(
            code(verified(VANILLA, "/", SENT + 301, "us-east-1")),
            "InvalidSignatureException"
        );
        assert_eq!(
            code(verified(VANILLA, "/", SENT, "eu-west-1")),
            "AccessDeniedException"
        );
        let unknown = VANILLA.replace("AKIDEXAMPLE", "AKIDOTHER");
        assert_eq!(
            code(verified(&unknown, "/", SENT, "us-east-1")),
            "UnrecognizedClientException"
        );
        let unsigned = VANILLA.replace("host;x-amz-date", "host");
        assert_eq!(
            code(verified(&unsigned, "/", SENT, "us-east-1")),
            "InvalidSignatureException"
        );
        assert_eq!(
            code(verified("Basic x", "/", SENT, "us-east-1")),
            "MissingAuthenticationTokenException"
        );
    }

    #[test]
    fn a_path_is_encoded_once_more_and_a_time_must_be_one() {
        assert_eq!(
            encoded("/model/a%3A0/converse", true),
            "/model/a%253A0/converse"
        );
        assert_eq!(canonical_query("b=1&a=%2F"), "a=%2F&b=1");
        for text in [
            "",
            "20150830T1236",
            "20151330T123600Z",
            "2015-08-30T12:36Z",
            "日本語日本",
        ] {
            assert_eq!(unix_seconds(text), None, "{text}");
        }
    }
}
