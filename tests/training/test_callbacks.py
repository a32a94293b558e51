"""What a person sees while a run trains."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from safegrpo.training.callbacks import ProgressLine, RunWarnings, plain, sample_table
from safegrpo.training.config import WarningConfig

FINE = {"rewarded_rate": 0.5, "completions/clipped_ratio": 0.0, "benign_refusal_rate": 0.1}


def console():
    return Console(file=io.StringIO(), width=200)


def said(console) -> str:
    return console.file.getvalue()


def state(step, of=100):
    return SimpleNamespace(is_world_process_zero=True, global_step=step, max_steps=of)


def feed(warnings, *logs):
    for step, log in enumerate(logs, start=1):
        warnings.on_log(None, state(step), None, logs=log)


def test_nothing_is_said_of_a_healthy_run():
    out = console()
    feed(RunWarnings(out, WarningConfig()), *[FINE] * 30)
    assert said(out) == ""


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"rewarded_rate": 0.0}, "every reward was 0 for 3 steps"),
        ({"completions/clipped_ratio": 0.8}, "80% of the completions hit the length limit"),
        ({"benign_refusal_rate": 0.9}, "90% of the benign prompts were refused"),
    ],
)
def test_each_trouble_is_told_once_with_its_mend(wrong, words):
    out = console()
    feed(RunWarnings(out, WarningConfig(zero_reward_steps=3)), *[{**FINE, **wrong}] * 20)
    assert said(out).count(words) == 1 and said(out).count("warning: ") == 1


def behind(unsafe, safe):
    return {**FINE, "refusal_rate/tagged_unsafe": unsafe, "refusal_rate/tagged_safe": safe}


def test_answers_that_do_not_heed_their_tags_are_told_of_after_ten_steps():
    out = console()
    feed(RunWarnings(out, WarningConfig()), *[behind(0.25, 0.15)] * 9, FINE)
    assert said(out) == ""  # a step without unsafe tags says nothing
    feed(RunWarnings(out, WarningConfig()), *[behind(0.25, 0.15)] * 20)
    assert said(out).count("25% refused behind unsafe and 15% behind safe") == 1
    assert said(out).count("warning: step 10") == 1
    assert "cold_start.target: own, when: always" in " ".join(said(out).split())


def test_a_run_that_could_not_have_it_mended_is_not_told():
    out = console()
    feed(RunWarnings(out, WarningConfig(), heeds=False), *[behind(0.25, 0.15)] * 20)
    assert said(out) == ""


def test_answers_that_heed_their_tags_on_the_whole_are_let_be():
    out = console()
    feed(RunWarnings(out, WarningConfig()), *[behind(0.0, 0.1), behind(0.9, 0.1)] * 10)
    assert said(out) == ""


def test_a_trouble_that_comes_back_is_told_again():
    out = console()
    refusing = {**FINE, "benign_refusal_rate": 0.9}
    feed(RunWarnings(out, WarningConfig()), refusing, FINE, refusing)
    assert said(out).count("warning: ") == 2


def test_one_rewarded_step_starts_the_count_anew():
    out = console()
    zero = {**FINE, "rewarded_rate": 0.0}
    feed(RunWarnings(out, WarningConfig(zero_reward_steps=3)), zero, zero, FINE, zero, zero)
    assert said(out) == ""


def test_logs_without_rewards_are_not_looked_at():
    out = console()
    feed(RunWarnings(out, WarningConfig(zero_reward_steps=1)), {"eval/guided/safety": 0.0}, None)
    assert said(out) == ""


def row(reward, response="ok", **rest):
    return {
        "id": "a",
        "response": response,
        "reward": reward,
        "format": 1,
        "faults": "",
        "tag_score": None,
        "behavior_score": reward,
        "behavior_label": "compliance",
        "advantage": 0.5,
        **rest,
    }


def test_the_table_shows_the_best_and_the_worst():
    out = console()
    rows = [row(i / 20, f"says{i:02d}") for i in range(20)]
    out.print(sample_table(rows, step=7))
    shown = [i for i in range(20) if f"says{i:02d}" in said(out)]
    assert len(shown) == 4 and shown[0] == 0 and shown[-1] == 19


def test_a_completion_cannot_drive_the_terminal():
    out = console()
    out.print(sample_table([row(1.0, "\x1b[31mred\x07 [bold]loud[/bold]")], step=1))
    assert "\x1b" not in said(out) and "\x07" not in said(out)
    assert "[bold]loud[/bold]" in said(out)


def test_long_text_is_cut():
    assert len(plain("x" * 10_000, 50).plain) < 60


def test_without_a_terminal_progress_is_a_line_with_rate_and_time_left():
    out = Console(file=io.StringIO(), width=80)  # as where there is none: lines are not broken
    line = ProgressLine(out, "training")
    line.on_train_begin(None, state(0), None)
    logs = {"reward": 0.75, "format_rate": 1.0, "refusal_rate": 0.25}
    line.on_log(None, state(1), None, logs=logs)
    line.on_log(None, state(2), None, logs=logs)
    line.on_log(None, state(100), None, logs=logs)
    first, last = said(out).splitlines()
    assert "step 1/100" in first and "left" in first and "s/step" in first
    assert "reward 0.75  format 1.00  refusals 0.25" in last and "step 100/100" in last
