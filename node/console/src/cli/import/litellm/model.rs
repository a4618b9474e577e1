//! Which models an entry of `model_list` serves, under which names.
//!
//! LiteLLM takes the provider's prefix off a name before it asks the provider. A node passes names as they are,
//! unless an upstream lists a model with its `upstream_name`, and knows one pattern alone: `*`, any name.

use grapevine_base::table::printable;
use grapevine_core::ids::ModelName;

use super::super::finding::Kind;
use super::super::section::At;
use super::params::Params;
use super::providers::{Base, Found, Provider, RESPONSES, find};
use super::reading::{Reading, Spelling};

/// Which models an entry serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Serves {
    /// This one, by the provider's name for it.
    Model(String),
    /// Whatever is asked for.
    Any,
    /// What the provider lists.
    Discovered,
}

impl Reading {
    /// The provider, and what is asked of it.
    pub(super) fn model(
        &mut self,
        item: &At<'_>,
        name: &str,
        params: &mut Params<'_>,
    ) -> Option<(Provider, Serves)> {
        let custom = params.take("custom_llm_provider");
        let Some(at) = params.take("model") else {
            self.findings
                .add(Kind::Lost, item, "has no litellm_params.model", "write it");
            return None;
        };
        let custom = custom.as_ref().and_then(At::text);
        let model = at.text().unwrap_or_default();
        let model = match custom {
            None if model == "*" => self.any_provider(&at, name),
            _ => model,
        };
        let (provider, rest) = match find(model, custom) {
            Found::Provider(provider, rest) => (provider, rest),
            found => {
                self.not_served(&at, name, &found);
                return None;
            }
        };
        let (own, mark) = provider.own_name(rest);
        if let Some(mark) = mark {
            self.marked(&at, own, mark);
        }
        if name.contains('*') || own.contains('*') {
            let serves = self.pattern(&at, (name, own), &provider)?;
            return Some((provider, serves));
        }
        if ModelName::new(name).is_err() || ModelName::new(own).is_err() {
            let problem = "has a name that is empty, longer than 256 bytes, or has control characters or blanks at its ends";
            self.findings
                .add(Kind::Lost, &at, problem, "give it another model_name");
            return None;
        }
        if matches!(provider.name, "azure" | "azure_text") && own.contains('/') {
            let problem = format!(
                "asks for {}, and names of Azure's deployments hold no slash",
                printable(own)
            );
            let remedy = "write the deployment's own name as upstream_name";
            self.findings.add(Kind::Changed, &at, problem, remedy);
        }
        Some((provider, Serves::Model(own.to_owned())))
    }

    /// The model that `*` alone stands for. LiteLLM takes it for OpenAI's until a request names another provider.
    fn any_provider<'a>(&mut self, at: &At<'_>, name: &'a str) -> &'a str {
        if name != "*" {
            return name;
        }
        let problem = "goes to OpenAI alone: LiteLLM takes the provider from the name that a client sends, such as \
                       anthropic/MODEL, and a node does not";
        let remedy =
            "write an upstream with its models for each other provider that clients ask for";
        self.findings.add(Kind::Changed, at, problem, remedy);
        "openai/*"
    }

    fn not_served(&mut self, at: &At<'_>, name: &str, found: &Found<'_>) {
        let model = at.text().unwrap_or_default();
        let (why, remedy) = match (found, Spelling::of(model)) {
            (Found::OutOfReach(provider, why), _) => (
                format!("{} {why}", printable(provider)),
                "keep LiteLLM for it, as an upstream: base_url: http://LITELLM:4000/v1",
            ),
            (_, Spelling::Variable(_) | Spelling::Mixed) => (
                "a variable holds the name of its model".to_owned(),
                "write the model itself, and import again",
            ),
            (_, Spelling::Plain) => (
                format!("the provider of {} is not known", printable(model)),
                "write an upstream with its base_url, or keep LiteLLM for it, as an upstream",
            ),
        };
        let problem = format!("{} is not served: {why}", printable(name));
        self.findings.add(Kind::Lost, at, problem, remedy);
    }

    fn marked(&mut self, at: &At<'_>, own: &str, mark: &str) {
        let problem = format!("is asked for as {}, without {mark}", printable(own));
        if mark == RESPONSES {
            let problem = format!(
                "{problem}: LiteLLM asks for it at /v1/responses, and a node in the client's own dialect"
            );
            let remedy = "write dialects: [responses] at an upstream for it that answers no chats";
            self.findings.add(Kind::Changed, at, problem, remedy);
        } else {
            self.findings.add(Kind::Note, at, problem, "nothing to do");
        }
    }

    /// What a pattern is carried over as. `name` is what clients ask for, `own` what the provider is asked for.
    fn pattern(
        &mut self,
        at: &At<'_>,
        (name, own): (&str, &str),
        provider: &Provider,
    ) -> Option<Serves> {
        let prefix = name.strip_suffix('*').filter(|_| own == "*");
        let prefix = prefix.filter(|prefix| !prefix.contains('*'));
        let prefix = prefix.filter(|prefix| prefix.is_empty() || prefix.ends_with('/'));
        let Some(prefix) = prefix else {
            let problem = "is a pattern, and names are no patterns here, except for \"*\"";
            let remedy = "list the models, each with its name and upstream_name";
            self.findings.add(Kind::Lost, at, problem, remedy);
            return None;
        };
        if prefix.is_empty() {
            let problem = "is written as models: [\"*\"]: any name is sent there as clients write it, after the \
                           upstreams that list the name";
            let remedy = "list the models instead to have other names refused";
            self.findings.add(Kind::Note, at, problem, remedy);
            return Some(Serves::Any);
        }
        let prefix = printable(prefix);
        let names = format!("clients ask for MODEL, not for {prefix}MODEL: no prefix is taken off");
        let remedy = format!(
            "change the clients, or list the models: {{name: {prefix}MODEL, upstream_name: MODEL}}"
        );
        // Azure lists models, and is asked for deployments.
        if provider.lists_models && !matches!(provider.base, Base::Azure | Base::Foundry) {
            let problem = format!(
                "is written without models, so that the provider's own list counts; {names}"
            );
            self.findings.add(Kind::Changed, at, problem, remedy);
            return Some(Serves::Discovered);
        }
        let problem = format!(
            "is written as models: [\"*\"]: any name is sent there, after the upstreams that list the name; {names}"
        );
        self.findings.add(Kind::Changed, at, problem, remedy);
        Some(Serves::Any)
    }
}
