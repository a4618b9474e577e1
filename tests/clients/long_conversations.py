"""Agents in long conversations: long_conversations.py KEY CONVERSATIONS TURNS BASE_URL...

The official SDKs of OpenAI and Anthropic, openai-agents and LangGraph, each request entering at a random node, retries
too, while nodes are restarted. Whatever an upstream keeps (responses, conversations, files, encrypted reasoning) is known
to the one that made it alone: a follow-up that reaches another one fails. Prints what failed, and how many calls there
were of each kind.
"""

import asyncio
import collections
import io
import os
import random
import sys
import warnings

# Nothing is told to anybody.
os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"
os.environ["LANGSMITH_TRACING"] = "false"
# Of pydantic, about what LangChain writes of its own messages.
warnings.filterwarnings("ignore", message="Pydantic serializer warnings")

import anthropic
import openai
from agents import Agent, ModelSettings, OpenAIConversationsSession, OpenAIResponsesModel, RunConfig, Runner, function_tool
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver

KEY, CONVERSATIONS, TURNS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
BASES = sys.argv[4:]
MODEL, CLAUDE = "gpt-5", "claude-opus-4-8"
RETRIES, TIMEOUT, ABREAST = 8, 30, 12
DRAW = random.Random(os.environ.get("GRAPEVINE_TEST_SEED", "1"))
FILE = b"An island to the north of Sicily is called Stromboli."

calls = collections.Counter()
failures = []


class OpenAI(openai.AsyncOpenAI):
    """Each request, and each retry, goes to a node of its own."""

    def _prepare_url(self, url):
        calls["openai"] += 1
        return super()._prepare_url(DRAW.choice(BASES) + str(url))


class Anthropic(anthropic.AsyncAnthropic):
    def _prepare_url(self, url):
        calls["anthropic"] += 1
        return super()._prepare_url(DRAW.choice(BASES).removesuffix("/v1") + str(url))


CLIENT = OpenAI(api_key=KEY, base_url=BASES[0], max_retries=RETRIES, timeout=TIMEOUT)
CLAUDE_CLIENT = Anthropic(api_key=KEY, base_url=BASES[0].removesuffix("/v1"), max_retries=RETRIES, timeout=TIMEOUT)


def asked(number, turn):
    """What the user says: on most turns something that calls a tool."""
    if turn % 3 == 2:
        return f"And what else of island {number} in turn {turn}?"
    return f'call distance {{"island": "{number}-{turn}"}}'


def measured(island):
    return f"{island} is {sum(island.encode())} miles away"


def check(number, turn, text):
    if turn % 3 != 2:
        assert measured(f"{number}-{turn}") in text, (number, turn, text)
    else:
        assert text, (number, turn)


@function_tool
def distance(island: str) -> str:
    """How far away an island is."""
    return measured(island)


@tool("distance")
def distance_of(island: str) -> str:
    """How far away an island is."""
    return measured(island)


def agent():
    model = OpenAIResponsesModel(model=MODEL, openai_client=CLIENT)
    return Agent(name="islander", instructions="You know islands.", model=model, tools=[distance])


async def by_previous_response(number):
    """openai-agents, each turn upon the response before it."""
    last = None
    for turn in range(TURNS):
        config = RunConfig(tracing_disabled=True, model_settings=ModelSettings(store=True))
        result = await Runner.run(agent(), asked(number, turn), previous_response_id=last, run_config=config)
        check(number, turn, result.final_output)
        last = result.last_response_id


async def by_conversation(number):
    """openai-agents, with a conversation that the provider keeps."""
    session = OpenAIConversationsSession(openai_client=CLIENT)
    for turn in range(TURNS):
        config = RunConfig(tracing_disabled=True)
        result = await Runner.run(agent(), asked(number, turn), session=session, run_config=config)
        check(number, turn, result.final_output)
    await session.clear_session()


async def by_graph(number, **more):
    """A LangGraph agent with a memory, upon OpenAI's responses."""
    model = ChatOpenAI(model=MODEL, api_key=KEY, use_responses_api=True, **more)
    # Its own clients keep to one node.
    model.root_async_client = CLIENT
    model.async_client = CLIENT.chat.completions
    graph = create_agent(model, [distance_of], checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": str(number)}}
    for turn in range(TURNS):
        result = await graph.ainvoke({"messages": [{"role": "user", "content": asked(number, turn)}]}, thread)
        check(number, turn, result["messages"][-1].text)


async def by_graph_that_chains(number):
    await by_graph(number, use_previous_response_id=True)


async def by_graph_with_encrypted_reasoning(number):
    include = ["reasoning.encrypted_content"]
    await by_graph(number, store=False, include=include, reasoning={"effort": "low"}, output_version="responses/v1")


async def by_files(number):
    """OpenAI's SDK: a file, streams, what is kept, and work in the background."""
    upload = await CLIENT.files.create(file=("island.txt", io.BytesIO(FILE)), purpose="user_data")
    part = {"type": "input_file", "file_id": upload.id}
    last = None
    for turn in range(TURNS):
        text = {"type": "input_text", "text": f"What of it in turn {turn}?"}
        ask = {"model": MODEL, "previous_response_id": last, "input": [{"role": "user", "content": [part, text]}]}
        if turn % 2:
            async for event in await CLIENT.responses.create(stream=True, **ask):
                response = getattr(event, "response", None)
            last = response.id
        else:
            last = (await CLIENT.responses.create(**ask)).id
        kept = await CLIENT.responses.retrieve(last)
        assert kept.id == last and kept.status == "completed", kept
        content = await CLIENT.files.content(upload.id)
        assert content.content == FILE
    work = await CLIENT.responses.create(model=MODEL, input="Tell me of all islands.", background=True)
    while work.status in ("queued", "in_progress"):
        await asyncio.sleep(0.2)
        work = await CLIENT.responses.retrieve(work.id)
    assert work.status == "completed" and work.output_text, work
    assert (await CLIENT.files.delete(upload.id)).deleted


async def by_messages(number):
    """Anthropic's SDK, with a tool."""
    schema = {"type": "object", "properties": {"island": {"type": "string"}}, "required": ["island"]}
    tools = [{"name": "distance", "description": "How far away an island is.", "input_schema": schema}]
    messages = []
    for turn in range(TURNS):
        messages.append({"role": "user", "content": asked(number, turn)})
        while True:
            answer = await CLAUDE_CLIENT.messages.create(
                model=CLAUDE, max_tokens=200, messages=messages, tools=tools, metadata={"user_id": f"user-{number}"}
            )
            messages.append({"role": "assistant", "content": answer.content})
            used = [block for block in answer.content if block.type == "tool_use"]
            if not used:
                break
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": measured(block.input["island"])} for block in used
            ]
            messages.append({"role": "user", "content": results})
        check(number, turn, answer.content[-1].text)


KINDS = [
    by_previous_response,
    by_conversation,
    by_graph_that_chains,
    by_graph_with_encrypted_reasoning,
    by_files,
    by_messages,
]


async def hold(number, room):
    kind = KINDS[number % len(KINDS)]
    async with room:
        try:
            await kind(number)
            calls["conversations"] += 1
        except Exception as error:
            failures.append(f"{kind.__name__} {number}: {type(error).__name__}: {error}")


async def main():
    room = asyncio.Semaphore(ABREAST)
    await asyncio.gather(*(hold(number, room) for number in range(CONVERSATIONS)))
    print(f"{calls['conversations']} of {CONVERSATIONS} conversations, {sum(calls.values()) - calls['conversations']} calls")
    if failures:
        sys.exit("\n".join(failures))


asyncio.run(main())
