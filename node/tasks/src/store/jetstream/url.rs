//! The parts of `nats://USER:PASSWORD@HOST:PORT,HOST:PORT?domain=NAME&replicas=3&creds=FILE&ca=FILE`.
//!
//! `tls://` demands TLS. `domain` is needed only where the node's server is not in the domain whose
//! JetStream is to be used. Credentials come from the URL or from a file, and never go into an error.

use std::path::{Path, PathBuf};

use async_nats::ServerAddr;
use grapevine_config::secret::{REDACTED, Secret};

use crate::store::open_error::OpenError;

/// Copies of each message that a JetStream cluster keeps at most.
const REPLICAS_MAX: usize = 5;

/// A URL, taken apart.
pub(super) struct Target {
    /// Servers of one cluster.
    pub(super) servers: Vec<ServerAddr>,
    /// The JetStream domain to use; `None` is that of the server.
    pub(super) domain: Option<String>,
    /// Copies of each message.
    pub(super) replicas: usize,
    /// A file with a user's JWT and seed.
    pub(super) credentials: Option<PathBuf>,
    /// A file with certificates to trust beside the system's.
    pub(super) authority: Option<PathBuf>,
    /// Hosts and ports alone, for errors.
    pub(super) shown: String,
    /// Who the node is to the server.
    pub(super) user: Option<User>,
}

/// A user of the server, percent-decoded.
pub(super) enum User {
    /// With a password.
    Named(String, Secret),
    /// With a token alone.
    Token(Secret),
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// When it holds no host, or a parameter that is not known or out of range.
    pub(super) fn parse(url: &Secret) -> Result<Self, OpenError> {
        let text = url.expose();
        let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = authority.trim_end_matches('/');
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let mut target = Self {
            servers: Vec::new(),
            domain: None,
            replicas: 1,
            credentials: None,
            authority: None,
            shown: hosts.to_owned(),
            user: user.and_then(read_user),
        };
        for host in hosts.split(',') {
            let server = format!("{scheme}://{host}").parse::<ServerAddr>();
            match server {
                Ok(server) if !host.is_empty() => target.servers.push(server),
                _ => return Err(problem("it names no host; write nats://HOST:PORT")),
            }
        }
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            target.set(key, value)?;
        }
        Ok(target)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), OpenError> {
        let path = || Some(PathBuf::from(value)).filter(|path| path != Path::new(""));
        match key {
            "domain" if !value.is_empty() => self.domain = Some(value.to_owned()),
            "replicas" => {
                let number = value.parse().ok();
                let number = number.filter(|number| (1..=REPLICAS_MAX).contains(number));
                self.replicas = number.ok_or_else(|| problem("replicas: write 1 to 5"))?;
            }
            "creds" => self.credentials = path(),
            "ca" => self.authority = path(),
            _ => {
                return Err(problem(
                    "a parameter is not known or empty; there are domain, replicas, creds and ca",
                ));
            }
        }
        Ok(())
    }

    /// `text` without secrets.
    pub(super) fn censored(&self, text: String) -> String {
        match &self.user {
            Some(User::Named(_, secret) | User::Token(secret)) => {
                text.replace(secret.expose(), REDACTED)
            }
            None => text,
        }
    }
}

/// What stands before the `@`: a name and a password, or a token.
fn read_user(text: &str) -> Option<User> {
    match text.split_once(':') {
        Some((name, password)) => Some(User::Named(decoded(name), Secret::new(&decoded(password)))),
        None if text.is_empty() => None,
        None => Some(User::Token(Secret::new(&decoded(text)))),
    }
}

/// The text with every `%XX` as the byte it stands for.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let escape = part.split_at_checked(2);
        match escape.and_then(|(digits, rest)| Some((u8::from_str_radix(digits, 16).ok()?, rest))) {
            Some((byte, rest)) => {
                bytes.push(byte);
                bytes.extend_from_slice(rest.as_bytes());
            }
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The error that the URL cannot be used, for this reason, which must quote nothing of it.
pub(super) fn problem(problem: &str) -> OpenError {
    OpenError::Url {
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, OpenError> {
        Target::parse(&Secret::new(url))
    }

    #[test]
    fn url_is_taken_apart() {
        let url = "nats://me:s3cret@a:4222,b:4223/?domain=sgp&replicas=3&creds=/etc/x.creds";
        let target = parse(url).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(target.servers.len(), 2);
        assert_eq!(target.shown, "a:4222,b:4223");
        assert_eq!(
            (target.domain.as_deref(), target.replicas),
            (Some("sgp"), 3)
        );
        assert_eq!(target.credentials, Some(PathBuf::from("/etc/x.creds")));
        assert_eq!(target.censored("not s3cret".to_owned()), "not ***");
        assert_eq!(decoded("a%40b%3A%zz%"), "a@b:%zz%");
    }

    #[test]
    fn invalid_urls_are_refused_without_the_secret_in_the_error() {
        for url in [
            "nats://me:s3cret@",
            "nats://me:s3cret@a:x",
            "nats://me:s3cret@a?replicas=0",
            "nats://me:s3cret@a?replicas=6",
            "nats://me:s3cret@a?domain=",
            "nats://me:s3cret@a?s3cret=1",
        ] {
            let error = parse(url).err().map(|error| error.to_string());
            assert!(
                error.is_some_and(|error| !error.contains("s3cret")),
                "{url}"
            );
        }
    }
}
