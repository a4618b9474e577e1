"""The official openai SDK for Python on a node before a sloppy upstream: sloppy_client.py BASE_URL MODEL"""

import sys

import openai

from facts import run

client = openai.OpenAI(base_url=sys.argv[1], api_key="sk-any", max_retries=0, timeout=20)
MESSAGES = [{"role": "user", "content": "a vine"}]


def ask(**options):
    return client.chat.completions.create(model=sys.argv[2], messages=MESSAGES, **options)


def fact_a_chat_without_usage_is_read():
    assert ask().choices[0].message.content


def fact_a_stream_adds_up_to_the_same_text():
    text = "".join(chunk.choices[0].delta.content or "" for chunk in ask(stream=True) if chunk.choices)
    assert text == ask().choices[0].message.content, text


if __name__ == "__main__":
    run(sys.modules[__name__])
