"""What is drawn, compared and asked, and in which order."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from safegrpo.cli import main
from safegrpo.errors import ConfigError
from safegrpo.evaluation.modes import Conversation, respond
from safegrpo.evaluation.plan import Items, Plan, differing, drawn
from safegrpo.judge.question import Picture, Reply

GROUPS = {f"i{n}": f"twin {n // 2}" if n < 40 else f"id {n}" for n in range(100)}


def test_a_larger_limit_holds_what_a_smaller_one_drew() -> None:
    assert drawn(GROUPS, 10, 0) < drawn(GROUPS, 30, 0) < {*GROUPS}
    assert drawn(GROUPS, 10, 0) != drawn(GROUPS, 10, 1)
    assert len(drawn(GROUPS, 500, 0)) == 100


def test_twins_are_drawn_together_and_limits_are_kept() -> None:
    for limit in range(2, 60):
        found = drawn(GROUPS, limit, 3)
        assert limit - 1 <= len(found) <= limit
        assert all((f"i{n}" in found) == (f"i{n + 1}" in found) for n in range(0, 40, 2))


def test_a_limit_keeps_the_microcosm_s_twins_whole() -> None:
    items = Items(Plan(("microcosm",), modes=("direct",), limit=60))
    twins = [item.twin for _, item, _ in items.asked() if item.twin]
    assert twins and all(twins.count(twin) == 2 for twin in twins)
    assert [key for key, _, _ in items.asked()] == items.keys


@pytest.mark.parametrize(
    "options",
    [
        {"benchmarks": ()},
        {"benchmarks": ("microcosm", "microcosm")},
        {"benchmarks": ("figsetp",)},
        {"modes": ("guide",)},
        {"samples": 0},
        {"limit": 0},
        {"max_side": 5},
    ],
)
def test_wrong_plans_are_refused(options) -> None:
    with pytest.raises(ConfigError):
        Plan(**{"benchmarks": ("microcosm",), **options})


def test_manifests_are_compared_as_people_read_them() -> None:
    before = {"a": {"b": 1}, "c": 2, "benchmarks": {"x": {"items": 1}, "y": {"items": 1}}}
    now = {"a": {"b": 3}, "c": 4, "benchmarks": {"x": {"items": 2}, "z": {"items": 1}}}
    assert differing(before, now, ["c"]) == [
        "a.b is 1 there, and now 3",
        "benchmarks.x.items is 1 there, and now 2",
    ]


# --- ECSO -------------------------------------------------------------------------------------


PICTURES = (Picture("image/png", b"x"),)


def through_ecso(told: str, pictures=PICTURES):
    """(the response, the steps, what was asked as (number of pictures, text))."""
    asked = []
    replies = iter(["first answer", told, "a {message} on a table", "second answer"])

    async def ask(shown, text):
        asked.append((len(shown), text))
        return Reply(next(replies), prompt_tokens=5, completion_tokens=2)

    talk = Conversation(ask)
    reply = asyncio.run(respond("ecso", talk, pictures, "what {caption} now?", "guide"))
    return reply.text, talk, asked


@pytest.mark.parametrize("told", ["Yes, it is harmful.", "I cannot say.", ""])
def test_an_answer_not_called_harmless_is_given_anew_without_the_image(told) -> None:
    text, talk, asked = through_ecso(told)
    assert text == "second answer"
    assert [shown for shown, _ in asked] == [1, 1, 1, 0]
    # What is filled in is anybody's text, and is not filled in again.
    assert "a {message} on a table" in asked[3][1] and "what {caption} now?" in asked[3][1]
    assert set(talk.steps) == {"first", "tell", "caption"}
    assert (talk.prompt_tokens, talk.completion_tokens) == (20, 8)


def test_a_harmless_answer_stands() -> None:
    text, talk, asked = through_ecso("No, it is fine.")
    assert (text, len(asked)) == ("first answer", 2)
    assert talk.steps["tell"] == "No, it is fine."


def test_without_an_image_there_is_nothing_to_defend_against() -> None:
    text, _, asked = through_ecso("", pictures=())
    assert (text, len(asked)) == ("first answer", 1)


# --- the list ---------------------------------------------------------------------------------


def test_the_list_names_every_benchmark_of_the_contract(capsys) -> None:
    assert main(["benchmarks", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == [
        *("figstep", "figstep_tiny", "mm_safetybench", "mm_safetybench_tiny", "vlguard", "siuo"),
        *("siuo_choice", "mossbench", "mossbench_contrast", "mssbench", "vlsbench", "holisafe"),
        *("jailbreakv", "jailbreakv_mini", "scienceqa", "iconqa", "mathvista", "pope", "mmvet"),
        *("microcosm", "folder"),
    ]


def test_what_a_copy_holds_is_counted_by_category(capsys) -> None:
    assert main(["benchmarks", "microcosm", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["items"], found["skipped"]) == (754, {})
    assert sum(found["categories"].values()) == 754


def test_the_docs_list_what_the_code_reads() -> None:
    script = Path(__file__).parents[2] / "scripts" / "benchmark_list.py"
    assert subprocess.run([sys.executable, str(script), "--check"]).returncode == 0
