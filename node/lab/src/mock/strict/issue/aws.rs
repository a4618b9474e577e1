//! AWS: STS, the instance's metadata (IMDSv2), and a container's credentials.

use std::time::SystemTime;

use http::Method;
use serde_json::{Value, json};

use super::{IssueOutcome, field, form, issued};
use crate::mock::strict::assertion::Assertion;
use crate::mock::strict::exchange::{Call, Outcome, seconds, text};
use crate::mock::strict::tokens::{IssuedToken, Issuer, Standing};
use crate::mock::strict::upstream::Upstream;

/// The role of the instance.
const ROLE: &str = "mock-role";

/// The longest session of the metadata, in seconds.
const SESSION_SECONDS_MAX: u64 = 21_600;

pub(super) fn serve(upstream: &Upstream, call: &Call<'_>, path: &str) -> Option<IssueOutcome> {
    match (call.method, path) {
        (&Method::POST, "sts" | "sts/") => Some(assume(upstream, call, form(call))),
        (&Method::GET, "sts" | "sts/") => Some(assume(upstream, call, call.query)),
        (&Method::PUT, "latest/api/token") => Some(session(upstream, call)),
        (&Method::GET, "credentials") => Some(match call.header("authorization") {
            None | Some("") => Outcome::text(401, "text/plain", "no authorization token").into(),
            Some(_) => {
                let mut credentials = credentials(&issue(upstream, call));
                credentials["RoleArn"] = json!(format!("arn:aws:iam::123456789012:role/{ROLE}"));
                issued(Outcome::json(&credentials))
            }
        }),
        (&Method::GET, path) => {
            let role = path.strip_prefix("latest/meta-data/iam/security-credentials")?;
            Some(instance(upstream, call, role.trim_start_matches('/')))
        }
        _ => None,
    }
}

fn issue(upstream: &Upstream, call: &Call<'_>) -> IssuedToken {
    upstream.tokens.issue(Issuer::Aws, call.now, &upstream.seal)
}

fn credentials(issued: &IssuedToken) -> Value {
    json!({
        "AccessKeyId": issued.access_key,
        "SecretAccessKey": issued.secret,
        "Token": issued.token,
        "Expiration": iso(issued.expires_at),
    })
}

fn session(upstream: &Upstream, call: &Call<'_>) -> IssueOutcome {
    let lifetime = call
        .header("x-aws-ec2-metadata-token-ttl-seconds")
        .and_then(|text| text.parse::<u64>().ok());
    match lifetime {
        Some(1..=SESSION_SECONDS_MAX) => {
            let token = upstream
                .tokens
                .issue(Issuer::Metadata, call.now, &upstream.seal)
                .token;
            Outcome::text(200, "text/plain", token).into()
        }
        _ => Outcome::text(400, "text/plain", "Bad Request").into(),
    }
}

fn instance(upstream: &Upstream, call: &Call<'_>, role: &str) -> IssueOutcome {
    let session = call.header("x-aws-ec2-metadata-token").unwrap_or_default();
    if upstream
        .tokens
        .standing(Issuer::Metadata, session, call.now)
        != Standing::Valid
    {
        return Outcome::text(401, "text/plain", "Unauthorized").into();
    }
    match role {
        "" => Outcome::text(200, "text/plain", ROLE).into(),
        ROLE => {
            let mut credentials = credentials(&issue(upstream, call));
            credentials["Code"] = json!("Success");
            credentials["Type"] = json!("AWS-HMAC");
            credentials["LastUpdated"] = json!(iso(call.now));
            issued(Outcome::json(&credentials))
        }
        _ => Outcome::text(404, "text/plain", "Not Found").into(),
    }
}

fn assume(upstream: &Upstream, call: &Call<'_>, form: &str) -> IssueOutcome {
    if field(form, "Action").as_deref() != Some("AssumeRoleWithWebIdentity") {
        return refused(
            "InvalidAction",
            "Could not find operation for version 2011-06-15",
        );
    }
    if field(form, "Version").as_deref() != Some("2011-06-15") {
        return refused("InvalidAction", "The version must be 2011-06-15");
    }
    for name in ["RoleArn", "RoleSessionName", "WebIdentityToken"] {
        if field(form, name).is_none_or(|value| value.is_empty()) {
            return refused(
                "ValidationError",
                &format!(
                    "Value null at '{name}' failed to satisfy constraint: Member must not be null"
                ),
            );
        }
    }
    let token = field(form, "WebIdentityToken").unwrap_or_default();
    match Assertion::read(&token).filter(|read| !text(&read.claims, "sub").is_empty()) {
        None => {
            return refused(
                "InvalidIdentityToken",
                "The ID Token provided is not a valid JWT.",
            );
        }
        Some(read) if read.is_expired(call.now) => {
            return refused("ExpiredTokenException", "Token expired");
        }
        Some(_) => {}
    }
    let one = issue(upstream, call);
    let body = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <AssumeRoleWithWebIdentityResult>\n    <Credentials>\n      <AccessKeyId>{}</AccessKeyId>\n      <SecretAccessKey>{}</SecretAccessKey>\n      <SessionToken>{}</SessionToken>\n      <Expiration>{}</Expiration>\n    </Credentials>\n  </AssumeRoleWithWebIdentityResult>\n  <ResponseMetadata><RequestId>mock-{}</RequestId></ResponseMetadata>\n</AssumeRoleWithWebIdentityResponse>\n",
        one.access_key,
        one.secret,
        one.token,
        iso(one.expires_at),
        call.number,
    );
    issued(Outcome::text(200, "text/xml", body))
}

fn refused(code: &str, message: &str) -> IssueOutcome {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\n  <RequestId>mock</RequestId>\n</ErrorResponse>\n"
    );
    Outcome::text(400, "text/xml", body).into()
}

/// A time such as `2015-08-30T12:36:00Z`.
pub(in crate::mock) fn iso(time: SystemTime) -> String {
    let seconds = seconds(time);
    let days = seconds / 86_400 + 719_468;
    // The proleptic Gregorian calendar with years that begin in March.
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_aws_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_440_938_160, "2015-08-30T12:36:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
        ] {
            assert_eq!(
                iso(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
                text
            );
        }
    }
}
