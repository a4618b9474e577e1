"""The official openai SDK for Python as a user of batches: openai_batches.py BASE_URL OTHER_BASE_URL KEY

Both URLs are nodes of one mesh that run no background work themselves; the models are those of
tests/tests/background/batches.rs.
"""

import json
import sys
import time

import openai

from facts import answer_text, raises, run

BASE_URL, OTHER_BASE_URL, KEY = sys.argv[1:4]
CHAT = "/v1/chat/completions"


def connect(url):
    return openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=30)


client = connect(BASE_URL)
other = connect(OTHER_BASE_URL)


def line(name, model="near", text="a word to the vine", **over):
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": name, "method": "POST", "url": CHAT, "body": body} | over


def upload(lines):
    texts = [text if isinstance(text, str) else json.dumps(text) for text in lines]
    return client.files.create(file=("lines.jsonl", "\n".join(texts).encode()), purpose="batch")


def begin(lines, window="24h", **options):
    file = upload(lines)
    return client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window=window, **options)


def wait_for(batch, *states, seconds=60):
    limit = time.monotonic() + seconds
    while batch.status not in states:
        assert batch.status in ("validating", "in_progress", "finalizing", "cancelling"), batch
        assert time.monotonic() < limit, batch
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    return batch


def lines_of(file_id, reader=client):
    return [json.loads(text) for text in reader.files.content(file_id).text.splitlines()]


def counts(batch):
    return (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed)


def fact_a_thousand_lines_are_answered_or_get_an_error():
    bad = {
        100: ("{not json", "invalid_json_line"),
        200: (line("wrong-url", url="/v1/embeddings"), "invalid_url"),
        300: (line("request-1"), "duplicate_custom_id"),
        400: (line("wrong-method", method="GET"), "invalid_method"),
        500: (line("no-body", body=None), "missing_body"),
        600: (line("") | {"custom_id": ""}, "missing_custom_id"),
        700: (line("streams", body={"model": "near", "messages": [], "stream": True}), "stream_not_supported"),
        800: ("[1, 2]", "invalid_json_line"),
        900: (line("unknown-model", model="nobody-has-this"), 404),
        999: (line("no-text", body="text"), "missing_body"),
    }
    lines = [bad[n][0] if n in bad else line(f"request-{n}", text=f"what is {n} of the vine") for n in range(1000)]
    batch = begin(lines, metadata={"for": "a test"})
    assert batch.object == "batch" and batch.status in ("validating", "in_progress"), batch
    assert batch.output_file_id is None and batch.metadata == {"for": "a test"}, batch
    batch = wait_for(batch, "completed")
    assert counts(batch) == (1000, 990, 10), batch
    assert batch.completed_at >= batch.in_progress_at >= batch.created_at, batch
    assert batch.expires_at - batch.created_at == 24 * 3600, batch

    # Read through another node than the one that keeps it.
    assert other.batches.retrieve(batch.id).to_dict() == batch.to_dict()
    answers = lines_of(batch.output_file_id, other)
    names = [f"request-{n}" for n in range(1000) if n not in bad]
    assert [answer["custom_id"] for answer in answers] == names
    for answer in answers:
        n = answer["custom_id"].removeprefix("request-")
        assert answer["error"] is None and answer["response"]["status_code"] == 200, answer
        content = answer["response"]["body"]["choices"][0]["message"]["content"]
        assert content == answer_text("near", f"what is {n} of the vine"), answer
    assert len({answer["id"] for answer in answers}) == 990

    errors = lines_of(batch.error_file_id)
    outcomes = [error["error"]["code"] if error["error"] else error["response"]["status_code"] for error in errors]
    assert outcomes == [why for _, why in bad.values()], outcomes
    names = [None, "wrong-url", "request-1", "wrong-method", "no-body", "", "streams", None, "unknown-model", "no-text"]
    assert [error["custom_id"] for error in errors] == names, errors
    assert errors[8]["response"]["body"]["error"]["code"] == "model_not_found", errors[8]


def fact_files_are_listed_read_and_deleted():
    files = [upload([line(f"file-{n}")]) for n in range(3)]
    file = files[0]
    assert (file.object, file.filename, file.purpose, file.status) == ("file", "lines.jsonl", "batch", "processed")
    assert file.bytes == len(json.dumps(line("file-0")))
    for reader in (client, other):
        assert reader.files.retrieve(file.id).to_dict() == file.to_dict()
    assert other.files.content(file.id).text == json.dumps(line("file-0"))
    page = client.files.list(purpose="batch", limit=2)
    assert len(page.data) == 2 and page.has_more, page
    found = {file.id for file in client.files.list(purpose="batch", limit=2)}
    assert {file.id for file in files} <= found, found
    assert other.files.delete(file.id).deleted
    raises(openai.NotFoundError, lambda: client.files.retrieve(file.id))
    raises(openai.NotFoundError, lambda: client.files.content(file.id))
    raises(openai.NotFoundError, lambda: client.files.delete(file.id))


def fact_a_large_file_comes_back_byte_for_byte():
    content = bytes(range(256)) * 20_000
    file = client.files.create(file=("large.bin", content), purpose="batch")
    assert file.bytes == len(content)
    assert other.files.content(file.id).read() == content


def fact_what_is_no_batch_is_refused_by_name():
    file = upload([line("one")])
    answers = wait_for(begin([line("done")]), "completed").output_file_id

    def create(file_id=file.id, endpoint=CHAT, window="24h", **options):
        return client.batches.create(input_file_id=file_id, endpoint=endpoint, completion_window=window, **options)

    for param, call in [
        ("endpoint", lambda: create(endpoint="/v1/files")),
        ("completion_window", lambda: create(window="soon")),
        ("completion_window", lambda: create(window="8d")),
        ("input_file_id", lambda: create(file_id=answers)),
        ("metadata", lambda: create(metadata={"k": "x" * 513})),
    ]:
        error = raises(openai.BadRequestError, call)
        assert error.param == param, error
    raises(openai.NotFoundError, lambda: create(file_id="file-nobody"))
    raises(openai.NotFoundError, lambda: client.batches.retrieve("batch_nobody"))
    raises(openai.BadRequestError, lambda: client.files.create(file=("empty.jsonl", b""), purpose="batch"))
    raises(openai.BadRequestError, lambda: client.files.create(file=("x.jsonl", b"{}"), purpose="nothing"))


def fact_batches_are_listed_the_newest_first():
    made = [begin([line("one")]).id for _ in range(3)]
    page = client.batches.list(limit=2)
    assert len(page.data) == 2 and page.has_more, page
    listed = [batch.id for batch in client.batches.list(limit=2)]
    assert [name for name in listed if name in made] == made[::-1], (made, listed)


def fact_a_file_of_blank_lines_makes_a_failed_batch():
    file = client.files.create(file=("blank.jsonl", b"\n\n  \n"), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    batch = wait_for(batch, "failed")
    assert batch.errors.data[0].code == "empty_file", batch
    assert batch.output_file_id is None and batch.error_file_id is None, batch


def fact_a_cancelled_batch_keeps_what_was_answered():
    lines = [line("quick")] + [line(f"hangs-{n}", model="hangs") for n in range(40)]
    batch = begin(lines)
    limit = time.monotonic() + 30
    while counts(batch)[1] < 1:
        assert time.monotonic() < limit, batch
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    batch = other.batches.cancel(batch.id)
    assert batch.status == "cancelling", batch
    batch = wait_for(batch, "cancelled")
    assert batch.cancelled_at and counts(batch)[:2] == (41, 1), batch
    assert [answer["custom_id"] for answer in lines_of(batch.output_file_id)] == ["quick"]
    raises(openai.ConflictError, lambda: client.batches.cancel(batch.id))


def fact_what_does_not_fit_into_the_window_is_reported_as_expired():
    lines = [line("quick")] + [line(f"hangs-{n}", model="hangs") for n in range(40)]
    batch = wait_for(begin(lines, window="2s"), "expired")
    assert batch.expired_at and batch.expires_at - batch.created_at == 2, batch
    assert counts(batch) == (41, 1, 40), batch
    assert [answer["custom_id"] for answer in lines_of(batch.output_file_id)] == ["quick"]
    errors = lines_of(batch.error_file_id)
    assert [error["custom_id"] for error in errors] == [f"hangs-{n}" for n in range(40)]
    assert {error["error"]["code"] for error in errors} == {"batch_expired"}


def wait_for_response(response, *states):
    limit = time.monotonic() + 30
    while response.status not in states:
        assert response.status in ("queued", "in_progress"), response
        assert time.monotonic() < limit, response
        time.sleep(0.1)
        response = other.responses.retrieve(response.id)
    return response


def fact_a_background_response_is_made_and_polled():
    response = client.responses.create(model="near", input="sing of the vine", background=True)
    assert response.status in ("queued", "in_progress") and response.background, response
    done = wait_for_response(response, "completed")
    assert done.id == response.id and done.background, done
    assert done.output_text == answer_text("near", "sing of the vine"), done


def fact_a_background_response_too_long_for_a_task_is_made_too():
    text = "sing of the vine " + "and of its leaves " * 40_000
    response = client.responses.create(model="near", input=text, background=True)
    done = wait_for_response(response, "completed")
    assert done.output_text == answer_text("near", text), done


def fact_a_background_response_that_fails_has_an_error():
    response = client.responses.create(model="nobody-has-this", input="sing", background=True)
    done = wait_for_response(response, "failed")
    assert done.error.code == "model_not_found", done


def fact_a_background_response_can_be_cancelled():
    response = client.responses.create(model="hangs", input="sing", background=True)
    response = wait_for_response(response, "in_progress")
    client.responses.cancel(response.id)
    done = wait_for_response(response, "cancelled")
    assert done.output == [], done
    assert client.responses.cancel(response.id).status == "cancelled"


def fact_what_a_background_response_cannot_be_is_refused():
    for param, options in [("stream", {"stream": True}), ("store", {"store": False})]:
        call = lambda: client.responses.create(model="near", input="sing", background=True, **options)
        error = raises(openai.BadRequestError, call)
        assert error.param == param, error


if __name__ == "__main__":
    run(sys.modules[__name__])
