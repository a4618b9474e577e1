"""The official anthropic SDK for Python against a node: anthropic_client.py ROOT_URL KEY

The mesh behind the node serves the models of tests/tests/api/real_clients.rs.
"""

import sys

import anthropic

from facts import answer_text, check_headers, raises, run

ROOT_URL, KEY = sys.argv[1:3]
client = anthropic.Anthropic(base_url=ROOT_URL, api_key=KEY, max_retries=0, timeout=20)
PROMPT = "tell me about the vine on the wall please"


def options(model):
    return {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": PROMPT}]}


def ask(model, **more):
    return client.messages.create(**options(model), **more)


def fact_a_message_is_answered_through_a_hop():
    raw = client.messages.with_raw_response.create(**options("claude-test"))
    check_headers(raw.headers)
    assert raw.headers["x-grapevine-hops"] == "1", dict(raw.headers)
    message = raw.parse()
    assert message.content[0].text == answer_text("usa-up", PROMPT), message.content
    assert message.usage.output_tokens > 0


def fact_a_streams_text_is_what_the_upstream_sent():
    with client.messages.stream(**options("claude-test")) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == answer_text("usa-up", PROMPT), text
    assert message.stop_reason in ("end_turn", "max_tokens")


def fact_a_bearer_token_is_as_good_as_an_api_key():
    bearer = anthropic.Anthropic(base_url=ROOT_URL, auth_token=KEY, max_retries=0, timeout=20)
    assert bearer.messages.create(**options("claude-test")).content


def fact_tokens_are_counted():
    counted = client.messages.count_tokens(model="claude-test", messages=[{"role": "user", "content": PROMPT}])
    assert counted.input_tokens > 0


def fact_400_is_a_bad_request_error_with_the_upstreams_body():
    error = raises(anthropic.BadRequestError, lambda: ask("fails-400"))
    assert error.body["error"]["type"] == "invalid_request_error", error.body
    check_headers(error.response.headers)


def fact_401_is_an_authentication_error_in_this_apis_shape():
    stranger = client.with_options(api_key="sk-wrong")
    error = raises(anthropic.AuthenticationError, lambda: stranger.messages.create(**options("claude-test")))
    assert error.body["type"] == "error", error.body
    assert error.body["error"]["type"] == "authentication_error", error.body


def fact_404_is_a_not_found_error_in_this_apis_shape():
    error = raises(anthropic.NotFoundError, lambda: ask("no-such-model"))
    assert error.body["type"] == "error", error.body
    assert error.body["error"]["type"] == "not_found_error", error.body


def fact_429_is_a_rate_limit_error_with_retry_after():
    error = raises(anthropic.RateLimitError, lambda: ask("fails-429"))
    assert 0 < float(error.response.headers["retry-after"]) <= 3


def fact_500_is_an_internal_server_error():
    error = raises(anthropic.InternalServerError, lambda: ask("fails-500"))
    assert error.status_code == 500, error


def fact_the_clients_own_timeout_is_a_timeout_error():
    raises(anthropic.APITimeoutError, lambda: ask("hangs", timeout=0.7))


def fact_a_stream_that_breaks_is_an_error():
    def read():
        with client.messages.stream(**options("cut")) as stream:
            return "".join(stream.text_stream)

    try:
        text = read()
    except anthropic.APIError:
        return
    raise AssertionError(f"a broken stream passed for a whole one: {text}")


def fact_a_stream_can_be_closed_early():
    with client.messages.stream(**options("slow")) as stream:
        for _ in range(3):
            next(iter(stream.text_stream))


if __name__ == "__main__":
    run(sys.modules[__name__])
