//! Checks of the callers: keys and web origins.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;

use grapevine_core::date::CalendarDay;
use grapevine_core::ids::NodeName;
use grapevine_keys::rights::KeyWeight;
use http::HeaderValue;

use super::super::address::BaseUrl;
use super::super::checked::{CorsOrigins, KeyConfig};
use super::super::file::{CorsFile, Item, KeyFile, KeyHedgeWord};
use super::super::hash::KeyHash;
use super::node::NAME_FORM;
use super::{Checker, items};

impl Checker<'_> {
    pub(super) fn keys(
        &mut self,
        list: &Option<Vec<Item<KeyFile>>>,
        public: Option<SocketAddr>,
    ) -> Vec<KeyConfig> {
        let (mut names, mut hashes) = (BTreeMap::new(), BTreeMap::new());
        let mut keys = Vec::new();
        for (key, file) in items("keys", list) {
            let Some(config) = self.key(&key, file) else {
                continue;
            };
            if let Some(first) = names.get(&config.name) {
                let problem = format!("{} is the name of {first} too", config.name);
                self.problem(
                    &format!("{key}.name"),
                    problem,
                    "give each key a name of its own",
                );
            }
            if let Some(first) = hashes.get(&config.hash) {
                let problem = format!("is the hash of {first} too");
                self.problem(
                    &format!("{key}.hash"),
                    problem,
                    "give each client a key of its own",
                );
            }
            names
                .entry(config.name.clone())
                .or_insert_with(|| key.clone());
            hashes.entry(config.hash).or_insert_with(|| key.clone());
            keys.push(config);
        }
        if list.as_ref().is_none_or(Vec::is_empty)
            && let Some(public) = public.filter(|public| !public.ip().is_loopback())
            && !self.source_map.was_refused("keys")
        {
            let problem = format!(
                "is empty while the API listens on {public}: everyone who reaches it may use it"
            );
            self.warning(
                "keys",
                problem,
                "add keys (grapevine key hash --generate), listen on 127.0.0.1, or write open: true where that is meant",
            );
        }
        keys
    }

    /// The names of the list at `key` that have their form; `None` where none is written.
    pub(super) fn names<T, C>(
        &mut self,
        key: &str,
        list: &Option<Vec<Item<String>>>,
        form: &str,
    ) -> Option<C>
    where
        T: FromStr<Err: Display>,
        C: IntoIterator<Item = T> + FromIterator<T>,
    {
        list.as_ref()?;
        let names = items(key, list).filter_map(|(key, text)| self.parse(&key, Some(text), form));
        Some(names.collect())
    }

    fn key(&mut self, key: &str, file: &KeyFile) -> Option<KeyConfig> {
        let at = |name: &str| format!("{key}.{name}");
        let name: Option<NodeName> = self.parse(&at("name"), file.name.as_deref(), NAME_FORM);
        let hash: Option<KeyHash> = match file.hash.as_ref().map(|hash| hash.0.parse()) {
            Some(Ok(hash)) => Some(hash),
            Some(Err(error)) => {
                let remedy =
                    "write what `grapevine key hash` prints; the key itself does not belong here";
                self.problem(&at("hash"), format!("{error}"), remedy);
                None
            }
            None => None,
        };
        let form =
            "write at most 256 bytes, without control characters, and without blanks at the ends";
        let models = self.names(&at("models"), &file.models, form);
        let form = "name a service in full, such as my-plugin:process";
        let services = self.names(&at("services"), &file.services, form);
        let form = "name regions by their codes, such as eur";
        let regions = self.names(&at("regions"), &file.regions, form);
        let form = "name upstreams as their configuration does";
        let upstreams = self.names(&at("upstreams"), &file.upstreams, form);
        let limits = self.key_limits(key, file);
        let model_limits = self.model_limits(&at("limits"), file.limits.as_ref());
        let weight = file.weight.map(|weight| {
            let range = 1..=u64::from(KeyWeight::MAX);
            self.number(&at("weight"), Some(weight), 1, range)
        });
        let form = "write the day as 2027-01-31";
        let expires = file.expires.as_ref().map(|day| day.0.as_str());
        let expires: Option<CalendarDay> = self.parse(&at("expires"), expires, form);
        Some(KeyConfig {
            name: name?.as_str().to_owned(),
            hash: hash?,
            models,
            regions,
            services,
            upstreams,
            limits,
            model_limits,
            weight: weight.and_then(|weight| weight.try_into().ok()),
            hedge: !matches!(file.hedge, Some(KeyHedgeWord::Off)),
            expires_at: expires.map(CalendarDay::begins),
        })
    }

    pub(super) fn cors(&mut self, file: Option<&CorsFile>) -> CorsOrigins {
        let Some(CorsFile { origins: list }) = file else {
            return CorsOrigins::Off;
        };
        let mut origins = Vec::new();
        let mut any = false;
        for (key, text) in items("cors.origins", list) {
            if text == "*" {
                any = true;
                continue;
            }
            let origin = text
                .parse::<BaseUrl>()
                .ok()
                .filter(|url| url.path().is_empty() && url.to_string() == *text);
            match origin.and_then(|_| HeaderValue::from_str(text).ok()) {
                Some(origin) => origins.push(origin),
                None => {
                    let problem = format!("{} is not an origin", self.shown(&key));
                    self.problem(
                        &key,
                        problem,
                        "write a scheme and a host, such as https://app.example.net, or \"*\"",
                    );
                }
            }
        }
        match (any, origins.is_empty()) {
            (true, _) => CorsOrigins::Any,
            (false, true) => CorsOrigins::Off,
            (false, false) => CorsOrigins::Listed(origins),
        }
    }
}
