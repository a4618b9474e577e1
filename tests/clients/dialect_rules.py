"""The rules that providers' own SDKs state for requests, answers and events, for translations to be held against.

    dialect_rules.py generate SEED COUNT    bodies of each dialect by chance, and one for each optional field
    dialect_rules.py check                  what is wrong with each body on the input

Both speak JSON lines. A generated line has `dialect`, `kind` (`request` or `answer`), `name` and `body`, and, where it
was made for one field, `field` and `without`: the same body without it. A line to check has the first four.
"""

import json
import random
import sys

sys.dont_write_bytecode = True
from dialect_schemas import SCHEMAS, schema
from json_schema import Reader

# What a request without a conversation lacks.
CONVERSATIONS = {
    "chat": {"messages": [{"role": "user", "content": "Hello"}]},
    "responses": {"input": "Hello"},
    "messages": {"messages": [{"role": "user", "content": "Hello"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
    "converse": {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]},
}

# What a request says of its tools says nothing without one.
ABOUT_TOOLS = ["tool_choice", "parallel_tool_calls", "toolConfig.functionCallingConfig"]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = {
    "chat": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
    "responses": [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}],
    "messages": [{"name": "weather", "input_schema": SCHEMA}],
    "gemini": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": SCHEMA}]}],
}


def generate(seed, count):
    for dialect in SCHEMAS:
        for kind in ("request", "answer"):
            reader = Reader(schema(dialect, kind))
            made = [*by_chance(dialect, kind, reader, seed, count), *for_fields(reader)]
            for name, body, more in made:
                bodies = [body, *filter(None, [more.get("without")])]
                for one in bodies:
                    (complete if kind == "request" else end)(dialect, one)
                    if any(word in more.get("field", "") for word in ABOUT_TOOLS):
                        one |= {"tools": TOOLS[dialect]} if dialect != "converse" else {}
                # What no rule of the schema's is made for, such as an address of a certain form.
                if not any(reader.problems(one) for one in bodies):
                    line = {"dialect": dialect, "kind": kind, "name": f"{dialect} {kind} {name}", "body": body} | more
                    print(json.dumps(line))


def by_chance(dialect, kind, reader, seed, count):
    dice = random.Random(f"{dialect} {kind} {seed}")
    for number in range(count):
        yield number, reader.sample(dice), {}


def for_fields(reader):
    for number, (field, body, without) in enumerate(reader.probes()):
        yield f"{field} ({number})", body, {"field": field} | ({} if without is None else {"without": without})


def complete(dialect, body):
    """Gives a request a conversation, if it has none, and a model."""
    for field, turns in CONVERSATIONS[dialect].items():
        if not body.get(field):
            body[field] = turns
    # More than a thought's least budget.
    if "max_tokens" in body and dialect == "messages":
        body["max_tokens"] = 2048
    if dialect in ("chat", "messages", "responses"):
        body["model"] = "some-model"


def end(dialect, body):
    """Gives an answer something to say, a role and a reason for its end: one without is not whole."""
    if dialect == "chat":
        body["choices"] = body["choices"] or [{"index": 0, "message": {"role": "assistant", "content": "Hello"},
                                               "finish_reason": "stop", "logprobs": None}]
    elif dialect == "responses" and body.get("status") != "incomplete":
        body |= {"status": "completed", "error": None}
    elif dialect == "messages":
        body["stop_reason"] = body.get("stop_reason") or "end_turn"
    elif dialect == "gemini":
        body["candidates"] = body.get("candidates") or [{"content": {"parts": [{"text": "Hello"}]}}]
        for candidate in body["candidates"]:
            candidate["finishReason"] = candidate.get("finishReason") or "STOP"
            if candidate.get("content"):
                candidate["content"]["role"] = "model"
    elif dialect == "converse":
        body["output"] = body["output"] or {"message": {"role": "assistant", "content": [{"text": "Hello"}]}}
        body["output"]["message"]["role"] = "assistant"


def check():
    readers = {}
    for line in sys.stdin:
        given = json.loads(line)
        key = (given["dialect"], given["kind"])
        reader = readers.setdefault(key, None) or Reader(schema(*key))
        readers[key] = reader
        for path, problem in reader.problems(given["body"]):
            print(json.dumps({"name": given["name"], "path": path.removeprefix("."), "problem": problem}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["generate"] and len(sys.argv) == 4:
        generate(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1:] == ["check"]:
        check()
    else:
        sys.exit(__doc__)
