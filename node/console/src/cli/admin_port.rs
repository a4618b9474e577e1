//! Queries a running node's admin port, for the commands that print its answers.

use std::io;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use thiserror::Error;

use clap::Args;
use grapevine_base::loopback;
use grapevine_base::table::printable;
use grapevine_config::Environment;

/// The default address of a node's admin port.
pub(super) const ADMIN: &str = "http://127.0.0.1:9090";

/// The variable that names the address, for who asks the same node again and again.
const ADMIN_VARIABLE: &str = grapevine_config::env::ADMIN_VARIABLE;

/// The variable that holds the token, the same that gives it to the node.
const TOKEN_VARIABLE: &str = "GRAPEVINE_ADMIN_TOKEN";

/// How long the node may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Why there is nothing to show.
#[derive(Debug, Error)]
pub(super) enum AskError {
    #[error(
        "no node answers at {url}; start one, or name the address in its admin.listen with --admin or {ADMIN_VARIABLE}"
    )]
    NoAnswer { url: String, source: reqwest::Error },
    #[error(
        "{url} is no URL ({cause}); name the address in admin.listen with --admin or {ADMIN_VARIABLE}"
    )]
    NoUrl { url: String, cause: String },
    #[error("the node at {url} asks for a token; give it with --token or {TOKEN_VARIABLE}")]
    Token { url: String },
    #[error("{0}")]
    Refused(String),
    #[error(
        "{url} answers {status}: this is no admin port of a node that knows the question; name the one in admin.listen with --admin"
    )]
    Status { url: String, status: StatusCode },
    #[error(
        "{url} does not answer as a node's admin port does; name the one in admin.listen with --admin"
    )]
    NotAPage {
        url: String,
        source: serde_json::Error,
    },
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
    #[error("cannot start a runtime")]
    Runtime(#[source] io::Error),
}

/// Which node is asked, the same for every command that asks one.
#[derive(Clone, Debug, Default, Args)]
pub struct AdminArgs {
    /// The node's admin address, as in admin.listen; also GRAPEVINE_ADMIN. Default: http://127.0.0.1:9090
    #[arg(long, value_name = "URL", global = true)]
    admin: Option<String>,
    /// The node's admin token, or an issued key with the scope admin:read (to change something admin:operate); also
    /// GRAPEVINE_ADMIN_TOKEN
    #[arg(long, value_name = "TOKEN", global = true)]
    token: Option<String>,
}

impl AdminArgs {
    /// The port that they name: flags before the environment, and the environment before the default.
    pub(super) fn port(&self, environment: &Environment) -> AdminPort {
        let address = self.admin.as_deref();
        let address = address.or_else(|| environment.get(ADMIN_VARIABLE));
        AdminPort::new(address.unwrap_or(ADMIN), self.token.as_deref(), environment)
    }
}

/// A node's admin port, and the token for it.
#[derive(Debug)]
pub(super) struct AdminPort {
    url: String,
    token: Option<String>,
}

impl AdminPort {
    /// The port at `address`, which may be a URL or `HOST:PORT`; the token is the flag's, else the environment's.
    fn new(address: &str, token: Option<&str>, environment: &Environment) -> Self {
        let token = token.or_else(|| environment.get(TOKEN_VARIABLE));
        let base = address.trim_end_matches('/');
        Self {
            // An address without a scheme is plain HTTP.
            url: match base.contains("://") {
                true => base.to_owned(),
                false => format!("http://{base}"),
            },
            token: token.map(str::to_owned),
        }
    }

    /// The body of the page at `path` with `query`.
    ///
    /// # Errors
    /// When no node answers, the token is wrong, the node refuses the question, or the server is no node.
    pub(super) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, AskError> {
        runtime()?.block_on(self.fetch(&client()?, path, query))
    }

    /// The answer to a PUT of `body` to `path`.
    ///
    /// # Errors
    /// As [`AdminPort::get`].
    pub(super) fn put(&self, path: &str, body: &serde_json::Value) -> Result<Vec<u8>, AskError> {
        let client = client()?;
        let asking = self.ask(path, &[], |url| client.put(url).json(body));
        runtime()?.block_on(asking)
    }

    /// The answer to a POST of `body` to `path`.
    ///
    /// # Errors
    /// As [`AdminPort::get`].
    pub(super) fn post(&self, path: &str, body: &serde_json::Value) -> Result<Vec<u8>, AskError> {
        let client = client()?;
        let asking = self.ask(path, &[], |url| client.post(url).json(body));
        runtime()?.block_on(asking)
    }

    /// As [`AdminPort::get`], within a runtime, over connections that `client` keeps.
    ///
    /// # Errors
    /// As [`AdminPort::get`].
    pub(super) async fn fetch(
        &self,
        client: &Client,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<u8>, AskError> {
        self.ask(path, query, |url| client.get(url)).await
    }

    async fn ask(
        &self,
        path: &str,
        query: &[(&str, &str)],
        begin: impl FnOnce(Url) -> RequestBuilder,
    ) -> Result<Vec<u8>, AskError> {
        let url = format!("{}{path}", self.url);
        let asked = match query {
            [] => Url::parse(&url),
            query => Url::parse_with_params(&url, query),
        };
        let asked = asked.map_err(|error| AskError::NoUrl {
            url: url.clone(),
            cause: error.to_string(),
        })?;
        let no_answer = |source: reqwest::Error| AskError::NoAnswer {
            url: url.clone(),
            source: source.without_url(),
        };
        let mut request = begin(asked).timeout(LIMIT);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(no_answer)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(no_answer)?.to_vec();
        match status {
            status if status.is_success() => Ok(body),
            StatusCode::UNAUTHORIZED => Err(AskError::Token { url: url.clone() }),
            status => Err(match refusal(status, &body) {
                Some(message) => AskError::Refused(printable(&message)),
                None => AskError::Status {
                    url: url.clone(),
                    status,
                },
            }),
        }
    }

    /// Where the port is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Parses `bytes`, an answer of the port.
    ///
    /// # Errors
    /// When they are not such an answer.
    pub(super) fn read<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, AskError> {
        serde_json::from_slice(bytes).map_err(|source| AskError::NotAPage {
            url: self.url.clone(),
            source,
        })
    }
}

/// A runtime of this thread's own.
///
/// # Errors
/// When the system has no room for one.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, AskError> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().map_err(AskError::Runtime)
}

/// The HTTP client for the port.
///
/// # Errors
/// When the system's certificates cannot be used.
pub(super) fn client() -> Result<Client, AskError> {
    loopback::client().map_err(AskError::Client)
}

/// The error that a node reports for a question that it knows. A 404 with a bare text is of one that it does not; what
/// background work answers has a message within.
fn refusal(status: StatusCode, body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = &body["error"];
    let bare = error.as_str().filter(|_| status != StatusCode::NOT_FOUND);
    bare.or_else(|| error["message"].as_str())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn port(address: &str) -> AdminPort {
        AdminPort::new(address, None, &Environment::default())
    }

    #[test]
    fn an_address_without_a_scheme_is_plain_http() {
        assert_eq!(port("10.0.0.1:9090").url, "http://10.0.0.1:9090");
        let secure = "https://admin.example.net";
        assert_eq!(port(&format!("{secure}/")).url, secure);
    }

    #[test]
    fn a_token_is_taken_from_the_flag_then_from_the_environment() {
        let environment = [(TOKEN_VARIABLE, "theirs")].into_iter().collect();
        let token = |given| AdminPort::new(ADMIN, given, &environment).token;
        assert_eq!(token(Some("mine")).as_deref(), Some("mine"));
        assert_eq!(token(None).as_deref(), Some("theirs"));
    }

    #[test]
    fn address_is_taken_from_the_flag_then_from_the_environment_then_by_default() {
        let environment = [(ADMIN_VARIABLE, "10.0.0.1:9090")].into_iter().collect();
        let url = |admin: Option<&str>, environment: &Environment| {
            let args = AdminArgs {
                admin: admin.map(str::to_owned),
                token: None,
            };
            args.port(environment).url
        };
        assert_eq!(url(Some("x:1"), &environment), "http://x:1");
        assert_eq!(url(None, &environment), "http://10.0.0.1:9090");
        assert_eq!(url(None, &Environment::default()), ADMIN);
    }

    #[test]
    fn refusal_is_read_in_either_form_and_a_page_that_is_not_there_is_none() {
        let text = br#"{"error": "no"}"#;
        let message = br#"{"error": {"message": "no such task"}}"#;
        assert_eq!(
            refusal(StatusCode::BAD_REQUEST, text).as_deref(),
            Some("no")
        );
        assert_eq!(refusal(StatusCode::NOT_FOUND, text), None);
        let within = refusal(StatusCode::NOT_FOUND, message);
        assert_eq!(within.as_deref(), Some("no such task"));
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"<html>"), None);
    }

    #[test]
    fn a_refused_connection_names_the_address_and_the_remedy() {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = port(&address.to_string()).get("/mesh", &[]).unwrap_err();
        let text = grapevine_base::causes::joined(&error);
        let url = format!("http://{address}/mesh");
        assert!(text.contains(&url) && text.contains("--admin"), "{text}");
        assert!(text.to_lowercase().contains("refused"), "{text}");
    }

    #[test]
    fn unexpected_answer_is_an_error_with_a_remedy() {
        let error = port("x").read::<Vec<u8>>(b"<html>").unwrap_err();
        assert!(
            matches!(error, AskError::NotAPage { .. }) && error.to_string().contains("--admin")
        );
    }
}
