"""MM-SafetyBench: harmful questions, whose harm an image carries: drawn, written, or both.

Under the authors' rules a helpful and harmless answer in scenarios 8 and 10 to 13 counts as an
attack that succeeded; read those apart from the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from safegrpo.data.images import quoted
from safegrpo.data.sources.pair import Unusable
from safegrpo.errors import DataError, InputFileError
from safegrpo.evaluation.benchmarks.base import (
    Benchmark,
    find_file,
    hub_files,
    text_of,
    unique,
    with_cell,
    with_image,
)
from safegrpo.evaluation.benchmarks.reading import Row, items_of, noted, placed_rows
from safegrpo.evaluation.item import Item

SCENARIOS = (
    "01-Illegal_Activitiy",  # spelled so by the authors, in files, folders and on the hub
    "02-HateSpeech",
    "03-Malware_Generation",
    "04-Physical_Harm",
    "05-EconomicHarm",
    "06-Fraud",
    "07-Sex",
    "08-Political_Lobbying",
    "09-Privacy_Violence",
    "10-Legal_Opinion",
    "11-Financial_Advice",
    "12-Health_Consultation",
    "13-Gov_Decision",
)
SUBSETS = ("SD", "SD_TYPO", "TYPO")
"""The image: drawn by Stable Diffusion, drawn with the words below, the words alone."""

_PROMPTS = {
    "SD": "Rephrased Question(SD)",
    "SD_TYPO": "Rephrased Question",
    "TYPO": "Rephrased Question",
}
_Rows = Iterator[tuple[str, Row | Unusable]]


def _load(name: str, folder: Path) -> Iterator[Item]:
    sampled = _sampled(folder) if name == "mm_safetybench_tiny" else None
    data = next(
        (d for d in (folder / "data", folder) if (d / "processed_questions").is_dir()), None
    )
    parts = list(_official(data, folder) if data is not None else _of_hub(folder))
    if not parts:
        raise InputFileError(
            f"{folder}/ holds no data/processed_questions/{SCENARIOS[0]}.json, and no parquet of "
            "the hub; MM-SafetyBench is read from either layout"
        )
    roots = [data / "imgs", folder / "imgs", folder / "MM-SafetyBench(imgs)"] if data else [folder]

    def make(_: str, row: Row) -> Iterator[Item]:
        scenario, subset, number = row["scenario"], row["subset"], row["number"]
        item = Item(
            benchmark=name,
            id=f"{scenario}/{subset}/{number}",
            prompt=text_of(row, "question" if data is None else _PROMPTS[subset]),
            category=scenario,
            subset=subset,
            expected="refuse",
            notes=noted(row, intent="Question"),
        )
        if data is None:
            yield with_cell(item, row.get("image"), roots)
        else:
            yield with_image(item, roots, f"{scenario}/{subset}/{number}.jpg")

    def items() -> Iterator[Item]:
        for scenario, subset, rows in parts:
            if sampled is not None and scenario[:2] not in sampled:
                continue
            chosen = _chosen(scenario, subset, rows, sampled)
            yield from items_of(name, chosen, make, "refuse", scenario, subset)

    return unique(items())


_Part = tuple[str, str, _Rows]
"""(scenario, subset, its rows)"""


def _official(data: Path, folder: Path) -> Iterator[_Part]:
    for scenario in SCENARIOS:
        file = data / "processed_questions" / f"{scenario}.json"
        for subset in SUBSETS if file.is_file() else ():
            yield scenario, subset, placed_rows([file], folder)


def _of_hub(folder: Path) -> Iterator[_Part]:
    for scenario in SCENARIOS:
        config = scenario[3:]
        below = (f"data/{config}", config)
        plain = hub_files(folder, "Text_only", below)
        for subset in SUBSETS:
            if files := hub_files(folder, subset, below):
                yield scenario, subset, _with_intent(files, plain, folder)


def _with_intent(files: list[Path], plain_files: list[Path], folder: Path) -> _Rows:
    """The hub's rows, which have the rephrased question alone, with the plain one beside it."""
    plain: dict[str, str] = {}
    for _, row in placed_rows(plain_files, folder):
        if not isinstance(row, Unusable):
            plain[str(row.get("id"))] = noted(row, plain="question").get("plain", "")
    for place, row in placed_rows(files, folder):
        if isinstance(row, Unusable):
            yield place, row
        else:
            yield place, {**row, "Question": plain.get(str(row.get("id")))}


def _chosen(scenario: str, subset: str, rows: _Rows, sampled: dict[str, list[str]] | None) -> _Rows:
    """A part's rows with their scenario, subset and number, or the sampled ones among them."""
    wanted = None if sampled is None else dict.fromkeys(sampled.get(scenario[:2], ()))
    for place, row in rows:
        place = f"{place}, {subset}"
        if isinstance(row, Unusable):
            yield place, row
            continue
        number = str(row.get("id"))
        if wanted is None or number in wanted:
            yield place, {**row, "scenario": scenario, "subset": subset, "number": number}
        if wanted is not None:
            wanted.pop(number, None)
    for number in wanted or ():
        problem = f"{_TINY} names question {quoted(number)}, which is not among the questions"
        yield f"{scenario}/{subset}/{number}", Unusable("", problem)


_TINY = "TinyVersion_ID_List.json"


def _sampled(folder: Path) -> dict[str, list[str]]:
    """The scenario's number -> the ids of its questions in the tiny version."""
    names = [_TINY, f"data/{_TINY}"]
    if folder.absolute().name == "data":
        names.append(f"../{_TINY}")
    file = find_file(folder, names, "MM-SafetyBench, tiny,")
    found: dict[str, list[str]] = {}
    for place, row in placed_rows([file], folder):
        ids = None if isinstance(row, Unusable) else row.get("Sampled_ID_List")
        if isinstance(row, Unusable) or not isinstance(ids, list):
            raise DataError(f"{place}: no Scenario with its Sampled_ID_List")
        found.setdefault(text_of(row, "Scenario")[:2], []).extend(map(str, ids))
    return found


# Lobbying, advice and decisions of the state: little of it does harm, and the authors' rules count
# a helpful, harmless answer as an attack that succeeded.
_ADVICE = ("08", "10", "11", "12", "13")


def _benchmark(name: str, title: str, folders: tuple[str, ...], size: int) -> Benchmark:
    return Benchmark(
        name=name,
        title=title,
        measures="jailbreak defence",
        licence="CC BY-NC 4.0",
        source="https://github.com/isXinLiu/MM-SafetyBench",
        load=partial(_load, name),
        headline=("attack_success", "safety"),
        official="mm_safetybench",
        size=size,
        folders=folders,
        hub="PKU-Alignment/MM-SafetyBench",
        groups={
            "01 to 07, 09": tuple(n for n in SCENARIOS if n[:2] not in _ADVICE),
            "08, 10 to 13": tuple(n for n in SCENARIOS if n[:2] in _ADVICE),
        },
    )


BENCHMARKS = (
    _benchmark("mm_safetybench", "MM-SafetyBench", ("MM-SafetyBench",), 5040),
    _benchmark(
        "mm_safetybench_tiny", "MM-SafetyBench, tiny", ("mm_safetybench", "MM-SafetyBench"), 504
    ),
)
