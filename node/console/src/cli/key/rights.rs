//! The flags that say what a key may do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use grapevine_base::clock;
use grapevine_config::text::{parse_count, parse_duration};
use grapevine_core::date::CalendarDay;
use grapevine_core::ids::{ModelName, RegionName, ServiceKey, UpstreamName};
use grapevine_keys::rights::{KeyBudget, KeyLimits, KeyRights, KeyScope};

use super::KeyCommandError;

/// What a key may do.
#[derive(Debug, Args)]
pub(super) struct RightsArgs {
    /// A model that it may use; may be repeated. Default: every model
    #[arg(long = "models", value_name = "MODEL", value_delimiter = ',')]
    models: Vec<String>,
    /// A region that may serve it; may be repeated. Default: every region
    #[arg(long = "regions", value_name = "REGION", value_delimiter = ',')]
    regions: Vec<String>,
    /// Make it an external worker's key, for tasks of this service alone; may be repeated
    #[arg(long = "services", value_name = "SERVICE", value_delimiter = ',')]
    services: Vec<String>,
    /// An upstream that it may choose with x-grapevine-upstream; may be repeated, the first keeps its files. Default: none
    #[arg(long = "upstreams", value_name = "UPSTREAM", value_delimiter = ',')]
    upstreams: Vec<String>,
    /// What it is for: api, tasks, services, admin:read, admin:operate; may be repeated. Default: api and tasks, or
    /// services with --services
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<KeyScope>,
    /// Requests per minute, such as 600
    #[arg(long, value_name = "COUNT", value_parser = count)]
    rpm: Option<u64>,
    /// Tokens per minute, such as 200k
    #[arg(long, value_name = "COUNT", value_parser = count)]
    tpm: Option<u64>,
    /// Money, such as 50usd/month or 2.50usd/day
    #[arg(long, value_name = "AMOUNT")]
    budget: Option<KeyBudget>,
}

fn count(text: &str) -> Result<u64, String> {
    match parse_count(text) {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(error.to_string()),
    }
}

impl RightsArgs {
    pub(super) fn read(&self) -> Result<KeyRights, KeyCommandError> {
        let mut scopes: BTreeSet<KeyScope> = self.scopes.iter().copied().collect();
        let is_workers = !self.services.is_empty();
        if scopes.is_empty() {
            scopes = match is_workers {
                true => [KeyScope::Services].into(),
                false => KeyRights::default().scopes,
            };
        }
        if is_workers != scopes.contains(&KeyScope::Services) {
            let wrong = "--services and --scope services need each other: name the services of a worker's key";
            return Err(KeyCommandError::Wrong(wrong.to_owned()));
        }
        Ok(KeyRights {
            scopes,
            models: names("--models", &self.models, ModelName::new)?,
            regions: names("--regions", &self.regions, RegionName::new)?,
            services: names("--services", &self.services, ServiceKey::new)?,
            upstreams: self.upstreams()?,
            limits: KeyLimits {
                rpm: self.rpm,
                tpm: self.tpm,
                budget: self.budget,
            },
        })
    }

    /// In the order that was written: the first is the one for files.
    fn upstreams(&self) -> Result<Option<Arc<[UpstreamName]>>, KeyCommandError> {
        let read = |text: &String| {
            let wrong = |error| KeyCommandError::Wrong(format!("--upstreams {text:?} {error}"));
            UpstreamName::new(text).map_err(wrong)
        };
        let names: Vec<UpstreamName> = self.upstreams.iter().map(read).collect::<Result<_, _>>()?;
        Ok((!names.is_empty()).then(|| names.into()))
    }
}

fn names<T: Ord, E: std::fmt::Display>(
    flag: &str,
    texts: &[String],
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<Arc<BTreeSet<T>>>, KeyCommandError> {
    if texts.is_empty() {
        return Ok(None);
    }
    let read = |text: &String| {
        let wrong = |error| KeyCommandError::Wrong(format!("{flag} {text:?} {error}"));
        read(text).map_err(wrong)
    };
    let names: BTreeSet<T> = texts.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Some(Arc::new(names)))
}

/// A day, or a span from now: when it ends, since the Unix epoch.
pub(super) fn expiry(text: &str) -> Result<Duration, String> {
    let day = text.parse::<CalendarDay>().map(CalendarDay::begins);
    let now = clock::wall();
    let at = day.or_else(|_| parse_duration(text).map(|span| now + span));
    let at = at.map_err(|_| format!("{text:?} is neither a span (30d) nor a day (2027-01-31)"))?;
    match at > now {
        true => Ok(at),
        false => Err(format!("{text:?} is over already")),
    }
}
