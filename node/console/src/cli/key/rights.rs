//! The flags that say what a key may do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use grapevine_base::clock;
use grapevine_config::text::{parse_count, parse_duration};
use grapevine_core::date::CalendarDay;
use grapevine_core::ids::{ModelName, RegionName, ServiceKey, UpstreamName};
use grapevine_keys::rights::{
    KeyBudget, KeyLimits, KeyRights, KeyScope, KeyWeight, MODEL_LIMITS_MAX, ModelLimits,
};

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
    /// Requests at once, such as 20
    #[arg(long, value_name = "COUNT", value_parser = count)]
    concurrency: Option<u64>,
    /// Limits for one model, such as gpt-4o:rpm=60,tpm=50k,budget=5usd/day,concurrency=4; may be repeated
    #[arg(long = "limit", value_name = "MODEL:LIMITS", value_parser = model_limits)]
    limits: Vec<(ModelName, KeyLimits)>,
    /// Turns beside other keys' where requests wait at an overloaded node, 1 to 1000. Default: 1
    #[arg(long, value_name = "TURNS")]
    weight: Option<KeyWeight>,
    /// Never send its requests a second time beside an attempt that is late
    #[arg(long)]
    no_hedge: bool,
}

/// A model and its limits. Names of models may hold colons.
fn model_limits(text: &str) -> Result<(ModelName, KeyLimits), String> {
    let form = "write MODEL:rpm=60,tpm=50k,budget=5usd/day,concurrency=4";
    let (model, written) = text.rsplit_once(':').ok_or(form)?;
    let model = ModelName::new(model).map_err(|error| format!("{model:?} {error}"))?;
    let mut limits = KeyLimits::default();
    for limit in written.split(',') {
        let (name, amount) = limit.split_once('=').ok_or(form)?;
        match name.trim() {
            "rpm" => limits.rpm = Some(count(amount)?),
            "tpm" => limits.tpm = Some(count(amount)?),
            "concurrency" => limits.concurrency = Some(count(amount)?),
            "budget" => {
                let budget = amount.parse::<KeyBudget>();
                limits.budget = Some(budget.map_err(|error| format!("{amount:?} {error}"))?);
            }
            _ => return Err(format!("{name:?} is no limit; {form}")),
        }
    }
    Ok((model, limits))
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
                concurrency: self.concurrency,
            },
            model_limits: self.model_limits()?,
            weight: self.weight,
            hedge: !self.no_hedge,
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

    fn model_limits(&self) -> Result<Option<Arc<ModelLimits>>, KeyCommandError> {
        let wrong = |text: String| Err(KeyCommandError::Wrong(text));
        if self.limits.len() > MODEL_LIMITS_MAX {
            return wrong(format!(
                "--limit is there more than {MODEL_LIMITS_MAX} times"
            ));
        }
        let mut limits = ModelLimits::new();
        for (model, of_model) in &self.limits {
            if limits.insert(model.clone(), *of_model).is_some() {
                return wrong(format!(
                    "--limit {model}: names the model twice; write its limits as one"
                ));
            }
        }
        Ok((!limits.is_empty()).then(|| Arc::new(limits)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_model_are_read_from_one_text() {
        let (model, limits) =
            model_limits("org/m:free:rpm=60,tpm=50k,budget=5usd/day,concurrency=4")
                .expect("a model and its limits");
        assert_eq!(model.as_str(), "org/m:free");
        assert_eq!((limits.rpm, limits.tpm), (Some(60), Some(50_000)));
        assert_eq!(limits.concurrency, Some(4));
        let budget = limits.budget.map(|budget| budget.to_string());
        assert_eq!(budget.as_deref(), Some("5usd/day"));
        for (text, problem) in [
            ("gpt-4o", "write MODEL:rpm=60"),
            ("gpt-4o:60", "write MODEL:rpm=60"),
            ("gpt-4o:rps=1", "\"rps\" is no limit"),
            ("gpt-4o:rpm=0", "must be at least 1"),
            ("gpt-4o:budget=5", "\"5\" is not a budget"),
            (":rpm=1", "\"\""),
        ] {
            let error = model_limits(text).expect_err(text);
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn model_has_its_limits_once() {
        #[derive(Debug, clap::Parser)]
        struct Program {
            #[command(flatten)]
            rights: RightsArgs,
        }
        let read = |limits: &[&str]| {
            let flags = limits.iter().flat_map(|limit| ["--limit", limit]);
            let all = ["issue"].into_iter().chain(flags);
            <Program as clap::Parser>::try_parse_from(all)
                .expect("flags")
                .rights
                .read()
        };
        let rights = read(&["a:rpm=1", "b:tpm=2"]).expect("rights");
        assert_eq!(rights.model_limits.map(|limits| limits.len()), Some(2));
        assert!(read(&["a:rpm=1", "a:tpm=2"]).is_err());
    }
}
