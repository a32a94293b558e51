"""An endpoint as a judge: what goes wrong on the way, and what is made of it."""

import asyncio
import base64
import io
import logging
import time

import pytest
from PIL import Image

from safegrpo.data.rating import SCHEMA, Rating, rating_question
from safegrpo.judge.budget import Budget
from safegrpo.judge.endpoint import Endpoint
from safegrpo.judge.question import BudgetSpentError, CallError, JudgeError, Picture
from safegrpo.judge.reading import own_object

from .conftest import KEY, question, with_server
from .fault_server import FaultServer, right_answer


async def ask(server, judge):
    return await judge.ask(question())


def read(reply):
    return own_object(reply.text, Rating.from_reply)


@pytest.mark.parametrize(
    "fault",
    [
        *("rate_limit", "rate_limit_date", "rate_limit_bare", "server_error", "bad_gateway"),
        *("cut_before", "cut_headers", "cut_body", "bad_envelope", "empty_body", "no_choices"),
    ],
)
def test_what_passes_is_tried_again(fault: str) -> None:
    async def use(server, judge):
        reply = await ask(server, judge)
        return reply, server.calls()

    reply, calls = with_server(use, script=[fault, fault])
    assert read(reply)
    assert [call["fault"] for call in calls] == [fault, fault, None]


@pytest.mark.parametrize("fault", ["slow_body", "hang"])
def test_a_body_that_does_not_end_is_given_up(fault: str) -> None:
    """The client's own timeout starts again with every byte, and would wait for all of them."""
    start = time.monotonic()
    reply = with_server(ask, script=[fault], slow=30.0, timeout=0.5)
    assert read(reply)
    assert time.monotonic() - start < 10


def test_the_time_an_endpoint_asks_for_is_kept() -> None:
    async def use(server, judge):
        start = time.monotonic()
        await ask(server, judge)
        return time.monotonic() - start

    # The server's shortest is 50 ms, our own first wait here 10 ms.
    assert with_server(use, script=["rate_limit"]) >= 0.05


def test_an_endpoint_that_only_fails_ends_in_an_error_of_that_call() -> None:
    async def use(server, judge):
        await ask(server, judge)
        with pytest.raises(CallError, match=r"HTTP 500.*in vain"):
            await judge.ask(question("item-2"))

    with_server(use, fault_for={"item-2": "server_error"})


@pytest.mark.parametrize(
    ("supports", "format"),
    [("schema", "json_schema"), ("json_object", "json_object"), ("text", "text")],
)
def test_structured_output_falls_back_to_what_there_is(supports: str, format: str) -> None:
    async def use(server, judge):
        replies = [await judge.ask(question(f"item-{i}")) for i in range(3)]
        return replies, server.calls()

    replies, calls = with_server(use, supports=supports)
    assert [reply.format for reply in replies] == [format] * 3
    assert all(read(reply) for reply in replies)
    steps = ["json_schema", "json_object", "text"].index(format)
    assert len(calls) == 3 + steps  # found out once, not at every call


def test_one_bad_question_does_not_take_the_schema_from_the_others() -> None:
    async def use(server, judge):
        with pytest.raises(CallError):
            await judge.ask(question("item-7"))
        return await judge.ask(question("item-8"))

    assert with_server(use, fault_for={"item-7": "bad_request"}).format == "json_schema"


@pytest.mark.parametrize("name", ["max_tokens", "temperature"])
def test_parameters_that_a_model_does_not_take_are_left_out(name: str) -> None:
    async def use(server, judge):
        await ask(server, judge)
        await ask(server, judge)
        return server.calls()

    calls = with_server(use, reject_parameter=[name])
    assert [call["status"] for call in calls] == [400, 200, 200]


@pytest.mark.parametrize("fault", ["unauthorized", "not_found"])
def test_a_wrong_key_or_model_is_said_at_once(fault: str) -> None:
    async def use(server, judge):
        with pytest.raises(JudgeError, match=r"judge at http.*HTTP 40"):
            await ask(server, judge)
        return server.calls()

    assert len(with_server(use, script=[fault])) == 1


def test_nobody_there_is_said_soon() -> None:
    async def go():
        judge = Endpoint("http://127.0.0.1:9/v1", "judge", timeout=2.0)
        with pytest.raises(JudgeError, match="nobody answers"):
            await judge.ask(question())

    asyncio.run(go())


@pytest.mark.parametrize("fault", ["refusal", "content_filter", "content_filter_error"])
def test_refusals_that_the_endpoint_states_are_replies(fault: str) -> None:
    reply = with_server(ask, script=[fault])
    assert reply.refusal or reply.finish == "content_filter"


def test_the_choice_with_index_0_counts_wherever_it_stands() -> None:
    seen = []

    def answer(payload):
        seen.append(right_answer(payload))
        return seen[-1]

    reply = with_server(ask, script=["duplicate_choices"], answer=answer)
    assert reply.text == seen[0]


def test_images_are_sent_as_they_are() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 5), "red").save(buffer, "PNG")
    sent = []

    def answer(payload):
        sent.append(payload)
        return right_answer(payload)

    async def use(server, judge):
        picture = Picture("image/png", buffer.getvalue())
        await judge.ask(rating_question("item-1", [picture], "the policy"))

    with_server(use, answer=answer)
    (part,) = [p for p in sent[0]["messages"][1]["content"] if p["type"] == "image_url"]
    head, _, data = part["image_url"]["url"].partition(",")
    assert (head, base64.b64decode(data)) == ("data:image/png;base64", buffer.getvalue())
    assert sent[0]["response_format"]["json_schema"]["schema"] == SCHEMA


def test_the_key_is_nowhere_but_in_its_header(caplog: pytest.LogCaptureFixture) -> None:
    async def use(server, judge):
        reply = await ask(server, judge)
        with pytest.raises(CallError) as caught:
            await judge.ask(question("item-2"))
        return reply, caught.value

    caplog.set_level(logging.DEBUG)
    reply, error = with_server(use, script=["echo_key_content", *["echo_key"] * 8])
    assert "[key]" in reply.text and "[key]" in str(error)
    chain, texts = error, [repr(reply), caplog.text]
    while chain is not None:
        texts.append(repr(chain))
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    assert KEY not in "".join(texts)


def test_no_more_than_the_concurrency_is_under_way_and_no_less() -> None:
    async def go():
        async with FaultServer(delay=0.05) as server:
            judge = Endpoint(server.url, "judge", concurrency=5)
            await asyncio.gather(*(judge.ask(question(f"item-{i}")) for i in range(40)))
            await judge.close()
            return [call["in_flight"] for call in server.calls()]

    assert max(asyncio.run(go())) == 5


def test_calls_are_counted_and_bounded() -> None:
    budget = Budget(max_calls=3)

    async def use(server, judge):
        await ask(server, judge)
        await ask(server, judge)
        with pytest.raises(BudgetSpentError, match="--max-calls 3"):
            await ask(server, judge)
        return server.calls()

    assert len(with_server(use, budget, script=["server_error"])) == 3
    assert (budget.calls, budget.answered) == (3, 2)


def test_cost_is_counted_and_never_passed() -> None:
    budget = Budget(max_cost=0.05, price_in=10.0, price_out=10.0)

    async def use(server, judge):
        with pytest.raises(BudgetSpentError, match=r"--max-cost 0\.05"):
            while True:
                await ask(server, judge)

    with_server(use, budget)
    assert budget.answered > 0 and 0 < budget.cost <= 0.05
