//! Checks of whose API an upstream has: its host, its paths, and what only some providers have.

use std::collections::BTreeMap;

use super::super::address::BaseUrl;
use grapevine_core::dialect::DialectSet;

use super::super::checked::{ApiEndpoint, EndpointPaths, Provider, ProviderConfig};
use super::super::file::{
    DialectWord, Item, ModelFile, PathsFile, ProbeWord, ProviderWord, UpstreamFile,
};
use super::super::path_template::PathTemplate;
use super::Checker;

/// The remedy for base URLs of providers that have paths of their own.
const HOST_FORM: &str = "write the URL of its host, such as https://NAME.openai.azure.com";

/// What the path of a call of Azure's dated API holds.
const DEPLOYMENTS: &str = "/deployments/";

/// The location of Vertex AI when none is written: Google chooses a region.
const LOCATION: &str = "global";

impl Checker<'_> {
    /// Whose API an upstream has, and its base URL; `None` for one that is missing or refused.
    pub(super) fn provider(
        &mut self,
        key: &str,
        file: &UpstreamFile,
    ) -> (ProviderConfig, Option<BaseUrl>) {
        let provider = file.provider.map_or(Provider::default(), provider_of);
        let mut config = ProviderConfig {
            provider,
            ..ProviderConfig::default()
        };
        self.parameters(key, file, &mut config);
        let base_url = self.host(&format!("{key}.base_url"), file, &config);
        let is_dated = config.api_version.is_some();
        config.dialects = match self.dialects(&file.dialects) {
            Some(dialects) => dialects,
            // A server that nobody named may read more than OpenAI's.
            None if file.provider.is_none() => DialectSet::ALL,
            None => provider.dialects(is_dated),
        };
        let base_path = base_url.as_ref().map_or("", BaseUrl::path).to_owned();
        self.paths(
            &format!("{key}.paths"),
            file.paths.as_ref(),
            &base_path,
            &mut config,
        );
        (config, base_url)
    }

    /// What only some providers have.
    fn parameters(&mut self, key: &str, file: &UpstreamFile, config: &mut ProviderConfig) {
        let provider = config.provider;
        let at = |name: &str| format!("{key}.{name}");
        let (is_aws, is_vertex) = (provider == Provider::Bedrock, provider == Provider::Vertex);
        let is_azure = provider == Provider::Azure;
        let version = file.api_version.as_deref();
        config.api_version = self.parameter(&at("api_version"), version, &[], is_azure);
        let names = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        let region = file.aws_region.as_deref();
        config.aws_region = self.parameter(&at("aws_region"), region, &names, is_aws);
        let names = ["GOOGLE_CLOUD_PROJECT"];
        let project = file.project.as_deref();
        config.project = self.parameter(&at("project"), project, &names, is_vertex);
        let location = file.location.as_deref().or(is_vertex.then_some(LOCATION));
        config.location = self.parameter(&at("location"), location, &[], is_vertex);
        let is_reported = |checker: &Self, name: &str| checker.source_map.has(&at(name));
        if is_aws && config.aws_region.is_none() && !is_reported(self, "aws_region") {
            let remedy = "write aws_region: us-east-1, or set AWS_REGION";
            self.problem(&at("aws_region"), "is missing for bedrock", remedy);
        }
        if is_vertex && config.project.is_none() && !is_reported(self, "project") {
            let remedy = "write project: and its id, or set GOOGLE_CLOUD_PROJECT";
            self.problem(&at("project"), "is missing for vertex", remedy);
        }
    }

    /// A parameter that becomes a part of hosts and paths: as written, else of the first variable that is set. `None`
    /// where there is none, or it is refused.
    fn parameter(
        &mut self,
        key: &str,
        written: Option<&str>,
        variables: &[&str],
        is_known: bool,
    ) -> Option<String> {
        if written.is_some() && !is_known {
            let problem = "has no meaning for this provider";
            let remedy = "remove it, or set provider: azure for api_version, bedrock for aws_region, vertex for \
                          project and location";
            self.problem(key, problem, remedy);
        }
        if !is_known {
            return None;
        }
        let environment = self.environment;
        let set = || variables.iter().find_map(|name| environment.get(name));
        let text = written.or_else(set)?;
        // Hosts are made of some, where a dot would lead elsewhere; ids of projects may have one, and a colon.
        let is_sign = |sign: u8| match sign {
            b'.' | b':' => key.ends_with("project") || key.ends_with("version"),
            sign => sign.is_ascii_alphanumeric() || sign == b'-',
        };
        if text.is_empty() || !text.bytes().all(is_sign) {
            let problem = format!("{text} holds other signs than it may");
            let remedy = "write letters, digits and '-', as the provider does";
            self.problem(key, problem, remedy);
            return None;
        }
        Some(text.to_owned())
    }

    /// The base URL as written, else the provider's own.
    fn host(&mut self, key: &str, file: &UpstreamFile, config: &ProviderConfig) -> Option<BaseUrl> {
        let provider = config.provider;
        if let Some(text) = file.base_url.as_deref() {
            if provider.paths(false).is_empty() {
                let url = self.base_url(key, Some(text))?;
                self.server_has_prefix(key, &url, provider);
                return Some(url);
            }
            let url: BaseUrl = self.parse(key, Some(text), HOST_FORM)?;
            if url.without_endpoint().is_some() || url.path().contains(DEPLOYMENTS) {
                let problem = format!("{} is the URL of a call", self.shown(key));
                self.problem(key, problem, HOST_FORM);
                return None;
            }
            let own = provider.prefixes().iter();
            let below = own
                .filter_map(|prefix| url.path().strip_suffix(prefix))
                .next();
            return match below {
                Some(path) => url.with_path(path).ok(),
                None => Some(url),
            };
        }
        if self.source_map.was_refused(key) {
            return None;
        }
        let known = file.provider.and_then(|word| own_host(word, config));
        let known = known.and_then(|url| url.parse().ok());
        // Where a parameter is missing that was reported.
        let is_reported = matches!(provider, Provider::Bedrock | Provider::Vertex);
        if known.is_none() && !is_reported {
            self.problem(key, "is missing", "write base_url: and its value");
        }
        known
    }

    /// Warns of the URL of a server without the path that its API has.
    fn server_has_prefix(&mut self, key: &str, url: &BaseUrl, provider: Provider) {
        if provider == Provider::OpenAi || !url.path().is_empty() {
            return;
        }
        let problem = format!(
            "{} lacks the path of this provider's API, /v1",
            self.shown(key)
        );
        let is_hidden = self.shown(key).contains("${");
        let remedy = match url.with_path("/v1") {
            Ok(meant) if !is_hidden => format!("set it to {meant}"),
            _ => "let its path be /v1".to_owned(),
        };
        self.warning(key, problem, remedy);
    }

    fn dialects(&mut self, list: &Option<Vec<Item<DialectWord>>>) -> Option<DialectSet> {
        let words = list.as_ref()?.iter().filter_map(|item| item.0);
        let each = words.map(|word| match word {
            DialectWord::Chat => DialectSet::CHAT,
            DialectWord::Responses => DialectSet::RESPONSES,
            DialectWord::Messages => DialectSet::MESSAGES,
            DialectWord::Gemini => DialectSet::GEMINI,
            DialectWord::Converse => DialectSet::CONVERSE,
        });
        Some(each.fold(DialectSet::NONE, DialectSet::with))
    }

    /// The paths of the provider, and over them those that were written.
    fn paths(
        &mut self,
        key: &str,
        file: Option<&PathsFile>,
        base_path: &str,
        config: &mut ProviderConfig,
    ) {
        let own = config.provider.paths(config.api_version.is_some());
        let mut paths = EndpointPaths {
            own: BTreeMap::new(),
            appends_others: own.is_empty(),
        };
        for (endpoint, text) in own {
            // What lacks a parameter was reported by that.
            if let Some(template) = template(base_path, text, config) {
                paths.own.insert(*endpoint, template);
            }
        }
        let default = PathsFile::default();
        for (endpoint, text) in written(file.unwrap_or(&default)) {
            let Some(text) = text else { continue };
            let key = format!("{key}.{}", endpoint.as_str());
            let Some(template) = self.written_path(&key, endpoint, text, base_path, config) else {
                continue;
            };
            paths.own.insert(endpoint, template);
            config.written_paths.insert(endpoint.as_str(), text.clone());
        }
        config.paths = paths;
    }

    fn written_path(
        &mut self,
        key: &str,
        endpoint: ApiEndpoint,
        text: &str,
        base_path: &str,
        config: &ProviderConfig,
    ) -> Option<PathTemplate> {
        let has_rest = matches!(endpoint, ApiEndpoint::Responses | ApiEndpoint::Messages);
        let mut whole = text.to_owned();
        if has_rest && !text.contains("{rest}") && !text.contains("{model}") {
            let end = text.find('?').unwrap_or(text.len());
            whole.insert_str(end, "{rest}");
        }
        match PathTemplate::new(base_path, &with_parameters(&whole, config)) {
            Ok(template) => Some(template),
            Err(error) => {
                let problem = format!("{} {error}", self.shown(key));
                self.problem(key, problem, "write a path such as /v1/chat/completions");
                None
            }
        }
    }

    /// Reports models that are neither listed nor to be discovered.
    pub(super) fn models_are_known(
        &mut self,
        key: &str,
        file: &UpstreamFile,
        config: &ProviderConfig,
    ) {
        let key = format!("{key}.models");
        let is_unknown = file.models.is_none() && !self.source_map.was_refused(&key);
        if is_unknown && !config.provider.lists_its_models() {
            let name = config.provider.as_str();
            let problem = format!("is missing, and {name} has no list to discover them from");
            let remedy = "list the models (of azure the deployments), or write [\"*\"] for any";
            self.problem(&key, problem, remedy);
        }
        let names_one = |item: &Item<ModelFile>| match &item.0 {
            Some(ModelFile::Same(name)) => name != "*",
            Some(ModelFile::Renamed(model)) => model.name.as_deref() != Some("*"),
            None => true,
        };
        let probe = file.health.as_ref().and_then(|health| health.probe);
        let models = file.models.as_deref().unwrap_or_default();
        if matches!(probe, Some(ProbeWord::Chat))
            && !config.has(ApiEndpoint::Models)
            && !models.is_empty()
            && !models.iter().any(names_one)
        {
            let problem = "names no model that a chat probe can ask for";
            self.problem(
                &key,
                problem,
                "list one beside \"*\", or set health.probe: off",
            );
        }
    }
}

const fn provider_of(word: ProviderWord) -> Provider {
    match word {
        ProviderWord::Openai => Provider::OpenAi,
        ProviderWord::Azure => Provider::Azure,
        ProviderWord::Anthropic => Provider::Anthropic,
        ProviderWord::Bedrock => Provider::Bedrock,
        ProviderWord::Vertex => Provider::Vertex,
        ProviderWord::Gemini => Provider::Gemini,
        ProviderWord::Vllm => Provider::Vllm,
        ProviderWord::Sglang => Provider::Sglang,
        ProviderWord::Llamacpp => Provider::LlamaCpp,
        ProviderWord::Ollama => Provider::Ollama,
    }
}

/// The one host of a provider; `None` where it has one for each customer, or a parameter is missing.
fn own_host(word: ProviderWord, config: &ProviderConfig) -> Option<String> {
    Some(match word {
        ProviderWord::Openai => "https://api.openai.com/v1".to_owned(),
        ProviderWord::Anthropic => "https://api.anthropic.com".to_owned(),
        ProviderWord::Gemini => "https://generativelanguage.googleapis.com".to_owned(),
        ProviderWord::Bedrock => {
            let region = config.aws_region.as_ref()?;
            // The partition of China has a domain of its own.
            let china = if region.starts_with("cn-") { ".cn" } else { "" };
            format!("https://bedrock-runtime.{region}.amazonaws.com{china}")
        }
        ProviderWord::Vertex => match config.location.as_deref()? {
            "global" => "https://aiplatform.googleapis.com".to_owned(),
            // The two multi-regions, by their regional endpoints.
            several @ ("us" | "eu") => format!("https://aiplatform.{several}.rep.googleapis.com"),
            location => format!("https://{location}-aiplatform.googleapis.com"),
        },
        ProviderWord::Azure
        | ProviderWord::Vllm
        | ProviderWord::Sglang
        | ProviderWord::Llamacpp
        | ProviderWord::Ollama => return None,
    })
}

/// `text` with the parameters that the provider has.
fn with_parameters(text: &str, config: &ProviderConfig) -> String {
    let places = [
        ("{api_version}", &config.api_version),
        ("{project}", &config.project),
        ("{location}", &config.location),
    ];
    let mut filled = text.to_owned();
    for (place, value) in places {
        if let Some(value) = value {
            filled = filled.replace(place, value);
        }
    }
    filled
}

fn template(base_path: &str, text: &str, config: &ProviderConfig) -> Option<PathTemplate> {
    PathTemplate::new(base_path, &with_parameters(text, config)).ok()
}

/// Each endpoint with the path that was written for it.
fn written(file: &PathsFile) -> [(ApiEndpoint, &Option<String>); 14] {
    [
        (ApiEndpoint::Chat, &file.chat),
        (ApiEndpoint::Responses, &file.responses),
        (ApiEndpoint::Messages, &file.messages),
        (ApiEndpoint::MessagesStream, &file.messages_stream),
        (ApiEndpoint::CountTokens, &file.count_tokens),
        (ApiEndpoint::Completions, &file.completions),
        (ApiEndpoint::Embeddings, &file.embeddings),
        (ApiEndpoint::Models, &file.models),
        (ApiEndpoint::Converse, &file.converse),
        (ApiEndpoint::ConverseStream, &file.converse_stream),
        (ApiEndpoint::GenerateContent, &file.generate_content),
        (
            ApiEndpoint::GenerateContentStream,
            &file.generate_content_stream,
        ),
        (ApiEndpoint::CountContentTokens, &file.count_content_tokens),
        (ApiEndpoint::Other, &file.other),
    ]
}
