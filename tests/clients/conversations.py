"""What upstreams keep, by the official openai SDK for Python: conversations.py STATE KEY TURN SEED BASE_URL...

A turn of every conversation, each call entering at a random node. The first turn (0) begins them and writes what a
client keeps to the file STATE; later ones go on from it, in a process of their own, as after a restart of the client.
A follow-up that reaches another upstream than the one that made what it names fails there: the mocks know only their own.
"""

import json
import random
import sys

import openai

STATE, KEY, TURN, SEED = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
NODES = [openai.OpenAI(base_url=url, api_key=KEY, max_retries=4, timeout=20) for url in sys.argv[5:]]
DRAW = random.Random(SEED)
MODEL = "gpt-5"
COUNT = 12
REASONING = {"effort": "low"}
FILE = b"An island to the north of Sicily is called Stromboli. \x00 resp_1"

failures, calls = [], 0


def at_random():
    return DRAW.choice(NODES)


def call(what, make):
    """The answer of `make`, called at a random node; None and a failure where the SDK raises."""
    global calls
    calls += 1
    try:
        return make(at_random())
    except openai.OpenAIError as error:
        failures.append(f"{what}: {error}")
        return None


def respond(what, **body):
    return call(what, lambda node: node.responses.create(model=MODEL, **body))


def stream(what, **body):
    def make(node):
        last = None
        for event in node.responses.create(model=MODEL, stream=True, **body):
            if event.type == "response.created":
                created = event.response.id
            last = event
        assert last.type == "response.completed", last
        assert last.response.id == created, (last.response.id, created)
        return last.response

    return call(what, make)


def items(response):
    """What a client keeps of an answer, as it would send it again."""
    return [item.model_dump(exclude_none=True) for item in response.output]


def asked(text):
    return {"role": "user", "content": text}


def begin(number):
    text = f"Tell me more of island {number}."
    chain = (stream if number % 2 else respond)("a response", input=text)
    conversation = call("a conversation", lambda node: node.conversations.create(metadata={"n": str(number)}))
    respond("a response of a conversation", input=text, conversation=conversation.id)
    sealed = (respond if number % 2 else stream)(
        "encrypted reasoning",
        input=[asked(text)],
        store=False,
        include=["reasoning.encrypted_content"],
        reasoning=REASONING,
    )
    assert sealed.output[0].encrypted_content, sealed.output
    kept = respond("reasoning that is kept", input=[asked(text)], reasoning=REASONING)
    upload = call("a file", lambda node: node.files.create(file=("island.txt", FILE), purpose="user_data"))
    assert upload.purpose == "user_data", upload
    return {
        "chain": chain.id,
        "conversation": conversation.id,
        "sealed": [asked(text), *items(sealed)],
        "kept": [asked(text), *items(kept)],
        "file": upload.id,
    }


def go_on(number, state):
    text = f"And what of it in turn {TURN}?"
    answer = call("a response by its id", lambda node: node.responses.retrieve(state["chain"]))
    assert answer is None or answer.id == state["chain"], (answer.id, state["chain"])
    make = stream if number % 2 else respond
    chain = make("a previous response", input=text, previous_response_id=state["chain"])
    if chain:
        assert chain.previous_response_id == state["chain"], chain
        state["chain"] = chain.id
    respond("a conversation that goes on", input=text, conversation=state["conversation"])
    shown = call("a conversation by its id", lambda node: node.conversations.retrieve(state["conversation"]))
    assert shown is None or shown.id == state["conversation"]
    call("items of a conversation", lambda node: list(node.conversations.items.list(state["conversation"])))
    sealed = make(
        "encrypted reasoning that comes back",
        input=[*state["sealed"], asked(text)],
        store=False,
        include=["reasoning.encrypted_content"],
        reasoning=REASONING,
    )
    if sealed:
        state["sealed"] += [asked(text), *items(sealed)]
    kept = make("reasoning by its id", input=[*state["kept"], asked(text)], reasoning=REASONING)
    if kept:
        state["kept"] += [asked(text), *items(kept)]
    part = [{"type": "input_file", "file_id": state["file"]}, {"type": "input_text", "text": text}]
    respond("a response about a file", input=[{"role": "user", "content": part}])
    shown = call("a file by its id", lambda node: node.files.retrieve(state["file"]))
    assert shown is None or shown.id == state["file"]
    content = call("the content of a file", lambda node: node.files.content(state["file"]))
    assert content is None or content.read() == FILE


def end(state):
    gone = call("a response to delete", lambda node: node.responses.delete(state["chain"]))
    assert gone is None
    gone = call("a conversation to delete", lambda node: node.conversations.delete(state["conversation"]))
    assert gone is None or gone.deleted
    gone = call("a file to delete", lambda node: node.files.delete(state["file"]))
    assert gone is None or gone.deleted
    for make in (
        lambda node: node.responses.retrieve(state["chain"]),
        lambda node: node.files.retrieve(state["file"]),
    ):
        try:
            make(at_random())
            failures.append("what was deleted is still there")
        except openai.NotFoundError:
            pass


def main():
    if TURN == 0:
        states = [begin(number) for number in range(COUNT)]
    else:
        with open(STATE) as file:
            states = json.load(file)
        for number, state in enumerate(states):
            go_on(number, state)
    if TURN == 9:
        for state in states:
            end(state)
    with open(STATE, "w") as file:
        json.dump(states, file)
    print(f"turn {TURN}: {len(failures)} of {calls} calls failed")
    if failures:
        sys.exit("\n".join(failures))


main()
