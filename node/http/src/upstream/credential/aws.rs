//! Credentials of AWS: the first source that has any.
//!
//! Formats: the shared credentials file of AWS's programs, `AssumeRoleWithWebIdentity` of STS (version 2011-06-15), the
//! container credential provider, and the instance metadata service with session tokens (IMDSv2).

use std::path::Path;
use std::time::Duration;

use grapevine_config::Secret;
use grapevine_config::address::BaseUrl;
use grapevine_config::checked::{AwsConfig, AwsSource, SecretSource};
use http::{HeaderName, header};
use serde::Deserialize;

use super::CredentialFailure;
use super::endpoint::{EndpointClient, EndpointRequest};
use super::issue::{AwsCredentials, Issue, Issued};
use super::token::{bounded, of_file, seconds_since_1970};

/// A profile is read again after this long: another program may have renewed it.
const PROFILE_LIFETIME: Duration = Duration::from_secs(300);

/// How long a session with the instance metadata service may last: the longest that it takes.
const SESSION_SECONDS: &str = "21600";
const SESSION_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const SESSION: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");

const SESSION_PATH: &str = "/latest/api/token";
const ROLE_PATH: &str = "/latest/meta-data/iam/security-credentials/";

/// Credentials of the first source that has any.
pub(super) async fn obtain(
    config: &AwsConfig,
    client: &EndpointClient,
) -> Result<Issue, CredentialFailure> {
    for source in &config.sources {
        match of_source(source, client).await {
            // The next one of a chain may have some.
            Err(CredentialFailure::None) => {}
            obtained => return obtained,
        }
    }
    Err(CredentialFailure::None)
}

async fn of_source(
    source: &AwsSource,
    client: &EndpointClient,
) -> Result<Issue, CredentialFailure> {
    match source {
        AwsSource::Keys(keys) => {
            let text = |source: &SecretSource| source.secret.clone();
            let credentials = AwsCredentials {
                id: keys.id.secret.expose().to_owned(),
                secret: text(&keys.secret),
                session_token: keys.session_token.as_ref().map(text),
            };
            Ok(issue(credentials, None))
        }
        AwsSource::Profile { file, name } => of_profile(file, name).await,
        AwsSource::WebIdentity {
            role_arn,
            session_name,
            file,
            sts_url,
        } => {
            let token = of_file(file).await?;
            let fields = [
                ("Action", "AssumeRoleWithWebIdentity"),
                ("Version", "2011-06-15"),
                ("RoleArn", role_arn),
                ("RoleSessionName", session_name),
                ("WebIdentityToken", &token),
            ];
            let answer = client.call(EndpointRequest::form(sts_url, &fields)).await?;
            let answer = std::str::from_utf8(&answer);
            of_xml(answer.map_err(|_| CredentialFailure::NotUnderstood)?)
        }
        AwsSource::Container {
            url,
            token,
            token_file,
        } => {
            let mut request = EndpointRequest::get(url, "");
            if let Some(file) = token_file {
                request = request.with(header::AUTHORIZATION, &of_file(file).await?);
            } else if let Some(token) = token {
                request = request.with(header::AUTHORIZATION, token.secret.expose());
            }
            client.json::<CredentialAnswer>(request).await?.issue()
        }
        AwsSource::Instance(url) => of_instance(url, client).await,
    }
}

fn issue(credentials: AwsCredentials, lifetime: Option<Duration>) -> Issue {
    Issue {
        issued: Issued::Aws(credentials),
        lifetime,
    }
}

/// The instance's role: a session first, then the role's name, then its credentials.
async fn of_instance(url: &BaseUrl, client: &EndpointClient) -> Result<Issue, CredentialFailure> {
    let text = |bytes: bytes::Bytes| {
        let text = String::from_utf8(bytes.into());
        text.map_err(|_| CredentialFailure::NotUnderstood)
    };
    let session = EndpointRequest::put(url, SESSION_PATH).with(SESSION_TTL, SESSION_SECONDS);
    let session = text(client.call(session).await?)?;
    let role = EndpointRequest::get(url, ROLE_PATH).with(SESSION, &session);
    let role = text(client.call(role).await?)?;
    let role = role.lines().next().unwrap_or_default().trim();
    let is_sign = |sign: u8| sign.is_ascii_alphanumeric() || b"+=,.@_-".contains(&sign);
    if role.is_empty() || !role.bytes().all(is_sign) {
        return Err(CredentialFailure::NotUnderstood);
    }
    let path = format!("{ROLE_PATH}{role}");
    let request = EndpointRequest::get(url, &path).with(SESSION, &session);
    client.json::<CredentialAnswer>(request).await?.issue()
}

/// What a container's endpoint and the instance's answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CredentialAnswer {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl CredentialAnswer {
    fn issue(self) -> Result<Issue, CredentialFailure> {
        let lifetime = self.expiration.as_deref().map(lifetime_until).transpose()?;
        let credentials = AwsCredentials {
            id: self.access_key_id,
            secret: Secret::new(&self.secret_access_key),
            session_token: self.token.as_deref().map(Secret::new),
        };
        Ok(issue(credentials, lifetime))
    }
}

/// The credentials in an answer of STS. Their values need no decoding: they are written in letters that XML has.
fn of_xml(answer: &str) -> Result<Issue, CredentialFailure> {
    let value = |name: &str| {
        let (_, after) = answer.split_once(&format!("<{name}>"))?;
        let (value, _) = after.split_once(&format!("</{name}>"))?;
        Some(value.trim().to_owned())
    };
    let read = || {
        Some(CredentialAnswer {
            access_key_id: value("AccessKeyId")?,
            secret_access_key: value("SecretAccessKey")?,
            token: Some(value("SessionToken")?),
            expiration: Some(value("Expiration")?),
        })
    };
    read().ok_or(CredentialFailure::NotUnderstood)?.issue()
}

/// The profile's keys; none where there is no such file, or no such profile in it.
async fn of_profile(file: &Path, name: &str) -> Result<Issue, CredentialFailure> {
    let text = match of_file(file).await {
        Err(CredentialFailure::FileUnreadable) => return Err(CredentialFailure::None),
        text => text?,
    };
    let credentials = profile(&text, name).ok_or(CredentialFailure::None)?;
    Ok(issue(credentials, Some(PROFILE_LIFETIME)))
}

/// The keys of the profile `name` in a credentials file.
fn profile(text: &str, name: &str) -> Option<AwsCredentials> {
    let lines = text.lines().map(str::trim);
    let mut is_inside = false;
    let (mut id, mut secret, mut session_token) = (None, None, None);
    for line in lines.filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.split(']').next().unwrap_or_default().trim();
            is_inside = section.strip_prefix("profile ").unwrap_or(section).trim() == name;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| is_inside) else {
            continue;
        };
        let value = Some(value.trim().to_owned());
        match key.trim() {
            "aws_access_key_id" => id = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => session_token = value,
            _ => {}
        }
    }
    Some(AwsCredentials {
        id: id?,
        secret: Secret::new(&secret?),
        session_token: session_token.as_deref().map(Secret::new),
    })
}

/// How long until `time`, such as `2026-08-30T12:36:00Z` (RFC 3339, in UTC).
fn lifetime_until(time: &str) -> Result<Duration, CredentialFailure> {
    let until = seconds_of(time).ok_or(CredentialFailure::NotUnderstood)?;
    Ok(bounded(until - seconds_since_1970()))
}

/// Seconds since 1970; fractions are dropped.
fn seconds_of(time: &str) -> Option<f64> {
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, separator| -> Option<[i64; 3]> {
        let mut parts = text.split(separator).map(|part: &str| part.parse().ok());
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(numbers)
    };
    let clock = clock.split('.').next()?;
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(clock, ':')?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that a leap day is the last (Hinnant, "chrono-compatible low-level date algorithms").
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_read_in_every_year_and_month() {
        for (time, seconds) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2015-08-30T12:36:00Z", 1_440_938_160.0),
            ("2024-02-29T23:59:59.5Z", 1_709_251_199.0),
            ("2024-03-01T00:00:00Z", 1_709_251_200.0),
            ("2100-01-01T00:00:00Z", 4_102_444_800.0),
        ] {
            assert_eq!(seconds_of(time), Some(seconds), "{time}");
        }
        for time in [
            "",
            "2024-13-01T00:00:00Z",
            "2024-01-01",
            "2024-01-01T00:00:00+01:00",
            "a-b-cTd:e:fZ",
        ] {
            assert_eq!(seconds_of(time), None, "{time}");
        }
    }

    #[test]
    fn profile_is_found_by_its_name_alone() {
        let text = "# comment\n[default]\naws_access_key_id = A\naws_secret_access_key=S=/+\n\n\
                    [profile other]\naws_access_key_id=B\naws_secret_access_key=T\naws_session_token = X\n[half]\n\
                    aws_access_key_id=C\n";
        let found = |name| {
            let keys = profile(text, name)?;
            let token = keys.session_token.map(|token| token.expose().to_owned());
            Some((keys.id, keys.secret.expose().to_owned(), token))
        };
        assert_eq!(found("default"), Some(("A".into(), "S=/+".into(), None)));
        assert_eq!(
            found("other"),
            Some(("B".into(), "T".into(), Some("X".into())))
        );
        assert_eq!(found("half"), None);
        assert_eq!(found("none"), None);
    }

    #[test]
    fn answer_of_sts_is_read_by_its_elements() {
        let answer = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
            <SessionToken>T</SessionToken><SecretAccessKey>S</SecretAccessKey>\
            <Expiration>2100-01-01T00:00:00Z</Expiration><AccessKeyId>A</AccessKeyId></Credentials>";
        let issue = of_xml(answer).expect("credentials");
        let Issued::Aws(keys) = issue.issued else {
            panic!("no keys")
        };
        assert_eq!((keys.id.as_str(), keys.secret.expose()), ("A", "S"));
        assert!(issue.lifetime.is_some());
        assert!(matches!(
            of_xml("<html>"),
            Err(CredentialFailure::NotUnderstood)
        ));
    }
}
