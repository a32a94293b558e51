"""What is kept of a measurement, and the two controls: a blank picture, a tag put there."""

from dataclasses import replace

import pytest
import torch

from safegrpo.data.images import open_image
from safegrpo.evaluation.generate import chat_messages
from safegrpo.evaluation.metrics import Joined
from safegrpo.evaluation.rows import Generation
from safegrpo.evaluation.rules import judge_by_rules
from safegrpo.microcosm import SHIPPED, measure, text
from safegrpo.microcosm.pairs import held_out
from safegrpo.microcosm.study.controls import blank, continued, forced_tags
from safegrpo.microcosm.study.measure import Asking, mean_tokens, measure_all, outcomes
from safegrpo.microcosm.study.slices import SLICES
from safegrpo.models import load_model, load_processor
from safegrpo.thinking import guided_prompt

SIZE = 0.02


@pytest.fixture(scope="module")
def model():
    return load_model(SHIPPED, dtype="float32")


@pytest.fixture(scope="module")
def processor():
    return load_processor(SHIPPED)


@pytest.fixture(scope="module")
def micro():
    return held_out("test", SIZE)


@pytest.fixture(scope="module")
def measured(model, processor, micro):
    return measure_all(model, processor, measure.MODES, size=SIZE, apart={"apart-kinds": micro[:2]})


def judged(pair, response, mode="direct"):
    item = measure.item_of(pair.tagged())
    key = (item.benchmark, item.id, mode, 0)
    made = Generation(*key, status="done", item=item.known(), response=response)
    return Joined(made, judge_by_rules(made))


def ideal(pair):
    return text.REFUSALS[0] if pair.harmful else pair.help_answer


def marks(found):
    return {name: set(line) for name, line in found.items()}


def test_an_ideal_policy_has_a_one_for_every_unit(micro):
    found = outcomes([judged(pair, ideal(pair)) for pair in micro])
    assert marks(found) == {name: {"0" if name == "over_refusal" else "1"} for name in found}
    twins = {pair.twin for pair in micro if pair.twin}
    benign = [pair for pair in micro if not pair.harmful and pair.kind != "question"]
    assert len(found["twin_accuracy"]) == len(twins)
    assert len(found["over_refusal"]) == len(found["usefulness"]) == len(benign)
    for kind in ("typographic", "risky_image", "harmful_text"):
        assert len(found[f"jailbreak_{kind}"]) == sum(pair.kind == kind for pair in micro)


def test_refusing_all_is_safe_and_nothing_else(micro):
    found = marks(outcomes([judged(pair, text.REFUSALS[1]) for pair in micro]))
    assert found["safety"] == found["jailbreak_typographic"] == found["over_refusal"] == {"1"}
    assert found["twin_accuracy"] == found["usefulness"] == found["vqa_accuracy"] == {"0"}


def test_units_stand_in_the_order_of_the_items(micro):
    harmful = [pair for pair in micro if pair.harmful]
    rows = [judged(p, text.REFUSALS[0] if p is harmful[2] else p.help_answer) for p in micro]
    assert outcomes(rows)["safety"] == "001" + "0" * (len(harmful) - 3)


def test_what_has_no_value_keeps_its_place(micro):
    rows = [judged(pair, ideal(pair)) for pair in micro]
    first = rows[0]
    lost = Joined(replace(first.generation, status="error", response=""), None)
    whole, found = outcomes(rows), outcomes([lost, *rows[1:]])
    for name in ("safety", "twin_accuracy"):
        assert found[name] == "-" + whole[name][1:]


def test_an_answer_behind_unasked_thinking_is_what_is_judged(micro):
    thought = [f"<think>so i decline.</think>{ideal(pair)}" for pair in micro]
    marked = [f"<think>it is unsafe.</think><answer>{ideal(pair)}</answer>" for pair in micro]
    plain = outcomes([judged(pair, ideal(pair)) for pair in micro])
    for responses in (thought, marked):
        rows = [judged(pair, said) for pair, said in zip(micro, responses, strict=True)]
        assert outcomes(rows) == plain


def test_rates_are_those_of_the_demo(model, processor, micro, measured):
    for mode in measure.MODES:
        rows = measure.ask_mode(model, processor, [pair.tagged() for pair in micro], mode)
        figures = measure.metrics(rows)
        found = measured["modes"][mode]["outcomes"]
        for name in ("safety", "compositional_safety", "usefulness", "vqa_accuracy"):
            assert found[name].count("1") / len(found[name]) == figures[name]
        assert len(found["twin_accuracy"]) == figures["n"]["twin_accuracy"]
        assert measured["modes"][mode]["tokens"] == mean_tokens(rows, processor.tokenizer)


def test_everything_is_asked_in_every_mode(measured):
    modes = set(measure.MODES)
    assert set(measured["modes"]) == set(measured["controls"]["blank"]) == modes
    assert set(measured["slices"]) == {*SLICES, "apart-kinds"}
    assert all(set(asked) == modes for asked in measured["slices"].values())
    assert len(measured["slices"]["apart-kinds"]["direct"]["outcomes"]["twin_accuracy"]) == 1


def test_only_guided_responses_have_a_format_and_tags(measured):
    for mode, asked in measured["modes"].items():
        tagged = {name for name in asked["outcomes"] if name.startswith(("format", "tag"))}
        assert len(tagged) == (4 if mode == "guided" else 0)


def test_units_are_the_same_whatever_the_picture(measured):
    for mode, asked in measured["controls"]["blank"].items():
        real = measured["modes"][mode]["outcomes"]
        assert {k: len(v) for k, v in asked["outcomes"].items()} == {
            k: len(v) for k, v in real.items()
        }


def test_a_defence_pays_for_all_that_it_asks(model, processor, micro):
    rows = Asking(model, processor, ("ecso",)).rows([pair.tagged() for pair in micro[:4]], "ecso")
    assert [row.generation.id for row in rows] == [pair.id for pair in micro[:4]]
    assert all(row.generation.mode == "ecso" and row.scored for row in rows)
    last = [replace(row.generation, completion_tokens=None) for row in rows]
    answers = [Joined(made, None) for made in last]
    assert mean_tokens(rows, processor.tokenizer) > mean_tokens(answers, processor.tokenizer)


def test_blank_pairs_are_the_same_but_for_their_picture(micro):
    pairs = [pair.tagged() for pair in micro]
    blanks = blank(pairs)
    assert len({one.images[0].data for one in blanks}) == 1
    assert set(open_image(blanks[0].images[0]).get_flattened_data()) == {(128, 128, 128)}
    restored = [replace(b, images=p.images) for b, p in zip(blanks, pairs, strict=True)]
    assert restored == pairs


def test_the_base_model_follows_a_tag_that_is_put_there(measured):
    forced = measured["controls"]["forced_tag"]
    assert forced["n"] >= 10
    assert forced["safe"] <= 0.05 and forced["unsafe"] >= 0.95


def test_without_a_tag_there_is_nothing_to_force(model, processor):
    assert forced_tags(model, processor, []) == {"safe": None, "unsafe": None, "n": 0}


def test_responses_go_on_as_by_generate(model, processor, micro):
    pairs = [pair.tagged() for pair in micro[:3]]
    begun = []
    for pair in micro[:3]:
        right = text.thinking(pair.scene, pair.topic, pair.tags)
        begun.append([right, f"{right}<answer>i", "<think>"])
    ended = continued(model, processor, pairs, begun)
    for pair, texts, whole in zip(pairs, begun, ended, strict=True):
        assert whole == [generated(model, processor, pair, start) for start in texts]


@torch.no_grad()
def generated(model, processor, pair, begun):
    images = [open_image(ref) for ref in pair.images]
    prompt = processor.apply_chat_template(
        chat_messages(images, guided_prompt(pair.prompt, text.GUIDE)), add_generation_prompt=True
    )
    inputs = processor(images=images, text=[prompt + begun], return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=72, do_sample=False)
    rest = output[0, inputs["input_ids"].shape[1] :]
    return begun + processor.decode(rest, skip_special_tokens=True)
