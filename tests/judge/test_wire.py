"""What comes over the wire, byte for byte: bodies of any kind and size, headers, and the key."""

import asyncio
import base64
import gzip
import json
import os

import pytest

from safegrpo.errors import ConfigError
from safegrpo.judge import wire
from safegrpo.judge.endpoint import Endpoint
from safegrpo.judge.question import CallError, JudgeError
from safegrpo.judge.secret import Secret

from .conftest import KEY, question

DONE = {"choices": [{"index": 0, "message": {"content": "said"}, "finish_reason": "stop"}]}


def asked(*answers: bytes, key: str | None = KEY, times: int = 1, **options):
    """(what `times` askings gave, the requests' heads) of a server that gives these, in turn."""

    async def go():
        heads = []

        async def serve(reader, writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(line for line in head.lower().split("\r\n") if "content-length" in line)
            await reader.readexactly(int(length.partition(":")[2]))
            heads.append(head)
            writer.write(answers[min(len(heads), len(answers)) - 1])
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**22)
        port = server.sockets[0].getsockname()[1]
        judge = Endpoint(f"http://127.0.0.1:{port}/v1", "judge", key, timeout=5, **options)
        found = []
        for _ in range(times):
            try:
                found.append(await judge.ask(question()))
            except (CallError, JudgeError) as error:
                found.append(error)
        await judge.close()
        server.close()
        return found, heads

    return asyncio.run(go())


def answer(body: object = DONE, status: str = "200 OK", kind: str = "application/json", *more: str):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(data)}", *more]
    return "\r\n".join([*head, "", ""]).encode() + data


@pytest.mark.parametrize(
    "body",
    [
        answer(),
        answer(kind="text/plain"),
        answer(
            gzip.compress(json.dumps(DONE).encode()),
            "200 OK",
            "application/json",
            "Content-Encoding: gzip",
        ),
        answer({**DONE, "usage": {"prompt_tokens": 10**400, "completion_tokens": "many"}}),
        answer({"choices": [{"message": {"content": [{"type": "text", "text": "said"}]}}]}),
    ],
)
def test_completions_come_in_many_forms(body: bytes) -> None:
    ((reply,), _) = asked(body)
    assert reply.text == "said"


def test_a_refusal_may_come_as_a_part() -> None:
    parts = [{"type": "refusal", "refusal": "no"}]
    ((reply,), _) = asked(answer({"choices": [{"message": {"content": parts}}]}))
    assert (reply.text, reply.refusal) == (None, "no")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'data: {"choices": []}\n\n',
        b'{"choices": {}}',
        b'{"error": "nothing"}',
        b"\xff\xfe\x00",
        b'{"pad": "' + b"x" * wire.LARGEST_BODY + b'"}',
    ],
)
def test_what_is_no_completion_is_an_error_after_few_tries(body: bytes) -> None:
    ((error,), heads) = asked(answer(body))
    assert isinstance(error, CallError) and len(heads) == 3


def test_a_compressed_body_is_bounded_before_it_is_unpacked() -> None:
    bomb = gzip.compress(os.urandom(300_000) + b"0" * 10_000_000)
    ((error,), _) = asked(answer(bomb, "200 OK", "application/json", "Content-Encoding: gzip"))
    assert "larger than 256 KiB" in str(error)


def test_redirects_are_not_followed() -> None:
    moved = answer(b"", "307 Temporary Redirect", "text/plain", "Location: http://127.0.0.1:9/v1")
    ((error,), heads) = asked(moved)
    assert isinstance(error, CallError) and len(heads) == 1


def test_retry_after_of_nothing_is_no_reason_to_hurry() -> None:
    limited = answer(
        {"error": {"message": "slow"}}, "429 Too Many", "application/json", "Retry-After: 0"
    )
    ((reply,), heads) = asked(*[limited] * 5, answer())
    assert reply.text == "said" and len(heads) == 6


def test_one_forbidden_question_is_refused_and_ends_no_run() -> None:
    flagged = answer({"error": {"message": "input was flagged", "code": 403}}, "403 Forbidden")
    ((refused, reply), _) = asked(flagged, answer(), times=2)
    assert refused.finish == "content_filter" and reply.text == "said"
    denied = answer({"error": {"message": "no access"}}, "403 Forbidden")
    (found, _) = asked(denied, times=3)
    assert [type(one) for one in found] == [CallError, CallError, JudgeError]


def test_messages_that_quote_a_question_change_nothing() -> None:
    said = "bad request: item says unsupported temperature and max_tokens"
    quoted = answer({"error": {"message": said}}, "400 Bad Request")
    (found, heads) = asked(answer(), quoted, answer(), times=3)
    assert [getattr(one, "text", None) for one in found] == ["said", None, "said"]
    assert len(heads) == 3


def test_questions_that_are_too_large_end_no_run() -> None:
    large = answer({"error": {"message": "too large"}}, "413 Payload Too Large")
    (found, _) = asked(answer(), *[large] * 25, answer(), times=27)
    assert [type(one) for one in found[1:26]] == [CallError] * 25
    assert found[26].text == "said"


def test_nothing_of_the_environment_is_sent_but_the_key_that_was_named(monkeypatch) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "from-the-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-mine: from-the-environment")
    (_, (head,)) = asked(answer())
    assert "from-the-environment" not in head and f"Bearer {KEY}" in head
    (_, (head,)) = asked(answer(), key=None)
    assert "from-the-environment" not in head and "authorization" not in head.lower()
    assert os.environ["OPENAI_ORG_ID"] == "from-the-environment"


@pytest.mark.parametrize("url", ["http://[::1", "http://h:abc/v1", "http://h\x00/v1"])
def test_a_url_that_is_none_is_told(url: str) -> None:
    with pytest.raises(ConfigError):
        Endpoint(url, "judge")


def test_a_balance_that_is_spent_ends_a_run() -> None:
    spent = answer({"error": {"message": "insufficient balance"}}, "402 Payment Required")
    (found, heads) = asked(answer(), spent, times=2)
    assert isinstance(found[1], JudgeError) and len(heads) == 2


def test_an_endpoint_that_takes_no_question_is_given_up() -> None:
    unknown = answer({"error": {"message": "no such model"}}, "400 Bad Request")
    (found, _) = asked(unknown, times=20)
    assert [type(one) for one in found] == [CallError] * 19 + [JudgeError]


def test_a_halted_endpoint_waits_for_nothing() -> None:
    async def go():
        limited = answer(
            {"error": {"message": "slow"}}, "429 Too Many", "application/json", "Retry-After: 60"
        )
        server = await asyncio.start_server(
            lambda _, writer: (writer.write(limited), writer.close()), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        judge = Endpoint(f"http://127.0.0.1:{port}/v1", "judge", timeout=5)
        waiting = asyncio.create_task(judge.ask(question()))
        await asyncio.sleep(0.3)
        judge.halt()
        with pytest.raises(CallError, match="interrupted"):
            await asyncio.wait_for(waiting, 5)
        await judge.close()
        server.close()

    asyncio.run(go())


HIDDEN = [
    KEY,
    " ".join(KEY),
    "".join(f"\\u{ord(c):04x}" for c in KEY),
    "".join(f"\\u{ord(c):04X}" for c in KEY),
    KEY.encode().hex(),
    base64.b64encode(KEY.encode()).decode(),
    base64.b64encode(f"Bearer {KEY}".encode()).decode(),
]


@pytest.mark.parametrize("shown", HIDDEN)
def test_the_key_is_blotted_out_in_every_form(shown: str) -> None:
    said = Secret(KEY).blot(f"it was {shown}, so")
    assert "[key]" in said and KEY not in said
    assert shown[6:-6] not in said


def test_a_stand_in_for_a_key_is_a_word_like_any_other() -> None:
    assert Secret("EMPTY").blot("the list is EMPTY") == "the list is EMPTY"
    assert Secret(None).blot("none") == "none"
    for text in (r'{"a": "\u0022\u00e9\n"}', r'{"a": "it hides \\u0063 and \\\\u0062"}'):
        assert Secret(KEY).blot(text) == text


def test_a_key_with_spaces_is_blotted_in_bounded_time() -> None:
    assert Secret("a     bcdefg").blot("a" + " " * 3000) == "a" + " " * 3000
