"""Every SDK at every kind of upstream, as tables in Markdown: sdk_matrix.py ROOT_URL KIND...

A KIND is the JSON of a `Kind`. What neither works nor is refused by design is a fault, with its trace on standard error.
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
    """An upstream: what it is called in the table, the dialects it reads, and where its faults are turned on."""

    column: str
    dialects: list
    control: str
    # The model that answers texts, and that of an upstream of the same kind that calls tools.
    model: str
    skills: str
    # What a mock calls itself in its texts; a script says the model.
    name: str | None = None
    # The APIs whose clients see its thought; None is all of them.
    shows_thought: list | None = None

    def says(self, model, prompt):
        return answer_text(self.name or model, prompt)


def check_read(sdk, read, text):
    assert read.text == text, f"{read.text!r} instead of {text!r}"
    assert read.stop == sdk.STOPS[0], read.stop
    assert read.tokens, "no usage"


def check_call(sdk, called, calls=1):
    assert called.calls == calls, called
    assert called.name == sdk_python.TOOL and called.arguments == ARGUMENTS, called
    assert called.stop == sdk.STOPS[1], called.stop


def check_after(called):
    """A script says what one tool says, and a mock what all of them do."""
    assert sdk_python.RESULT in called.after and "tool" in called.after, called.after


def text(sdk, kind):
    check_read(sdk, sdk.text(kind.model), kind.says(kind.model, sdk_python.PROMPT))


def stream(sdk, kind):
    check_read(sdk, sdk.stream(kind.model), kind.says(kind.model, sdk_python.PROMPT))


def tools(sdk, kind):
    called = sdk.tool(kind.skills)
    check_call(sdk, called)
    check_after(called)


def streamed_tools(sdk, kind):
    check_call(sdk, sdk.tool_stream(kind.skills))


def two_calls(sdk, kind):
    sdk = sdk_python.with_two_tools(sdk)
    called = sdk.tool(kind.skills)
    check_call(sdk, called, 2)
    check_after(called)


def two_streamed_calls(sdk, kind):
    sdk = sdk_python.with_two_tools(sdk)
    check_call(sdk, sdk.tool_stream(kind.skills), 2)


def image(sdk, kind):
    read = sdk.image(kind.skills, DATA_URL)
    if not kind.name:
        return check_read(sdk, read, f"A picture: image/png of {len(sdk_python.PICTURE)} bytes")
    # A mock checks the picture and says nothing of it.
    check_read(sdk, read, read.text)
    assert read.text.startswith(f"Upstream {kind.name} heard"), read


def schema(sdk, kind):
    read = sdk.schema(kind.skills)
    stay = json.loads(read.text)
    assert stay.keys() == ARGUMENTS.keys() if kind.name else stay == ARGUMENTS, read


def check_thought(sdk, kind, read):
    check_read(sdk, read, kind.says(kind.skills, sdk_python.PROMPT))
    if kind.shows_thought is not None and sdk.api not in kind.shows_thought:
        assert read.thought == "", f"thought {read.thought!r}"
    elif kind.name:
        assert read.thought.startswith("The question begins: "), f"thought {read.thought!r}"
    else:
        assert read.thought == THOUGHT, f"thought {read.thought!r}"


def thinking(sdk, kind):
    check_thought(sdk, kind, sdk.thinking(kind.skills))


def streamed_thinking(sdk, kind):
    check_thought(sdk, kind, sdk.thinking_stream(kind.skills))


def tools_with_thought(sdk, kind):
    called = sdk.thinking_tool(kind.skills)
    check_call(sdk, called)
    check_after(called)


def cache(sdk, kind):
    read = sdk.cache(kind.skills)
    check_read(sdk, read, kind.says(kind.skills, sdk_python.PROMPT))
    # A mock caches long prompts alone.
    is_counted = not kind.name and kind.dialects != ["gemini"]
    assert not is_counted or read.cached == USAGE_CACHED, f"{read.cached} tokens cached"


def count(sdk, kind):
    assert sdk.count(kind.skills) > 0


def kind_of(error):
    """The name of the SDK's class of an error."""
    return getattr(error, "kind", type(error).__name__)


def name_of(kind):
    return kind if isinstance(kind, str) else kind.__name__


def error_of(sdk, status, call):
    """Expects the SDK's own error for `status`, and returns it."""
    wanted = name_of(sdk.errors[status])
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
        assert sdk.text(kind.skills, **more).text == kind.says(kind.skills, sdk_python.PROMPT)

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
    operation = NEEDS.get(check.__name__)
    if operation and not hasattr(sdk, operation):
        return "-"
    try:
        check(sdk, kind)
    except Exception as error:
        reason = str(error)
        is_bad_request = kind_of(error) == name_of(sdk.errors[400])
        if is_bad_request and any(refusal in reason for refusal in REFUSALS):
            return "refused: " + reason
        if check is count and "404" in reason:
            return "refused: the provider has no path for it"
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
                    yield f"{sdk.name}, {sdk.api}", kind.column, name, outcome(sdk, kind, check)
                if phase == "sound" and sdk.api not in kind.dialects:
                    for field, more in getattr(sdk, "own", {}).items():
                        yield f"{sdk.name}, {sdk.api}", kind.column, f"`{field}`", outcome(sdk, kind, with_field(more))


def reason_of(result):
    """Why a cell does not work, without the SDK's own words around it."""
    if REFUSALS[1] in result:
        return REFUSALS[1]
    refused = re.search(r"(\S+: [^:]*?); the upstream of this model", result)
    if refused:
        return refused[1].lstrip("'\"")
    first = result.partition("\n")[0].removeprefix("refused: ").removeprefix("FAILS: ").removeprefix("AssertionError: ")
    return first.replace("|", "\\|")


def markdown(table, kinds):
    """Counts by SDK and kind, then what was tried at each, then why a cell does not work."""
    columns = [kind.column for kind in kinds]
    lines = ["| SDK and API | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for sdk, cells in table.items():
        known = [[result for result in cells[column].values() if result != "-"] for column in columns]
        counts = [f"{results.count('yes')} of {len(results)}" for results in known]
        lines.append(f"| {sdk} | " + " | ".join(counts) + " |")
    lines += ["", "| SDK and API | tried | " + " | ".join(columns) + " |", "| --- | --- |" + " --- |" * len(columns)]
    for sdk, cells in table.items():
        for marks, checks in alike(cells, columns).items():
            lines.append(f"| {sdk} | {', '.join(checks)} | " + " | ".join(marks) + " |")
    others = defaultdict(list)
    for sdk, cells in table.items():
        for column in columns:
            for check, result in cells[column].items():
                if mark_of(result) not in ("yes", "-"):
                    others[sdk, check, mark_of(result), reason_of(result)].append(column)
    lines += ["", "| SDK and API | what | at | outcome | reason |", "| --- | --- | --- | --- | --- |"]
    for (sdk, check, mark, reason), at in others.items():
        lines.append(f"| {sdk} | {check} | {', '.join(at)} | {mark} | {reason} |")
    return "\n".join(lines)


def mark_of(result):
    if result in ("yes", "-"):
        return result
    return "refused" if result.startswith("refused") else "**fault**"


def alike(cells, columns):
    """The checks of an SDK, together where they went alike at every kind."""
    groups = defaultdict(list)
    for check in dict.fromkeys(check for column in columns for check in cells[column]):
        marks = tuple(mark_of(cells[column].get(check, "-")) for column in columns)
        if set(marks) != {"-"}:
            groups[marks].append(check)
    return groups


def main(root, kinds):
    table = defaultdict(lambda: defaultdict(dict))
    for sdk, column, check, result in rows(root, kinds):
        table[sdk][column][check] = result
        if result.startswith("FAILS"):
            print(f"{sdk} at {column}, {check}: {result}", file=sys.stderr)
    print(markdown(table, kinds))


if __name__ == "__main__":
    main(sys.argv[1], [Kind(**json.loads(argument)) for argument in sys.argv[2:]])
