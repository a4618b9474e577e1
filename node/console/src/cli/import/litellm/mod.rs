//! LiteLLM's proxy configuration as grapevine's.
//!
//! Every key of the file is taken by the code that carries it over, or found by its section's rest and reported with
//! its reason ([`known`]): nothing is dropped in silence. Written against LiteLLM's documentation of November 2026
//! (`docs/my-website/docs/proxy/`: configs, config_settings, reliability and load_balancing).
//!
//! Reading order: [`deployment`], [`model`] and [`endpoint`] with [`api_base`] (one entry), [`native`] (what a named
//! provider has beside), [`settings`] and
//! [`callbacks`] (all of them), [`groups`] (which deployments serve a name, and when), [`mod@file`] (the text).

mod api_base;
mod callbacks;
mod called;
mod deployment;
mod endpoint;
mod file;
mod groups;
mod known;
mod model;
mod native;
mod out_of_reach;
mod params;
mod providers;
mod reading;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use grapevine_base::table::listed;
use grapevine_config::checked;
use grapevine_config::{Environment, Problems, Sources, foreign};

use self::groups::TooMany;
use self::reading::Reading;
use super::finding::{Finding, Findings, Kind, Variable};
use super::section::{At, Section, whole};

/// Where a well-known provider answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct KnownEndpoint {
    /// `provider` of a configuration, where the URL does not say it.
    pub(in crate::cli) provider: Option<&'static str>,
    /// Its base URL; `None` where each customer has one.
    pub(in crate::cli) url: Option<&'static str>,
    /// The variable that its key is usually in.
    pub(in crate::cli) variable: Option<&'static str>,
}

/// Where the provider of this name answers; `None` when none is known.
pub(in crate::cli) fn known_endpoint(name: &str) -> Option<KnownEndpoint> {
    let known = providers::PROVIDERS.iter().find(|one| one.name == name)?;
    Some(KnownEndpoint {
        provider: known.base.named().map(checked::Provider::as_str),
        url: known.base.default_url(),
        variable: known.key,
    })
}

/// Why there is no new file.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    #[error("{0}")]
    Yaml(Problems),
    #[error("{0}: has no model_list: this is no configuration of LiteLLM's proxy")]
    NoModels(String),
    #[error("{name}: {cause}")]
    TooMany { name: String, cause: TooMany },
}

/// What came of an import.
#[derive(Debug)]
pub(super) struct Imported {
    /// The new file, its heading included.
    pub(super) config: String,
    /// What is to be known, in the order of the old file.
    pub(super) findings: Vec<Finding>,
    /// What the new file needs.
    pub(super) variables: Vec<Variable>,
}

/// Makes a configuration of `text`, the content of the file called `name`.
///
/// # Errors
/// When the text is no YAML, no configuration of LiteLLM's, or would become too large.
pub(super) fn import(text: &str, name: &str) -> Result<Imported, ImportError> {
    let file = foreign::read(text, Some(name.to_owned())).map_err(ImportError::Yaml)?;
    let mut reading = Reading::new(&file);
    let mut top = whole(&file)
        .section()
        .ok_or_else(|| ImportError::NoModels(name.to_owned()))?;
    let models = top.take("model_list");
    let models = models.ok_or_else(|| ImportError::NoModels(name.to_owned()))?;
    let settings = reading.settings(&mut top);
    let credentials = reading.credentials(&mut top);
    let mut deployments = Vec::new();
    for item in models.items() {
        deployments.extend(reading.deployments(&item, &settings, &credentials));
    }
    let environment = top.take("environment_variables");
    reading.environment(environment.as_ref());
    reading.callback_settings(&mut top);
    reading.leave(&mut top, known::Part::File);
    let routes = reading
        .routes(&deployments, &settings)
        .map_err(|cause| ImportError::TooMany {
            name: name.to_owned(),
            cause,
        })?;
    let config = file::text(&routes, &deployments, &settings);
    let Reading {
        mut findings,
        variables,
    } = reading;
    let variables = variables.into_list();
    check(&config, &variables, &mut findings);
    let findings = findings.into_sorted();
    let mut heading = heading(name, &findings, &variables);
    if settings.timeout.is_none() {
        heading.push_str(WAIT);
    }
    let config = format!("{heading}\n{config}");
    Ok(Imported {
        config,
        findings,
        variables,
    })
}

impl Reading {
    /// `credential_list`, by name.
    fn credentials<'a>(&mut self, file: &mut Section<'a>) -> BTreeMap<String, Section<'a>> {
        let mut credentials = BTreeMap::new();
        for item in file.take("credential_list").iter().flat_map(At::items) {
            let mut section = item.section();
            let name = section
                .as_mut()
                .and_then(|section| section.take("credential_name"));
            let values = section
                .as_mut()
                .and_then(|section| section.take("credential_values"));
            let values = values.and_then(|at| at.section());
            match (name.as_ref().and_then(At::text), values) {
                (Some(name), Some(values)) => {
                    credentials.insert(name.to_owned(), values);
                }
                _ => self.findings.add(
                    Kind::Lost,
                    &item,
                    "is no credential",
                    "write a name and values",
                ),
            }
        }
        credentials
    }

    fn environment(&mut self, at: Option<&At<'_>>) {
        let Some(at) = at else { return };
        for (_, value) in at.section().iter_mut().flat_map(Section::rest) {
            let problem = "is set by the file for its own process, and not copied";
            let remedy = "set it where the node runs, if the new file names it";
            self.findings.add(Kind::Step, &value, problem, remedy);
        }
    }
}

/// Reports what `grapevine check` has against `config` where all its variables are set.
fn check(config: &str, variables: &[Variable], findings: &mut Findings) {
    let environment: Environment = variables
        .iter()
        .map(|variable| (variable.name.clone(), stand_in(variable)))
        .collect();
    let sources = Sources {
        environment,
        ..Sources::default()
    };
    match grapevine_config::load_text(config, &sources) {
        Ok(loaded) => {
            let is_url = |key: &str| key.starts_with("upstreams[") && key.ends_with(".base_url");
            for warning in loaded.warnings.iter().filter(|one| is_url(&one.key)) {
                let key = format!("{} of the new file", warning.key);
                findings.put(Kind::Step, (&key, 0), &warning.problem, &warning.remedy);
            }
        }
        Err(problems) => {
            let remedy = "mend it in the new file; please report it";
            for problem in problems.iter() {
                findings.put(Kind::Step, ("", 0), problem.to_string(), remedy);
            }
        }
    }
}

/// A value that the variable could have: a URL is a key and a header too, and no part of a host.
fn stand_in(variable: &Variable) -> String {
    if variable.is_hash {
        return format!("sha256:{}", "0".repeat(64));
    }
    let is_parameter = variable.keys.iter().any(|key| native::is_parameter(key));
    let value = if is_parameter {
        "set-me"
    } else {
        "https://set-me.example"
    };
    value.to_owned()
}

/// The comment above the configuration: what to set, and what was not carried over.
fn heading(name: &str, findings: &[Finding], variables: &[Variable]) -> String {
    let mut lines = vec![
        format!(
            "Made from {} by `grapevine import litellm`.",
            file::comment(name)
        ),
        "One node by itself: add `node` and `mesh` to join others (deploy/guide/src/first-mesh.md)."
            .to_owned(),
    ];
    if !variables.is_empty() {
        lines.push(String::new());
        lines.push("Variables to set where the node runs:".to_owned());
    }
    for variable in variables {
        let is_new = if variable.is_new { "new; " } else { "" };
        let keys = variable
            .keys
            .iter()
            .take(KEYS_SHOWN)
            .map(|key| file::comment(key));
        let keys: Vec<String> = keys.collect();
        let keys = listed(&keys, variable.keys.len());
        lines.push(format!("  {}  ({is_new}{keys})", variable.name));
    }
    if !findings.is_empty() {
        lines.push(String::new());
        lines.push("What was not carried over as it stood:".to_owned());
    }
    lines.extend(
        findings
            .iter()
            .map(|finding| format!("  {}", file::comment(&finding.to_string()))),
    );
    let mut text = String::new();
    for line in lines {
        text.push_str(format!("# {line}").trim_end());
        text.push('\n');
    }
    text
}

/// The note in the heading if the file sets no wait for all deployments.
const WAIT: &str = "#
# Where no timeout is written, a node waits 2 minutes for the first byte of a stream and 10 for another answer, and
# LiteLLM for longer. Raise upstreams[].timeout and routing.deadline where needed.
";

/// Keys that are named beside a variable.
const KEYS_SHOWN: usize = 3;
