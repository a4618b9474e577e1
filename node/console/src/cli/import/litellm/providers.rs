//! Where each provider's OpenAI-shaped API is, and which providers have none that a node could call.
//!
//! Base URLs and the variables of keys are those that LiteLLM itself uses
//! (`litellm/litellm_core_utils/get_llm_provider_logic.py` and the provider pages of its documentation,
//! read in November 2026), except: Azure's v1 API (`/openai/v1`, Microsoft's "Azure OpenAI in Microsoft Foundry
//! Models v1 API"), Gemini's and Cohere's OpenAI-compatible endpoints (their own documentation), and Ollama's
//! and text-generation-inference's `/v1` (theirs).

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
    /// Below `api_base`, or below this where none is written: `/v1` is added.
    Below(Option<&'static str>),
    /// On the host of `api_base`, at `/openai/v1`.
    Azure,
    /// As [`Base::At`]; an `api_base` lacks the `/v1`.
    Anthropic,
}

const fn at(name: &'static str, url: &'static str, key: &'static str) -> Provider {
    Provider {
        name,
        base: Base::At(url),
        key: Some(key),
        lists_models: true,
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
const PROVIDERS: &[Provider] = &[
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
        base: Base::Azure,
        key: Some("AZURE_AI_API_KEY"),
        lists_models: true,
    },
    // Its list of models asks for the key in a header of its own, which probes do not send.
    Provider {
        name: "anthropic",
        base: Base::Anthropic,
        key: Some("ANTHROPIC_API_KEY"),
        lists_models: false,
    },
    at(
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GEMINI_API_KEY",
    ),
    at(
        "cohere",
        "https://api.cohere.ai/compatibility/v1",
        "COHERE_API_KEY",
    ),
    at(
        "cohere_chat",
        "https://api.cohere.ai/compatibility/v1",
        "COHERE_API_KEY",
    ),
    at("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    at("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
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
    own("ollama", Base::Below(Some("http://localhost:11434"))),
    own("ollama_chat", Base::Below(Some("http://localhost:11434"))),
    own("llamafile", Base::Below(Some("http://127.0.0.1:8080"))),
    own("huggingface", Base::Below(None)),
];

/// Those that a node cannot call, and why.
const OUT_OF_REACH: &[(&str, &str)] = &[
    (
        "bedrock",
        "signs each request with AWS credentials and speaks a protocol of its own",
    ),
    (
        "bedrock_converse",
        "signs each request with AWS credentials and speaks a protocol of its own",
    ),
    (
        "sagemaker",
        "signs each request with AWS credentials and speaks a protocol of its own",
    ),
    ("sagemaker_chat", "signs each request with AWS credentials"),
    (
        "vertex_ai",
        "takes Google tokens that last an hour, and names projects and locations in its paths",
    ),
    (
        "vertex_ai_beta",
        "takes Google tokens that last an hour, and names projects and locations in its paths",
    ),
    ("replicate", "speaks a protocol of its own"),
    (
        "watsonx",
        "takes IBM tokens that last an hour, and speaks a protocol of its own",
    ),
    (
        "watsonx_text",
        "takes IBM tokens that last an hour, and speaks a protocol of its own",
    ),
    ("databricks", "names the model in its path"),
    ("snowflake", "speaks a protocol of its own"),
    ("cloudflare", "names the model in its path"),
    ("oci", "signs each request with OCI credentials"),
    ("github_copilot", "takes tokens that its own login renews"),
    (
        "vllm",
        "is a library inside LiteLLM's process; run `vllm serve` and name it as hosted_vllm",
    ),
    ("petals", "is a library inside LiteLLM's process"),
    ("anthropic_text", "speaks Anthropic's former completion API"),
    (
        "text-completion-codestral",
        "speaks a completion API of its own",
    ),
    ("predibase", "names the model in its path"),
    ("nlp_cloud", "speaks a protocol of its own"),
    ("aleph_alpha", "speaks a protocol of its own"),
    ("baseten", "names the model in its host"),
    ("clarifai", "names the model in its path"),
    ("triton", "speaks a protocol of its own"),
    ("custom", "is Python code of your own"),
    ("oobabooga", "speaks a protocol of its own"),
    ("maritalk", "speaks a protocol of its own"),
    ("jina_ai", "is not in this table"),
    ("voyage", "is not in this table"),
    ("infinity", "is not in this table"),
    ("deepgram", "speaks a protocol of its own"),
    ("elevenlabs", "speaks a protocol of its own"),
    ("assemblyai", "speaks a protocol of its own"),
    ("langfuse", "fills in prompts that it keeps"),
    (
        "auto_router",
        "chooses among models by the text of the prompt",
    ),
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

/// Parts that LiteLLM takes off an Azure or OpenAI model's name: they choose a way to call it.
const WAYS: [&str; 5] = [
    "responses/",
    "chat/",
    "o_series/",
    "gpt5_series/",
    "global/",
];

impl Provider {
    /// The provider's own name of a model, without LiteLLM's marks.
    pub(super) fn own_name<'a>(&self, name: &'a str) -> &'a str {
        let is_marked = matches!(self.name, "openai" | "azure");
        let marked = WAYS.iter().find_map(|way| name.strip_prefix(way));
        marked.filter(|_| is_marked).unwrap_or(name)
    }

    /// The base URL, given `written` as `api_base`; `None` when there must be one and there is none.
    pub(super) fn base_url(&self, written: Option<&str>) -> Option<String> {
        let written = written.map(|url| {
            let url = url.split_once('?').map_or(url, |(url, _)| url);
            url.trim_end_matches('/')
        });
        let ended = |url: &str, end: &str| match url.ends_with(end) {
            true => url.to_owned(),
            false => format!("{url}{end}"),
        };
        match self.base {
            Base::At(url) => Some(plain(written.unwrap_or(url)).to_owned()),
            Base::Written => Some(plain(written?).to_owned()),
            Base::Below(default) => Some(ended(plain(written.or(default)?), "/v1")),
            Base::Anthropic => {
                let url = written.unwrap_or("https://api.anthropic.com");
                Some(ended(url.trim_end_matches("/messages"), "/v1"))
            }
            Base::Azure => {
                let host = written?;
                let host = host.split_once("/openai").map_or(host, |(host, _)| host);
                let host = host.trim_end_matches("/models");
                Some(format!("{host}/openai/v1"))
            }
        }
    }
}

/// Some write the whole path of a call.
fn plain(url: &str) -> &str {
    url.trim_end_matches("/chat/completions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use grapevine_config::address::BaseUrl;

    fn base(model: &str, written: Option<&str>) -> Option<String> {
        match find(model, None) {
            Found::Provider(provider, _) => provider.base_url(written),
            other => panic!("{model}: {other:?}"),
        }
    }

    #[test]
    fn every_table_has_each_name_once_and_good_urls() {
        let mut names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
        names.extend(OUT_OF_REACH.iter().map(|(name, _)| *name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name stands twice");
        for provider in PROVIDERS {
            if let Base::At(url) | Base::Below(Some(url)) = provider.base {
                assert!(
                    url.parse::<BaseUrl>().is_ok() && !url.ends_with('/'),
                    "{url}"
                );
            }
        }
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
            find("bedrock/x", None),
            Found::OutOfReach("bedrock", _)
        ));
        assert!(matches!(
            find("gemini-1.5-pro", None),
            Found::OutOfReach("vertex_ai", _)
        ));
    }

    #[test]
    fn base_urls_are_made_as_litellm_makes_them() {
        let url = |text: &str| Some(text.to_owned());
        assert_eq!(base("groq/m", None), url("https://api.groq.com/openai/v1"));
        assert_eq!(
            base("openai/m", Some("http://h:8000/v1/")),
            url("http://h:8000/v1")
        );
        assert_eq!(
            base("openai/m", Some("http://h/v1/chat/completions")),
            url("http://h/v1")
        );
        assert_eq!(base("ollama/m", None), url("http://localhost:11434/v1"));
        assert_eq!(
            base("ollama_chat/m", Some("http://h:1/v1")),
            url("http://h:1/v1")
        );
        assert_eq!(base("hosted_vllm/m", None), None);
        assert_eq!(base("anthropic/m", Some("http://h")), url("http://h/v1"));
        assert_eq!(
            base("anthropic/m", Some("http://h/v1/messages")),
            url("http://h/v1")
        );
        let azure = url("https://r.openai.azure.com/openai/v1");
        let long = "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=1";
        assert_eq!(base("azure/d", Some("https://r.openai.azure.com/")), azure);
        assert_eq!(base("azure/d", Some(long)), azure);
        assert_eq!(
            base("azure/d", Some("https://r.openai.azure.com/openai/v1/")),
            azure
        );
        assert_eq!(base("azure/d", None), None);
    }

    #[test]
    fn marks_of_litellm_are_no_part_of_a_name() {
        let Found::Provider(azure, rest) = find("azure/o_series/my-o3", None) else {
            panic!("azure is known")
        };
        assert_eq!(azure.own_name(rest), "my-o3");
        let Found::Provider(groq, rest) = find("groq/chat/x", None) else {
            panic!("groq is known")
        };
        assert_eq!(groq.own_name(rest), "chat/x");
    }
}
