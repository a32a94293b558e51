"""Rows of the study: read from YAML, one like another, swept, and scheduled."""

import json

import pytest
import yaml

from safegrpo.errors import ConfigError, InputFileError
from safegrpo.microcosm.study.hashing import row_hash
from safegrpo.microcosm.study.pattern import claims
from safegrpo.microcosm.study.results import result_file
from safegrpo.microcosm.study.rows import (
    FIRST_SEED,
    Row,
    all_rows,
    grpo_recipe,
    load_rows,
    load_sweeps,
    own,
    recipes_folder,
    swept,
)
from safegrpo.microcosm.study.schedule import Task, is_done, tasks


@pytest.fixture
def folder(tmp_path):
    def write(**files: str):
        for name, content in files.items():
            (tmp_path / f"{name}.yaml").write_text(content, "utf-8")
        return tmp_path

    return write


def test_the_shipped_rows_and_sweeps_all_make_recipes():
    rows = all_rows(recipes_folder())
    for name, row in rows.items():
        if row.method == "grpo":
            assert grpo_recipe(row, {}, name)["grpo"]
    assert {"base", "guide", "ecso", "vlguard", "think", "published", "ours"} <= rows.keys()
    assert "ours@pairs=300" in rows and "ours@without=kinds" in rows


def test_learning_rates_fall_with_the_base_model_s_width() -> None:
    said = {"grpo": {"learning_rate": "1e-4"}, "cold_start": {"learning_rate": 2e-3}}
    row = Row(title="a row", recipe=said)
    wide = row.model_copy(update={"base": "8m"})
    deep = row.model_copy(update={"base": "3m"})
    at = {one.base: grpo_recipe(one, {}, "row") for one in (row, wide, deep)}
    assert at["2m"] == at["3m"]
    assert at["2m"]["grpo"]["learning_rate"] == "1e-4"
    assert at["8m"]["grpo"]["learning_rate"] == pytest.approx(5e-5)
    assert at["8m"]["cold_start"]["learning_rate"] == pytest.approx(1e-3)
    rates = [at[base]["internalise"]["learning_rate"] for base in ("2m", "8m")]
    assert rates[1] == pytest.approx(rates[0] / 2)
    given = grpo_recipe(wide, {"grpo": {"learning_rate": 3e-3}}, "row")
    assert given["grpo"]["learning_rate"] == 3e-3


def test_a_rate_that_is_none_is_told_where_it_is() -> None:
    row = Row(title="a row", base="8m", recipe={"cold_start": {"learning_rate": None}})
    with pytest.raises(ConfigError, match=r"a place: .*learning_rate"):
        grpo_recipe(row, {}, "a place")


def test_the_rows_that_claims_are_made_of_have_ten_seeds():
    rows = load_rows(recipes_folder())
    claimed = {name for _, checks in claims() for check in checks for name in (check.a, check.b)}
    assert all(rows[name].seeds >= 10 for name in claimed if rows[name].method != "none")
    assert all(row.seeds >= 5 for row in rows.values())


def test_nothing_comes_after_the_published_recipe():
    rows = all_rows(recipes_folder())
    for name, row in rows.items():
        of = name.partition("@")[0]
        goes_on = of.startswith("ours") or of in (
            *("published-internalised", "rejection", "started-unlinked"),
        )
        if row.method == "grpo":
            recipe = grpo_recipe(row, {}, name)
            assert goes_on or recipe["internalise"] is None, name
            started = of in ("published-started-unlinked", "started-unlinked")
            when = (recipe.get("cold_start") or {}).get("when")
            ours = goes_on and of not in ("published-internalised", "ours-unstarted-unlinked")
            assert when == ("always" if started else "unlinked" if ours else None), name


def test_rows_named_unlinked_start_from_that_base_model():
    for name, row in load_rows(recipes_folder()).items():
        assert row.base == ("unlinked" if name.endswith("-unlinked") else "2m"), name


def test_ours_and_the_published_recipe_on_our_pairs_see_the_same():
    rows = load_rows(recipes_folder())
    assert rows["published-twins"].world == rows["ours"].world


def test_the_published_row_has_the_settings_of_the_published_recipe():
    paper = yaml.safe_load((recipes_folder().parent / "qwen3_vl_4b_paper.yaml").read_text("utf-8"))
    row = grpo_recipe(load_rows(recipes_folder())["published"], {}, "published")
    assert row["rules"] == paper["rules"] and row["freeze_vision"] == paper["freeze_vision"]
    for key in (
        *("beta", "epsilon", "delta", "loss_type", "weight_decay", "num_generations"),
        *("temperature", "multi_objective_aggregation", "lr_scheduler_type"),
    ):
        assert row["grpo"][key] == paper["grpo"][key], key


def test_a_row_like_another_says_only_what_differs(folder):
    path = folder(
        **{
            "01-one": "title: One\nseeds: 7\nrecipe: {grpo: {beta: 0.01, epsilon: 0.3}}",
            "02-two": "title: Two\nlike: one\nrecipe: {grpo: {beta: 0.5}}",
        }
    )
    two = load_rows(path)["two"]
    assert (two.title, two.seeds) == ("Two", 7)
    assert two.recipe == {"grpo": {"beta": 0.5, "epsilon": 0.3}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("title: A\nsedes: 3", 'unknown key "sedes"; did you mean "seeds"'),
        ("title: A\nlike: none-such", 'no such row to start from'),
        ("title: A\nlike: one", "no such row to start from"),  # itself
        ("title: A\nrecipe: {seed: 3}", 'the study sets "seed" itself'),
        ("title: A\nmethod: sft", '"supervised" goes with method: sft'),
        ("title: A\nmethod: none\nrecipe: {rules: paper}", '"recipe" goes with method: grpo'),
        ("title: A\nmodes: [direct]", "not among the modes"),
        ("title: A\nworld: {pairs: 1}", "world.pairs"),
        ("- a", "holds no keys"),
        ("a: [", "not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_row_is_told_with_its_file(folder, content, said):
    with pytest.raises(ConfigError) as error:
        load_rows(folder(**{"01-one": content}))
    assert said in str(error.value) and "01-one.yaml" in str(error.value)


def test_a_folder_without_rows_is_said(tmp_path):
    with pytest.raises(InputFileError, match="no rows of a study"):
        load_rows(tmp_path)


def test_a_sweep_runs_rows_again_with_one_key_at_each_value(folder):
    path = folder(**{
        "01-one": "title: One\nrecipe: {grpo: {beta: 0.01}}",
        "sweeps": "noise: {title: T, set: world.label_noise, values: [0.1, 0.2], rows: [one], "
        "seeds: 2, first_seed: 50, split: dev}",
    })  # fmt: skip
    rows, sweeps = load_rows(path), load_sweeps(path)
    found = swept(rows, sweeps)
    assert list(found) == ["one@noise=0.1", "one@noise=0.2"]
    row = found["one@noise=0.2"]
    assert row.world.label_noise == 0.2 and row.recipe == rows["one"].recipe
    assert list(row.seed_numbers()) == [50, 51] and row.split == "dev"
    assert own(rows, sweeps) == {"one@noise": "0.0"}


def test_a_sweep_may_have_values_of_its_own_for_each_row(folder):
    told = "n: {title: T, set: recipe.grpo.max_steps, values: {one: [10], two: [20, 40]}%s}"
    made = {"01-one": "title: One", "02-two": "title: Two"}
    path = folder(**made, sweeps=told % "")
    found = swept(load_rows(path), load_sweeps(path))
    assert list(found) == ["one@n=10", "two@n=20", "two@n=40"]
    for wrong in (told % ", rows: [one]", "n: {title: T, set: world.pairs, values: [96]}"):
        with pytest.raises(ConfigError, match='"rows" goes with one list of values'):
            load_sweeps(folder(**made, sweeps=wrong))


def test_an_unknown_row_of_a_sweep_is_said(folder):
    path = folder(**{
        "01-one": "title: One",
        "sweeps": "n: {title: T, set: world.pairs, values: [96], rows: [won]}",
    })  # fmt: skip
    with pytest.raises(ConfigError, match='no row "won"; did you mean "one"'):
        swept(load_rows(path), load_sweeps(path))


def test_seeds_are_taken_in_turn_and_the_base_model_takes_one():
    rows = {"base": Row(title="B", method="none"), "a": Row(title="A", seeds=2)}
    order = [(task.name, task.seed) for task in tasks(rows)]
    assert order == [("base", FIRST_SEED), ("a", FIRST_SEED), ("a", FIRST_SEED + 1)]
    assert [t.seed for t in tasks(rows, most=1)] == [FIRST_SEED, FIRST_SEED]
    assert [t.name for t in tasks(rows, seeds=[FIRST_SEED + 1])] == ["a"]


def test_the_hash_moves_with_what_decides_the_numbers_and_with_nothing_else():
    row = Row(title="A", seeds=2)
    assert row_hash(row) == row_hash(row.model_copy(update={"title": "B", "seeds": 9}))
    others = [
        Row(title="A", recipe={"grpo": {"beta": 0.5}}),
        Row(title="A", world={"label_noise": 0.1}),
        Row(title="A", split="dev"),
    ]
    assert len({row_hash(row, size=0.02), *(row_hash(one, size=0.02) for one in others)}) == 4
    assert row_hash(row) != row_hash(row, size=0.5)


def test_a_run_is_done_if_its_file_has_the_right_hash(tmp_path):
    task = Task("a", Row(title="A", method="none", modes=("direct",), home="direct"), 1000)
    path = tmp_path / result_file("a", 1000)
    assert not is_done(task, tmp_path, row_hash(task.row))
    path.write_text("{", "utf-8")  # torn
    assert not is_done(task, tmp_path, row_hash(task.row))
    path.write_text(json.dumps({"hash": row_hash(task.row)}), "utf-8")
    assert is_done(task, tmp_path, row_hash(task.row))
    assert not is_done(task, tmp_path, row_hash(task.row, size=0.5))
