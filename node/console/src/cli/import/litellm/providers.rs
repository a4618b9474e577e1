//! Where each provider's OpenAI-shaped API is, and which providers have none that a node could call.
//!
//! Base URLs and the variables of keys are those that LiteLLM itself uses
//! (`litellm/litellm_core_utils/get_llm_provider_logic.py` and the provider pages of its documentation,
//! read in November 2026), except: Azure's v1 API (`/openai/v1`, Microsoft's "Azure OpenAI in Microsoft Foundry
//! Models v1 API"), Cohere's OpenAI-compatible endpoint (its own documentation), and Ollama's
//! and text-generation-inference's `/v1` (theirs).

use grapevine_config::checked;

use super::out_of_reach::OUT_OF_REACH;

/// A provider that a node can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Provider {
    /// LiteLLM's name for it, before the slash.
    pub(super) name: &'static str,
    pub(super) base: Base,
    /// The variable that LiteLLM takes the key from where none is written; `None` where none is needed.
    pub(super) key: Option<&'static str>,
    /// Whether `GET /models` can be asked with the key as a bearer token.
    pub(super) lists_models: bool,
}

/// Where a provider's API is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Here, unless `api_base` is set.
    At(&'static str),
    /// At `api_base`, as written.
    Written,
    /// Below `api_base`, where `/v1` is added unless it is there; or here where none is written.
    Below(Option<&'static str>),
    /// Here; LiteLLM speaks another protocol at the provider, and at an `api_base`.
    Compatible(&'static str),
    /// A resource of Azure's, by the host of `api_base`.
    Azure,
    /// Azure's catalogue of models: a resource, or a host of the model's own at `/openai/v1`.
    Foundry,
    /// A provider with paths of its own: at this host unless `api_base` names another, or where its parameters say.
    Named(checked::Provider, Option<&'static str>),
}

impl Base {
    /// Where the API is if no `api_base` is written; `None` when it is wherever its operator runs it.
    pub(super) const fn default_url(self) -> Option<&'static str> {
        match self {
            Self::At(url) | Self::Below(Some(url)) | Self::Compatible(url) => Some(url),
            Self::Named(_, url) => url,
            Self::Written | Self::Below(None) | Self::Azure | Self::Foundry => None,
        }
    }

    /// Whose API it is, where the new file names it whatever the URL is.
    pub(super) const fn named(self) -> Option<checked::Provider> {
        match self {
            Self::Azure => Some(checked::Provider::Azure),
            Self::Named(provider, _) => Some(provider),
            _ => None,
        }
    }

    /// What is added to a variable that LiteLLM takes as `api_base`.
    pub(super) const fn below_variable(self) -> &'static str {
        match self {
            Self::Below(_) => "/v1",
            Self::Foundry => AZURE_PATH,
            _ => "",
        }
    }
}

/// Where a resource of Azure's answers as OpenAI does: it takes no `api-version`, and a deployment as the model.
pub(super) const AZURE_PATH: &str = "/openai/v1";

const fn at(name: &'static str, url: &'static str, key: &'static str) -> Provider {
    Provider {
        name,
        base: Base::At(url),
        key: Some(key),
        lists_models: true,
    }
}

const fn compatible(name: &'static str, url: &'static str, key: &'static str) -> Provider {
    Provider {
        name,
        base: Base::Compatible(url),
        key: Some(key),
        lists_models: true,
    }
}

/// One of a cloud, without a list of models and with credentials of that cloud.
const fn named(name: &'static str, provider: checked::Provider) -> Provider {
    Provider {
        name,
        base: Base::Named(provider, None),
        key: None,
        lists_models: false,
    }
}

const fn own(name: &'static str, base: Base) -> Provider {
    Provider {
        name,
        base,
        key: None,
        lists_models: true,
    }
}

/// Those with OpenAI's API, or Anthropic's on `/v1/messages`.
pub(super) const PROVIDERS: &[Provider] = &[
    at("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    at(
        "text-completion-openai",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
    ),
    own("custom_openai", Base::Written),
    own("openai_like", Base::Written),
    own("litellm_proxy", Base::Written),
    Provider {
        name: "azure",
        base: Base::Azure,
        key: Some("AZURE_API_KEY"),
        lists_models: true,
    },
    Provider {
        name: "azure_text",
        base: Base::Azure,
        key: Some("AZURE_API_KEY"),
        lists_models: true,
    },
    Provider {
        name: "azure_ai",
        base: Base::Foundry,
        key: Some("AZURE_AI_API_KEY"),
        lists_models: true,
    },
    Provider {
        name: "anthropic",
        base: Base::Named(
            checked::Provider::Anthropic,
            Some("https://api.anthropic.com"),
        ),
        key: Some("ANTHROPIC_API_KEY"),
        lists_models: true,
    },
    Provider {
        name: "gemini",
        base: Base::Named(
            checked::Provider::Gemini,
            Some("https://generativelanguage.googleapis.com"),
        ),
        key: Some("GEMINI_API_KEY"),
        lists_models: true,
    },
    named("bedrock", checked::Provider::Bedrock),
    named("bedrock_converse", checked::Provider::Bedrock),
    named("vertex_ai", checked::Provider::Vertex),
    named("vertex_ai_beta", checked::Provider::Vertex),
    compatible(
        "cohere",
        "https://api.cohere.ai/compatibility/v1",
        "COHERE_API_KEY",
    ),
    compatible(
        "cohere_chat",
        "https://api.cohere.ai/compatibility/v1",
        "COHERE_API_KEY",
    ),
    at("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    Provider {
        name: "mistral",
        base: Base::Below(Some("https://api.mistral.ai/v1")),
        key: Some("MISTRAL_API_KEY"),
        lists_models: true,
    },
    at(
        "codestral",
        "https://codestral.mistral.ai/v1",
        "CODESTRAL_API_KEY",
    ),
    at(
        "deepseek",
        "https://api.deepseek.com/v1",
        "DEEPSEEK_API_KEY",
    ),
    at(
        "together_ai",
        "https://api.together.xyz/v1",
        "TOGETHERAI_API_KEY",
    ),
    at(
        "fireworks_ai",
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_AI_API_KEY",
    ),
    at(
        "openrouter",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
    ),
    at("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
    // Has no list of models.
    Provider {
        name: "perplexity",
        base: Base::At("https://api.perplexity.ai"),
        key: Some("PERPLEXITYAI_API_KEY"),
        lists_models: false,
    },
    at("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    at(
        "nvidia_nim",
        "https://integrate.api.nvidia.com/v1",
        "NVIDIA_NIM_API_KEY",
    ),
    at(
        "sambanova",
        "https://api.sambanova.ai/v1",
        "SAMBANOVA_API_KEY",
    ),
    at(
        "deepinfra",
        "https://api.deepinfra.com/v1/openai",
        "DEEPINFRA_API_KEY",
    ),
    at(
        "meta_llama",
        "https://api.llama.com/compat/v1",
        "LLAMA_API_KEY",
    ),
    at(
        "nebius",
        "https://api.studio.nebius.ai/v1",
        "NEBIUS_API_KEY",
    ),
    at("ai21", "https://api.ai21.com/studio/v1", "AI21_API_KEY"),
    at(
        "ai21_chat",
        "https://api.ai21.com/studio/v1",
        "AI21_API_KEY",
    ),
    at(
        "volcengine",
        "https://ark.cn-beijing.volces.com/api/v3",
        "VOLCENGINE_API_KEY",
    ),
    at(
        "friendliai",
        "https://api.friendli.ai/serverless/v1",
        "FRIENDLIAI_API_KEY",
    ),
    at(
        "novita",
        "https://api.novita.ai/v3/openai",
        "NOVITA_API_KEY",
    ),
    at(
        "featherless_ai",
        "https://api.featherless.ai/v1",
        "FEATHERLESS_AI_API_KEY",
    ),
    at(
        "dashscope",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "DASHSCOPE_API_KEY",
    ),
    at("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    at("v0", "https://api.v0.dev/v1", "V0_API_KEY"),
    at("lambda_ai", "https://api.lambda.ai/v1", "LAMBDA_API_KEY"),
    at(
        "hyperbolic",
        "https://api.hyperbolic.xyz/v1",
        "HYPERBOLIC_API_KEY",
    ),
    at(
        "github",
        "https://models.inference.ai.azure.com",
        "GITHUB_API_KEY",
    ),
    own("hosted_vllm", Base::Written),
    own("lm_studio", Base::Written),
    own("xinference", Base::Written),
    own("ollama", Base::Below(Some("http://localhost:11434/v1"))),
    own(
        "ollama_chat",
        Base::Below(Some("http://localhost:11434/v1")),
    ),
    own("llamafile", Base::Below(Some("http://127.0.0.1:8080/v1"))),
    own("huggingface", Base::Below(None)),
];

/// Beginnings of names that LiteLLM knows without a provider in front, with their provider.
const BARE_NAMES: &[(&str, &str)] = &[
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4-", "openai"),
    ("ft:gpt-", "openai"),
    ("text-embedding-", "openai"),
    ("text-moderation-", "openai"),
    ("omni-moderation-", "openai"),
    ("dall-e-", "openai"),
    ("whisper-", "openai"),
    ("tts-", "openai"),
    ("claude-", "anthropic"),
    ("command-", "cohere"),
    ("gemini-", "vertex_ai"),
];

/// The provider that a model's name implies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// This provider, and its own name of the model.
    Provider(Provider, &'a str),
    /// One that a node cannot call, and why.
    OutOfReach(&'a str, &'static str),
    /// Nothing that is known.
    Unknown,
}

/// Finds the provider of `model`; `custom` is LiteLLM's `custom_llm_provider`.
pub(super) fn find<'a>(model: &'a str, custom: Option<&'a str>) -> Found<'a> {
    let (name, rest) = match (custom, model.split_once('/')) {
        (Some(custom), Some((first, rest))) if first == custom => (custom, rest),
        (Some(custom), _) => (custom, model),
        (None, Some((first, rest))) => (first, rest),
        (None, None) => match BARE_NAMES
            .iter()
            .find(|(start, _)| model.starts_with(start))
        {
            Some((_, name)) => (*name, model),
            None => return Found::Unknown,
        },
    };
    if let Some(provider) = PROVIDERS.iter().find(|provider| provider.name == name) {
        return Found::Provider(*provider, rest);
    }
    let why = OUT_OF_REACH.iter().find(|(other, _)| *other == name);
    why.map_or(Found::Unknown, |(_, why)| Found::OutOfReach(name, why))
}

/// What LiteLLM takes off an OpenAI model's name: it chooses another API to ask for it.
pub(super) const RESPONSES: &str = "responses/";

/// What LiteLLM takes off the name of a model of Bedrock's: it says which of its protocols is spoken.
const BEDROCK_ROUTES: [&str; 2] = ["converse/", "invoke/"];

/// What LiteLLM takes off the name of a deployment of Azure's: it says which parameters that takes.
const AZURE_SERIES: [&str; 2] = ["o_series/", "gpt5_series/"];

impl Provider {
    /// The provider's own name of a model, and the mark of LiteLLM's in front of it.
    pub(super) fn own_name<'a>(&self, name: &'a str) -> (&'a str, Option<&'static str>) {
        let marks: &[&[&'static str]] = match self.name {
            "openai" => &[&[RESPONSES]],
            "azure" | "azure_text" => &[&[RESPONSES], &AZURE_SERIES],
            "bedrock" | "bedrock_converse" => &[&BEDROCK_ROUTES],
            _ => &[],
        };
        let mut marks = marks.iter().flat_map(|marks| marks.iter());
        let marked = marks.find_map(|mark| Some((name.strip_prefix(mark)?, *mark)));
        marked.map_or((name, None), |(name, mark)| (name, Some(mark)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_each_name_once() {
        let mut names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
        names.extend(OUT_OF_REACH.iter().map(|(name, _)| *name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name stands twice");
        let is_known = |name| !matches!(find(name, Some(name)), Found::Unknown);
        assert!(BARE_NAMES.iter().all(|(_, name)| is_known(name)));
    }

    #[test]
    fn provider_is_what_stands_before_the_first_slash() {
        let named = |model, custom| match find(model, custom) {
            Found::Provider(provider, rest) => Some((provider.name, rest)),
            Found::OutOfReach(..) | Found::Unknown => None,
        };
        assert_eq!(
            named("openai/facebook/opt-125m", None),
            Some(("openai", "facebook/opt-125m"))
        );
        assert_eq!(named("gpt-4o", None), Some(("openai", "gpt-4o")));
        assert_eq!(
            named("claude-3-opus", None),
            Some(("anthropic", "claude-3-opus"))
        );
        assert_eq!(named("mixtral", Some("groq")), Some(("groq", "mixtral")));
        assert_eq!(
            named("groq/mixtral", Some("groq")),
            Some(("groq", "mixtral"))
        );
        assert_eq!(find("zephyr", None), Found::Unknown);
        assert_eq!(find("nobody/zephyr", None), Found::Unknown);
        assert!(matches!(
            find("sagemaker/x", None),
            Found::OutOfReach("sagemaker", _)
        ));
        assert_eq!(
            named("gemini-1.5-pro", None),
            Some(("vertex_ai", "gemini-1.5-pro"))
        );
    }

    #[test]
    fn marks_of_litellm_are_no_part_of_a_name() {
        let own = |model| match find(model, None) {
            Found::Provider(provider, rest) => provider.own_name(rest),
            other => panic!("{model}: {other:?}"),
        };
        assert_eq!(own("azure/o_series/my-o3"), ("my-o3", Some("o_series/")));
        assert_eq!(own("openai/responses/o3"), ("o3", Some(RESPONSES)));
        assert_eq!(own("bedrock/converse/a.b"), ("a.b", Some("converse/")));
        for (model, name) in [
            ("groq/responses/x", "responses/x"),
            ("openai/o_series/x", "o_series/x"),
            ("openai/chat/x", "chat/x"),
            ("openai/global/x/y", "global/x/y"),
            ("openai/responses-x", "responses-x"),
        ] {
            assert_eq!(own(model), (name, None));
        }
    }
}
