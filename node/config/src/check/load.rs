//! Checks of how the load of a self-hosted engine is read.

use std::time::Duration;

use http::uri::PathAndQuery;

use super::super::checked::{LoadConfig, ProviderConfig};
use super::super::file::{LoadFile, LoadWord};
use super::Checker;

/// More often would cost the engine more than the figures are worth.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Figures that are older say nothing.
const INTERVAL_MAX: Duration = Duration::from_secs(60);

impl Checker<'_> {
    pub(super) fn load(
        &mut self,
        key: &str,
        file: Option<&LoadFile>,
        provider: &ProviderConfig,
    ) -> Option<LoadConfig> {
        let default = LoadConfig::default();
        let file = match file {
            None => return provider.provider.reports_its_load().then_some(default),
            Some(LoadFile::Word(LoadWord::Off)) => return None,
            Some(LoadFile::Metrics(file)) => file,
        };
        if !provider.provider.may_be_an_engine() {
            let problem = format!(
                "is read from a page that {} does not have",
                provider.provider.as_str()
            );
            self.problem(key, problem, "write off, or remove the key");
            return None;
        }
        let path_key = format!("{key}.path");
        let path = file
            .path
            .as_deref()
            .and_then(|text| self.load_path(&path_key, text));
        let interval = self.duration(
            &format!("{key}.interval"),
            file.interval.as_ref(),
            default.interval,
            INTERVAL_MIN..=INTERVAL_MAX,
        );
        Some(LoadConfig { path, interval })
    }

    fn load_path(&mut self, key: &str, text: &str) -> Option<PathAndQuery> {
        let path = PathAndQuery::try_from(text).ok();
        let path = path.filter(|_| text.starts_with('/') && !text.contains('#'));
        if path.is_none() {
            let problem = format!("{} is not the path of a page", self.shown(key));
            self.problem(
                key,
                problem,
                "write a path from the server's root, such as /metrics",
            );
        }
        path
    }
}
