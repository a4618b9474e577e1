//! Accounts at providers, around the calls of own upstreams: what answers say is left of one is reported to the engine, and
//! where it has limits of one's own, a call takes what it may use before it is made, and settles by what the answer
//! reports.
//!
//! It happens at the node that has the upstream, whoever's client asks, so that each call counts once. A call for which
//! a limit has nothing left is not made: the node that wants it gets a 429 that is marked
//! ([`headers::ACCOUNT_LIMIT`]), and goes on to another candidate.
//!
//! Upstreams without an account are called as if this module were not there. Probes are not counted.

mod body;
mod quota;
mod rights;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use bytes::Bytes;
use grapevine_base::clock::Clock;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::{Answer, AnswerBody, Call, CallFailure, CallLocal};
use grapevine_base::headers;
use grapevine_base::limits::{KeySpecs, LimitHolder, LimitsHandle};
use grapevine_config::prices::PriceTable;
use grapevine_core::account::ProviderQuota;
use grapevine_core::engine::{Event, QuotaReport};
use grapevine_core::ids::{AccountName, UpstreamName};
use grapevine_observe::accounts::AccountMetrics;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Full};

pub use crate::ingress::limits::specs;
use body::SettledBody;
use rights::{AccountRights, NoRights};

/// The account of an upstream.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Its name.
    pub name: AccountName,
    /// Its limits; `None` where it has none of one's own.
    pub limits: Option<AccountLimits>,
}

/// Limits of one's own of an account.
#[derive(Clone, Debug)]
pub struct AccountLimits {
    /// By what they count.
    pub specs: KeySpecs,
    /// Tokens of an answer that are reserved where the request does not say how many it allows.
    pub output_cap: u64,
    /// What models cost.
    pub prices: Arc<PriceTable>,
}

/// The accounts of this node's upstreams, shared by all threads and replaced as a whole. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AccountTable(Arc<ArcSwap<Accounts>>);

type Accounts = BTreeMap<UpstreamName, Arc<UpstreamAccount>>;

/// The account of one upstream, ready for calls.
#[derive(Debug)]
struct UpstreamAccount {
    settings: AccountSettings,
    holder: LimitHolder,
}

impl AccountTable {
    /// Replaces the whole table. Calls in flight keep what they began with.
    pub fn replace(&self, accounts: BTreeMap<UpstreamName, AccountSettings>) {
        let ready = accounts.into_iter().map(|(upstream, settings)| {
            let holder = LimitHolder::Account(settings.name.as_str().into());
            (upstream, Arc::new(UpstreamAccount { settings, holder }))
        });
        self.0.store(Arc::new(ready.collect()));
    }
}

/// Calls own upstreams on their accounts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccountCalls<L> {
    /// Makes the calls.
    pub upstreams: L,
    /// Which upstream has which account.
    pub accounts: AccountTable,
    /// What accounts may use.
    pub limits: LimitsHandle,
    /// Takes what answers say.
    pub driver: DriverHandle,
    /// Counts refusals.
    pub metrics: AccountMetrics,
}

impl<L: CallLocal> CallLocal for AccountCalls<L> {
    async fn call(&self, call: Box<Call>) -> Result<Answer, CallFailure> {
        let account = self.accounts.0.load().get(&call.upstream).cloned();
        match account {
            None => self.upstreams.call(call).await,
            // Boxed: larger than what most requests need.
            Some(account) => Box::pin(self.call_on(&account, call)).await,
        }
    }
}

impl<L: CallLocal> AccountCalls<L> {
    async fn call_on(
        &self,
        account: &UpstreamAccount,
        call: Box<Call>,
    ) -> Result<Answer, CallFailure> {
        let clock = self.driver.clock();
        let mut rights = None;
        if let Some(limits) = &account.settings.limits {
            let taking = AccountRights::take(&self.limits, clock, &account.holder, limits, &call);
            match taking.await {
                Ok(taken) => rights = Some(taken),
                Err(refused) => return Ok(self.refuse(account, refused)),
            }
        }
        let path = call.path.clone();
        let (upstream, model) = (call.upstream.clone(), call.model.clone());
        let mut answer = match self.upstreams.call(call).await {
            Ok(answer) => answer,
            Err(failure) => {
                if let Some(rights) = rights {
                    rights.call_failed(clock.now(), &failure.outcome);
                }
                return Err(failure);
            }
        };
        if let Some(quota) = quota::read(&answer.headers, SystemTime::now()) {
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                say_when(&mut answer.headers, &quota);
            }
            if quota.may_be_nearly_spent() {
                let report = QuotaReport {
                    upstream,
                    model,
                    quota,
                };
                // Where the engine is behind, the next answer says the same.
                let _ = self.driver.try_send(Event::QuotaReported(report));
            }
        }
        if let Some(rights) = rights {
            settle_with_body(clock, rights, path.path(), &mut answer);
        }
        Ok(answer)
    }

    /// The answer in the place of a call that is not made.
    fn refuse(&self, account: &UpstreamAccount, refused: NoRights) -> Answer {
        let name = &account.settings.name;
        if let Some(kind) = refused.kind {
            self.metrics.refused(name, kind);
        }
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        if let Ok(name) = HeaderValue::from_str(name.as_str()) {
            headers.insert(headers::ACCOUNT_LIMIT, name);
        }
        if let Some(wait) = refused.retry_after {
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            headers.insert(headers::RETRY_AFTER_MS, HeaderValue::from(millis));
            let seconds = wait.as_millis().div_ceil(1_000);
            let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // Nodes of this version make the error that the client sees themselves.
        let body = Bytes::from_static(
            br#"{"error":{"message":"a limit of the gateway's own is reached","type":"rate_limit_error","code":"account_limit_reached"}}"#,
        );
        let body = Full::new(body).map_err(|never| match never {});
        Answer {
            status: StatusCode::TOO_MANY_REQUESTS,
            headers: headers.into(),
            body: AnswerBody::new(body),
            load: None,
            upload: None,
        }
    }
}

/// A 429 says how long to wait, where what is left does and it does not.
fn say_when(headers: &mut HeaderMap, quota: &ProviderQuota) {
    if headers::retry_after(headers, SystemTime::now()).is_some() {
        return;
    }
    if let Some(wait) = quota.wait() {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        headers.insert(headers::RETRY_AFTER_MS, HeaderValue::from(millis));
    }
}

/// What `answer` uses is known at its end.
fn settle_with_body(clock: Clock, rights: AccountRights, path: &str, answer: &mut Answer) {
    if !answer.status.is_success() {
        rights.answered_badly(clock.now());
        return;
    }
    let body = std::mem::take(&mut answer.body);
    let settled = SettledBody::new(body, clock, rights, path, &answer.headers);
    answer.body = AnswerBody::new(settled);
}

#[cfg(test)]
mod tests;
