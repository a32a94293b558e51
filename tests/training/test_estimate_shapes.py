"""bench/shapes.py and bench/scale.py: the models people train, the docs' table, the GPU bench."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from safegrpo.training.estimate.shape import model_shape

BENCH = Path(__file__).resolve().parents[2] / "bench"


def of_bench(name: str) -> Any:
    """A module of bench/, which is no package."""
    sys.path.insert(0, str(BENCH))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCH))


scale = of_bench("scale")
SHAPES, shape_of = scale.SHAPES, scale.shape_of


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.published])
def test_a_shape_has_the_published_number_of_parameters(name) -> None:
    shape = SHAPES[name]
    assert model_shape(shape.config()).parameters == shape.published


@pytest.mark.parametrize(("name", "about"), [("InternVL3-2B", 2.1e9), ("InternVL3-8B", 7.9e9)])
def test_others_have_about_the_number_in_their_name(name, about) -> None:
    assert model_shape(SHAPES[name].config()).parameters == pytest.approx(about, rel=0.02)


def test_a_hub_name_finds_its_shape() -> None:
    assert shape_of("Qwen/Qwen3-VL-4B-Thinking") is SHAPES["Qwen3-VL-4B"]
    assert shape_of("google/gemma-3-4b-it") is SHAPES["gemma-3-4b"]
    assert shape_of("runs/tiny-model") is None


def test_the_table_goes_between_its_markers() -> None:
    page = f"before\n{scale.BEGIN}\nold\n{scale.END}\nafter\n"
    assert scale.rendered(page, "new") == f"before\n{scale.BEGIN}\nnew\n{scale.END}\nafter\n"
    with pytest.raises(SystemExit, match="not there"):
        scale.rendered("no markers", "new")


def test_the_docs_table_is_what_the_recipes_give() -> None:
    page = scale.PAGE.read_text(encoding="utf-8")
    assert scale.rendered(page, scale.table()) == page, "run: python bench/scale.py render"


def test_without_a_gpu_it_says_so(monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert scale.main(["run"]) == 2
    assert "no CUDA GPU" in capsys.readouterr().err


@pytest.mark.slow
def test_the_same_way_on_a_cpu() -> None:
    way = ["--cpu", "--size", "tiny", "--lora", "--group", "2", "--accumulation", "2"]
    small = ["--completion", "8", "--image-tokens", "16", "--words", "5", "--steps", "2"]
    found = subprocess.run(
        [sys.executable, str(BENCH / "scale.py"), "run", *way, *small],
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(found.stdout)
    assert result["steps"] == 2 and result["estimate"]["completions"] == 8
    assert result["generated_tokens_per_s"] > 0 and result["trained_tokens_per_s"] > 0
    assert result["estimate_over_peak"] is None
