"""The official openai SDK for Python against a node: openai_client.py BASE_URL KEY

The mesh behind the node serves the models of tests/tests/api/real_clients.rs.
"""

import sys
import time

import openai

from facts import answer_text, check_headers, raises, run

BASE_URL, KEY = sys.argv[1:3]
client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=20)
PROMPT = "tell me about the vine on the wall please"


def ask(model, **options):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": PROMPT}], **options)


def ask_raw(model, **options):
    return client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": PROMPT}], **options
    )


def fact_a_chat_is_answered_with_the_upstreams_text_and_our_headers():
    raw = ask_raw("gpt-4o")
    check_headers(raw.headers)
    answer = raw.parse()
    assert answer.choices[0].message.content == answer_text(raw.headers["x-grapevine-upstream"], PROMPT)
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.completion_tokens > 0
    assert answer._request_id == raw.headers["x-request-id"]


def fact_a_streams_text_is_what_the_upstream_sent():
    raw = ask_raw("gpt-4o", stream=True)
    check_headers(raw.headers)
    assert raw.headers["content-type"].startswith("text/event-stream")
    chunks = [chunk for chunk in raw.parse() if chunk.choices]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == answer_text(raw.headers["x-grapevine-upstream"], PROMPT), text
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def fact_a_stream_through_a_hop_has_its_usage_when_asked():
    raw = ask_raw("far", stream=True, stream_options={"include_usage": True})
    assert raw.headers["x-grapevine-hops"] == "1", dict(raw.headers)
    chunks = list(raw.parse())
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == answer_text("far", PROMPT), text
    assert chunks[-1].usage.completion_tokens > 0


def fact_parts_of_a_paced_stream_arrive_one_by_one():
    start = time.monotonic()
    arrivals = [time.monotonic() - start for chunk in ask("paced", stream=True) if chunk.choices]
    # 16 chunks, 50 ms apart: gathered up, they would come all at once.
    assert arrivals[-1] - arrivals[0] > 0.5, arrivals


def fact_embeddings_are_the_same_as_floats_and_as_base64():
    def embed(**options):
        answer = client.embeddings.create(model="text-embedding-3-small", input=["a vine", "a leaf"], **options)
        return [item.embedding for item in answer.data]

    packed, plain = embed(), embed(encoding_format="float")
    assert len(packed) == 2 and len(packed[0]) > 1
    for one, other in zip(packed[0], plain[0], strict=True):
        assert abs(one - other) < 1e-5


def fact_models_are_the_union_over_the_mesh():
    models = {model.id for model in client.models.list()}
    assert {"gpt-4o", "far", "text-embedding-3-small", "claude-test", "fails-429"} <= models, models
    assert client.models.retrieve("far").id == "far"


def fact_a_response_is_created():
    answer = client.responses.create(model="far", input=PROMPT)
    assert answer.output_text == answer_text("far", PROMPT), answer.output_text


def fact_400_is_a_bad_request_error_with_the_upstreams_body():
    error = raises(openai.BadRequestError, lambda: ask("fails-400"))
    assert "injected by the mock" in error.message
    check_headers(error.response.headers)


def fact_a_malformed_request_is_a_bad_request_error():
    raises(openai.BadRequestError, lambda: client.chat.completions.create(model="", messages=[]))


def fact_401_is_an_authentication_error_when_the_key_is_wrong():
    stranger = client.with_options(api_key="sk-wrong")
    error = raises(openai.AuthenticationError, lambda: stranger.models.list())
    assert error.code == "invalid_api_key", error.body
    assert "sk-wrong" not in error.response.text
    check_headers(error.response.headers, answered=False)


def fact_404_is_a_not_found_error_that_names_near_models():
    error = raises(openai.NotFoundError, lambda: ask("gpt-4oo"))
    assert error.code == "model_not_found", error.body
    assert "gpt-4o" in error.message.replace("gpt-4oo", ""), error.message
    check_headers(error.response.headers, answered=False)


def fact_422_is_an_unprocessable_entity_error():
    raises(openai.UnprocessableEntityError, lambda: ask("fails-422"))


def fact_429_is_a_rate_limit_error_with_retry_after():
    error = raises(openai.RateLimitError, lambda: ask("fails-429"))
    assert 0 < float(error.response.headers["retry-after"]) <= 3, dict(error.response.headers)
    check_headers(error.response.headers)


def fact_a_client_that_obeys_retry_after_is_served():
    patient = client.with_options(max_retries=3)
    for _ in range(2):
        answer = patient.chat.completions.create(model="limited", messages=[{"role": "user", "content": PROMPT}])
        assert answer.choices[0].message.content == answer_text("limited", PROMPT)


def fact_500_is_an_internal_server_error_with_the_upstreams_body():
    error = raises(openai.InternalServerError, lambda: ask("fails-500"))
    assert error.status_code == 500 and "injected by the mock" in error.message, error
    check_headers(error.response.headers)


def fact_a_deadline_in_a_header_ends_a_hanging_request():
    start = time.monotonic()
    hurried = {"x-grapevine-timeout-ms": "700"}
    error = raises(openai.InternalServerError, lambda: ask("hangs", extra_headers=hurried))
    assert error.status_code == 504, error
    assert 0.6 < time.monotonic() - start < 3


def fact_the_clients_own_timeout_is_a_timeout_error():
    raises(openai.APITimeoutError, lambda: ask("hangs", timeout=0.7))


def fact_a_stream_that_breaks_is_an_error_after_the_text_so_far():
    text = []

    def read():
        for chunk in ask("cut", stream=True):
            if chunk.choices:
                text.append(chunk.choices[0].delta.content or "")

    try:
        read()
    except openai.APIError as error:
        assert "".join(text) == answer_text("cut", PROMPT, 5), text
        assert not isinstance(error, openai.APIStatusError)
        return
    raise AssertionError(f"a broken stream passed for a whole one: {text}")


def fact_a_stream_can_be_closed_early():
    stream = ask("slow", stream=True)
    for _ in range(3):
        next(stream)
    stream.close()


if __name__ == "__main__":
    run(sys.modules[__name__])
