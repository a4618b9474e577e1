"""What each provider takes and gives, as JSON schemas made of the types in its own official SDK.

OpenAI's and Anthropic's are the TypedDicts of their requests and the models of their answers and events, Gemini's the
models of google-genai, Converse's the service model of botocore. A schema is closed: what it does not list is a fault.
"""

import functools

from pydantic import TypeAdapter

# The fields of a request's body beside `generationConfig`, by the reference of generateContent; the SDK spreads them
# over its own configuration.
GEMINI_REQUEST = {
    "contents": ("list", "Content"), "systemInstruction": ("one", "Content"), "tools": ("list", "Tool"),
    "toolConfig": ("one", "ToolConfig"), "safetySettings": ("list", "SafetySetting"),
    "generationConfig": ("one", "GenerationConfig"), "cachedContent": ("text", None), "labels": ("labels", None),
    "serviceTier": ("text", None), "store": ("flag", None),
}

# What only the SDK knows of an answer, and never sees on the wire.
GEMINI_NOT_ON_THE_WIRE = ["sdkHttpResponse", "automaticFunctionCallingHistory", "parsed"]

VIDEO_PART = {
    "type": "object", "required": ["type", "video_url"], "additionalProperties": False,
    "properties": {
        "type": {"const": "video_url"},
        "video_url": {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"],
                      "additionalProperties": False}},
}

# In the URL, not in the body.
CONVERSE_IN_URL = ["modelId"]


def schema(dialect, kind):
    """The schema of a `request`, an `answer` or an `event` of a stream."""
    return SCHEMAS[dialect](kind)


@functools.cache
def chat(kind):
    from openai.types import chat as types
    from openai.types.chat import completion_create_params as params
    whole = of_type({"request": params.CompletionCreateParams, "answer": types.ChatCompletion,
                     "event": types.ChatCompletionChunk}[kind], closed=kind == "request")
    definitions = whole["$defs"]
    if kind == "request":
        # What other servers that speak chat completions take beside OpenAI's own: thoughts that go back to the model,
        # and vLLM's films.
        message = definitions["ChatCompletionAssistantMessageParam"]["properties"]
        message["reasoning_content"] = {"type": "string"}
        content = definitions["ChatCompletionUserMessageParam"]["properties"]["content"]["anyOf"]
        parts = next(variant["items"]["anyOf"] for variant in content if variant["type"] == "array")
        parts.append(VIDEO_PART)
    if kind == "event":
        # OpenAI streams calls of custom tools so; the SDK's type of a chunk lists functions alone.
        definitions["ChoiceDeltaToolCall"]["properties"]["type"] = {"enum": ["function", "custom", None]}
    return whole


@functools.cache
def responses(kind):
    from openai.types import responses as types
    from openai.types.responses import response_create_params as params
    whole = of_type({"request": params.ResponseCreateParams, "answer": types.Response,
                     "event": types.ResponseStreamEvent}[kind], closed=kind == "request")
    if kind == "request":
        # The API takes what the model said before, a refusal say, without the id and status of a stored item.
        whole["$defs"]["ResponseOutputMessageParam"]["required"] = ["content", "role", "type"]
    return whole


@functools.cache
def messages(kind):
    from anthropic import types
    from anthropic.types import message_create_params as params
    return of_type({"request": params.MessageCreateParams, "answer": types.Message,
                    "event": types.RawMessageStreamEvent}[kind], closed=kind == "request")


@functools.cache
def gemini(kind):
    from google.genai import types
    if kind != "request":
        whole = of_type(types.GenerateContentResponse, closed=True)
        for name in GEMINI_NOT_ON_THE_WIRE:
            whole["properties"].pop(name, None)
        # Google's API says it, as recorded answers show; the SDK passes over what it does not know.
        usage = whole["$defs"]["GenerateContentResponseUsageMetadata"]["properties"]
        usage["serviceTier"] = {"type": "string"}
        return whole
    properties, definitions = {}, {}
    for field, (form, name) in GEMINI_REQUEST.items():
        if name is None:
            properties[field] = {"text": {"type": "string"}, "flag": {"type": "boolean"}, "labels": {
                "type": "object", "additionalProperties": {"type": "string"}}}[form]
            continue
        inner = of_type(getattr(types, name), closed=True)
        definitions |= inner.pop("$defs", {})
        definitions[name] = inner
        reference = {"$ref": f"#/$defs/{name}"}
        properties[field] = reference if form == "one" else {"type": "array", "items": reference}
    return {"type": "object", "properties": properties, "required": ["contents"], "additionalProperties": False,
            "$defs": definitions}


@functools.cache
def converse(kind):
    from botocore.session import get_session
    service = get_session().get_service_model("bedrock-runtime")
    definitions = {}
    if kind == "event":
        output = service.operation_model("ConverseStream").output_shape
        return {"$ref": of_shape(output.members["stream"], definitions)["$ref"], "$defs": definitions}
    operation = service.operation_model("Converse")
    shape = operation.input_shape if kind == "request" else operation.output_shape
    whole = dict(definitions[of_shape(shape, definitions)["$ref"].rpartition("/")[2]])
    for name in CONVERSE_IN_URL:
        whole["properties"].pop(name, None)
    whole["required"] = [name for name in whole["required"] if name not in CONVERSE_IN_URL]
    return whole | {"$defs": definitions}


SCHEMAS = {"chat": chat, "responses": responses, "messages": messages, "gemini": gemini, "converse": converse}


def of_type(kind, closed):
    whole = TypeAdapter(kind).json_schema(by_alias=True, mode="validation")
    if closed:
        close(whole)
    return whole


def close(schema):
    """Closes every object that lists its fields."""
    if not isinstance(schema, dict):
        return
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), schema.get("items"),
             schema.get("additionalProperties")]
    for one in inner + schema.get("anyOf", []) + schema.get("oneOf", []) + schema.get("allOf", []):
        close(one)


def of_shape(shape, definitions):
    """The schema of one of botocore's shapes."""
    reference = {"$ref": f"#/$defs/{shape.name}"}
    if shape.name in definitions:
        return reference
    metadata = shape.metadata
    if shape.type_name == "structure":
        if getattr(shape, "is_document_type", False):
            return {}
        definitions[shape.name] = {}
        members = {name: of_shape(member, definitions) for name, member in shape.members.items()}
        made = {"type": "object", "properties": members, "required": list(shape.required_members),
                "additionalProperties": False}
        if getattr(shape, "is_tagged_union", False) or shape.serialization.get("eventstream"):
            made |= {"minProperties": 1, "maxProperties": 1}
        definitions[shape.name] = made
        return reference
    if shape.type_name == "list":
        return bounded({"type": "array", "items": of_shape(shape.member, definitions)}, metadata, "Items")
    if shape.type_name == "map":
        return {"type": "object", "additionalProperties": of_shape(shape.value, definitions)}
    if shape.type_name == "string":
        made = bounded({"type": "string"}, metadata, "Length")
        if shape.enum:
            made["enum"] = list(shape.enum)
        if metadata.get("pattern"):
            made["pattern"] = metadata["pattern"]
        return made
    if shape.type_name == "blob":
        return {"type": "string", "contentEncoding": "base64"}
    if shape.type_name == "boolean":
        return {"type": "boolean"}
    made = {"type": "integer" if shape.type_name in ("integer", "long") else "number"}
    made |= {bound: metadata[key] for key, bound in (("min", "minimum"), ("max", "maximum")) if key in metadata}
    return made


def bounded(made, metadata, what):
    return made | {key + what: metadata[key] for key in ("min", "max") if key in metadata}
