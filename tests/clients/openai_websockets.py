"""The official openai SDK for Python, over WebSockets: openai_websockets.py BASE_URL KEY

The upstream behind the node is that of tests/src/websocket.rs.
"""

import sys

import openai

from facts import raises, run

BASE_URL, KEY = sys.argv[1:3]
client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=20)
MODEL = "gpt-realtime"


def fact_a_realtime_session_is_opened_and_answers():
    with client.realtime.connect(model=MODEL) as connection:
        assert connection.recv().type == "session.created"
        for _ in range(3):
            connection.response.create()
            delta = connection.recv()
            assert (delta.type, delta.delta) == ("response.output_text.delta", "hello"), delta
            done = connection.recv()
            assert (done.type, done.response.status) == ("response.done", "completed"), done
            assert done.response.usage.input_tokens == 11


def fact_responses_are_created_over_one_connection():
    with client.responses.connect() as connection:
        for _ in range(3):
            connection.response.create(model=MODEL, input="hi")
            event = connection.recv()
            assert event.type == "response.completed", event
            assert event.response.usage.output_tokens == 4


def fact_a_model_that_nobody_has_is_told_as_an_error():
    with client.responses.connect() as connection:
        connection.response.create(model="nobodys", input="hi")
        event = connection.recv()
        assert (event.type, event.status) == ("error", 404), event
        assert event.error.code == "model_not_found", event


def fact_a_wrong_key_opens_nothing():
    wrong = openai.OpenAI(base_url=BASE_URL, api_key="sk-wrong", max_retries=0)

    def connect():
        with wrong.realtime.connect(model=MODEL):
            pass

    from websockets.exceptions import InvalidStatus

    refused = raises(InvalidStatus, connect)
    assert refused.response.status_code == 401


if __name__ == "__main__":
    run(sys.modules[__name__])
