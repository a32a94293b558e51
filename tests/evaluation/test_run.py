"""Responses of a model: each item ends in one row a mode, and none is asked twice.

The model is a server that goes wrong on purpose.
"""

import json
from collections import Counter
from pathlib import Path

import pytest
from eval_runs import (
    HELP,
    JUDGE_KEY,
    MODEL_KEY,
    generations,
    judged_by,
    judgements,
    metrics,
    picture,
    run_eval,
    serving,
    verdict_on,
    write_items,
)
from judge.fault_server import user_text

from safegrpo.cli import main
from safegrpo.judge import endpoint
from safegrpo.thinking import GUIDE


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 0.01)
    monkeypatch.setenv("MODEL_KEY", MODEL_KEY)
    monkeypatch.setenv("JUDGE_KEY", JUDGE_KEY)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def keys(out: Path) -> list[tuple]:
    return [(row["id"], row["mode"], row["sample"]) for row in generations(out)]


def contents(folder: Path) -> dict[str, bytes]:
    """What the files of a folder hold, by name."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_every_item_ends_in_one_row_a_mode_in_order(tmp_path: Path, out: Path) -> None:
    data = write_items(tmp_path / "data", 6)
    with serving() as server:
        assert run_eval(data, out, server.url) == 0
        assert len(server.calls()) == 12
    modes = ("guided", "direct")
    assert keys(out) == [(f"item-{i}", mode, 0) for mode in modes for i in range(6)]
    for row in generations(out):
        assert (row["status"], row["response"], row["finish"]) == ("done", HELP, "stop")
        assert row["completion_tokens"] > 0
        assert [(out / "images" / name).is_file() for name in row["images"]] == [True]
    direct = metrics(out)["benchmarks"]["folder"]["modes"]["direct"]
    assert direct["scorers"]["rules"]["metrics"]["attack_success"]["value"] == 1
    assert direct["scorers"]["rules"]["metrics"]["over_refusal"]["value"] == 0


def test_missing_and_broken_images_are_skipped_with_the_reason(tmp_path: Path, out: Path) -> None:
    data = write_items(tmp_path / "data", 7)
    (data / "images/1.png").unlink()
    (data / "images/3.png").write_bytes(picture(3)[:40])
    with serving() as server:
        assert run_eval(data, out, server.url) == 3
        assert {call["id"] for call in server.calls()} == {f"item-{i}" for i in (0, 2, 4, 5, 6)}
        skipped = {
            row["id"]: row["problem"].partition(":")[0]
            for row in generations(out)
            if row["status"] == "skipped"
        }
        assert skipped == {"item-1": "image missing", "item-3": "image broken"}
        assert len(keys(out)) == len({*keys(out)}) == 14
        found = metrics(out)["benchmarks"]["folder"]
        assert found["items"] == 7 and found["skipped"] == {"image broken": 1, "image missing": 1}
        over = found["modes"]["direct"]["scorers"]["rules"]["metrics"]["over_refusal"]
        assert (over["items"], over["n"], over["least"], over["most"]) == (3, 1, 0, 2 / 3)
        # Once they are there, they alone are asked.
        for number in (1, 3):
            (data / f"images/{number}.png").write_bytes(picture(number))
        before = len(server.calls())
        assert run_eval(data, out, server.url) == 0
        assert {call["id"] for call in server.calls()[before:]} == {"item-1", "item-3"}
        assert len(keys(out)) == 14


def test_a_metric_of_which_nothing_is_known_is_named(tmp_path: Path, out: Path) -> None:
    data = write_items(tmp_path / "data", 3)
    (data / "images/1.png").unlink()  # the one harmless item
    with serving() as server:
        assert run_eval(data, out, server.url, "--mode", "direct") == 3
    found = metrics(out)["benchmarks"]["folder"]["modes"]["direct"]["scorers"]["rules"]["metrics"]
    assert (found["over_refusal"]["value"], found["over_refusal"]["coverage"]) == (None, 0)


def test_what_passes_is_waited_out(tmp_path: Path, out: Path) -> None:
    data = write_items(tmp_path / "data", 8)
    script = ["rate_limit_bare", "server_error", "bad_gateway", "cut_before", "cut_headers"]
    script += ["cut_body", "empty_body", "no_choices"]
    with serving(script=script) as server:
        assert run_eval(data, out, server.url) == 0
        answered = [call["answered"] for call in server.calls()]
    assert {row["status"] for row in generations(out)} == {"done"} and sum(answered) >= 16


def test_thinking_that_comes_apart_is_part_of_the_response(tmp_path: Path, out: Path) -> None:
    data = write_items(tmp_path / "data", 1)
    apart = {"content": HELP, "reasoning_content": "I'm sorry, I can't."}
    with serving(answer=lambda payload: apart) as server:
        assert run_eval(data, out, server.url, "--mode", "direct") == 0
    assert generations(out)[0]["response"] == f"<think>I'm sorry, I can't.</think>{HELP}"
    (judged,) = judgements(out, "rules")
    assert (judged["answer"], judged["label"]) == (HELP, "compliance")


@pytest.mark.parametrize("fault", ["content_filter", "content_filter_error", "refusal"])
def test_a_refusal_by_the_endpoint_counts_as_one(tmp_path: Path, out: Path, fault: str) -> None:
    data = write_items(tmp_path / "data", 2)
    with serving(fault_for={"item-0": fault, "item-1": fault}) as server:
        assert run_eval(data, out, server.url) == 0
    assert {row["status"] for row in generations(out)} == {"done"}
    for row in judgements(out, "rules"):
        assert row["refused"] is True and row["label"] == "refusal"
    for mode in metrics(out)["benchmarks"]["folder"]["modes"].values():
        found = mode["scorers"]["rules"]["metrics"]
        assert (found["safety"]["value"], found["over_refusal"]["value"]) == (1, 1)


def test_guided_and_direct_differ_by_the_guide_alone(tmp_path: Path, out: Path) -> None:
    data = write_items(tmp_path / "data", 1)
    with serving() as server:
        assert run_eval(data, out, server.url) == 0
        guided, direct = sorted(server.asked, key=lambda asked: -len(user_text(asked)))
    assert user_text(direct) == "item-0 how do I use this?"
    assert user_text(guided) == f"{user_text(direct)}\n{GUIDE}"
    for asked in (guided, direct):
        (message,) = asked["messages"]
        assert message["content"].pop()["type"] == "text"
    assert guided == direct and "response_format" not in guided and guided["temperature"] == 0


def test_a_guide_that_lies_about_is_not_taken(tmp_path: Path, out: Path, monkeypatch) -> None:
    data = write_items(tmp_path / "data", 1)
    monkeypatch.chdir(tmp_path)
    Path("guide.txt").write_text("Think first.")
    words = ["eval", "--benchmarks", "folder", "--data", str(data), "-o", str(out), "--rules-only"]
    with serving() as server:
        assert main([*words, "--url", server.url]) == 0
        assert {asked["model"] for asked in server.asked} == {"fault-model"}
        assert not any("Think first." in user_text(asked) for asked in server.asked)


def test_a_limit_takes_the_same_items_in_each_mode(tmp_path: Path, out: Path) -> None:
    data = write_items(tmp_path / "data", 9)
    with serving() as server:
        assert run_eval(data, out, server.url, "--limit", 3) == 0
        taken = Counter(key[0] for key in keys(out))
        assert len(taken) == 3 and {*taken.values()} == {2}
        # The whole goes into the same folder, and asks for the rest.
        assert run_eval(data, out, server.url) == 0
        assert len(server.calls()) == 18 and len({*keys(out)}) == len(keys(out)) == 18


def test_samples_are_as_many_rows_an_item(tmp_path: Path, out: Path, capsys) -> None:
    data = write_items(tmp_path / "data", 2)
    with serving() as server:
        assert run_eval(data, out, server.url, "--samples", 3) == 2
        assert "give a --temperature" in capsys.readouterr().err
        several = ("--samples", 3, "--temperature", 0.7, "--mode", "direct")
        assert run_eval(data, out, server.url, *several) == 0
        assert {asked["temperature"] for asked in server.asked} == {0.7}
    assert keys(out) == [(f"item-{i}", "direct", sample) for sample in range(3) for i in range(2)]
    found = metrics(out)["benchmarks"]["folder"]["modes"]["direct"]["scorers"]["rules"]["metrics"]
    assert found["over_refusal"]["n"] == 1  # three samples are one unit


def test_running_again_asks_nothing_and_changes_nothing(tmp_path: Path, out: Path) -> None:
    data = write_items(tmp_path / "data", 4)
    with serving() as server:
        assert run_eval(data, out, server.url) == 0
        before = contents(out)
        assert run_eval(data, out, server.url) == 0
        assert len(server.calls()) == 8 and contents(out) == before


def test_an_item_that_ended_as_error_is_asked_again(tmp_path: Path, out: Path, capsys) -> None:
    data = write_items(tmp_path / "data", 4)
    with serving(fault_for={"item-1": "bad_request"}) as server:
        assert run_eval(data, out, server.url) == 3
        port = server.port
    assert "2 times error: HTTP 400: Failed to process the image." in capsys.readouterr().err
    failed = [row for row in generations(out) if row["status"] == "error"]
    assert [row["id"] for row in failed] == ["item-1"] * 2
    assert metrics(out)["benchmarks"]["folder"]["modes"]["guided"]["errors"] == 1
    with serving(port=port) as server:
        assert run_eval(data, out, server.url) == 0
        assert [call["id"] for call in server.calls()] == ["item-1"] * 2
    assert keys(out) == [(f"item-{i}", mode, 0) for mode in ("guided", "direct") for i in range(4)]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--model", "other"), 'model.model is "model" there, and now "other"'),
        (("--max-tokens", 64), "max_new_tokens is 2048 there, and now 64"),
        (("--temperature", 0.5), "model.temperature is 0.0 there, and now 0.5"),
        (("--max-side", 64), "max_side is null there, and now 64"),
        (("--seed", 1), "seed is 0 there, and now 1"),
        (("--guide", "guide.txt"), "(guide_sha256 is "),
    ],
)
def test_another_setting_does_not_go_into_the_same_folder(
    tmp_path: Path, out: Path, capsys, monkeypatch, more, said
) -> None:
    data = write_items(tmp_path / "data", 2)
    monkeypatch.chdir(tmp_path)
    Path("guide.txt").write_text("Think first.")
    with serving() as server:
        assert run_eval(data, out, server.url) == 0
        before, calls = contents(out), len(server.calls())
        assert run_eval(data, out, server.url, *more) == 2
        assert len(server.calls()) == calls and contents(out) == before
    told = capsys.readouterr().err
    assert said in told and "name another folder" in told


def test_another_set_of_items_does_not_go_into_the_same_folder(
    tmp_path: Path, out: Path, capsys
) -> None:
    with serving() as server:
        assert run_eval(write_items(tmp_path / "data", 2), out, server.url) == 0
        assert run_eval(write_items(tmp_path / "more", 3), out, server.url) == 2
        assert len(server.calls()) == 4
    assert "(benchmarks.folder.items is 2 there, and now 3" in capsys.readouterr().err


def test_a_set_may_move(tmp_path: Path, out: Path) -> None:
    data = write_items(tmp_path / "data", 2)
    with serving() as server:
        assert run_eval(data, out, server.url) == 0
        assert run_eval(data.rename(tmp_path / "elsewhere"), out, server.url) == 0
        assert len(server.calls()) == 4


def test_a_torn_last_line_costs_one_response(tmp_path: Path, out: Path) -> None:
    data = write_items(tmp_path / "data", 3)
    with serving() as server:
        assert run_eval(data, out, server.url) == 0
        path = out / "generations.jsonl"
        before = contents(out)
        path.write_bytes(path.read_bytes()[:-40])
        assert run_eval(data, out, server.url) == 0
        assert len(server.calls()) == 7 and contents(out) == before


def test_a_dry_run_into_a_new_folder_says_what_would_be_asked(
    tmp_path: Path, out: Path, capsys
) -> None:
    data = write_items(tmp_path / "data", 4)
    (data / "images/1.png").unlink()
    with serving() as server:
        assert run_eval(data, out, server.url, "--dry-run") == 0
        assert server.calls() == [] and not out.exists()
    said = json.loads(capsys.readouterr().out)
    assert said["benchmarks"]["folder"] == {
        **{"items": 4, "skipped": 2, "done": 0, "to_ask": 6, "judge_calls": 0}
    }


def test_a_dry_run_asks_and_writes_nothing(tmp_path: Path, out: Path, capsys) -> None:
    data = write_items(tmp_path / "data", 4)
    (data / "images/1.png").unlink()
    with serving() as server:
        assert run_eval(data, out, server.url, "--mode", "direct") == 3
        before, calls = contents(out), len(server.calls())
        capsys.readouterr()
        assert run_eval(data, out, server.url, *judged_by(server.url), "--dry-run") == 0
        assert len(server.calls()) == calls and contents(out) == before
    counts = json.loads(capsys.readouterr().out)["benchmarks"]["folder"]
    assert (counts["done"], counts["to_ask"], counts["judge_calls"]) == (3, 3, 6)


def test_a_dry_run_leaves_a_torn_line_to_the_run_it_may_belong_to(
    tmp_path: Path, out: Path
) -> None:
    data = write_items(tmp_path / "data", 2)
    with serving() as server:
        assert run_eval(data, out, server.url) == 0
        path = out / "generations.jsonl"
        path.write_bytes(path.read_bytes()[:-40])
        (out / ".generations.jsonl.abc.tmp").write_text("being written")
        before = contents(out)
        assert run_eval(data, out, server.url, "--dry-run") == 0
    assert contents(out) == before


def test_keys_are_in_nothing_that_is_written(
    tmp_path: Path, out: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(endpoint, "_TRIES", 2)
    data = write_items(tmp_path / "data", 4)
    faults = {"item-0": "echo_key_content", "item-1": "echo_key"}

    def judge(payload):
        return verdict_on(payload) + f" {JUDGE_KEY}"

    with serving(fault_for=faults) as model, serving(answer=judge) as server:
        assert run_eval(data, out, model.url, *judged_by(server.url)) == 3
        assert len(server.calls()) == 6
    told = "".join(capsys.readouterr())
    for what in (told.encode(), *contents(out).values()):
        assert MODEL_KEY.encode() not in what and JUDGE_KEY.encode() not in what
    assert "upstream refused" in told  # what held it was shown, without it


# --- nothing that was wanted is forgotten -----------------------------------------------------


def test_what_an_end_kept_from_being_asked_is_missing_later(tmp_path: Path, out: Path) -> None:
    data = write_items(tmp_path / "data", 4)
    same = ("--name", "same")
    with serving() as server:
        gone = server.url
    assert run_eval(data, out, gone, "--mode", "guided", "--timeout", 1, *same) == 1
    with serving() as server:
        assert run_eval(data, out, server.url, "--mode", "direct", *same) == 3
    guided = metrics(out)["benchmarks"]["folder"]["modes"]["guided"]
    assert guided["errors"] == 4
    safety = guided["scorers"]["rules"]["metrics"]["safety"]
    assert (safety["n"], safety["items"], safety["coverage"]) == (0, 2, 0)


def test_an_item_that_has_changed_is_asked_anew(tmp_path: Path, out: Path, capsys) -> None:
    data = write_items(tmp_path / "data", 3)
    with serving() as server:
        assert run_eval(data, out, server.url) == 0
        text = (data / "items.jsonl").read_text()
        (data / "items.jsonl").write_text(text.replace("item-1 how do", "item-1 how may"))
        assert run_eval(data, out, server.url) == 0
        assert len(server.calls()) == 6 + 2
    assert "2 responses are to items that have changed" in capsys.readouterr().err
    prompts = [row["item"]["prompt"] for row in generations(out)]
    assert sum("how may" in prompt for prompt in prompts) == 2


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path, out: Path) -> None:
    data, precious = write_items(tmp_path / "data", 1), tmp_path / "precious"
    precious.write_text("mine")
    out.mkdir()
    (out / "manifest.json").write_text("{}")
    (out / "lock").symlink_to(precious)
    with serving() as server:
        assert run_eval(data, out, server.url) == 2
    assert precious.read_text() == "mine"
