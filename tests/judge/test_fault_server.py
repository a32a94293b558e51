import asyncio
import http.client
import json
import socket
import time
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from .fault_server import FAULTS, FaultServer, right_answer, running_server

KEY = "Bearer sk-secret"
SCHEMA = {
    "type": "object",
    "properties": {
        "verdict": {"enum": ["safe", "unsafe"]},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
        "notes": {"type": "array", "items": {"$ref": "#/$defs/note"}, "minItems": 2},
    },
    "$defs": {"note": {"type": "string", "maxLength": 8}},
}
AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "rating", "schema": SCHEMA}}


def question(item=1, **fields):
    text = {"type": "text", "text": f"Rate item-{item}."}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "system", "content": "item-0"}, {"role": "user", "content": [text, image]}]
    return {"model": "judge", "messages": messages, **fields}


def connect(url):
    return closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10))


def post(url, payload, connection=None, **options):
    """(status, headers, body) of one question."""
    if connection is None:
        with connect(url) as fresh:
            return post(url, payload, fresh, **options)
    headers = {"Authorization": KEY, "Content-Type": "application/json"}
    body = json.dumps(payload).encode()
    if options.get("encode_chunked"):
        body, headers["Transfer-Encoding"] = iter([body[:9], body[9:]]), "chunked"
    connection.request("POST", "/v1/chat/completions", body, headers, **options)
    reply = connection.getresponse()
    return reply.status, reply.headers, reply.read()


def content_of(body):
    return json.loads(body)["choices"][0]["message"]["content"]


def ask(payload, *, times=1, **options):
    """What a server in this process replied to each of `times` questions, and its log."""

    async def run():
        async with FaultServer(**options) as server:
            got = [await asyncio.to_thread(post, server.url, payload) for _ in range(times)]
            return got, server.calls()

    return asyncio.run(run())


def test_plain_answer_is_a_chat_completion_and_the_same_again():
    replies, rows = ask(question(), times=2)
    first, second = (content_of(body) for _, _, body in replies)
    assert first == second == right_answer(question())
    assert [set(part) for part in json.loads(first).values()] == [
        {"reason", "score", "confidence"}
    ] * 3
    assert json.loads(replies[0][2])["usage"]["prompt_tokens"] > 85
    assert rows[0]["key"] == rows[1]["key"]
    assert {**rows[1], "key": ""} == {
        "n": 1,
        "key": "",
        "answered": True,
        "fault": None,
        "status": 200,
        "format": None,
        "model": "judge",
        "id": "item-1",
        "in_flight": 1,
        "over": False,
    }


def test_answers_keep_to_the_schema():
    for item in range(50):
        value = json.loads(right_answer(question(item, response_format=AS_SCHEMA)))
        assert value["verdict"] in ("safe", "unsafe") and 1 <= value["score"] <= 5
        assert len(value["notes"]) >= 2 and max(map(len, value["notes"])) <= 8


STATUSES = {
    "rate_limit": 429,
    "rate_limit_date": 429,
    "rate_limit_bare": 429,
    "server_error": 500,
    "bad_gateway": 502,
    "unauthorized": 401,
    "not_found": 404,
    "content_filter_error": 400,
    "bad_request": 400,
    "echo_key": 500,
}
LOST = {
    "cut_before": http.client.RemoteDisconnected,
    "cut_headers": http.client.IncompleteRead,
    "cut_body": http.client.IncompleteRead,
}
UNANSWERED = {"bad_envelope", "empty_body", "no_choices"}


@pytest.mark.parametrize("fault", [one for one in FAULTS if one not in LOST and one != "hang"])
def test_fault_is_met_and_logged(fault):
    [(status, headers, body)], [row] = ask(question(), script=[fault], slow=0.2)
    assert status == row["status"] == STATUSES.get(fault, 200) and row["fault"] == fault
    assert row["answered"] == (status == 200 and fault not in UNANSWERED)
    retry = headers["Retry-After"]
    assert bool(retry) == (fault in ("rate_limit", "rate_limit_date"))
    assert (KEY.encode() in body) == fault.startswith("echo_key")
    if fault == "rate_limit":
        assert 0.05 <= float(retry) <= 1
    if not row["answered"]:
        return
    choice = json.loads(body)["choices"][0]
    said, right = choice["message"]["content"], right_answer(question())
    plain = fault in ("slow_body", "echo_key_content", "duplicate_choices", "reordered_keys")
    if plain:
        assert list(json.loads(said)) != [] and (said == right) == (fault == "slow_body")
    elif fault in ("null_content", "refusal", "content_filter"):
        assert said is None
    else:
        with pytest.raises(ValueError):
            json.loads(said)
    if fault in ("two_objects", "fenced", "thinking"):
        assert right in said
    if fault == "reordered_keys":
        assert json.loads(said) == json.loads(right)
    finish = {"truncated": "length", "content_filter": "content_filter"}
    assert choice["finish_reason"] == finish.get(fault, "stop")
    assert bool(choice["message"]["refusal"]) == (fault == "refusal")


def test_duplicate_choices_come_with_the_right_one_last():
    [(_, _, body)], _ = ask(question(), script=["duplicate_choices"])
    wrong, right = json.loads(body)["choices"]
    assert (wrong["index"], right["index"]) == (1, 0)
    assert right["message"]["content"] == right_answer(question()) != wrong["message"]["content"]


@pytest.mark.parametrize("fault", LOST)
def test_lost_connection_is_logged_as_unanswered(fault):
    with running_server(faults={fault: 1}) as server:
        with pytest.raises(LOST[fault]):
            post(server.url, question())
        [row] = server.calls()
    assert row["fault"] == fault and not row["answered"]


@pytest.mark.parametrize("options", [{"delay": 30}, {"faults": {"hang": 1}}])
def test_client_that_goes_while_it_waits_is_logged_as_unanswered(options):
    with running_server(**options) as server:
        with connect(server.url) as connection:
            connection.request("POST", "/v1/chat/completions", json.dumps(question(7)))
            time.sleep(0.1)
            connection.sock.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 10
        while not (rows := server.calls()) and time.monotonic() < deadline:
            time.sleep(0.02)
    assert [(row["id"], row["answered"], row["status"]) for row in rows] == [
        ("item-7", False, None)
    ]


def test_process_serves_many_big_questions_on_one_connection():
    with running_server(
        faults={"server_error": 0.3}, fault_for={"item-3": "refusal"}, seed=5, max_concurrent=1
    ) as server:
        with connect(server.url) as connection:
            for item in range(60):
                payload = question(item, padding="x" * 115_000)
                post(server.url, payload, connection, encode_chunked=item % 2 == 0)
        rows = server.calls()
    assert [row["id"] for row in rows] == [f"item-{item}" for item in range(60)]
    assert rows[3]["fault"] == "refusal" and {row["in_flight"] for row in rows} == {1}
    drawn = [row["fault"] for row in rows if row["id"] != "item-3"]
    assert 8 <= drawn.count("server_error") <= 28
    assert server.calls() == rows


@pytest.mark.parametrize(
    ("options", "fields", "param"),
    [
        ({"supports": "json_object"}, {"response_format": AS_SCHEMA}, "response_format"),
        ({"supports": "text"}, {"response_format": {"type": "json_object"}}, "response_format"),
        ({"reject_parameter": ["max_tokens"]}, {"max_tokens": 9}, "max_tokens"),
        ({"reject_parameter": ["temperature"]}, {"temperature": 0}, "temperature"),
    ],
)
def test_unsupported_is_refused(options, fields, param):
    [(status, _, body)], [row] = ask(question(**fields), **options)
    assert status == row["status"] == 400 and json.loads(body)["error"]["param"] == param
    [(status, _, _)], _ = ask(question(), **options)
    assert status == 200


def test_scripts_of_answers_and_faults_are_used_up_in_order():
    replies, rows = ask(
        question(),
        times=3,
        script=[None, "unauthorized"],
        faults={"refusal": 1},
        answer=lambda payload: {"content": "mine", "reasoning": payload["model"]},
    )
    assert [row["fault"] for row in rows] == [None, "unauthorized", "refusal"]
    message = json.loads(replies[0][2])["choices"][0]["message"]
    assert (message["content"], message["reasoning"]) == ("mine", "judge")


def test_broken_script_of_answers_is_not_swallowed():
    def answer(payload):
        raise KeyError("broken")

    async def run():
        async with FaultServer(answer=answer) as server:
            with pytest.raises(http.client.RemoteDisconnected):
                await asyncio.to_thread(post, server.url, question())

    with pytest.raises(KeyError):
        asyncio.run(run())


def test_unknown_fault_is_refused():
    with pytest.raises(ValueError, match="rate_limits"):
        FaultServer(faults={"rate_limits": 1})
