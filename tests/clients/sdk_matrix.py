"""Every SDK at every kind of upstream, as a table in Markdown: sdk_matrix.py ROOT_URL KIND...

A KIND is `DIALECT,MODEL,SKILLS,CONTROL`: the upstream's dialect, the model it serves, the model of an upstream of the
same dialect that calls tools, and where its faults are turned on. What neither works nor is refused by design is a
fault, with its trace on standard error.
"""

import base64
import json
import re
import sys
import traceback
import urllib.request
from collections import defaultdict
from dataclasses import dataclass

import sdk_node
import sdk_python
from dialect_upstream import ARGUMENTS
from dialects import THOUGHT, USAGE_CACHED
from facts import answer_text

DATA_URL = "data:image/png;base64," + base64.b64encode(sdk_python.PICTURE).decode()

# What the node says of a request that it refuses to translate.
REFUSALS = ("send x-grapevine-lossy: allow", "no upstream of this model has this API")

# What is turned on at every upstream while the checks of a phase run.
PHASES = {
    "sound": {},
    "cut": {"cut_after_chunks": 6},
    "short": {"cut_after_chunks": None, "clean_end_after_chunks": 6},
    "fails": {"clean_end_after_chunks": None, "error_rate": 1.0, "error_status": 400},
    # Long enough that only the first call of all reaches the upstream, and the nodes answer the rest.
    "limited": {"error_rate": 0.0, "rate_limit": "always", "retry_after": "60s"},
}


@dataclass
class Kind:
    dialect: str
    model: str
    skills: str
    control: str


def check_read(sdk, read, text):
    assert read.text == text, f"{read.text!r} instead of {text!r}"
    assert read.stop == sdk.STOPS[0], read.stop
    assert read.tokens, "no usage"


def check_call(sdk, called, calls=1):
    assert called.calls == calls, called
    assert called.name == sdk_python.TOOL and called.arguments == ARGUMENTS, called
    assert called.stop == sdk.STOPS[1], called.stop


def text(sdk, kind):
    check_read(sdk, sdk.text(kind.model), answer_text(kind.model, sdk_python.PROMPT))


def stream(sdk, kind):
    check_read(sdk, sdk.stream(kind.model), answer_text(kind.model, sdk_python.PROMPT))


def tools(sdk, kind):
    called = sdk.tool(kind.skills)
    check_call(sdk, called)
    assert called.after == f"The tool says {sdk_python.RESULT}", called.after


def streamed_tools(sdk, kind):
    check_call(sdk, sdk.tool_stream(kind.skills))


def two_calls(sdk, kind):
    sdk = sdk_python.with_two_tools(sdk)
    called = sdk.tool(kind.skills)
    check_call(sdk, called, 2)
    assert called.after == f"The tool says {sdk_python.RESULT}", called.after


def two_streamed_calls(sdk, kind):
    sdk = sdk_python.with_two_tools(sdk)
    check_call(sdk, sdk.tool_stream(kind.skills), 2)


def image(sdk, kind):
    check_read(sdk, sdk.image(kind.skills, DATA_URL), f"A picture: image/png of {len(sdk_python.PICTURE)} bytes")


def schema(sdk, kind):
    read = sdk.schema(kind.skills)
    assert json.loads(read.text) == ARGUMENTS, read


def check_thought(sdk, kind, read):
    check_read(sdk, read, answer_text(kind.skills, sdk_python.PROMPT))
    # Chat completions ask for the effort alone, and responses show nothing that was not asked for.
    is_shown = (sdk.api, kind.dialect) != ("chat", "responses")
    assert read.thought == (THOUGHT if is_shown else ""), f"thought {read.thought!r}"


def thinking(sdk, kind):
    check_thought(sdk, kind, sdk.thinking(kind.skills))


def streamed_thinking(sdk, kind):
    check_thought(sdk, kind, sdk.thinking_stream(kind.skills))


def tools_with_thought(sdk, kind):
    called = sdk.thinking_tool(kind.skills)
    check_call(sdk, called)
    assert called.after == f"The tool says {sdk_python.RESULT}", called.after


def cache(sdk, kind):
    read = sdk.cache(kind.skills)
    check_read(sdk, read, answer_text(kind.skills, sdk_python.PROMPT))
    assert kind.dialect == "gemini" or read.cached == USAGE_CACHED, f"{read.cached} tokens cached"


def count(sdk, kind):
    assert sdk.count(kind.skills) > 0


def kind_of(error):
    """The name of the SDK's class of an error."""
    return getattr(error, "kind", type(error).__name__)


def error_of(sdk, status, call):
    """Expects the SDK's own error for `status`, and returns it."""
    kind = sdk.errors[status]
    wanted = kind if isinstance(kind, str) else kind.__name__
    try:
        result = call()
    except Exception as error:
        name = kind_of(error)
        if name != wanted:
            raise AssertionError(f"{name} instead of {wanted}") from error
        return error
    raise AssertionError(f"no error but {result!r}")


def not_found(sdk, _kind):
    error_of(sdk, 404, lambda: sdk.text("no-such-model"))


def bad_request(sdk, kind):
    error = error_of(sdk, 400, lambda: sdk.text(kind.model))
    assert "injected by the" in str(error), error


def bad_request_of_a_stream(sdk, kind):
    error = error_of(sdk, 400, lambda: sdk.stream(kind.model))
    assert "injected by the" in str(error), error


def rate_limit(sdk, kind):
    error_of(sdk, 429, lambda: sdk.text(kind.model))


def broken_stream(sdk, kind):
    try:
        read = sdk.stream(kind.model)
    except sdk.broken:
        return
    assert read.stop is None, f"a broken stream looks complete: {read}"


def with_field(more):
    """The check of a field that the SDK's own API has."""

    def field(sdk, kind):
        assert sdk.text(kind.skills, **more).text == answer_text(kind.skills, sdk_python.PROMPT)

    return field


CHECKS = {
    "sound": [
        text,
        stream,
        tools,
        streamed_tools,
        two_calls,
        two_streamed_calls,
        image,
        schema,
        thinking,
        streamed_thinking,
        tools_with_thought,
        cache,
        count,
        not_found,
    ],
    "cut": [broken_stream],
    "short": [broken_stream],
    "fails": [bad_request, bad_request_of_a_stream],
    "limited": [rate_limit],
}
# What not every SDK has, or what is not asked of each.
NEEDS = {
    "cache": "cache",
    "count": "count",
    "tools_with_thought": "thinking_tool",
    "two_calls": "thinking_tool",
    "two_streamed_calls": "thinking_tool",
}
NAMES = {("cut", "broken_stream"): "cut stream", ("short", "broken_stream"): "stream without its end"}


def outcome(sdk, kind, check):
    """`yes`, `-` where the SDK has no such thing, or why not."""
    operation = NEEDS.get(check.__name__)
    if operation and not hasattr(sdk, operation):
        return "-"
    try:
        check(sdk, kind)
    except Exception as error:
        reason = str(error)
        wanted = sdk.errors[400]
        is_bad_request = kind_of(error) == (wanted if isinstance(wanted, str) else wanted.__name__)
        if is_bad_request and any(refusal in reason for refusal in REFUSALS):
            return "refused: " + reason
        trace = "".join(traceback.format_exception(error))
        return f"FAILS: {type(error).__name__}: {reason}\n{trace}"
    return "yes"


def turn(kinds, knobs):
    for kind in kinds:
        body = json.dumps(knobs).encode()
        request = urllib.request.Request(
            f"{kind.control}/mock/knobs", body, {"content-type": "application/json"}, method="PATCH"
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200, answer.status


def rows(root, kinds):
    sdks = [make(root) for make in sdk_python.ALL] + sdk_node.all_of(root)
    for phase, knobs in PHASES.items():
        if knobs:
            turn(kinds, knobs)
        for sdk in sdks:
            for kind in kinds:
                for check in CHECKS[phase]:
                    name = NAMES.get((phase, check.__name__), check.__name__.replace("_", " "))
                    yield f"{sdk.name}, {sdk.api}", kind.dialect, name, outcome(sdk, kind, check)
                if phase == "sound" and kind.dialect != sdk.api:
                    for field, more in getattr(sdk, "own", {}).items():
                        yield f"{sdk.name}, {sdk.api}", kind.dialect, f"`{field}`", outcome(sdk, kind, with_field(more))


def reason_of(result):
    """Why a cell does not work, without the SDK's own words around it."""
    if REFUSALS[1] in result:
        return REFUSALS[1]
    refused = re.search(r"(\S+: [^:]*?); the upstream of this model", result)
    if refused:
        return refused[1].lstrip("'\"")
    first = result.partition("\n")[0].removeprefix("FAILS: ").removeprefix("AssertionError: ")
    return first.replace("|", "\\|")


def markdown(table, kinds):
    """Counts by SDK and dialect, and below them every cell that does not work."""
    lines = ["| SDK and API | " + " | ".join(f"`{kind.dialect}`" for kind in kinds) + " |"]
    lines.append("| --- |" + " --- |" * len(kinds))
    others = defaultdict(list)
    for sdk, cells in table.items():
        counts = []
        for kind in kinds:
            known = {check: result for check, result in cells[kind.dialect].items() if result != "-"}
            counts.append(f"{sum(result == 'yes' for result in known.values())} of {len(known)}")
            for check, result in known.items():
                if result != "yes":
                    outcome = "refused" if result.startswith("refused") else "**fault**"
                    others[sdk, check, outcome, reason_of(result)].append(f"`{kind.dialect}`")
        lines.append(f"| {sdk} | " + " | ".join(counts) + " |")
    lines += ["", "| SDK and API | what | at | outcome | reason |", "| --- | --- | --- | --- | --- |"]
    for (sdk, check, outcome, reason), dialects in others.items():
        lines.append(f"| {sdk} | {check} | {', '.join(dialects)} | {outcome} | {reason} |")
    return "\n".join(lines)


def main(root, kinds):
    table = defaultdict(lambda: defaultdict(dict))
    for sdk, dialect, check, result in rows(root, kinds):
        table[sdk][dialect][check] = result
        if result.startswith("FAILS"):
            print(f"{sdk} at {dialect}, {check}: {result}", file=sys.stderr)
    print(markdown(table, kinds))


if __name__ == "__main__":
    main(sys.argv[1], [Kind(*argument.split(",")) for argument in sys.argv[2:]])
