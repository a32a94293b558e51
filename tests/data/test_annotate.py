"""Ratings of pairs: every pair ends in one row, and nothing is paid for twice."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from judge.fault_server import running_server
from PIL import Image

from safegrpo.cli import main
from safegrpo.data.images import ImageRef, image_as_sent
from safegrpo.data.rating import rating_question
from safegrpo.judge import endpoint

from .pairs_file import picture, rows, write_pairs

KEY = "sk-canary-0123456789"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 0.01)
    monkeypatch.setenv("JUDGE_KEY", KEY)


def annotate(pairs: Path, out: Path, url: str, *more: object) -> int:
    judge = ("--judge-url", url, "--judge-model", "judge", "--judge-key-env", "JUDGE_KEY")
    return main([str(word) for word in ("annotate", pairs, "-o", out, *judge, *more)])


def test_every_pair_gets_one_row_in_order(tmp_path: Path, capsys) -> None:
    pairs = write_pairs(tmp_path, 30)
    with running_server() as server:
        assert annotate(pairs, tmp_path / "out", server.url) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["statuses"] == {"scored": 30} and said["usage"]["calls"] == 30
        assert len(server.calls()) == 30
        found = rows(tmp_path / "out" / "scores.jsonl")
        assert [row["id"] for row in found] == [f"item-{i}" for i in range(30)]
        for row in found:
            for part in ("scores", "confidences", "reasons"):
                assert set(row[part]) == {"visual", "text", "combined"}
        # Again: nothing is asked, and the file is the same.
        before = (tmp_path / "out" / "scores.jsonl").read_bytes()
        assert annotate(pairs, tmp_path / "out", server.url) == 0
        assert len(server.calls()) == 30
        assert (tmp_path / "out" / "scores.jsonl").read_bytes() == before


def test_statuses_say_how_each_ended_and_running_again_tries_again(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 8)
    (tmp_path / "images" / "4.png").unlink()
    faults = {
        **{"item-1": "bad_json", "item-2": "refusal_text", "item-3": "refusal"},
        "item-5": "bad_request",
    }
    out = tmp_path / "out"
    with running_server(fault_for=faults) as server:
        assert annotate(pairs, out, server.url) == 3
        statuses = [row["status"] for row in rows(out / "scores.jsonl")]
        assert statuses == [
            *("scored", "unparseable", "refused", "refused", "skipped"),
            *("error", "scored", "scored"),
        ]
        for row in rows(out / "scores.jsonl"):
            assert (row["problem"] is None) == (row["status"] == "scored")
            assert (row["scores"] is None) == (row["status"] != "scored")
        asked = Counter(call["id"] for call in server.calls())
        assert asked["item-1"] == asked["item-2"] == asked["item-3"] == 3
        url = server.url
    (tmp_path / "images" / "4.png").write_bytes(picture(4))
    port = url.rpartition(":")[2].removesuffix("/v1")
    with running_server(port=int(port)) as server:
        assert annotate(pairs, out, url) == 3
        statuses = [row["status"] for row in rows(out / "scores.jsonl")]
        assert statuses == [*("scored", "scored", "refused", "refused"), *["scored"] * 4]
        assert sorted(call["id"] for call in server.calls()) == ["item-1", "item-4", "item-5"]


def test_a_pair_that_changed_is_asked_again(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 3)
    with running_server() as server:
        annotate(pairs, tmp_path / "out", server.url)
        (tmp_path / "images" / "1.png").write_bytes(picture(77))
        assert annotate(pairs, tmp_path / "out", server.url) == 0
        assert [call["id"] for call in server.calls()][3:] == ["item-1"]


def test_another_policy_or_judge_does_not_go_into_the_same_folder(tmp_path: Path, capsys) -> None:
    pairs = write_pairs(tmp_path, 2)
    policy = tmp_path / "policy.txt"
    policy.write_text("Only squares are unsafe.")
    with running_server() as server:
        annotate(pairs, tmp_path / "out", server.url)
        capsys.readouterr()
        assert annotate(pairs, tmp_path / "out", server.url, "--policy", policy) == 2
        assert "policy_sha256 differ" in capsys.readouterr().err
        assert annotate(pairs, tmp_path / "out", server.url, "--temperature", 0.3) == 2
        assert "(judges differ" in capsys.readouterr().err
        assert len(server.calls()) == 2


def test_a_dry_run_asks_for_nothing_and_says_what_it_would(tmp_path: Path, capsys) -> None:
    pairs = write_pairs(tmp_path, 10)
    (tmp_path / "images" / "3.png").unlink()
    out = tmp_path / "out"
    with running_server() as server:
        priced = ("--price-in", 1.0, "--price-out", 2.0, "--dry-run")
        assert annotate(pairs, out, server.url, *priced) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["pairs"], said["calls"], said["skipped"]) == (10, 9, 1)
        assert said["prompt_tokens"] > 9_000 and 0.009 < said["cost"] < 0.1
        assert not out.exists() and server.calls() == []
        annotate(pairs, out, server.url, "--max-calls", 4)
        capsys.readouterr()
        annotate(pairs, out, server.url, "--dry-run")
        said = json.loads(capsys.readouterr().out)
        assert (said["done"], said["calls"], said["skipped"]) == (4, 5, 1)


def test_a_budget_ends_a_run_and_the_next_goes_on(tmp_path: Path, capsys) -> None:
    pairs = write_pairs(tmp_path, 12)
    with running_server() as server:
        assert annotate(pairs, tmp_path / "out", server.url, "--max-calls", 5) == 3
        assert len(server.calls()) == 5
        statuses = Counter(row["status"] for row in rows(tmp_path / "out" / "scores.jsonl"))
        assert statuses == {"scored": 5, "skipped": 7}
        assert "--max-calls 5 reached" in capsys.readouterr().err
        assert annotate(pairs, tmp_path / "out", server.url) == 0
        assert len(server.calls()) == 12


def test_shards_part_the_pairs_among_them(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 7)
    out = tmp_path / "out"
    with running_server() as server:
        for i in (1, 2, 3):
            assert annotate(pairs, out, server.url, "--shard", f"{i}/3") == 0
        assert len(server.calls()) == 7
    files = sorted(path.name for path in out.glob("scores*"))
    assert files == [f"scores-0000{i}-of-00003.jsonl" for i in (1, 2, 3)]
    ids = [row["id"] for name in files for row in rows(out / name)]
    assert sorted(ids) == [f"item-{i}" for i in range(7)]


def test_votes_are_put_together_and_their_agreement_is_told(tmp_path: Path, capsys) -> None:
    pairs = write_pairs(tmp_path, 12)
    more = ("--judge-model", "second", "--votes", 2, "--temperature", 0.7)
    with running_server() as server:
        assert annotate(pairs, tmp_path / "out", server.url, *more) == 0
        assert len(server.calls()) == 48
    said = json.loads(capsys.readouterr().out)
    assert set(said["agreement"]) == {"visual", "text", "combined"}
    assert said["agreement"]["visual"]["units"] == 12
    for row in rows(tmp_path / "out" / "scores.jsonl"):
        assert [vote["judge"] for vote in row["votes"]] == ["judge", "judge", "second", "second"]
        low, high = sorted(vote["scores"]["text"] for vote in row["votes"])[1:3]
        assert row["scores"]["text"] == (low + high) / 2


def test_people_label_a_sample_and_the_judge_is_measured(tmp_path: Path, capsys) -> None:
    pairs = write_pairs(tmp_path, 20)
    out = tmp_path / "out"
    with running_server() as server:
        annotate(pairs, out, server.url)
    capsys.readouterr()
    assert main(["annotate", str(pairs), "-o", str(out), "--audit", "6"]) == 0
    table = out / "audit" / "labels.csv"
    lines = table.read_text().splitlines()
    assert len(lines) == 7
    # Whoever fills it in here says that all is safe.
    filled = [lines[0]] + [line[: line.rindex(",,,,")] + ",safe,safe,safe,me" for line in lines[1:]]
    table.write_text("\n".join(filled) + "\n")
    capsys.readouterr()
    assert main(["annotate", str(pairs), "-o", str(out), "--labels", str(table)]) == 0
    said = json.loads(capsys.readouterr().out)
    judged = {row["id"]: row["scores"]["text"] for row in rows(out / "scores.jsonl")}
    sample = {line.split(",")[0].strip("'\"") for line in filled[1:]}
    decided = [judged[i] for i in sample if not 3 < judged[i] < 7]
    assert said["text"]["accuracy"]["n"] == len(decided)
    assert said["text"]["accuracy"]["value"] == pytest.approx(
        sum(score >= 7 for score in decided) / len(decided)
    )
    assert said == json.loads((out / "audit" / "judge.json").read_text())


HOSTILE = [
    {"images": ["../outside.png"], "prompt": "x"},
    {"images": ["/etc/passwd"], "prompt": "x"},
    {"images": ["http://127.0.0.1:1/a.png"], "prompt": "x"},
    {"images": ["file:///etc/passwd"], "prompt": "x"},
    {"images": ["link.png"], "prompt": "x"},
    {"images": ["bomb.png"], "prompt": "x"},
    {"images": ["cut.jpg"], "prompt": "x"},
    {"images": ["text.png"], "prompt": "x"},
    {"images": ["good.png"], "prompt": ""},
    {"images": ["good.png"], "prompt": "  \n"},
    {"images": ["good.png"]},
    {"images": ["good.png"], "prompt": 7},
    {"images": [{"path": "good.png", "bytes": 3}], "prompt": "x"},
    {"images": ["good.png"], "prompt": "\ud800"},
]


def test_hostile_pairs_are_skipped_with_a_reason_and_never_sent(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "good.png").write_bytes(picture(1))
    (tmp_path / "outside.png").write_bytes(picture(2))
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "cut.jpg").write_bytes(picture(3, 200, "JPEG")[:-300])
    (folder / "text.png").write_text("<svg onload=alert(1)>")
    bomb = Image.new("1", (20_000, 20_000))
    bomb.save(folder / "bomb.png")
    lines = [json.dumps({"id": str(i), **row}) for i, row in enumerate(HOSTILE)]
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    with running_server() as server:
        assert annotate(folder / "pairs.jsonl", tmp_path / "out", server.url) == 3
        assert server.calls() == []
    found = rows(tmp_path / "out" / "scores.jsonl")
    assert [row["status"] for row in found] == ["skipped"] * len(HOSTILE)
    assert all(row["problem"] for row in found)


def test_only_the_first_frame_of_an_animation_is_sent(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), color) for color in ("white", "black")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    mime, sent = image_as_sent(ImageRef(path=tmp_path / "a.gif"), 1000)
    with Image.open(io.BytesIO(sent)) as image:
        assert (mime, getattr(image, "n_frames", 1)) == ("image/png", 1)
        assert image.convert("RGB").getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            '{"id": "a", "images": [], "prompt": "x"}\n{"id": "a", "images": [], "prompt": "y"}\n',
            "more than one pair",
        ),
        ('{"id": "a", "images": [], "prompt": "x"}\nnot json\n', "line 2"),
        ("", "no rows"),
    ],
)
def test_a_broken_table_is_told_before_anything_is_asked(tmp_path, capsys, content, said) -> None:
    (tmp_path / "pairs.jsonl").write_text(content)
    with running_server() as server:
        assert annotate(tmp_path / "pairs.jsonl", tmp_path / "out", server.url) == 2
        assert server.calls() == []
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--judge-model", "m"), "--judge-url is missing"),
        ((), "name a judge"),
        (("--judge-url", "http://x/v1", "--judge-model", "m", "--judge-key-env", "NONE"), "NONE"),
        (("--judge-url", "ftp://x", "--judge-model", "m"), "http"),
        (("--judge-url", "http://u:secret@x/v1", "--judge-model", "m"), "environment"),
        (("--judge-url", "http://x/v1?key=1", "--judge-model", "m"), "environment"),
        (("--judge-url", "http://x/v1", "--judge-model", "m", "--votes", "3"), "temperature"),
        (("--judge-url", "http://x/v1", "--judge-model", "m", "--shard", "0/2"), "from 1"),
        (("--judge-url", "http://x/v1", "--judge-model", "m", "--max-cost", "1"), "--price-in"),
        (("--judge-url", "http://x/v1", "--judge-model", "m", "--concurrency", "0"), "above 0"),
        (("--judge-url", "http://x/v1", "--judge-model", "m", "--policy", "gone"), "not found"),
    ],
)
def test_wrong_options_are_told_in_one_line(tmp_path, capsys, options, said) -> None:
    pairs = write_pairs(tmp_path, 1)
    assert main(["annotate", str(pairs), "-o", str(tmp_path / "out"), *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0]
    assert "secret" not in lines[0]


def test_the_key_is_in_nothing_that_was_written(tmp_path: Path, capsys, monkeypatch) -> None:
    pairs = write_pairs(tmp_path, 12)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-canary-987654")
    faults = {"item-1": "echo_key", "item-2": "echo_key_content", "item-3": "unauthorized"}
    with running_server(fault_for=faults) as server:
        annotate(pairs, tmp_path / "out", server.url)
        log = server.log.read_bytes()
    said = capsys.readouterr()
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    for secret in (KEY, "sk-another-canary-987654"):
        assert all(secret.encode() not in one for one in written)
        assert secret not in said.out + said.err
        assert secret.encode() not in log
    reasons = rows(tmp_path / "out" / "scores.jsonl")[2]["reasons"]
    assert "[key]" in reasons["visual"]


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 4)
    with running_server(delay=3.0) as server:
        first = subprocess.Popen(command(pairs, tmp_path / "out", server.url))
        while not (tmp_path / "out" / "scores.jsonl").exists():
            time.sleep(0.05)
        assert annotate(pairs, tmp_path / "out", server.url) == 2
        first.kill()
        first.wait()
        assert annotate(pairs, tmp_path / "out", server.url) == 0


def command(pairs: Path, out: Path, url: str) -> list[str]:
    judge = ["--judge-url", url, "--judge-model", "judge", "--concurrency", "32"]
    return [sys.executable, "-m", "safegrpo", "annotate", str(pairs), "-o", str(out), *judge]


FAULTS = {
    **{"rate_limit_bare": 0.01, "server_error": 0.02, "cut_body": 0.01, "cut_before": 0.01},
    **{"bad_envelope": 0.01, "bad_json": 0.02, "truncated": 0.01, "refusal_text": 0.02},
    **{"refusal": 0.01, "fenced": 0.03, "two_objects": 0.03, "reordered_keys": 0.03},
}


def test_killed_five_times_it_loses_nothing_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    """2,000 pairs, SIGKILL at random moments, then run to the end."""
    count, concurrency, kills = 2000, 32, 5
    pairs = write_pairs(tmp_path, count)
    out = tmp_path / "out"
    rng = random.Random(5)
    with running_server(delay=0.05, faults=FAULTS, seed=5) as server:
        for _ in range(kills):
            had = lines_of(out / "scores.jsonl")
            process = subprocess.Popen(
                command(pairs, out, server.url), stderr=subprocess.DEVNULL, env=quick_env()
            )
            # At a random moment after it has got somewhere.
            while lines_of(out / "scores.jsonl") < had + rng.randrange(20, 250):
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = subprocess.run(
            command(pairs, out, server.url), capture_output=True, text=True, env=quick_env()
        )
        calls = server.calls()
    assert done.returncode in (0, 3), done.stderr
    found = rows(out / "scores.jsonl")
    assert [row["id"] for row in found] == [f"item-{i}" for i in range(count)]
    statuses = Counter(row["status"] for row in found)
    assert json.loads(done.stdout)["statuses"] == statuses
    assert sum(statuses.values()) == count and statuses["scored"] > 0.97 * count
    # An answered call is one reply that a row counts, but for those under way at a kill.
    answered = Counter(call["id"] for call in calls if call["answered"])
    more = sum(answered[row["id"]] - row["asked"] for row in found)
    assert 0 <= more <= kills * concurrency
    for row in found:
        assert row["asked"] <= 3 and (row["status"] != "unparseable" or row["asked"] == 3)


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def quick_env() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_an_interrupt_waits_for_what_is_under_way(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 60)
    out = tmp_path / "out"
    with running_server(delay=0.4) as server:
        line = [*command(pairs, out, server.url), "--concurrency", "8"]
        process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=quick_env())
        while lines_of(out / "scores.jsonl") < 8:
            time.sleep(0.02)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 130 and "interrupted" in said
        had = rows(out / "scores.jsonl")
        assert len(server.calls()) == len(had) < 60
        assert annotate(pairs, out, server.url) == 0
        assert len(server.calls()) == 60


def test_a_wrong_model_keeps_nobody_out(tmp_path: Path, capsys) -> None:
    pairs = write_pairs(tmp_path, 5)
    with running_server(fault_for={f"item-{i}": "not_found" for i in range(5)}) as server:
        assert annotate(pairs, tmp_path / "out", server.url, "--concurrency", 1) == 2
    assert "does not exist" in capsys.readouterr().err
    with running_server() as server:
        assert annotate(pairs, tmp_path / "out", server.url) == 0


def test_a_judge_that_breaks_down_leaves_one_row_a_pair(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(endpoint, "_TRIES", 2)
    pairs = write_pairs(tmp_path, 60)
    out = tmp_path / "out"
    dead = {f"item-{i}": "server_error" for i in range(5, 60)}
    with running_server(fault_for=dead) as server:
        for _ in range(2):
            assert annotate(pairs, out, server.url, "--concurrency", 4) == 1
            found = rows(out / "scores.jsonl")
            assert [row["id"] for row in found] == [f"item-{i}" for i in range(60)]
            statuses = Counter(row["status"] for row in found)
            assert statuses["scored"] == 5 and set(statuses) == {"scored", "error", "skipped"}
            assert json.loads((out / "summary.json").read_text())["statuses"] == statuses


def test_a_judge_cannot_be_named_twice(tmp_path: Path, capsys) -> None:
    pairs = write_pairs(tmp_path, 1)
    assert annotate(pairs, tmp_path / "out", "http://x/v1", "--judge-model", "judge") == 2
    assert "named twice" in capsys.readouterr().err


def test_a_damaged_cache_is_told_in_one_line(tmp_path: Path, capsys) -> None:
    pairs = write_pairs(tmp_path, 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "replies.sqlite").write_bytes(b"no database" * 100)
    assert annotate(pairs, tmp_path / "out", "http://x/v1") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "no cache of replies" in lines[0]


def test_more_shards_than_pairs_are_shards_too(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 2)
    with running_server() as server:
        for i in (1, 2, 3):
            assert annotate(pairs, tmp_path / "out", server.url, "--shard", f"{i}/3") == 0
    assert main(["select", str(tmp_path / "out"), "-o", str(tmp_path / "set")]) in (0, 2)
    assert (tmp_path / "out" / "scores-00003-of-00003.jsonl").read_bytes() == b""


def test_a_trial_and_the_whole_go_into_one_folder(tmp_path: Path, capsys) -> None:
    pairs = write_pairs(tmp_path, 9)
    with running_server() as server:
        assert annotate(pairs, tmp_path / "out", server.url, "--limit", 3) == 0
        assert annotate(pairs, tmp_path / "out", server.url) == 0
        assert len(server.calls()) == 9
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["usage"]["calls"], said["usage_total"]["calls"]) == (6, 9)


def test_a_judge_that_moved_is_known_by_its_name(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 4)
    for _ in range(2):
        with running_server() as server:
            assert annotate(pairs, tmp_path / "out", server.url, "--judge-id", "mine") == 0
            calls = len(server.calls())
    assert calls == 0


def test_a_tagged_set_is_no_place_for_ratings(tmp_path: Path, capsys) -> None:
    pairs = write_pairs(tmp_path, 1)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "selection.json").write_text("{}")
    assert annotate(pairs, tmp_path / "set", "http://x/v1") == 2
    assert "holds a tagged set" in capsys.readouterr().err


def test_samples_for_people_do_not_replace_each_other(tmp_path: Path, capsys) -> None:
    pairs = write_pairs(tmp_path, 6)
    out = tmp_path / "out"
    with running_server() as server:
        annotate(pairs, out, server.url)
    for name in ("audit", "audit-2"):
        capsys.readouterr()
        assert main(["annotate", str(pairs), "-o", str(out), "--audit", "2"]) == 0
        assert json.loads(capsys.readouterr().out) == {"audit": str(out / name), "pairs": 2}
        assert "What counts as unsafe" in (out / name / "policy.md").read_text()
    empty = str(out / "audit" / "labels.csv")
    assert main(["annotate", str(pairs), "-o", str(out), "--labels", empty]) == 2
    assert "no label that is filled in" in capsys.readouterr().err
    assert not (out / "audit" / "judge.json").exists()


def test_a_policy_of_ones_own_leaves_the_scale_as_it_is(tmp_path: Path) -> None:
    system = rating_question("x", [], "Only squares are unsafe.").system
    for said in ("Only squares are unsafe.", "0 to 3 unsafe", "combined: the request about"):
        assert said in system
