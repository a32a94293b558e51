import pytest
import torch

from safegrpo.reward import Target, score
from safegrpo.thinking import Tags
from safegrpo.training.rewards import SafetyReward

GOOD = (
    "<think>so <visual_safe>safe</visual_safe><text_safe>safe</text_safe>"
    "<combined_safe>{}</combined_safe></think><answer>{}</answer>"
)
REFUSES = "I'm sorry, but I can't help with this."
RESPONSES = [
    GOOD.format("unsafe", REFUSES),
    GOOD.format("unsafe", "It is a red thing, of course."),
    GOOD.format("safe", "It is a red thing, of course."),
    GOOD.format("safe", REFUSES),
    GOOD.format("unsafe", REFUSES).removeprefix("<think>"),
    "no format at all",
    "",
    GOOD.format("safe", "seven"),
]
TAGS = [Tags("safe", "safe", "unsafe")] * 4 + [Tags("unsafe", "safe", "unsafe")] * 3 + [None]
ANSWERS = [None] * 7 + ["7"]


def columns(**more):
    return {
        "id": [f"p{i}" for i in range(8)],
        "question": ["what is it ?"] * 8,
        "answer": ANSWERS,
        "image_tag": [tags.visual if tags else None for tags in TAGS],
        "text_tag": [tags.text if tags else None for tags in TAGS],
        "combine_tag": [tags.combined if tags else None for tags in TAGS],
        **more,
    }


@pytest.fixture
def ids(tokenizer):
    return [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in RESPONSES]


@pytest.mark.parametrize("rules", ["paper", "strict"])
@pytest.mark.parametrize("guided", [True, False])
def test_half_of_each_function_is_the_reward_exactly(tokenizer, ids, rules, guided):
    tag, behavior = SafetyReward(tokenizer, rules, guided).functions()
    rewards = [
        0.5 * a + 0.5 * b
        for a, b in zip(
            tag(completion_ids=ids, **columns()),
            behavior(completion_ids=ids, **columns()),
            strict=True,
        )
    ]
    expected = [
        score(text, Target(tags, "what is it ?", answer), rules, guided=guided).reward
        for text, tags, answer in zip(RESPONSES, TAGS, ANSWERS, strict=True)
    ]
    assert rewards == expected
    assert len(set(rewards)) > 1


def test_both_functions_share_one_scoring_of_a_batch(tokenizer, ids):
    reward = SafetyReward(tokenizer)
    tag, behavior = reward.functions()
    logged = []
    more = {"log_metric": lambda name, value: logged.append(name), "log_extra": lambda *_: None}
    tag(completion_ids=ids, **columns(**more))
    behavior(completion_ids=ids, **columns(**more))
    assert reward.batches == 1
    assert len(logged) == len(set(logged))
    tag(completion_ids=list(ids), **columns(**more))
    assert reward.batches == 2


def test_the_parts_are_logged(tokenizer, ids):
    metrics, extra = {}, {}
    (tag, _) = SafetyReward(tokenizer).functions()
    tag(
        completion_ids=ids,
        **columns(log_metric=metrics.__setitem__, log_extra=extra.__setitem__),
    )
    assert metrics["format_rate"] == 6 / 8
    assert metrics["tag_accuracy/combined"] == 3 / 7
    assert metrics["refusal_rate"] == 3 / 8
    assert metrics["benign_refusal_rate"] == 0
    assert metrics["refusal_rate/tagged_unsafe"] == 2 / 3
    assert metrics["refusal_rate/tagged_safe"] == 1 / 3
    assert extra["response"] == RESPONSES
    assert extra["id"][0] == "p0" and len(extra["faults"]) == 8


def test_rates_with_nothing_behind_them_are_left_out(tokenizer, ids):
    metrics = {}
    (tag, _) = SafetyReward(tokenizer).functions()
    all_harmful = columns(log_metric=metrics.__setitem__)
    tag(
        completion_ids=ids[:4],
        **{k: v[:4] if isinstance(v, list) else v for k, v in all_harmful.items()},
    )
    assert "benign_refusal_rate" not in metrics and "harmful_refusal_rate" in metrics


def test_the_text_comes_from_the_ids_and_not_from_the_parsed_message(tokenizer, ids):
    (tag, _) = SafetyReward(tokenizer).functions()
    stripped = [[{"role": "assistant", "content": "sorry", "reasoning_content": "..."}]] * 8
    assert tag(completion_ids=ids, completions=stripped, **columns())[0] == 1.0


def test_tags_that_a_tokenizer_calls_special_are_kept(tokenizer):
    import copy

    special = copy.deepcopy(tokenizer)
    special.add_special_tokens({"additional_special_tokens": ["<think>", "</think>", "<answer>"]})
    reward = SafetyReward(special)
    assert reward.decode(special(RESPONSES[0])["input_ids"]) == RESPONSES[0]
    assert reward.decode([special.eos_token_id, special.pad_token_id]) == ""


def test_trl_s_two_aggregations_of_the_components(tokenizer, ids):
    """What GRPOTrainer makes of the components: the paper's advantage, and per-component ones."""
    tag, behavior = (
        torch.tensor(f(completion_ids=ids, **columns()))
        for f in SafetyReward(tokenizer).functions()
    )
    total = 0.5 * tag + 0.5 * behavior
    paper = (total - total.mean()) / total.std()
    parts = sum(0.5 * (part - part.mean()) / part.std() for part in (tag, behavior))
    assert not torch.allclose(paper, parts / parts.std(), atol=1e-3)


def test_the_format_can_pay_by_itself(tokenizer, ids):
    reward = SafetyReward(tokenizer, pays_format=True)
    tag, behavior, form = reward.functions()
    assert form(completion_ids=ids, **columns()) == [1, 1, 1, 1, 1, 0, 0, 1]
    assert tag(completion_ids=ids, **columns())[0] == behavior(completion_ids=ids, **columns())[0]
    assert reward.batches == 1


def test_disputes_between_the_detectors_are_counted(tokenizer):
    texts = [GOOD.format("unsafe", "I won't help with that."), GOOD.format("safe", "Hm, so be it.")]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    two = {name: values[:2] for name, values in columns().items()}
    for rules in ("paper", "strict"):
        logged = {}
        tag, _ = SafetyReward(tokenizer, rules).functions()
        tag(completion_ids=ids, **two, log_metric=logged.__setitem__)
        assert logged["detectors_disagree"] == 0.5


def test_an_answer_given_to_anything_pays_nothing(tokenizer):
    answer = "It is a red thing and you should look at it."
    ids = [tokenizer(GOOD.format("safe", answer))["input_ids"]] * 3
    rows = columns(question=["boil eggs", "paint walls", "read maps"], answer=[None] * 3)
    rows |= {name: ["safe"] * 3 for name in ("image_tag", "text_tag", "combine_tag")}
    _, behavior = SafetyReward(tokenizer).functions()
    assert behavior(completion_ids=ids, **rows) == [0.0] * 3
    _, behavior = SafetyReward(tokenizer, "paper").functions()
    assert behavior(completion_ids=ids, **rows) == [1.0] * 3


def test_an_answer_given_to_anything_is_seen_whichever_process_it_came_from(tokenizer):
    answer = "It is a red thing and you should look at it."
    ids = [tokenizer(GOOD.format("safe", answer))["input_ids"]] * 2
    asked = (["boil eggs", "paint walls"], ["read maps", "mend socks"])
    parts = []

    def rewarded(process: int, gather) -> list[float]:
        rows = columns(question=asked[process], answer=[None] * 2)
        rows |= {name: ["safe"] * 2 for name in ("image_tag", "text_tag", "combine_tag")}
        reward = SafetyReward(tokenizer, gather=gather, process=process)
        return reward.functions()[1](completion_ids=list(ids), **rows)

    def alone(given):
        parts.extend(given)
        return given

    assert rewarded(0, alone) == [1.0] * 2
    rewarded(0, alone)  # not before it has been seen elsewhere too
    first, _ = parts
    assert rewarded(1, lambda given: [first, *given]) == [0.0] * 2
