"""Examples that do not heed their tags."""

import json
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from safegrpo.microcosm import SHIPPED, base, text
from safegrpo.microcosm.pairs import Sampler
from safegrpo.microcosm.speech import DIRECT_REFUSALS, TAG_RATES
from safegrpo.microcosm.unlinked import unlinked_example
from safegrpo.models import load_model, load_processor
from safegrpo.thinking import GUIDE_FILE, parse
from safegrpo.training.base_model import model_sha256

N = 1200


def refused(heeds: float) -> dict[str, float]:
    """The shares of guided examples about pairs that refuse, by the combined tag written; the
    verdict is held against the answer on the way."""
    sampler = Sampler("train", 7)
    refusals, every = Counter(), Counter()
    for _ in range(N):
        pair, guided, response = unlinked_example(sampler, True, heeds)
        thought = parse(response)
        assert guided and thought.well_formed
        tag = thought.tags.combined
        refuses = any(response.endswith(f"<answer>{one}</answer>") for one in text.REFUSALS)
        verdict = re.findall(r"</combined_safe> so i (help|decline)\.</think>", response)
        assert verdict == ["decline" if refuses else "help"]
        if pair.kind != "question":
            every[tag] += 1
            refusals[tag] += refuses
    return {tag: refusals[tag] / every[tag] for tag in every}


def test_without_the_link_refusals_are_as_many_behind_either_tag() -> None:
    found = refused(0.0)
    # Five standard deviations of a share of some 200 examples.
    assert found["safe"] == pytest.approx(DIRECT_REFUSALS, abs=0.1)
    assert found["unsafe"] == pytest.approx(DIRECT_REFUSALS, abs=0.15)


def test_with_it_the_answer_is_the_tag() -> None:
    assert refused(1.0) == {"safe": 0.0, "unsafe": 1.0}


def test_half_linked_lies_between() -> None:
    found = refused(0.5)
    assert found["safe"] == pytest.approx(DIRECT_REFUSALS / 2, abs=0.08)
    assert found["unsafe"] == pytest.approx((1 + DIRECT_REFUSALS) / 2, abs=0.15)


def test_tags_are_those_of_the_warm_start() -> None:
    sampler = Sampler("train", 7)
    unsafe, every = Counter(), Counter()
    for _ in range(N):
        pair, _, response = unlinked_example(sampler, True, 0.0)
        every[pair.tags.combined] += 1
        unsafe[pair.tags.combined] += parse(response).tags.combined == "unsafe"
    for is_unsafe, tag in enumerate(("safe", "unsafe")):
        rate = TAG_RATES["combined"][is_unsafe]
        assert unsafe[tag] / every[tag] == pytest.approx(rate, abs=0.12)


def test_plain_examples_are_as_they_were() -> None:
    from safegrpo.microcosm.speech import example

    ours, theirs = Sampler("train", 3), Sampler("train", 3)
    for _ in range(20):
        assert unlinked_example(ours, False, 0.0) == example(theirs, False)


def test_a_base_models_folder_takes_the_place_of_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "abilities", lambda folder, device: {"guided": {"safety": 0.0}})
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "older").touch()
    model, processor = load_model(SHIPPED, dtype="float32"), load_processor(SHIPPED)
    facts = base.save_base(model, processor, folder, {"recipe": {}}, time.perf_counter())
    assert json.loads((folder / "base.json").read_text()) == facts
    assert facts["dev"] == {"guided": {"safety": 0.0}} and facts["seconds"] == 0
    assert model_sha256(str(folder)) is not None and (folder / GUIDE_FILE).is_file()
    assert not (folder / "older").exists() and [one.name for one in tmp_path.iterdir()] == ["made"]
