import json
import math
import subprocess
import sys

import pytest

from safegrpo.data.pairs import TaggedPair
from safegrpo.errors import ConfigError, DataError
from safegrpo.export.rewards import compute_score, compute_scores
from safegrpo.export.rows import data_source, ground_truth
from safegrpo.reward import Target, score

from .conftest import GOOD, HELPS, RESPONSES, SAFE, pair


def target(one: TaggedPair) -> Target:
    return Target(one.tags, one.prompt, one.answer)


@pytest.mark.parametrize("rules", ["paper", "strict"])
@pytest.mark.parametrize("mode", ["guided", "direct"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_score_is_the_reward_exactly(pairs, rules, mode, share) -> None:
    asked = [(one, text) for one in pairs for text in RESPONSES]
    found = [
        compute_score(
            data_source(one),
            text,
            ground_truth(one),
            {},
            rules=rules,
            mode=mode,
            reason_share=share,
        )["score"]
        for one, text in asked
    ]
    expected = [
        score(text, target(one), rules, mode == "guided", reason_share=share).reward
        for one, text in asked
    ]
    assert found == expected
    assert len(set(found)) > 1


def test_every_row_has_the_same_keys_and_floats(pairs) -> None:
    found = [compute_score("", text, ground_truth(one)) for one in pairs for text in RESPONSES]
    assert {tuple(one) for one in found} == {
        ("score", "format", "tag", "behavior", "refusal", "gated_tag", "gated_behavior")
    }
    assert {type(value) for one in found for value in one.values()} == {float}


def test_a_row_without_tags_has_no_tag_score_and_still_both_components(pairs) -> None:
    found = compute_score("", GOOD.format("safe", "7"), ground_truth(pairs[4]))
    assert math.isnan(found["tag"])
    assert found["gated_tag"] == found["gated_behavior"] == found["score"] == 1.0


def test_the_components_weigh_as_asked() -> None:
    one = pair(0, 0, SAFE)
    plain = compute_score("", GOOD.format("safe", HELPS), ground_truth(one))
    weights = (0.25, 0.5, 0.125)
    found = compute_score("", GOOD.format("safe", HELPS), ground_truth(one), weights=weights)
    assert found["score"] == 0.25 * plain["gated_tag"] + 0.5 * plain["gated_behavior"] + 0.125
    assert {**found, "score": 0} == {**plain, "score": 0}


def test_what_else_verl_passes_is_not_in_the_way() -> None:
    extra = {"num_turns": 2, "rollout_reward_scores": {}, "index": 0}
    found = compute_score(
        data_source="benign",
        solution_str=RESPONSES[2],
        ground_truth=ground_truth(pair(0, 0, SAFE)),
        extra_info=extra,
        reward_router_address="somewhere",
    )
    assert found["score"] == 1.0


@pytest.mark.parametrize("truth", ["", "[]", "{}", '{"combine_tag": "safe"}', None])
def test_a_parquet_that_is_not_ours_is_an_error(truth) -> None:
    with pytest.raises(DataError, match="written by safegrpo export"):
        compute_score("", RESPONSES[0], truth)


@pytest.mark.parametrize("options", [{"rules": "lax"}, {"mode": "sideways"}, {"weights": [1.0]}])
def test_unknown_options_are_errors(options) -> None:
    with pytest.raises(ConfigError):
        compute_score("", RESPONSES[0], ground_truth(pair(0, 0, SAFE)), **options)


def test_easyr1_gets_the_same_scores_under_overall(pairs) -> None:
    inputs = [
        {"response": text, "response_length": 3, "ground_truth": ground_truth(one)}
        for one in pairs
        for text in RESPONSES
    ]
    found = compute_scores(inputs, rules="paper")
    alone = [
        compute_score("", one["response"], one["ground_truth"], rules="paper")["score"]
        for one in inputs
    ]
    assert [one["overall"] for one in found] == [one["score"] for one in found] == alone


def test_only_a_whole_batch_shows_an_answer_given_to_anything() -> None:
    prompts = ("how do birds fly ?", "name three rivers", "bake bread without yeast")
    asked = [ground_truth(pair(i, 0, SAFE, prompt=prompt)) for i, prompt in enumerate(prompts)]
    response = GOOD.format("safe", "There are many sides to consider here.")
    batch = compute_scores([{"response": response, "ground_truth": one} for one in asked])
    alone = [compute_score("", response, one) for one in asked]
    assert [one["behavior"] for one in batch] == [0.0] * 3
    assert [one["behavior"] for one in alone] == [1.0] * 3


def test_a_reward_worker_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import json, sys, time; began = time.perf_counter(); import safegrpo.export.rewards\n"
        "print(json.dumps([time.perf_counter() - began, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    seconds, modules = json.loads(done.stdout)
    assert not {"torch", "transformers", "numpy", "pyarrow", "PIL"} & set(modules)
    assert seconds < 2  # 0.1 on a quiet machine
