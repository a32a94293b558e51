import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from safegrpo.commands.card import add_card
from safegrpo.errors import ConfigError, DataError, InputFileError
from safegrpo.report.card import MADE_BY, TRAINING, model_card, read_evaluated

HOSTILE = (
    "x`y|z\u202e\n---\n# Title <script>a()</script> ![i](http://a.example) https://b.example "
    '"{[: &amp; \ud800'
)
ATTACK = {
    **{"value": 0.125, "n": 8, "low": 0.02, "high": 0.47, "items": 10, "coverage": 0.8},
    **{"least": 0.1, "most": 0.3, "better": "lower"},
}
MANIFEST = {
    "model": {"model": "/secret/place/runs/mine/checkpoints/last", "temperature": 0.7},
    "samples": 3,
    "max_new_tokens": 64,
    "judges": {"figstep": {"model": "judge-x", "url": "http://10.1.2.3/v1", "key_env": "MY_KEY"}},
    "versions": {"safegrpo": "0.1.0"},
    "data": "/secret/sets",
}


def evaluation(
    folder: Path,
    model: str = "org/mine",
    manifest: dict[str, Any] | None = None,
    benchmark: str = "figstep",
    **changes: Any,
) -> Path:
    """A folder as an evaluation leaves it: one set, guided, scored by rules."""
    scorer = {"statuses": {"scored": 8, "error": 2}, "judge": None}
    mode = {"generated": 10, "errors": 0, "cut": 4}
    said = {
        **{"title": "The FigStep", "measures": "jailbreak defence", "licence": "MIT", "items": 11},
        "headline": ["attack_success"],
        "skipped": {"image missing": 1},
        "modes": {
            "guided": {
                **mode,
                "scorers": {"rules": {**scorer, "metrics": {"attack_success": ATTACK}}},
            }
        },
        **changes,
    }
    folder.mkdir(parents=True)
    metrics = {"format": 1, "model": model, "modes": ["guided"], "benchmarks": {benchmark: said}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "manifest.json").write_text(json.dumps(MANIFEST if manifest is None else manifest))
    return folder


def card_of(*folders: Path, **options: Any) -> str:
    return model_card([read_evaluated(folder) for folder in folders], **options)


def front_matter(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n", 2)[1])


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_card(parser.add_subparsers())
    args = parser.parse_args(["card", *words])
    code: int = args.run(args)
    return code


def test_the_hub_reads_the_front_matter(tmp_path: Path) -> None:
    data = ModelCard(card_of(evaluation(tmp_path / "run"))).data
    assert (data.license, data.library_name) == ("unknown", "transformers")
    assert data.pipeline_tag == "image-text-to-text"
    assert data.model_name == "org/mine"
    (result,) = data.eval_results
    assert (result.dataset_type, result.dataset_name) == ("figstep", "The FigStep")
    assert (result.metric_type, result.metric_value) == ("attack_success", 0.125)
    assert result.metric_args["n"] == 8


def test_only_headlines_that_have_a_value_are_in_the_index(tmp_path: Path) -> None:
    nothing = {"value": None, "n": 0, "items": 4}
    modes = {"guided": {"scorers": {"rules": {"metrics": {"safety": nothing, "refusal": ATTACK}}}}}
    card = card_of(evaluation(tmp_path / "run", headline=["safety"], modes=modes))
    assert "model-index" not in front_matter(card)


def test_it_says_how_each_number_was_made(tmp_path: Path) -> None:
    modes = {"guided": {"scorers": {"rubric": {"judge": {"model": "j", "wording": 2}}}}}
    card = card_of(evaluation(tmp_path / "run"), evaluation(tmp_path / "other", modes=modes))
    for said in (
        "- Temperature: `0.7`",
        "- Samples: `3`",
        "- Data: `sets`",
        "| rules | attack success ↓ | 12.5 [2.0, 47.0] | 8/10: 10.0 to 30.0 |",
        "- Token limit: `64`",
        "| 10 | 0 | 4 | – | scored 8, error 2 |",
        "| model j, wording 2 |",
        "| run | The FigStep | jailbreak defence | MIT | 11 | image missing 1 |",
    ):
        assert said in card, said


def test_places_stay_out_of_it(tmp_path: Path) -> None:
    card = card_of(evaluation(tmp_path / "run", model="/secret/place/runs/mine/checkpoints/last"))
    for place in ("secret", "10.1.2.3", "MY_KEY", str(tmp_path)):
        assert place not in card
    assert card.split("---\n", 2)[2].strip().startswith(f"{MADE_BY}\n\n# `mine`\n")


def test_a_part_of_a_set_is_told_as_one(tmp_path: Path) -> None:
    card = card_of(evaluation(tmp_path / "run", size=500))
    assert "| MIT | 11 of 500 |" in card
    assert "- Limit: `The FigStep 11 of 500 items`" in card


def test_answers_that_were_cut_are_a_limit(tmp_path: Path) -> None:
    limits = card_of(evaluation(tmp_path / "run")).split("## Known limits")[1]
    assert "- `The FigStep, guided`: 4 of 10 responses cut at the limit" in limits
    assert "empty" not in limits  # nobody counted those


@pytest.mark.parametrize("form", [list, lambda inner: {"a": inner}])
def test_values_nested_too_deep_are_left_out_and_named(tmp_path: Path, form: Any) -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep] if form is list else form(deep)
    manifest = MANIFEST | {"judges": deep, "data": deep}
    card = card_of(evaluation(tmp_path / "run", manifest=manifest))
    assert "Not read: `manifest.json: judges is left out: it is nested deeper than" in card
    assert "Samples: `3`" in card


def test_a_file_that_is_a_link_out_of_the_run_is_not_read(tmp_path: Path) -> None:
    folder, other = evaluation(tmp_path / "run"), evaluation(tmp_path / "other")
    for name in ("manifest.json", "metrics.json"):
        (folder / name).unlink()
        (folder / name).symlink_to(other / name)
        with pytest.raises(DataError, match=f"{name} is a link out of the run"):
            read_evaluated(folder)


def test_it_says_what_was_not_measured(tmp_path: Path) -> None:
    safety = {"safety": {**ATTACK, "better": "higher"}}
    modes = {"guided": {"scorers": {"rules": {"metrics": safety}}}}
    card = card_of(evaluation(tmp_path / "run", headline=["safety"], modes=modes))
    limits = card.split("## Known limits")[1]
    assert "Not measured: over-sensitivity (mossbench)" in limits
    assert "Not measured: jailbreak defence" not in limits
    assert "Not measured: what the model does without the guide" in limits
    assert "No judge has read the answers" in limits
    assert "One training run" in limits
    assert "Of `The FigStep` as little as 80.0 % is known" in limits


def test_another_run_and_a_judge_are_no_limits(tmp_path: Path) -> None:
    scorers = {"rubric": {"metrics": {"attack_success": ATTACK}}}
    second = evaluation(tmp_path / "second", modes={"direct": {"scorers": scorers}})
    limits = card_of(evaluation(tmp_path / "run"), second).split("## Known limits")[1]
    for said in ("One training run", "No judge", "without the guide", "with the guide"):
        assert said not in limits


def test_a_set_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    card = card_of(evaluation(tmp_path / "run", items="many"))
    assert "Not read: `metrics.json: benchmark figstep is left out" in card


def test_other_models_are_shown_and_stay_out_of_the_front_matter(tmp_path: Path) -> None:
    mine, base = evaluation(tmp_path / "mine"), evaluation(tmp_path / "base", model="org/base")
    card = card_of(mine, base)
    (index,) = front_matter(card)["model-index"]
    assert (index["name"], len(index["results"])) == ("org/mine", 1)
    assert "| base | guided |" in card


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    card = card_of(evaluation(tmp_path / "a" / "run"), evaluation(tmp_path / "b" / "run"))
    assert "### `run`\n" in card
    assert "### `run (2)`\n" in card


def test_the_base_model_is_found_by_the_recipe_of_the_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "trained" / "checkpoints" / "last"
    model.mkdir(parents=True)
    (tmp_path / "trained" / "config.yaml").write_text("model: org/base\ngrpo: {}\n")
    folder = evaluation(tmp_path / "run")
    assert run(str(folder), "--model-dir", str(model), "--license", "apache-2.0") == 0
    assert capsys.readouterr().out.strip() == str(model / "README.md")
    front = front_matter((model / "README.md").read_text())
    assert (front["base_model"], front["license"]) == ("org/base", "apache-2.0")
    assert front["model-index"][0]["name"] == "trained"


def test_a_config_that_is_no_recipe_tells_no_base_model(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "run")
    (folder / "config.yaml").write_text("model: org/other\n")
    assert "base_model" not in front_matter(card_of(folder))


def test_a_broken_config_is_named(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "run")
    (folder / "config.yaml").write_text("a: [")
    with pytest.raises(DataError, match=r"config\.yaml"):
        card_of(folder)


def test_nothing_from_a_file_is_markup(tmp_path: Path) -> None:
    scorer = {"statuses": {HOSTILE: 1}, "judge": {HOSTILE: HOSTILE}, "metrics": {HOSTILE: ATTACK}}
    folder = evaluation(
        tmp_path / "run",
        model=HOSTILE,
        benchmark=HOSTILE,
        manifest={key: HOSTILE for key in MANIFEST},
        title=HOSTILE,
        measures=HOSTILE,
        licence=HOSTILE,
        headline=[HOSTILE],
        skipped={HOSTILE: 1},
        modes={HOSTILE: {"scorers": {HOSTILE: scorer}}},
    )
    card = card_of(folder)
    card.encode("utf-8")
    front = front_matter(card)
    assert set(front) == {"license", "library_name", "pipeline_tag", "tags", "model-index"}
    tokens = MarkdownIt("commonmark").enable("table").parse(card.split(MADE_BY)[1])
    inline = [one for token in tokens for one in token.children or ()]
    kinds = {one.type for one in (*tokens, *inline)}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "hr"}
    assert sum(token.type == "heading_open" for token in tokens) == 6
    text = "".join(one.content for one in inline if one.type == "text")
    assert not [word for word in ("Title", "script", "example", "http") if word in text]
    assert "\u202e" not in card


def test_without_a_place_it_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = evaluation(tmp_path / "run")
    assert run(str(folder)) == 0
    assert capsys.readouterr().out == card_of(folder)


def test_it_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "run")
    assert run(str(folder), "-o", str(tmp_path / "card.md")) == 0
    assert (tmp_path / "card.md").read_text() == card_of(folder)


def test_a_readme_of_ones_own_is_kept_and_an_older_card_replaced(tmp_path: Path) -> None:
    folder, model = evaluation(tmp_path / "run"), tmp_path / "model"
    model.mkdir()
    for own in ("mine", f"# Mine\n\nThe table was\n\n```\n{card_of(folder)}```\n"):
        (model / "README.md").write_text(own)
        with pytest.raises(ConfigError, match="somebody's own; pass -o"):
            run(str(folder), "--model-dir", str(model))
        assert (model / "README.md").read_text() == own
    assert run(str(folder), "--model-dir", str(model), "-o", str(model / "README.md")) == 0
    assert run(str(folder), "--model-dir", str(model)) == 0


@pytest.mark.parametrize("named", [False, True])
def test_what_training_wrote_of_the_model_stays(tmp_path: Path, named: bool) -> None:
    folder, model = evaluation(tmp_path / "run"), tmp_path / "model"
    model.mkdir()
    begin, end = TRAINING
    told = f"{begin}\n\n## How it was trained\n\n- by hand\n\n{end}"
    (model / "README.md").write_text(f"{MADE_BY}\n\n# m\n\n{told}\n\n## Limits\n")
    output = ["-o", str(model / "README.md")] if named else []
    assert run(str(folder), "--model-dir", str(model), *output) == 0
    card = (model / "README.md").read_text()
    assert told in card and "## Limits" not in card


def test_a_readme_that_is_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder, model = evaluation(tmp_path / "run"), tmp_path / "model"
    model.mkdir()
    begin, end = TRAINING
    outside = tmp_path / "outside.md"
    outside.write_text(f"{MADE_BY}\n\n# m\n\n{begin}\n\nprivate\n\n{end}\n")
    (model / "README.md").symlink_to(outside)
    for more in ([], ["-o", str(model / "README.md")]):
        with pytest.raises(DataError, match="is a link out of"):
            run(str(folder), "--model-dir", str(model), *more)
    assert (model / "README.md").is_symlink() and "private" in outside.read_text()


def test_settings_that_hold_secrets_stay_out_of_it(tmp_path: Path) -> None:
    data = {"name": "x", "hf_token": "hf-1", "Authorization": "Bearer-1", "token limit": "5"}
    card = card_of(evaluation(tmp_path / "run", manifest={**MANIFEST, "data": data}))
    assert "- Data: `name x, token limit 5`" in card


def test_wrong_usage_is_named_with_its_mend(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "demo" / "eval" / "after")
    with pytest.raises(InputFileError, match=r"name .*eval/after"):
        run(str(tmp_path / "demo"))
    with pytest.raises(InputFileError, match="no folder here"):
        run(str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="such as apache-2"):
        run(str(folder), "--license", "My own: licence")
    with pytest.raises(ConfigError, match="name a file"):
        run(str(folder), "-o", str(tmp_path))
    (tmp_path / "model" / "README.md").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"README\.md is a folder"):
        run(str(folder), "--model-dir", str(tmp_path / "model"))
    with pytest.raises(InputFileError, match="--model-dir"):
        run(str(folder), "--model-dir", str(tmp_path / "none"))
