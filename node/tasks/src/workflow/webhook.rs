//! The delivery of a run's end: a signed request, retried until it is accepted.
//!
//! Signed as in Standard Webhooks 1.0: `webhook-signature: v1,` and the base64 of HMAC-SHA256 over
//! `{webhook-id}.{webhook-timestamp}.{body}`. The id is the delivery's own, equal over its attempts, so that
//! a receiver can detect a duplicate. A delivery is a task of its own: it outlives the run's worker.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grapevine_base::causes;
use grapevine_config::destinations::Destinations;
use grapevine_config::signing::SigningKey;
use http::StatusCode;
use reqwest::Url;
use ring::hmac;
use serde_json::{Value, json};

use super::super::admission::{check_kind, is_within};
use super::super::id::{Id, Kind};
use super::super::service::{TaskError, TaskRefused, Work};
use super::super::store::{Store, StoreError};
use super::super::task::{CheckedText, NewTask, Task, TaskFault, TaskPriority, Timestamp};
use super::guard::{AddressRefused, DestinationGuard, LookUp};
use super::job::{Delivery, WorkflowJob, service_key};
use super::view;

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

/// Signs and sends. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    tls: rustls::ClientConfig,
    key: hmac::Key,
    guard: DestinationGuard,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Webhooks");
        shown.field("hosts", &self.guard).finish_non_exhaustive()
    }
}

/// Where a webhook goes.
struct Target {
    url: Url,
    port: u16,
}

/// Queues the delivery of a run's end, where its submitter requested one.
pub(super) async fn queue_end(task: &Task, end: &str, store: &dyn Store) -> Result<(), StoreError> {
    match view::job(task).and_then(|job| job.webhook) {
        Some(url) => Delivery::queue(task, &url, end, store).await,
        None => Ok(()),
    }
}

impl Webhooks {
    /// Signs with `key` and sends to `destinations` alone, which `look_up` finds; `public` are addresses that lead
    /// to this node, beside those of its interfaces. `tls` holds the certificates to trust.
    pub fn new(
        tls: rustls::ClientConfig,
        key: &SigningKey,
        destinations: Destinations,
        public: Vec<IpAddr>,
        look_up: Box<dyn LookUp>,
    ) -> Self {
        Self {
            tls,
            key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()),
            guard: DestinationGuard::new(destinations, public, look_up),
        }
    }

    /// Whether `url` may be called, as far as is known before its host is looked up.
    ///
    /// # Errors
    /// Why not, for the client.
    pub fn check(&self, url: &str) -> Result<(), String> {
        self.target(url).map(|_| ())
    }

    /// The URL as the client that calls it reads it: what it takes for an address is one here too.
    fn target(&self, url: &str) -> Result<Target, String> {
        let parsed: Url = match url.parse() {
            Ok(parsed) if url.len() <= URL_BYTES_MAX => parsed,
            _ => return Err(format!("must be a URL of at most {URL_BYTES_MAX} bytes")),
        };
        let host = parsed.host_str().unwrap_or_default();
        if !matches!(parsed.scheme(), "https" | "http") || host.is_empty() {
            return Err("must begin with https:// or http:// and a host".to_owned());
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("must not hold a user or password".to_owned());
        }
        let port = parsed.port_or_known_default().unwrap_or_default();
        self.guard.check(host, port)?;
        Ok(Target { port, url: parsed })
    }

    /// A client for one call: it looks names up through the guard, and follows no redirect.
    fn client(&self, port: u16) -> reqwest::Result<reqwest::Client> {
        reqwest::Client::builder()
            .use_preconfigured_tls(self.tls.clone())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .dns_resolver(self.guard.resolver(port))
            .build()
    }

    /// Delivers one end; the service retries what fails.
    pub(super) async fn deliver(
        &self,
        task: &Task,
        delivery: &Delivery,
        work: &Work,
    ) -> Result<Value, TaskError> {
        let run = work.store().get(&delivery.run).await?;
        let run = run.ok_or_else(|| fatal("run_gone", "the run's retention is over"))?;
        if !run.state.is_final() {
            let fault = TaskFault::new("run_not_ended", "the run's end is not in the record yet");
            return Err(TaskError::RetryAfter(fault, LOOK_AGAIN));
        }
        let target = self
            .target(&delivery.url)
            .map_err(|why| fatal("webhook_refused", why))?;
        let notes = work.store().notes(&run.new.id, 0).await?;
        let body = json!({
            "type": format!("workflow.run.{}", view::state(&run)),
            "timestamp": Timestamp::now().seconds(),
            "data": view::run(&run, &notes, view::Depth::Short),
        });
        self.send(task.new.id.as_str(), target, body.to_string())
            .await
    }

    async fn send(&self, id: &str, target: Target, body: String) -> Result<Value, TaskError> {
        let timestamp = Timestamp::now().seconds();
        let signed = format!("{id}.{timestamp}.{body}");
        let signature = STANDARD.encode(hmac::sign(&self.key, signed.as_bytes()));
        let client = self
            .client(target.port)
            .map_err(|error| unreached(&error))?;
        let request = client.post(target.url).timeout(TIMEOUT).body(body);
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
                Err(TaskError::Retry(TaskFault::new("webhook_failed", message)))
            }
            Err(error) => Err(unreached(&error.without_url())),
        }
    }
}

impl Delivery {
    /// Whether `task` may make this delivery: it must be for the run's own submitter, to the URL that the run names.
    /// Whether the URL may be called is for [`Webhooks::check`], at the node that calls it.
    pub(super) async fn check(&self, task: &NewTask, store: &dyn Store) -> Result<(), TaskRefused> {
        check_kind(task, Kind::Task)?;
        let run = store.get(&self.run).await?;
        let run = run.filter(|run| run.new.submitter == task.submitter);
        let Some(run) = run else {
            return Err(TaskRefused::new("run_gone", "the run's retention is over"));
        };
        let asked = view::job(&run).and_then(|job| job.webhook);
        match asked.as_deref() == Some(&self.url) && is_within(&task.regions, &run.new.regions) {
            true => Ok(()),
            false => Err(TaskRefused::new(
                "invalid_payload",
                "the run did not ask for a delivery there",
            )),
        }
    }

    /// Whether it delivers the end of `run`, under an idempotency key of that.
    pub(super) fn is_of(&self, run: &Id, key: Option<&str>) -> bool {
        self.run == *run && key.is_some_and(|key| key.starts_with(&key_of(run)))
    }

    /// Queues the delivery to `url` of the end of `run` that is called `end`. The same again changes nothing.
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
        let payload = serde_json::to_value(WorkflowJob::Deliver(delivery));
        let task = NewTask {
            id: Id::new(Kind::Task, id.owner().as_ref()),
            service: CheckedText(service_key()),
            payload: payload.expect("text keys always are JSON"),
            priority: TaskPriority::default(),
            attempts_max: ATTEMPTS_MAX,
            delay: HEAD_START,
            expires_after: None,
            // A requeued run ends again, and that is delivered again.
            idempotency_key: Some(format!("{}{end}", key_of(id))),
            submitter: run.new.submitter.clone(),
            regions: run.new.regions.clone(),
        };
        store.add(task).await.map(|_| ())
    }
}

/// The receiver could not be called; where its host is refused, no other attempt is made.
fn unreached(error: &reqwest::Error) -> TaskError {
    let refused = causes::each(error).find_map(|cause| cause.downcast_ref::<AddressRefused>());
    if let Some(refused) = refused {
        return fatal("webhook_refused", refused.to_string());
    }
    let message = format!("the receiver was not reached: {error}");
    TaskError::Retry(TaskFault::new("webhook_failed", message))
}

/// What the keys of a run's deliveries begin with. No client's key can: theirs begin with the name of an API key, or
/// with a slash.
fn key_of(run: &Id) -> String {
    format!("#webhook/{run}/")
}

fn fatal(code: &str, message: impl Into<String>) -> TaskError {
    TaskError::Fatal(TaskFault::new(code, message))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use tokio::net::TcpListener;

    use super::*;

    /// Every name is this host.
    struct Here(Arc<AtomicUsize>);

    #[async_trait]
    impl LookUp for Here {
        async fn look_up(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(vec![IpAddr::from([127, 0, 0, 1])])
        }
    }

    fn webhooks(hosts: &[&str]) -> (Webhooks, Arc<AtomicUsize>) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let key = SigningKey::new("please-write-your-own-secret").expect("a key");
        let entry = |text: &&str| text.parse().expect("an entry");
        let destinations = Destinations::new(hosts.iter().map(entry).collect());
        let looks = Arc::new(AtomicUsize::new(0));
        let look_up = Box::new(Here(Arc::clone(&looks)));
        let webhooks = Webhooks::new(tls, &key, destinations, Vec::new(), look_up);
        (webhooks, looks)
    }

    #[test]
    fn only_good_urls_of_listed_hosts_are_called() {
        let (rules, _) = webhooks(&["hooks.example.com", "*.internal.example:8080"]);
        let check = |url| rules.check(url);
        assert_eq!(check("https://hooks.example.com/x?y=1"), Ok(()));
        assert_eq!(check("http://a.b.internal.example:8080/"), Ok(()));
        for url in [
            "https://example.com/",
            "https://hooks.example.com:8443/",
            "https://a.internal.example/",
            "https://user:word@hooks.example.com/",
            "https://user@hooks.example.com/",
            "ftp://hooks.example.com/",
            "/hooks.example.com",
            "",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
    }

    #[test]
    fn address_is_refused_however_it_is_written() {
        let (all, _) = webhooks(&["*"]);
        assert_eq!(all.check("https://anywhere.example/"), Ok(()));
        assert_eq!(all.check("http://8.8.8.8/"), Ok(()));
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "0.0.0.0",
            "0",
            "169.254.169.254",
            "10.0.0.1",
            "100.64.0.1",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[2002:7f00:1::]",
            "anywhere.example:9090",
            "8.8.8.8:22",
        ] {
            let url = format!("http://{host}/drain");
            assert!(all.check(&url).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn name_of_a_refused_address_is_looked_up_and_never_called() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (rules, looks) = webhooks(&[&format!("rebinding.example:{port}")]);
        let target = rules.target(&format!("http://rebinding.example:{port}/"));
        let target = target.expect("the name is listed");
        let sent = rules.send("id", target, "{}".to_owned()).await;
        match sent {
            Err(TaskError::Fatal(fault)) => assert_eq!(fault.code, "webhook_refused"),
            other => panic!("{other:?}"),
        }
        assert_eq!(looks.load(Ordering::Relaxed), 1);
        let called = futures_util::FutureExt::now_or_never(listener.accept());
        assert!(called.is_none(), "nobody connected");
    }
}
