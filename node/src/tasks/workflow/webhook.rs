//! Telling that a run ended: a signed request, tried until it is taken.
//!
//! Signed as Standard Webhooks 1.0 says: `webhook-signature: v1,` and the base64 of HMAC-SHA256 over
//! `{webhook-id}.{webhook-timestamp}.{body}`. The id is the delivery's own, equal over its attempts, so that
//! a receiver can tell a second arrival. A delivery is a task of its own: it outlives the run's worker.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, Uri};
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::id::{Id, Kind};
use super::super::service::{TaskError, Work};
use super::super::store::{Store, StoreError};
use super::super::task::{Checked, Fault, NewTask, Priority, Task, Timestamp};
use super::run::{Job, service_key};
use super::view;
use crate::config::signing::SigningKey;

/// Attempts at one delivery: with the service's waits about an hour.
const ATTEMPTS_MAX: u32 = 16;

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How long after a run's end its delivery begins: the end is to be in the record by then.
const HEAD_START: Duration = Duration::from_millis(100);

/// When to look again whether the run's end is in the record.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The longest URL of a webhook in bytes.
const URL_BYTES_MAX: usize = 1_024;

/// Whom webhooks may go to: names, `*.` and a name for all under it, or `*` for all.
#[derive(Clone, Debug)]
struct Hosts(Vec<String>);

impl Hosts {
    fn check(&self, url: &str) -> Result<(), String> {
        let parsed: Uri = match url.parse() {
            Ok(parsed) if url.len() <= URL_BYTES_MAX => parsed,
            _ => return Err(format!("must be a URL of at most {URL_BYTES_MAX} bytes")),
        };
        let host = parsed.host().unwrap_or_default();
        if !matches!(parsed.scheme_str(), Some("https" | "http")) || host.is_empty() {
            return Err("must begin with https:// or http:// and a host".to_owned());
        }
        if parsed
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err("must not hold a user or password".to_owned());
        }
        match self.0.iter().any(|pattern| matches(pattern, host)) {
            true => Ok(()),
            false => Err(format!(
                "host {host:?} is not among tasks.webhooks.hosts of this node"
            )),
        }
    }
}

/// Signs and sends. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    client: reqwest::Client,
    key: hmac::Key,
    hosts: Hosts,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Webhooks");
        shown.field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// The run whose end is to be told, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delivery {
    run: Id,
    url: String,
}

impl Webhooks {
    /// Signs with `key` and sends through `client` to `hosts` alone: names, `*.` and a name for all under
    /// it, or `*` for all. The client must follow no redirects.
    pub fn new(client: reqwest::Client, key: &SigningKey, hosts: Vec<String>) -> Self {
        Self {
            client,
            key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()),
            hosts: Hosts(hosts),
        }
    }

    /// Whether `url` may be told.
    ///
    /// # Errors
    /// Why not, for the client.
    pub fn check(&self, url: &str) -> Result<(), String> {
        self.hosts.check(url)
    }

    /// Tells one end; the service tries again what fails.
    pub(super) async fn deliver(
        &self,
        task: &Task,
        delivery: &Delivery,
        work: &Work,
    ) -> Result<Value, TaskError> {
        let run = work.store().get(&delivery.run).await?;
        let submitter = &task.new.submitter;
        let run = run.filter(|run| submitter.may_see(run.new.submitter.key.as_deref()));
        let Some(run) = run else {
            return Err(fatal("run_gone", "the run's retention is over"));
        };
        if !run.state.is_final() {
            let fault = Fault::new("run_not_ended", "the run's end is not in the record yet");
            return Err(TaskError::RetryAfter(fault, LOOK_AGAIN));
        }
        self.check(&delivery.url)
            .map_err(|why| fatal("webhook_refused", why))?;
        let notes = work.store().notes(&run.new.id, 0).await?;
        let body = json!({
            "type": format!("workflow.run.{}", view::state(&run)),
            "timestamp": Timestamp::now().seconds(),
            "data": view::run(&run, &notes, view::Depth::Short),
        });
        self.send(task.new.id.as_str(), &delivery.url, body.to_string())
            .await
    }

    async fn send(&self, id: &str, url: &str, body: String) -> Result<Value, TaskError> {
        let timestamp = Timestamp::now().seconds();
        let signed = format!("{id}.{timestamp}.{body}");
        let signature = STANDARD.encode(hmac::sign(&self.key, signed.as_bytes()));
        let request = self.client.post(url).timeout(TIMEOUT).body(body);
        let request = request
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", format!("v1,{signature}"));
        match request.send().await {
            Ok(answer) if answer.status().is_success() => {
                Ok(json!({"status": answer.status().as_u16()}))
            }
            Ok(answer) if answer.status() == StatusCode::GONE => Err(fatal(
                "webhook_gone",
                "the receiver answered 410: it wants no more",
            )),
            Ok(answer) => {
                let message = format!("the receiver answered {}", answer.status());
                Err(TaskError::Retry(Fault::new("webhook_failed", message)))
            }
            Err(error) => {
                let message = format!("the receiver was not reached: {}", error.without_url());
                Err(TaskError::Retry(Fault::new("webhook_failed", message)))
            }
        }
    }
}

impl Delivery {
    /// Lets the end of `run` that is called `end` be told to `url` soon. The same again changes nothing.
    pub(super) async fn queue(
        run: &Task,
        url: &str,
        end: &str,
        store: &dyn Store,
    ) -> Result<(), StoreError> {
        let id = &run.new.id;
        let delivery = Self {
            run: id.clone(),
            url: url.to_owned(),
        };
        let payload = serde_json::to_value(Job::Deliver(delivery));
        let task = NewTask {
            id: Id::new(Kind::Task, id.owner().as_ref()),
            service: Checked(service_key()),
            payload: payload.expect("text keys always are JSON"),
            priority: Priority::default(),
            attempts_max: ATTEMPTS_MAX,
            delay: HEAD_START,
            expires_after: None,
            // A requeued run ends again, and that is told again.
            idempotency_key: Some(format!("webhook/{id}/{end}")),
            submitter: run.new.submitter.clone(),
            regions: run.new.regions.clone(),
        };
        store.add(task).await.map(|_| ())
    }
}

fn matches(pattern: &str, host: &str) -> bool {
    let under = |domain: &str| {
        let rest = host.len().checked_sub(domain.len() + 1);
        rest.is_some_and(|dot| {
            host.is_char_boundary(dot)
                && host[dot..].starts_with('.')
                && host[dot + 1..].eq_ignore_ascii_case(domain)
        })
    };
    match pattern.strip_prefix("*.") {
        Some(domain) => under(domain),
        None => pattern == "*" || pattern.eq_ignore_ascii_case(host),
    }
}

fn fatal(code: &str, message: impl Into<String>) -> TaskError {
    TaskError::Fatal(Fault::new(code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(hosts: &[&str]) -> Hosts {
        Hosts(hosts.iter().map(|host| (*host).to_owned()).collect())
    }

    #[test]
    fn only_listed_hosts_are_told() {
        let rules = hosts(&["hooks.example.com", "*.internal.example"]);
        let check = |url| rules.check(url);
        assert_eq!(check("https://hooks.example.com/x?y=1"), Ok(()));
        assert_eq!(check("http://a.b.internal.example:8080/"), Ok(()));
        for url in [
            "https://example.com/",
            "https://internal.example/",
            "https://evilinternal.example/",
            "https://hooks.example.com.evil.net/",
            "https://user:word@hooks.example.com/",
            "ftp://hooks.example.com/",
            "/hooks.example.com",
            "",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
        assert_eq!(hosts(&["*"]).check("https://anywhere.example/"), Ok(()));
        assert!(hosts(&[]).check("https://anywhere.example/").is_err());
    }
}
