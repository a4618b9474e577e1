//! The two spellings of a field: the one that came is the one that is written again.

use serde_json::Value;

use super::DIALECT;
use crate::fields::Fields;
use crate::grammar::Object;
use crate::rest::Rest;

/// A field that the API takes in two spellings.
#[derive(Clone, Copy)]
pub(super) struct SpelledName {
    camel: &'static str,
    snake: &'static str,
}

const fn name(camel: &'static str, snake: &'static str) -> SpelledName {
    SpelledName { camel, snake }
}

pub(super) const ALLOWED_NAMES: SpelledName =
    name("allowedFunctionNames", "allowed_function_names");
pub(super) const CALLING_CONFIG: SpelledName =
    name("functionCallingConfig", "function_calling_config");
pub(super) const CANDIDATE_COUNT: SpelledName = name("candidateCount", "candidate_count");
pub(super) const DECLARATIONS: SpelledName = name("functionDeclarations", "function_declarations");
pub(super) const DISPLAY_NAME: SpelledName = name("displayName", "display_name");
pub(super) const FILE_DATA: SpelledName = name("fileData", "file_data");
pub(super) const FILE_URI: SpelledName = name("fileUri", "file_uri");
pub(super) const FREQUENCY_PENALTY: SpelledName = name("frequencyPenalty", "frequency_penalty");
pub(super) const FUNCTION_CALL: SpelledName = name("functionCall", "function_call");
pub(super) const FUNCTION_RESPONSE: SpelledName = name("functionResponse", "function_response");
pub(super) const GENERATION_CONFIG: SpelledName = name("generationConfig", "generation_config");
pub(super) const INCLUDE_THOUGHTS: SpelledName = name("includeThoughts", "include_thoughts");
pub(super) const INLINE_DATA: SpelledName = name("inlineData", "inline_data");
pub(super) const MAX_TOKENS: SpelledName = name("maxOutputTokens", "max_output_tokens");
pub(super) const MIME_TYPE: SpelledName = name("mimeType", "mime_type");
pub(super) const PARAMETERS_JSON: SpelledName =
    name("parametersJsonSchema", "parameters_json_schema");
pub(super) const PRESENCE_PENALTY: SpelledName = name("presencePenalty", "presence_penalty");
pub(super) const RESPONSE_JSON_SCHEMA: SpelledName =
    name("responseJsonSchema", "response_json_schema");
pub(super) const RESPONSE_LOGPROBS: SpelledName = name("responseLogprobs", "response_logprobs");
pub(super) const RESPONSE_MIME_TYPE: SpelledName = name("responseMimeType", "response_mime_type");
pub(super) const RESPONSE_SCHEMA: SpelledName = name("responseSchema", "response_schema");
pub(super) const SERVICE_TIER: SpelledName = name("serviceTier", "service_tier");
pub(super) const STOP_SEQUENCES: SpelledName = name("stopSequences", "stop_sequences");
pub(super) const SYSTEM: SpelledName = name("systemInstruction", "system_instruction");
pub(super) const THINKING_BUDGET: SpelledName = name("thinkingBudget", "thinking_budget");
pub(super) const THINKING_CONFIG: SpelledName = name("thinkingConfig", "thinking_config");
pub(super) const THINKING_LEVEL: SpelledName = name("thinkingLevel", "thinking_level");
pub(super) const THOUGHT_SIGNATURE: SpelledName = name("thoughtSignature", "thought_signature");
pub(super) const TOOL_CONFIG: SpelledName = name("toolConfig", "tool_config");
pub(super) const TOP_K: SpelledName = name("topK", "top_k");
pub(super) const TOP_P: SpelledName = name("topP", "top_p");

impl SpelledName {
    /// How the field is spelled in an object that is being read, which its rest then remembers. Where both stand, the
    /// other is a field that nobody knows. To be asked once, before the field is taken.
    pub(super) fn in_fields(self, fields: &mut Fields) -> &'static str {
        let spelled = self.spelled(fields.peek(self.camel), fields.peek(self.snake));
        if spelled == self.snake {
            fields.set_name(self.camel, self.snake);
        }
        spelled
    }

    /// The value of the field in an object that is not being read yet.
    pub(super) fn value(self, object: &Object) -> Option<&Value> {
        object.get(self.spelled(object.get(self.camel), object.get(self.snake)))
    }

    // A null says less than the other spelling.
    fn spelled(self, camel: Option<&Value>, snake: Option<&Value>) -> &'static str {
        let is_snake = match snake {
            None => false,
            Some(Value::Null) => camel.is_none(),
            Some(_) => camel.is_none_or(Value::is_null),
        };
        if is_snake { self.snake } else { self.camel }
    }

    /// How the field was spelled in the object of `rest`.
    pub(super) fn in_rest(self, rest: &Rest) -> &'static str {
        rest.name(DIALECT, self.camel).unwrap_or(self.camel)
    }

    /// The spelling that is written to others.
    pub(super) const fn camel(self) -> &'static str {
        self.camel
    }

    /// The other spelling.
    pub(super) const fn snake(self) -> &'static str {
        self.snake
    }
}
