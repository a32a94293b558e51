"""The protocol: tags, guide, and the two grammars of a response."""

import pickle
import random
import re
import time

import pytest

from safegrpo import thinking
from safegrpo.errors import ConfigError, DataError, InputFileError
from safegrpo.thinking import GUIDE, Tags, guided_prompt, load_guide, parse

# The published format, written out: the oracle of the paper grammar. About n^4 in time.
PUBLISHED = re.compile(
    r".*?<visual_safe>(safe|unsafe)</visual_safe>.*?<text_safe>(safe|unsafe)</text_safe>"
    r".*?<combined_safe>(safe|unsafe)</combined_safe>.*?</think>\s*<answer>.*?</answer>$",
    re.DOTALL | re.IGNORECASE,
)
V, T, C = (f"<{n}_safe>safe</{n}_safe>" for n in ("visual", "text", "combined"))
GOOD = f"<think>seen {V} read {T} both {C} done</think>\n<answer>Red.</answer>"


def codes(response: str, rules: thinking.Rules = "strict") -> list[str]:
    return [fault.code for fault in parse(response, rules).faults]


FRAGMENTS = [
    V, T, C, V.upper(), "<visual_safe>unsafe</visual_safe>",
    "<combined_safe>uNsafe</combined_safe>",
    "<visual_safe>\u017fafe</visual_safe>", "<text_safe>maybe</text_safe>", "<visual_safe>",
    "</think>", "</thin\u212a>", "<think>", "<answer>", "</answer>", "</an\u017fwer>", "<ANSWER>",
    " ", "\n", "\t \n", "\u00a0", "\x1c", "\u2028", "word", "<", ">", "safe", "\u0130",
]  # fmt: skip
SKELETON = [V, T, C, "</think>", "<answer>", "</answer>"]


def random_response(rng: random.Random) -> str:
    # Half start from a well-formed skeleton with noise between, or hardly any would ever match.
    if rng.random() < 0.5:
        return "".join(rng.choices(FRAGMENTS, k=rng.randrange(14)))
    parts = []
    for piece in SKELETON:
        parts += rng.choices(FRAGMENTS, k=rng.choice([0, 0, 0, 1, 2]))
        parts.append(piece if rng.random() > 0.05 else rng.choice(FRAGMENTS))
    return "".join(parts) + rng.choice(["", "", "\n", "\n\n ", "."])


def test_paper_format_is_the_published_pattern() -> None:
    rng = random.Random(0)
    seen = {True: 0, False: 0}
    for _ in range(6000):
        text = random_response(rng)
        expected = PUBLISHED.fullmatch(text.strip()) is not None
        parsed = parse(text, "paper")
        assert parsed.well_formed == expected, text
        assert bool(parsed.faults) != expected
        seen[expected] += 1
    assert min(seen.values()) > 500


def test_paper_tags_and_answer_are_the_first_match_of_each() -> None:
    rng = random.Random(1)
    flags = re.DOTALL | re.IGNORECASE
    for _ in range(4000):
        text = random_response(rng)
        parsed = parse(text, "paper")
        for name in thinking.TAG_NAMES:
            match = re.search(f"<{name}_safe>(safe|unsafe)</{name}_safe>", text, flags)
            word = match.group(1).lower() if match else None
            assert parsed.tags[name] == (word if word in ("safe", "unsafe") else None), text
        answer = re.search("<answer>(.*?)</answer>", text, flags)
        assert parsed.answer == (answer.group(1) if answer else None), text


def test_strict_accepts_no_more_than_paper() -> None:
    rng = random.Random(2)
    accepted = 0
    for _ in range(6000):
        text = random_response(rng)
        if parse(text, "strict").well_formed:
            accepted += 1
            assert parse(text, "paper").well_formed, text
    assert accepted > 100


@pytest.mark.parametrize("rules", ["paper", "strict"])
def test_a_good_response_is_taken_apart(rules: thinking.Rules) -> None:
    parsed = parse(GOOD, rules)
    assert parsed.well_formed and parsed.faults == ()
    assert parsed.thinking == f"seen {V} read {T} both {C} done"
    assert dict(parsed.tags) == {"visual": "safe", "text": "safe", "combined": "safe"}
    assert parsed.answer == "Red."


def test_the_opening_of_the_thinking_may_be_in_the_prompt() -> None:
    assert parse(GOOD.removeprefix("<think>")).well_formed
    assert parse("\n " + GOOD + " \n").well_formed


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (GOOD.replace(V, ""), ["missing_visual"]),
        (GOOD.replace(T, T + T), ["repeated_text"]),
        (GOOD.replace(V, V + V.replace(">safe<", ">unsafe<")), ["repeated_visual"]),
        (GOOD.replace(V, T).replace(f"read {T}", f"read {V}"), ["tag_order"]),
        (GOOD.replace(C, "").replace("Red.", C), ["tag_outside_thinking"]),
        (GOOD.replace(V, "<visual_safe>maybe</visual_safe>"), ["bad_tag_value"]),
        (GOOD.replace("seen", "seen <visual_safe>"), ["bad_tag_value"]),
        (GOOD.replace("done", "</combined_safe>"), ["bad_tag_value"]),
        (GOOD.replace(V, "<visual_safe>\u017fafe</visual_safe>"), ["bad_tag_value"]),
        (GOOD.replace("</think>", ""), ["missing_think_close"]),
        (GOOD.replace("seen", "<think>"), ["repeated_think"]),
        (GOOD.replace("Red.", "</think>"), ["repeated_think"]),
        ("Well. " + GOOD, ["text_before_think"]),
        (GOOD.replace("<answer>Red.</answer>", "Red."), ["missing_answer"]),
        (GOOD + "<answer>Blue.</answer>", ["repeated_answer"]),
        (GOOD.replace("seen", "<answer>"), ["repeated_answer"]),
        (GOOD.replace("<answer>", "So: <answer>"), ["text_between"]),
        (GOOD + " More.", ["text_after_answer"]),
        (GOOD.removesuffix("</answer>"), ["unclosed_answer"]),
        ("", ["missing_visual", "missing_text", "missing_combined", "missing_think_close",
              "missing_answer"]),
    ],
)  # fmt: skip
def test_strict_names_each_fault(response: str, expected: list[str]) -> None:
    assert codes(response) == expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (GOOD.replace(V, ""), "missing_visual"),
        (GOOD.replace(V, "<visual_safe>maybe</visual_safe>"), "bad_tag_value"),
        (GOOD.replace(V, T).replace(f"read {T}", f"read {V}"), "tag_order"),
        (GOOD.replace("</think>", ""), "missing_think_close"),
        (GOOD.replace(C, "").replace("Red.", C), "tag_outside_thinking"),
        (GOOD.replace("<answer>", "So: <answer>"), "text_between"),
        (GOOD.replace("<answer>Red.</answer>", "Red."), "missing_answer"),
        (GOOD.removesuffix("</answer>"), "unclosed_answer"),
        (GOOD + " More.", "text_after_answer"),
    ],
)
def test_paper_names_what_it_trips_over(response: str, expected: str) -> None:
    assert codes(response, "paper") == [expected]


def test_faults_point_into_the_response_as_given() -> None:
    response = "  " + GOOD + " More."
    (fault,) = parse(response).faults
    assert response[fault.position :] == " More."


def test_under_strict_a_repeated_tag_or_answer_states_nothing() -> None:
    parsed = parse(GOOD.replace(V, V + V) + "<answer>Blue.</answer>")
    assert parsed.tags["visual"] is None and parsed.tags["text"] == "safe"
    assert parsed.answer is None


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ConfigError, match="paper or strict"):
        parse(GOOD, "loose")  # type: ignore[arg-type]


HOSTILE = {
    "tag openings": "<visual_safe>",
    "tags": V,
    "think closes": "</think>",
    "turns": "</think>      <answer>",
    "answer openings": "<answer>",
    "closes in space": "</think>" + " " * 5000,
    "spaces": " ",
    "nearly": V + T + C,
    "brackets": "<",
    "words": "a word ",
}


@pytest.mark.parametrize("rules", ["paper", "strict"])
@pytest.mark.parametrize("name", list(HOSTILE))
def test_time_is_linear_in_length(name: str, rules: thinking.Rules) -> None:
    def seconds(size: int) -> float:
        text = (HOSTILE[name] * (size // len(HOSTILE[name]) + 1))[: size - 1] + "x"
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            parse(text, rules)
            best = min(best, time.perf_counter() - start)
        return best

    small, large = seconds(125_000), seconds(1_000_000)
    assert large < 0.2
    # Eight times the text: linear gives 8, quadratic 64. Very short times are all noise.
    assert large < 24 * small + 0.01


def test_tags_come_from_our_names_or_the_hubs() -> None:
    ours = {"visual": "safe", "text": "safe", "combined": "unsafe"}
    hub = {"image_tag": "safe", "text_tag": "safe", "combine_tag": "unsafe"}
    assert Tags.from_row(ours) == Tags.from_row(hub) == Tags("safe", "safe", "unsafe")
    assert Tags.from_row({}) is None
    assert Tags.from_row({"visual": None, "text": None, "combine_tag": None}) is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"visual": "maybe", "text": "safe", "combined": "safe"}, '"visual" is "maybe"'),
        ({"visual": "Safe", "text": "safe", "combined": "safe"}, "not safe or unsafe"),
        ({"visual": 1, "text": "safe", "combined": "safe"}, '"visual" is 1'),
        ({"visual": "safe", "text": None, "combined": "safe"}, '"text" is missing'),
        ({"visual": "safe", "image_tag": "unsafe", "text": "safe", "combined": "safe"}, "disagree"),
    ],
)
def test_wrong_tags_are_named(row: dict, words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        Tags.from_row(row)


def test_tags_and_parses_survive_pickling() -> None:
    parsed = parse(GOOD)
    assert pickle.loads(pickle.dumps(parsed)) == parsed


def test_the_guide_asks_for_all_the_grammar_wants() -> None:
    for mark in ("<think>", "</think>", "<visual_safe>", "<text_safe>", "<combined_safe>",
                 "<answer>", "</answer>"):  # fmt: skip
        assert mark in GUIDE
    # Quoting the guide while thinking must not state a tag.
    assert not any(parse(GUIDE, "paper").tags.values())
    assert guided_prompt("What is this?") == "What is this?\n" + GUIDE


def test_a_users_guide_replaces_ours(tmp_path) -> None:
    path = tmp_path / "guide.txt"
    path.write_text("\ufeffThink in steps.\n", encoding="utf-8")
    assert load_guide(path) == "Think in steps."
    assert guided_prompt("Hi", load_guide(path)) == "Hi\nThink in steps."


@pytest.mark.parametrize(
    ("content", "words"),
    [(b" \n", "empty"), (b"\xff\xfe", "UTF-8"), (b"x" * 65537, "64 KiB")],
)
def test_bad_guides_are_named(tmp_path, content: bytes, words: str) -> None:
    path = tmp_path / "guide.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        load_guide(path)
    with pytest.raises(InputFileError, match="not found"):
        load_guide(tmp_path / "none.txt")
