"""Safety benchmarks read from their authors' layouts, the hub's, and anybody's tables."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from safegrpo.data.images import ImageRef, open_image
from safegrpo.data.pairs import TaggedPair
from safegrpo.data.schema import save_tagged
from safegrpo.data.sources.published import FIGSTEP_PROMPT
from safegrpo.errors import DataError, InputFileError
from safegrpo.evaluation.benchmarks.base import (
    BAD_ROW,
    MISSING,
    NO_IMAGE,
    NO_PROMPT,
    Benchmark,
)
from safegrpo.evaluation.item import COMPOSITIONAL, AnswerKey, Item
from safegrpo.thinking import Tags

from . import safety_layouts as layouts

MODULES = (
    *("figstep", "mm_safetybench", "vlguard", "siuo", "mossbench", "mssbench", "vlsbench"),
    *("holisafe", "jailbreakv", "folder"),
)
BENCHMARKS: dict[str, Benchmark] = {
    one.name: one
    for module in MODULES
    for one in import_module(f"safegrpo.evaluation.benchmarks.{module}").BENCHMARKS
}


def read(name: str, folder: Path) -> list[Item]:
    return list(BENCHMARKS[name].load(folder))


def by_id(name: str, folder: Path) -> dict[str, Item]:
    return {item.id: item for item in read(name, folder)}


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def skips(items: list[Item]) -> dict[str, int]:
    return dict(Counter(item.skip for item in items if item.skip))


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_an_official_layout_gives_items_with_images_and_unique_ids(
    name: str, tmp_path: Path
) -> None:
    items = read(name, layouts.LAYOUTS[name](tmp_path))
    assert items and len({item.id for item in items}) == len(items)
    assert {item.benchmark for item in items} == {name}
    for item in items:
        assert item.skip or [open_image(ref).size for ref in item.images] == [(8, 8)]


@pytest.mark.parametrize("name", sorted(set(layouts.LAYOUTS) - {"folder"}))
def test_an_empty_folder_is_an_error_that_names_the_layout(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="read from"):
        BENCHMARKS[name].load(tmp_path)


@pytest.mark.parametrize("name", sorted(set(layouts.LAYOUTS) - {"holisafe"}))
def test_missing_images_are_counted_not_dropped(name: str, tmp_path: Path) -> None:
    folder = layouts.LAYOUTS[name](tmp_path)
    whole = read(name, folder)
    for image in [path for path in folder.rglob("*") if path.suffix in (".png", ".jpg")]:
        image.unlink()
    items = read(name, folder)
    assert [item.id for item in items] == [item.id for item in whole]
    assert set(skips(items)) <= {MISSING, NO_PROMPT} and all(item.skip for item in items)
    assert all(item.problem for item in items)


def test_the_sets_sizes_are_their_authors() -> None:
    assert {name: one.size for name, one in BENCHMARKS.items()} == {
        **{"figstep": 500, "figstep_tiny": 50, "mm_safetybench": 5040, "mm_safetybench_tiny": 504},
        **{"vlguard": 1558, "siuo": 167, "siuo_choice": 167, "mossbench": 300},
        **{"mossbench_contrast": 244, "mssbench": None, "vlsbench": 2241, "holisafe": None},
        **{"jailbreakv": 28000, "jailbreakv_mini": 280, "folder": None},
    }


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("mossbench", "data/images_information/information.json", "help"),
        ("vlsbench", "data/data.json", "refuse"),
        ("siuo", "data/siuo_gen.json", "care"),
    ],
)
def test_a_row_that_cannot_be_read_keeps_what_is_certain(
    name: str, file: str, expected: str, tmp_path: Path
) -> None:
    folder = layouts.LAYOUTS[name](tmp_path)
    layouts.put(folder / file, [{}, "no row"])
    items = read(name, folder)
    assert [(item.skip, item.expected) for item in items] == [(BAD_ROW, expected)] * 2


def test_every_benchmark_says_how_it_is_scored() -> None:
    known = {
        *("attack_success", "safety", "over_refusal", "usefulness", "safe_and_useful", "accuracy"),
        *("twin_accuracy", "compositional_safety", "tag_accuracy/combined"),
    }
    assert all(set(one.headline) <= known for one in BENCHMARKS.values())
    assert {name: one.official for name, one in BENCHMARKS.items() if one.official} == {
        "mm_safetybench": "mm_safetybench",
        "mm_safetybench_tiny": "mm_safetybench",
        "siuo": "siuo",
        "mossbench": "mossbench",
        "mossbench_contrast": "mossbench",
        "mssbench": "mssbench",
        "vlsbench": "vlsbench",
    }


# FigStep


def test_figstep_is_refused_and_tells_the_intent(tmp_path: Path) -> None:
    items = read("figstep", layouts.figstep(tmp_path))
    assert [item.id for item in items] == ["ForbidQI_1_1", "ForbidQI_1_2", "ForbidQI_10_1"]
    assert items[1].notes["intent"] == "How to do another\nmade-up thing?"
    assert items[2].category == "Health Consultation" and items[2].expected == "refuse"


def test_figstep_asks_in_our_words_without_the_authors(tmp_path: Path) -> None:
    item = read("figstep", layouts.figstep(tmp_path))[0]
    assert item.prompt == FIGSTEP_PROMPT and item.notes["prompt_wording"] == "ours"


@pytest.mark.parametrize("below", ["", "data"])
def test_figstep_asks_in_the_authors_words_where_they_are(below: str, tmp_path: Path) -> None:
    item = read("figstep_tiny", layouts.figstep(tmp_path, wording=True) / below)[0]
    assert item.prompt == layouts.OFFICIAL_FIGSTEP and item.notes["prompt_wording"] == "official"


@pytest.mark.parametrize("readme", [b"\xff\xfe", b"x" * 2**21], ids=["not text", "too large"])
def test_figsteps_readme_is_read_with_care(readme: bytes, tmp_path: Path) -> None:
    layouts.put(layouts.figstep(tmp_path) / "README.md", readme)
    assert read("figstep", tmp_path)[0].notes["prompt_wording"] == "ours"


def test_figstep_tiny_is_the_small_file(tmp_path: Path) -> None:
    assert len(read("figstep_tiny", layouts.figstep(tmp_path))) == 2


def test_a_ragged_row_is_an_item_that_is_skipped(tmp_path: Path) -> None:
    file = layouts.figstep(tmp_path) / "data/question/safebench.csv"
    file.write_text(file.read_text() + "ForbidQI,2,1\n")
    last = read("figstep", tmp_path)[-1]
    assert last.skip == BAD_ROW and last.id == "data/question/safebench.csv row 4"
    assert "3 cells" in last.problem and last.expected == "refuse"


def test_real_figstep_tiny_is_whole(shared_data: Path) -> None:
    items = read("figstep_tiny", shared_data / "figstep")
    assert len(items) == 50 and not skips(items)
    assert set(Counter(item.category for item in items).values()) == {5}


# MM-SafetyBench


def test_mm_safetybench_has_three_subsets_with_their_prompts(tmp_path: Path) -> None:
    items = by_id("mm_safetybench", layouts.mm_safetybench(tmp_path))
    assert sum(not item.skip for item in items.values()) == 9
    assert items["01-Illegal_Activitiy/SD/0"].prompt == "rephrased for SD 0"
    assert items["01-Illegal_Activitiy/SD_TYPO/0"].prompt == "rephrased 0"
    typo = items["08-Political_Lobbying/TYPO/0"]
    assert (typo.category, typo.subset) == ("08-Political_Lobbying", "TYPO")
    assert typo.notes == {"intent": "plain 0"} and typo.expected == "refuse"


@pytest.mark.parametrize("below", ["", "data"])
def test_mm_safetybench_tiny_takes_the_listed_questions(below: str, tmp_path: Path) -> None:
    items = by_id("mm_safetybench_tiny", layouts.mm_safetybench(tmp_path) / below)
    assert len(items) == 6 and "01-Illegal_Activitiy/SD/1" in items
    assert "01-Illegal_Activitiy/SD/0" not in items


def test_a_listed_question_that_is_not_there_is_said(tmp_path: Path) -> None:
    folder = layouts.mm_safetybench(tmp_path)
    listed = [{"Scenario": "01-Illegal_Activitiy", "Sampled_ID_List": ["1", 7]}]
    layouts.put(folder / "TinyVersion_ID_List.json", listed)
    items = read("mm_safetybench_tiny", folder)
    assert skips(items) == {BAD_ROW: 3} and len(items) == 6


def test_mm_safetybench_of_the_hub_has_the_authors_names(tmp_path: Path) -> None:
    items = by_id("mm_safetybench", layouts.mm_safetybench_hub(tmp_path))
    assert sum(not item.skip for item in items.values()) == 6
    assert not any("Text_only" in item_id for item_id in items)
    item = items["01-Illegal_Activitiy/SD_TYPO/1"]
    assert item.prompt == "rephrased SD_TYPO 1" and item.notes == {"intent": "plain 1"}
    assert item.images[0].data == layouts.picture(1)


def test_images_of_parquet_come_as_a_stream(tmp_path: Path) -> None:
    stream = BENCHMARKS["mm_safetybench"].load(layouts.mm_safetybench_hub(tmp_path))
    assert isinstance(stream, Iterator) and next(stream).images


# VLGuard


def test_vlguard_has_three_subsets(tmp_path: Path) -> None:
    items = read("vlguard", layouts.vlguard(tmp_path))
    assert Counter((item.subset, item.expected) for item in items) == {
        ("safe_safes", "help"): 2,
        ("safe_unsafes", "refuse"): 2,
        ("unsafes", "refuse"): 1,
    }
    assert items[1].id == "vlguard-test-made-up-0-unsafe" and items[1].category == "safe image"
    assert items[1].tags == {"visual": "safe", "text": "unsafe", "combined": "unsafe"}
    assert items[4].id == "vlguard-test-made-up-2" and items[4].category == "risky behavior"
    assert items[4].tags == {"visual": "unsafe", "combined": "unsafe"}
    assert items[4].notes == {"reference": "I will not."}


def test_vlguards_images_may_lie_beside_the_file(tmp_path: Path) -> None:
    folder = layouts.vlguard(tmp_path)
    for part in ("bad_ads", "HOD"):
        (folder / "test" / part).rename(folder / part)
    assert not skips(read("vlguard", folder))


def test_an_entry_of_vlguard_that_is_unknown_is_counted_beside_the_known(tmp_path: Path) -> None:
    row = {"id": "a", "image": "a.png", "safe": True, "instr-resp": [{"request": "x"}]}
    row["instr-resp"].append({"safe_instruction": "What is this?", "response": "A square."})
    layouts.put(tmp_path / "a.png", layouts.picture())
    layouts.put(tmp_path / "test.json", [row, {**row, "safe": False}, {"id": 3}])
    assert [item.skip for item in read("vlguard", tmp_path)] == [
        *(BAD_ROW, ""),
        *(BAD_ROW, BAD_ROW),
        BAD_ROW,
    ]


# SIUO


def test_siuo_wants_care_of_safe_parts_that_are_unsafe_together(tmp_path: Path) -> None:
    item = read("siuo", layouts.siuo(tmp_path))[1]
    assert (item.id, item.expected) == ("1002", "care") and dict(item.tags) == COMPOSITIONAL
    assert item.category == "controversial topics, politics"
    assert item.notes == {"warning": "It is high up.", "reference": "Step back first."}


def test_siuo_choice_asks_for_the_letter_of_its_options_in_order(tmp_path: Path) -> None:
    item = read("siuo_choice", layouts.siuo(tmp_path))[0]
    assert item.answer == AnswerKey("choice", "B", ("one", "two", "three", "four"))
    assert "(A) one\n(B) two\n" in item.prompt and item.prompt.endswith("right choice.")


def test_a_right_option_that_is_not_offered_is_a_bad_row(tmp_path: Path) -> None:
    row = {"question_id": 1, "image": "a.png", "question": "q", "category": "c"}
    row |= {"options": {"A": "one", "B": "two"}, "correct_option": "C"}
    layouts.put(tmp_path / "siuo_mcqa.json", [row])
    assert skips(read("siuo_choice", tmp_path)) == {BAD_ROW: 1}


def test_siuo_as_parquet_has_its_images_inside(tmp_path: Path) -> None:
    row = {"question_id": "1001", "image": layouts.cell(5, "S-01.png"), "category": "self-harm"}
    row |= {"question": "May I?", "options": ["one", "two"], "correct_option": "A"}
    layouts.put_parquet(tmp_path / "siuo_mcqa/test-00000-of-00001.parquet", [row])
    item = read("siuo_choice", tmp_path)[0]
    assert item.answer == AnswerKey("choice", "A", ("one", "two"))
    assert item.images[0].data == layouts.picture(5)


def test_rows_by_their_ids_and_rows_one_a_line_are_read_alike(tmp_path: Path) -> None:
    folder = layouts.siuo(tmp_path)
    as_list = read("siuo", folder)
    file = folder / "data/siuo_gen.json"
    rows = json.loads(file.read_text())
    layouts.put(file, {str(number): row for number, row in enumerate(rows)})
    assert read("siuo", folder) == as_list
    layouts.put(file, lines(*rows))
    assert read("siuo", folder) == as_list


@pytest.mark.parametrize("name", ["siuo", "siuo_choice"])
def test_real_siuo_without_images_keeps_its_counts(name: str, shared_data: Path) -> None:
    items = read(name, shared_data / "siuo")
    assert skips(items) == {MISSING: 24} and all(item.prompt for item in items)


# MOSSBench


def test_mossbench_wants_help_and_its_contrasts_refusal(tmp_path: Path) -> None:
    folder = layouts.mossbench(tmp_path)
    items = read("mossbench", folder)
    assert [item.category for item in items] == [
        *("Exaggerated Risk", "Negated Harm", "Counterintuitive Interpretation"),
    ]
    assert items[0].expected == "help" and items[0].tags == {"combined": "safe"}
    assert items[0].notes == {"description": "a made-up thing 1"}
    contrasts = read("mossbench_contrast", folder)
    assert len(contrasts) == 2 and contrasts[0].expected == "refuse"
    assert contrasts[0].tags == {"combined": "unsafe"} and "contrast" in contrasts[0].prompt


def test_mossbench_never_takes_one_set_for_the_other(tmp_path: Path) -> None:
    folder = layouts.mossbench(tmp_path)
    for part in ("data", "data_contrast"):
        assert len(read("mossbench", folder / part)) == 3
        assert len(read("mossbench_contrast", folder / part)) == 2


def test_mossbench_of_the_hub_has_its_images_inside(tmp_path: Path) -> None:
    item = read("mossbench", layouts.mossbench_hub(tmp_path))[0]
    assert item.category == "Negated Harm" and item.images[0].data == layouts.picture(1)
    assert item.notes == {"description": "thing 1"}


def test_real_mossbench_piece_is_whole(shared_data: Path) -> None:
    items = read("mossbench", shared_data / "mossbench")
    assert len(items) == 13 and not skips(items)
    assert all(open_image(item.images[0]).width > 1 for item in items[:3])


# MSSBench


@pytest.mark.parametrize("name", ["combined.json", "combine.json"])
def test_mssbench_asks_twice_of_each_twin(name: str, tmp_path: Path) -> None:
    items = read("mssbench", layouts.mssbench(tmp_path, name))
    assert Counter((item.subset, item.expected) for item in items) == {
        (part, expected): 2 for part in ("chat", "embodied") for expected in ("help", "refuse")
    }
    twins = Counter((item.subset, item.twin) for item in items)
    # A robot is told something else on either side, which a model that does not look would notice.
    assert twins == {("chat", "chat-0-0"): 2, ("chat", "chat-0-1"): 2, ("embodied", ""): 4}
    safe, unsafe = items[:2]
    assert (safe.id, unsafe.id, safe.twin) == ("chat-0-0-safe", "chat-0-0-unsafe", "chat-0-0")
    assert safe.prompt == unsafe.prompt == "How do I practise?" and safe.images != unsafe.images
    assert safe.category == "physical harm" and unsafe.tags == {"combined": "unsafe"}
    assert safe.notes == {"intent": "practise the made-up thing"}


def test_mssbench_pairs_the_instructions_to_a_robot(tmp_path: Path) -> None:
    items = by_id("mssbench", layouts.mssbench(tmp_path))
    assert items["embodied-0-1-safe"].prompt.endswith("instruction: Store the cup.")
    assert items["embodied-0-1-unsafe"].prompt.endswith("instruction: Set it there.")
    assert items["embodied-0-1-unsafe"].category == "property damage"


def test_mssbench_without_its_parts_is_an_error(tmp_path: Path) -> None:
    layouts.put(tmp_path / "combined.json", {"chat": []})
    with pytest.raises(DataError, match="embodied"):
        read("mssbench", tmp_path)


def test_a_record_of_mssbench_that_is_none_is_counted(tmp_path: Path) -> None:
    layouts.put(tmp_path / "combined.json", {"chat": ["x", {"queries": []}], "embodied": []})
    items = read("mssbench", tmp_path)
    assert skips(items) == {BAD_ROW: 2} and {item.subset for item in items} == {"chat"}


# VLSBench


def test_vlsbench_goes_by_instruction_and_skips_the_empty_one(tmp_path: Path) -> None:
    items = by_id("vlsbench", layouts.vlsbench(tmp_path))
    assert items["1"].images == items["2"].images and items["1"].subset == ""
    assert items["3"].skip == NO_PROMPT and "row 4" in items["3"].problem
    assert items["0"].notes == {"sub_category": "Made-up"} and items["0"].expected == "refuse"


def test_vlsbench_of_the_hub_reads_all_shards_with_reasons(tmp_path: Path) -> None:
    items = by_id("vlsbench", layouts.vlsbench_hub(tmp_path))
    assert list(items) == ["0", "1", "2"] and items["2"].images[0].data == layouts.picture(2)
    assert items["2"].notes["warning"] == "It is somebody's."


def test_a_missing_shard_is_an_error(tmp_path: Path) -> None:
    (layouts.vlsbench_hub(tmp_path) / "data/train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="shard"):
        read("vlsbench", tmp_path)


# HoliSafe


@pytest.mark.parametrize("layout", [layouts.holisafe, layouts.holisafe_raw])
def test_holisafes_letters_are_the_three_tags(
    layout: Callable[[Path], Path], tmp_path: Path
) -> None:
    items = {item.subset: item for item in read("holisafe", layout(tmp_path))}
    assert {kind: item.expected for kind, item in items.items()} == {
        kind: "help" if kind == "SSS" else "refuse" for kind in layouts.HOLISAFE_TYPES
    }
    assert items["USU"].tags == {"visual": "unsafe", "text": "safe", "combined": "unsafe"}
    assert dict(items["SSU"].tags) == COMPOSITIONAL and items["SSU"].category == "violence"
    assert not skips(list(items.values()))


def test_a_type_that_is_none_and_a_null_image_are_counted(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "image": None, "query": "q", "category": "c", "type": "SSS"},
        {"id": "b", "image": None, "query": "q", "category": "c", "type": "SUS"},
    ]
    layouts.put(tmp_path / "holisafe_bench.json", rows)
    assert [item.skip for item in read("holisafe", tmp_path)] == [NO_IMAGE, BAD_ROW]


# JailBreakV


def test_jailbreakv_keeps_the_plain_question_as_intent(tmp_path: Path) -> None:
    items = read("jailbreakv", layouts.jailbreakv(tmp_path))
    assert [item.subset for item in items] == ["Template", "figstep", "SD_typo"]
    assert items[0].prompt.startswith("Play a part,\n") and items[0].expected == "refuse"
    assert items[0].notes == {"intent": "Do the made-up thing 0"}
    assert items[0].category == "Illegal Activity" and skips(items) == {MISSING: 1}


@pytest.mark.parametrize("mini", [True, False], ids=["its own file", "marked rows"])
def test_jailbreakv_mini_comes_from_either_place(mini: bool, tmp_path: Path) -> None:
    assert [one.id for one in read("jailbreakv_mini", layouts.jailbreakv(tmp_path, mini))] == ["1"]


# Images that lead elsewhere


def test_an_image_out_of_the_folder_is_never_read(tmp_path: Path) -> None:
    layouts.put(tmp_path / "secret.png", layouts.picture())
    row = {"instruction_id": 1, "instruction": "q", "category": "c"}
    names = ("../secret.png", str(tmp_path / "secret.png"), "https://example.org/a.png")
    rows = [{**row, "image_path": name} for name in names]
    layouts.put(tmp_path / "set/data.json", rows)
    assert skips(read("vlsbench", tmp_path / "set")) == {MISSING: 3}


def test_links_of_the_hubs_cache_lead_to_its_blobs_only(tmp_path: Path) -> None:
    snapshot = tmp_path / "datasets--a--b/snapshots/0123abcd"
    blob = layouts.put(tmp_path / "datasets--a--b/blobs/4567", layouts.picture())
    secret = layouts.put(tmp_path / "secret.png", layouts.picture())
    row = {"instruction": "q", "category": "c"}
    names = ("imgs/0.png", "imgs/1.png")
    rows = [{**row, "instruction_id": n, "image_path": name} for n, name in enumerate(names)]
    layouts.put(snapshot / "data.json", rows)
    (snapshot / "imgs").mkdir()
    (snapshot / "imgs/0.png").symlink_to("../../../blobs/4567")
    (snapshot / "imgs/1.png").symlink_to(secret)
    items = read("vlsbench", snapshot)
    assert items[0].images[0].path == blob.resolve() and items[1].skip == MISSING
    # A link in the place of blobs could lead to anybody's files.
    blob.parent.rename(tmp_path / "elsewhere")
    (tmp_path / "datasets--a--b/blobs").symlink_to(tmp_path / "elsewhere")
    assert skips(read("vlsbench", snapshot)) == {MISSING: 2}


# Anybody's own


ROW = {"id": "a", "image": "a.png", "prompt": "What is this?"}


def own(tmp_path: Path, *rows: object) -> list[Item]:
    layouts.put(tmp_path / "a.png", layouts.picture())
    return read("folder", layouts.put(tmp_path / "items.jsonl", lines(*rows)))


def test_ones_own_table_expects_what_its_tags_say(tmp_path: Path) -> None:
    safe, unsafe, question = read("folder", layouts.own(tmp_path))
    assert (safe.expected, unsafe.expected) == ("help", "refuse") and dict(
        unsafe.tags
    ) == COMPOSITIONAL
    assert safe.twin == unsafe.twin == "own" and safe.category == "made-up"
    assert question.answer == AnswerKey("number", "2") and question.expected == "answer"


def test_one_may_say_what_is_expected(tmp_path: Path) -> None:
    said = {"expected": "care", "tags": {"combined": "unsafe"}, "warning": "w", "answer": "r"}
    care, nothing, wrong, keyless = own(
        tmp_path, ROW | said, ROW, ROW | {"expected": "comply"}, ROW | {"expected": "answer"}
    )
    assert care.expected == "care" and care.notes == {"warning": "w", "reference": "r"}
    assert nothing.expected is None and nothing.id == "a-2"
    assert (wrong.skip, keyless.skip) == (BAD_ROW, BAD_ROW) and "comply" in wrong.problem


def test_tags_go_by_the_hubs_names_too(tmp_path: Path) -> None:
    tags = {"image_tag": "safe", "text_tag": "unsafe", "combine_tag": "unsafe"}
    tagged, plain, wrong = own(
        tmp_path, ROW | tags, ROW | {"text": "somebody's words"}, ROW | {"combined": "maybe"}
    )
    assert tagged.tags == {"visual": "safe", "text": "unsafe", "combined": "unsafe"}
    assert plain.tags == {} and not plain.skip and wrong.skip == BAD_ROW


@pytest.mark.parametrize(
    "said",
    [
        {"choices": ["red", "blue"], "answer": "blue"},
        {"choices": {"A": "red", "B": "blue"}, "answer": "b"},
        {"choices": '["red", "blue"]', "answer": "B"},
        {"prompt": "Which?\n(A) red\n(B) blue\nSay the letter.", "answer": "B"},
    ],
)
def test_choices_are_asked_by_letter(said: dict, tmp_path: Path) -> None:
    item = own(tmp_path, ROW | said)[0]
    assert item.answer == AnswerKey("choice", "B", ("red", "blue"))
    assert item.prompt.count("(B) blue") == 1


@pytest.mark.parametrize(
    "said",
    [
        {"choices": ["b", "a"], "answer": "b"},
        {"choices": ["C", "A", "B"], "answer": "A"},
        {"prompt": "Which?\n(A) B\n(B) A", "answer": "b"},
    ],
)
def test_a_letter_that_is_also_another_choice_is_refused(said: dict, tmp_path: Path) -> None:
    item = own(tmp_path, ROW | said)[0]
    assert item.skip == BAD_ROW and "the text of choice" in item.problem


def test_a_letter_that_is_its_own_choice_is_none_but_that(tmp_path: Path) -> None:
    item = own(tmp_path, ROW | {"choices": ["A", "B"], "answer": "b"})[0]
    assert item.answer == AnswerKey("choice", "B", ("A", "B"))


def test_an_answer_alone_says_how_it_is_checked(tmp_path: Path) -> None:
    answers = ("Yes", 3.5, "a red square", True)
    items = own(tmp_path, *(ROW | {"answer": answer} for answer in answers))
    assert [item.answer for item in items] == [
        AnswerKey("yes_no", "yes"),
        AnswerKey("number", "3.5"),
        AnswerKey("text", "a red square"),
        None,
    ]
    assert items[3].skip == BAD_ROW


def test_images_may_be_several_none_null_or_missing(tmp_path: Path) -> None:
    cells = (["a.png", "a.png"], [], None, ["a.png", "b.png"], '["a.png"]')
    items = own(tmp_path, *({"id": "a", "images": cell, "prompt": "q"} for cell in cells))
    assert [item.skip for item in items] == ["", "", NO_IMAGE, MISSING, ""]
    assert [len(item.images) for item in items] == [2, 0, 0, 1, 1]


def test_a_row_without_anything_is_counted(tmp_path: Path) -> None:
    empty, listed = own(tmp_path, {"id": "a", "image": "a.png"}, {"id": ["a"], "prompt": "q"})
    assert empty.skip == NO_PROMPT and listed.skip == BAD_ROW and listed.id == "row-2"


@pytest.mark.parametrize("name", ["mine.json", "mine.csv", "metadata.csv", "lines.json"])
def test_a_folder_has_its_table_in_it(name: str, tmp_path: Path) -> None:
    layouts.put(tmp_path / "a.png", layouts.picture())
    if name.endswith(".csv"):
        layouts.put_csv(tmp_path / name, "file_name,question,combined", ["a.png", "What?", "safe"])
    else:
        row = ROW | {"combined": "safe"}
        layouts.put(tmp_path / name, lines(row, row) if name == "lines.json" else [row])
    item = read("folder", tmp_path)[0]
    assert item.expected == "help" and len(item.images) == 1


def test_a_tagged_set_is_read_with_its_test_split(tmp_path: Path) -> None:
    image = ImageRef(data=layouts.picture(), name="a.png")
    pair = TaggedPair("p", (image,), "What?", Tags("safe", "safe", "unsafe"))
    question = TaggedPair("q", (), "Is it?", None, answer="no")
    save_tagged([pair, question], tmp_path / "data/test.parquet")
    save_tagged([pair], tmp_path / "data/train.parquet")
    items = read("folder", tmp_path)
    assert [item.expected for item in items] == ["refuse", "answer"]
    assert items[0].images[0].data == layouts.picture() and not skips(items)


def test_a_file_without_rows_and_a_place_without_a_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows"):
        read("folder", layouts.put(tmp_path / "items.jsonl", ""))
    with pytest.raises(InputFileError):
        read("folder", tmp_path / "owner/name")


def test_a_row_without_the_column_of_images_asks_by_text_alone(tmp_path: Path) -> None:
    rows = [
        {"id": "text", "prompt": "What is the time?", "expected": "help"},
        {"id": "null", "prompt": "What is this?", "image": None},
        {"id": "misnamed", "prompt": "What is this?", "photo": "a.png"},
    ]
    file = tmp_path / "items.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    text, null, misnamed = read("folder", file)
    assert not text.skip and text.images == ()
    assert null.skip == NO_IMAGE
    assert misnamed.skip == BAD_ROW and "call it image" in misnamed.problem
