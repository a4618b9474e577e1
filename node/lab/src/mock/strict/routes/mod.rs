//! The paths of each provider, and who may call them.

pub(super) mod anthropic;
pub(super) mod azure;
pub(super) mod bedrock;
pub(super) mod gemini;
pub(super) mod openai;
pub(super) mod vertex;
pub(super) mod vllm;
