//! Signs one request for AWS (Signature Version 4).
//!
//! The path is signed as it is sent and encoded once more, as every service but S3 takes it: a `%3A` in a model's name is
//! signed as `%253A`. The body is hashed piece by piece, and not copied.

use std::fmt::Write;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use ring::digest::{Context, SHA256};

use super::CredentialFailure;
use super::issue::AwsCredentials;

/// What is signed of a request, beside the time.
pub(in crate::upstream) struct SignedParts<'a> {
    pub(in crate::upstream) method: &'a str,
    /// Scheme, host, path and query, as they are sent.
    pub(in crate::upstream) url: &'a str,
    /// The value of its `Host`.
    pub(in crate::upstream) host: &'a HeaderValue,
    pub(in crate::upstream) body: &'a [Bytes],
}

/// The service and the region that a signature is for.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct SignatureScope {
    pub(in crate::upstream) region: String,
    pub(in crate::upstream) service: String,
}

/// The headers that sign a request at `time`.
pub(in crate::upstream) fn signature(
    parts: &SignedParts<'_>,
    keys: &AwsCredentials,
    scope: &SignatureScope,
    time: SystemTime,
) -> Result<HeaderMap, CredentialFailure> {
    let token = keys.session_token.as_ref();
    let identity = Credentials::new(
        keys.id.as_str(),
        keys.secret.expose(),
        token.map(|token| token.expose().to_owned()),
        None,
        "grapevine",
    );
    let identity = identity.into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(&scope.region)
        .name(&scope.service)
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| CredentialFailure::Signing)?
        .into();
    let host = parts
        .host
        .to_str()
        .map_err(|_| CredentialFailure::Signing)?;
    let headers = [(header::HOST.as_str(), host)].into_iter();
    let body = SignableBody::Precomputed(hashed(parts.body));
    let request = SignableRequest::new(parts.method, parts.url, headers, body);
    let request = request.map_err(|_| CredentialFailure::Signing)?;
    let output = sign(request, &params).map_err(|_| CredentialFailure::Signing)?;
    let (instructions, _) = output.into_parts();
    let mut signed = HeaderMap::new();
    for (name, value) in instructions
        .into_parts()
        .0
        .iter()
        .map(|header| (header.name(), header.value()))
    {
        let mut value = HeaderValue::from_str(value).map_err(|_| CredentialFailure::Signing)?;
        value.set_sensitive(true);
        signed.insert(name, value);
    }
    Ok(signed)
}

/// The hash of a body, in hexadecimal digits.
fn hashed(pieces: &[Bytes]) -> String {
    let mut context = Context::new(&SHA256);
    for piece in pieces {
        context.update(piece);
    }
    let mut text = String::with_capacity(64);
    for byte in context.finish().as_ref() {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use grapevine_config::Secret;

    use super::*;

    /// 2015-08-30T12:36:00Z, the time of the suite's requests.
    const TIME: u64 = 1_440_938_160;

    /// Signatures out of AWS's signing test suite (aws-c-auth, tests/aws-signing-test-suite/v4, as shipped in aws-sigv4
    /// 1.6.4; Apache-2.0, Copyright Amazon.com): name, method, URL, host, body, session token, and what is signed. The
    /// suite's id and secret of an access key are its own examples.
    const SUITE: [[&str; 6]; 3] = [
        [
            "post-vanilla",
            "POST",
            "https://example.amazonaws.com/",
            "example.amazonaws.com",
            "",
            "host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ],
        [
            "get-vanilla-with-session-token",
            "GET",
            "https://example.amazonaws.com/",
            "example.amazonaws.com",
            "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267",
            "host;x-amz-date;x-amz-security-token, \
             Signature=07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
        ],
        [
            "get-vanilla-query-order-key-case",
            "GET",
            "https://example.amazonaws.com/?Param2=value2&Param1=value1",
            "example.amazonaws.com",
            "",
            "host;x-amz-date, Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ],
    ];

    fn signed(parts: &SignedParts<'_>, keys: &AwsCredentials, service: &str) -> HeaderMap {
        let scope = SignatureScope {
            region: "us-east-1".to_owned(),
            service: service.to_owned(),
        };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(TIME);
        signature(parts, keys, &scope, time).expect("a signature")
    }

    fn keys(session_token: &str) -> AwsCredentials {
        AwsCredentials {
            id: "AKIDEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: (!session_token.is_empty()).then(|| Secret::new(session_token)),
        }
    }

    #[test]
    fn requests_of_the_suite_are_signed_as_it_says() {
        for [name, method, url, host, token, end] in SUITE {
            let parts = SignedParts {
                method,
                url,
                host: &HeaderValue::from_static(host),
                body: &[],
            };
            let signed = signed(&parts, &keys(token), "service");
            let credential =
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
            let expected = format!("{credential}, SignedHeaders={end}");
            assert_eq!(signed[header::AUTHORIZATION], *expected, "{name}");
            assert_eq!(signed["x-amz-date"], "20150830T123600Z");
        }
    }

    /// What RFC-like pseudocode of AWS's documentation makes of a request, written out here by hand.
    #[test]
    fn encoded_model_is_signed_encoded_twice() {
        let body = [Bytes::from_static(b"{\"a\""), Bytes::from_static(b":1}")];
        let parts = SignedParts {
            method: "POST",
            url: "https://h.example/model/anthropic.claude-v2%3A1/invoke",
            host: &HeaderValue::from_static("h.example"),
            body: &body,
        };
        let whole = Bytes::from_static(b"{\"a\":1}");
        let canonical = format!(
            "POST\n/model/anthropic.claude-v2%253A1/invoke\n\nhost:h.example\nx-amz-date:20150830T123600Z\n\n\
             host;x-amz-date\n{}",
            hashed(std::slice::from_ref(&whole))
        );
        let hash = hashed(&[canonical.into()]);
        let scope = "20150830/us-east-1/bedrock/aws4_request";
        let text = format!("AWS4-HMAC-SHA256\n20150830T123600Z\n{scope}\n{hash}");
        let mut key = b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec();
        for part in ["20150830", "us-east-1", "bedrock", "aws4_request", &text] {
            let hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
            key = ring::hmac::sign(&hmac, part.as_bytes()).as_ref().to_vec();
        }
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let signed = signed(&parts, &keys(""), "bedrock");
        let signed = signed[header::AUTHORIZATION].to_str().expect("text");
        assert!(signed.ends_with(&format!("Signature={digits}")), "{signed}");
    }
}
