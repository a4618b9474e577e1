//! One entry of `model_list`: where it is called, how, and under which names.

use std::collections::BTreeMap;

use http::HeaderValue;

use super::super::finding::Kind;
use super::super::section::{At, Section};
use super::endpoint::Endpoint;
use super::known::Part;
use super::model::Serves;
use super::params::Params;
use super::providers::Provider;
use super::reading::Reading;
use super::settings::{FIRST_BYTE_MAX, LitellmSettings, WAIT_MAX};

/// One entry that can be carried over.
#[derive(Clone, Debug)]
pub(super) struct Deployment {
    /// What clients ask for; a pattern where it serves no model in particular.
    pub(super) name: String,
    /// `model_info.id`, which fallbacks may name; empty for none.
    pub(super) id: String,
    pub(super) endpoint: Endpoint,
    pub(super) serves: Serves,
    /// `order`: the lower goes first.
    pub(super) order: Option<i64>,
    /// The share of requests that is written, by `weight`, `rpm` and `tpm`.
    pub(super) shares: [Option<f64>; 3],
    /// The line in the file.
    pub(super) line: usize,
    /// The key in the file.
    pub(super) key: String,
}

impl Reading {
    /// Reads an entry of `model_list`; several deployments when it names several organizations, none when it
    /// cannot be carried over, which is reported.
    pub(super) fn deployments(
        &mut self,
        item: &At<'_>,
        settings: &LitellmSettings,
        credentials: &BTreeMap<String, Section<'_>>,
    ) -> Vec<Deployment> {
        let Some(mut entry) = item.section() else {
            let remedy = "write model_name and litellm_params";
            self.findings
                .add(Kind::Lost, item, "is no deployment", remedy);
            return Vec::new();
        };
        let name = entry.take("model_name");
        let params = entry.take("litellm_params").and_then(|at| at.section());
        let info = entry.take("model_info").and_then(|at| at.section());
        let (Some(name), Some(own)) = (name.as_ref().and_then(At::text), params) else {
            let remedy = "write both";
            self.findings.add(
                Kind::Lost,
                item,
                "has no model_name or no litellm_params",
                remedy,
            );
            return Vec::new();
        };
        self.leave(&mut entry, Part::Other);
        let mut params = Params { own, named: None };
        if let Some(at) = params.own.take("litellm_credential_name") {
            params.named = at.text().and_then(|name| credentials.get(name)).cloned();
            if params.named.is_none() {
                self.findings.add(
                    Kind::Lost,
                    &at,
                    "is not in credential_list",
                    "write it there",
                );
            }
        }
        let Some((provider, serves)) = self.model(item, name, &mut params) else {
            return Vec::new();
        };
        let Some(mut deployment) = self.deployment(item, &provider, serves, &mut params, settings)
        else {
            return Vec::new();
        };
        deployment.name = name.to_owned();
        if let Some(mut info) = info {
            let id = info.take("id");
            deployment.id = id
                .as_ref()
                .and_then(At::text)
                .unwrap_or_default()
                .to_owned();
            self.leave(&mut info, Part::ModelInfo);
        }
        let organizations = params.take("organization");
        self.leave(&mut params.own, Part::Params);
        self.by_organization(deployment, organizations)
    }

    fn deployment(
        &mut self,
        item: &At<'_>,
        provider: &Provider,
        serves: Serves,
        params: &mut Params<'_>,
        settings: &LitellmSettings,
    ) -> Option<Deployment> {
        let called = self.base_url(item, provider, params)?;
        let serves = self.by_url(item, &called, serves);
        let (mut native, serves) = self.native(item, &called, serves, params)?;
        self.about(item, provider);
        let (api_key, headers, auth) = self.credential(item, provider, params, called.provider);
        native.auth = auth;
        let timeout = params
            .take("timeout")
            .and_then(|at| self.seconds(&at, FIRST_BYTE_MAX));
        let idle = params.take("stream_timeout").and_then(|at| {
            self.stream_timeout(&at);
            self.seconds(&at, WAIT_MAX)
        });
        let mut attempts = None;
        for key in ["max_retries", "num_retries"] {
            let retries = params.take(key).and_then(|at| self.count(&at, 0, 31));
            attempts = retries.map(|retries| retries + 1).or(attempts);
        }
        let in_flight = params
            .take("max_parallel_requests")
            .and_then(|at| self.count(&at, 1, 1_000_000));
        let fails = params
            .take("allowed_fails")
            .and_then(|at| self.count(&at, 0, 999));
        let cooldown = params
            .take("cooldown_time")
            .and_then(|at| self.seconds(&at, WAIT_MAX));
        let order = params
            .take("order")
            .and_then(|at| self.count(&at, 0, 10_000));
        let shares = ["weight", "rpm", "tpm"].map(|key| self.share(key, params, settings));
        let endpoint = Endpoint {
            label: provider.name.to_owned(),
            base_url: called.base_url,
            native,
            api_key,
            headers,
            wait: timeout.or(settings.timeout),
            idle: idle.or(settings.stream_timeout),
            attempts: attempts.or(settings.attempts),
            in_flight: in_flight.or(settings.in_flight),
            failure_threshold: fails.map(|fails| fails + 1).or(settings.failure_threshold),
            cooldown: cooldown.or(settings.cooldown),
            is_probed: provider.lists_models || called.provider.is_some(),
        };
        Some(Deployment {
            name: String::new(),
            id: String::new(),
            endpoint,
            serves,
            order: order.map(i64::from),
            shares,
            line: item.line,
            key: item.key.clone(),
        })
    }

    fn share(
        &mut self,
        key: &str,
        params: &mut Params<'_>,
        settings: &LitellmSettings,
    ) -> Option<f64> {
        let at = params.take(key)?;
        let is_limit = key != "weight";
        let share = at.number().filter(|share| *share >= 0.0);
        let (kind, problem) = match (share, is_limit, settings.is_weighted()) {
            (None, ..) => (Kind::Lost, "is no number, and left out"),
            (_, false, true) => return share,
            (_, false, false) => (Kind::Note, "matters to simple-shuffle alone, and left out"),
            (_, true, true) => (Kind::Changed, "counts as a weight at most, and as no limit"),
            (_, true, false) => (Kind::Lost, "limits of upstreams are not enforced"),
        };
        let remedy = "a 429 of the upstream keeps requests away while it asks for it";
        self.findings.add(kind, &at, problem, remedy);
        share
    }

    fn by_organization(&mut self, deployment: Deployment, at: Option<At<'_>>) -> Vec<Deployment> {
        let Some(at) = at else {
            return vec![deployment];
        };
        let mut deployments = Vec::new();
        for organization in at.items() {
            let is_fit = organization
                .text()
                .is_some_and(|text| HeaderValue::from_str(text).is_ok());
            if !is_fit {
                self.findings.add(
                    Kind::Lost,
                    &organization,
                    "is no organization",
                    "write its id",
                );
                continue;
            }
            let Some(written) = self.text(&organization) else {
                continue;
            };
            let mut one = deployment.clone();
            one.endpoint
                .headers
                .insert("openai-organization".to_owned(), written);
            deployments.push(one);
        }
        deployments
    }
}
