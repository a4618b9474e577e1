//! Providers of LiteLLM that a node cannot call.

/// Those that a node cannot call, and why.
pub(super) const OUT_OF_REACH: &[(&str, &str)] = &[
    (
        "sagemaker",
        "signs each request with AWS credentials and speaks a protocol of its own",
    ),
    ("sagemaker_chat", "signs each request with AWS credentials"),
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
