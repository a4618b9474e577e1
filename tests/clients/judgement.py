"""An official SDK against upstreams that fail, in each way that its user could notice:
judgement.py openai|anthropic WORLD

WORLD is the JSON that tests/tests/api/judged_clients.rs makes: for each row of its table the URLs of the node that the
client asks, the model, and the upstreams A and B. A is always preferred; B answers with its name where its row says
nothing else. Each fact names its rows.
"""

import gzip
import json
import sys
import threading
import urllib.request

import httpx2

from facts import raises, run, until

API, WORLD = sys.argv[1], json.loads(sys.argv[2])

if API == "openai":
    import openai as sdk

    connect, PATH = sdk.OpenAI, "/v1"
else:
    import anthropic as sdk

    connect, PATH = sdk.Anthropic, ""

# A client belongs to one node, and rows have nodes of their own.
client = connect(base_url="http://rows.invalid", api_key=WORLD["key"], max_retries=0, timeout=60)
other = client.with_options(api_key=WORLD["other_key"])

# As SDKs are: with their own retries.
retrying = client.with_options(max_retries=2)


# A client for each node, so that connections are used again.
clients = {}


def at(row, through):
    key = (through, row["node"])
    if key not in clients:
        clients[key] = through.with_options(base_url=row["node"] + PATH)
    return clients[key]


class Answer:
    def __init__(self, raw, text, usage):
        self.headers, self.text, self.usage = raw.headers, text, usage


def ask(row, stream=False, through=client, prompt="sing of the vine", **options):
    """What the row's model answers: the text is its upstream's name."""
    model, messages = row["model"], [{"role": "user", "content": prompt}]
    through = at(row, through)
    if API == "openai":
        raw = through.chat.completions.with_raw_response.create(
            model=model, messages=messages, stream=stream, **options
        )
        if not stream:
            chat = raw.parse()
            assert chat.model == model, chat
            return Answer(raw, chat.choices[0].message.content, chat.usage)
        chunks = list(raw.parse())
        assert all(chunk.choices for chunk in chunks), chunks
        assert chunks[-1].choices[0].finish_reason == "stop", chunks
        return Answer(raw, "".join(chunk.choices[0].delta.content or "" for chunk in chunks), None)
    raw = through.messages.with_raw_response.create(
        model=model, messages=messages, max_tokens=64, stream=stream, **options
    )
    if not stream:
        message = raw.parse()
        assert message.model == model, message
        return Answer(raw, message.content[0].text, message.usage)
    events = list(raw.parse())
    assert events[-1].type == "message_stop", events
    text = "".join(event.delta.text for event in events if event.type == "content_block_delta")
    return Answer(raw, text, events[0].message.usage)


def rows(*names):
    """The rows of these names for whole answers and for streams, and whether it is for streams."""
    for name in names:
        found = [(WORLD["rows"].get(f"{name}-{kind}"), kind) for kind in ("whole", "stream", "both")]
        found = [(row, kind) for row, kind in found if row]
        assert found, name
        for row, kind in found:
            yield from ((row, stream) for stream in (False, True) if kind in ("both", ("whole", "stream")[stream]))


def posts(url):
    with urllib.request.urlopen(url + "/seen") as answer:
        return json.load(answer)


def check_answered(row, stream, by, **options):
    answer = ask(row, stream, **options)
    assert answer.text == row[by + "_name"], (row, answer.text)
    assert answer.headers["x-grapevine-upstream"] == row[by + "_name"], dict(answer.headers)
    return answer


def record_of(row, answer):
    with urllib.request.urlopen(row["admin"] + "/requests?limit=1000") as page:
        requests = json.load(page)["requests"]
    wanted = answer.headers["x-request-id"]
    return next((it for it in requests if it["id"] == wanted), None)


def is_ejected(row, which):
    with urllib.request.urlopen(row["admin"] + "/mesh") as page:
        nodes = json.load(page)["nodes"]
    states = {upstream["name"]: upstream["state"].lower() for node in nodes for upstream in node["upstreams"]}
    return states[row[which + "_name"]] == "ejected"


def fact_an_account_without_money_is_answered_by_another_upstream():
    # Row: 402, insufficient_quota, billing_hard_limit_reached, "credit balance is too low".
    for row, stream in rows("payment_required", "insufficient_quota", "hard_limit", "credit_balance"):
        check_answered(row, stream, "b")
        until(lambda: is_ejected(row, "a"))
        for _ in range(2):
            check_answered(row, stream, "b")
        assert posts(row["a"]) == 1, "asked again although its account has no money"


def fact_the_nodes_own_refused_key_is_answered_by_another_upstream():
    # Row: the node's credential; the client's key is not at fault.
    for row, stream in rows("wrong_key"):
        check_answered(row, stream, "b")


def fact_a_missing_model_is_answered_by_another_upstream():
    # Row: 404 model_not_found at an upstream with `models: ["*"]`.
    for row, stream in rows("model_not_found"):
        for _ in range(3):
            answer = ask(row, stream)
            assert answer.headers["x-grapevine-upstream"] == "listed", dict(answer.headers)


def fact_what_the_client_did_is_raised_once_as_it_is():
    # Rows: 401 mismatched_organization, 403 without access to a project, flagged input as 400 and 403.
    kinds = {400: sdk.BadRequestError, 401: sdk.AuthenticationError, 403: sdk.PermissionDeniedError}
    identity = {"OpenAI-Organization": "org-other", "OpenAI-Project": "proj-other"}
    for name in ("organization", "project", "flagged_400", "flagged_403"):
        for row, stream in rows(name):
            refusal, before = row["refusal"], posts(row["a"])
            call = lambda: ask(row, stream, through=retrying, extra_headers=identity)
            error = raises(kinds[refusal["status"]], call)
            assert error.status_code == refusal["status"], error
            wanted = refusal["body"]["error"]
            # openai's SDK hands out what is within `error`, anthropic's all of it.
            assert error.body in (wanted, refusal["body"]), error.body
            assert wanted["message"] in str(error), error
            assert (posts(row["a"]) - before, posts(row["b"])) == (1, 0), name
            assert not is_ejected(row, "a"), name


def fact_a_limited_model_leaves_the_others_where_they_are():
    # Row: 429 with Retry-After for one model.
    for row, stream in rows("rate_of_model"):
        for _ in range(3):
            check_answered(row, stream, "b")
            check_answered(row | {"model": row["other_model"]}, stream, "a")


def fact_a_limit_everywhere_is_a_rate_limit_error_with_a_time():
    # Row: both upstreams answer 429.
    for row, stream in rows("rate_everywhere"):
        for _ in range(2):
            error = raises(sdk.RateLimitError, lambda: ask(row, stream))
            assert 0 < float(error.response.headers["retry-after"]) <= 9, dict(error.response.headers)


def fact_a_poisonous_prompt_is_an_internal_server_error_for_its_client_alone():
    # Row: one prompt that makes A and B answer 500.
    for row, stream in rows("poison"):
        check_answered(row, stream, "a", through=other)
        for _ in range(3):
            raises(sdk.InternalServerError, lambda: ask(row, stream, prompt="poison"))
        assert not is_ejected(row, "a") and not is_ejected(row, "b")
        answer = ask(row, stream, through=other)
        assert answer.text in (row["a_name"], row["b_name"]), answer.text


def fact_connections_that_the_upstream_closed_are_no_failure():
    # Row: stale pooled connections.
    for row, stream in rows("stale"):
        for _ in range(8):
            answer = check_answered(row, stream, "a")
            assert answer.headers["x-grapevine-attempts"] == "1", dict(answer.headers)
        assert posts(row["b"]) == 0


def fact_a_body_refused_before_it_is_read_is_that_refusal():
    # Row: 413 for 12 MB, then a reset.
    for row, stream in rows("too_large"):
        error, before = None, posts(row["a"])
        try:
            ask(row, stream, prompt="v" * WORLD["large"])
        except sdk.APIStatusError as refused:
            error = refused
        assert error is not None and error.status_code == 413, error
        assert "too large for this upstream" in str(error), error
        assert (posts(row["a"]) - before, posts(row["b"])) == (1, 0)
        assert not is_ejected(row, "a")


def fact_a_redirect_is_not_followed_with_the_prompt():
    # Row: 307 to another host, at one upstream and at both.
    for row, stream in rows("redirect"):
        check_answered(row, stream, "b")
    for row, stream in rows("redirect_everywhere"):
        try:
            answer = ask(row, stream)
        except sdk.InternalServerError as error:
            assert error.status_code == 502, error
        else:
            raise AssertionError(answer.text)
    assert posts(WORLD["elsewhere"]) == 0, "a prompt was sent to the redirect's host"


def fact_what_is_no_answer_is_answered_by_another_upstream():
    # Row: 200 with an error as body, an error as first event, an empty body, HTML.
    for row, stream in rows("error_body", "first_event", "empty_body", "empty_stream", "html"):
        check_answered(row, stream, "b")


def fact_a_hung_upstream_delays_a_stream_and_no_more():
    # Row: an upstream that accepts and never answers.
    for row, stream in rows("hung"):
        check_answered(row, stream, "b")


def fact_a_whole_answer_that_breaks_off_is_answered_by_another_upstream_and_a_stream_is_an_error():
    # Row: an upstream that breaks off in the middle of an answer.
    for row, stream in rows("breaks"):
        if not stream:
            check_answered(row, stream, "b")
            continue
        try:
            answer = ask(row, stream)
        except (sdk.APIError, httpx2.TransportError):
            continue
        raise AssertionError(f"a broken answer passed for a whole one: {answer.text}")


def fact_a_stream_that_thinks_is_kept_alive():
    # Row: a stream that pauses. The pause is longer than the client waits for one byte.
    patient = client.with_options(timeout=httpx2.Timeout(60, read=WORLD["read_limit"]))
    for row, stream in rows("pauses"):
        check_answered(row, stream, "a", through=patient)


def fact_a_model_may_have_any_name():
    # Row: a model's name with blanks and other letters than ASCII's.
    for row, stream in rows("name"):
        assert " " in row["model"] and not row["model"].isascii(), row
        check_answered(row, stream, "a")


class Coded(httpx2.HTTPTransport):
    """Sends every body encoded, as proxies and some clients do."""

    def handle_request(self, request):
        body = gzip.compress(request.read())
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
        headers += [(b"content-encoding", b"gzip"), (b"content-length", str(len(body)).encode())]
        coded = httpx2.Request(request.method, request.url, headers=headers, content=body)
        coded.extensions = request.extensions
        return super().handle_request(coded)


def fact_a_request_that_is_encoded_is_read():
    # Row: requests with Content-Encoding.
    coded = client.with_options(http_client=httpx2.Client(transport=Coded()))
    for row, stream in rows("coded_request"):
        check_answered(row, stream, "a", through=coded)


def fact_an_answer_that_is_encoded_is_read():
    # Row: upstreams that encode their answers.
    for row, stream in rows("coded_answer"):
        check_answered(row, stream, "a")


def fact_tokens_are_counted_and_a_client_that_did_not_ask_sees_none():
    # Row: usage: cached tokens of Anthropic's, streams of OpenAI's.
    counts = {"openai": (7, 3), "anthropic": (33, 4)}[API]
    for row, stream in rows("usage"):
        answer = check_answered(row, stream, "a")
        if API == "anthropic":
            assert answer.usage.cache_read_input_tokens == 20, answer.usage
        record = wait_for(lambda: record_of(row, answer))
        assert (record["tokens_in"], record["tokens_out"]) == counts, record
    if API == "openai":
        row, _ = next(rows("usage"))
        asked = at(row, client).chat.completions.create(
            model=row["model"],
            messages=[{"role": "user", "content": "sing"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        assert list(asked)[-1].usage.total_tokens == 10


def wait_for(look, seconds=20):
    ended = threading.Event()
    for _ in range(int(seconds / 0.05)):
        found = look()
        if found is not None:
            return found
        ended.wait(0.05)
    raise AssertionError("not within the limit")


if __name__ == "__main__":
    # The longest fact runs beside the others.
    slow, end = fact_a_stream_that_thinks_is_kept_alive, []

    def think():
        try:
            slow()
        except BaseException as error:
            end.append(error)

    thinking = threading.Thread(target=think)
    thinking.start()

    def fact_a_stream_that_thinks_is_kept_alive():
        thinking.join()
        if end:
            raise end[0]

    run(sys.modules[__name__])
