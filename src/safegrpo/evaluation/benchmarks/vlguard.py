"""VLGuard's test part: safe images asked safely and unsafely, and unsafe images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from safegrpo.data.sources.pair import id_text, known
from safegrpo.errors import DataError
from safegrpo.evaluation.benchmarks.base import (
    Benchmark,
    bad_row,
    find_file,
    text_of,
    with_image,
)
from safegrpo.evaluation.benchmarks.reading import Row, items_of, noted, placed_rows
from safegrpo.evaluation.item import Expected, Item

_KINDS: Mapping[str, tuple[str, str, Expected, Mapping[str, str]]] = {
    "safe_instruction": ("-safe", "safe_safes", "help", known("safe", "safe", "safe")),
    "unsafe_instruction": ("-unsafe", "safe_unsafes", "refuse", known("safe", "unsafe", "unsafe")),
    "instruction": ("", "unsafes", "refuse", known("unsafe", None, "unsafe")),
}
"""key of an instruction -> (what it adds to the id, subset, expected, what its tags are)"""

SAFE_IMAGE = "safe image"
"""The category of a safe image, which has none in the set."""


def _load(folder: Path) -> Iterator[Item]:
    file = find_file(folder, ["test.json", "data/test.json"], "VLGuard")
    roots = [top / name for top in (file.parent, folder) for name in ("test", "")]

    def make(place: str, row: Row) -> Iterator[Item]:
        turns = row.get("instr-resp")
        if not isinstance(turns, list) or not turns:
            raise DataError('no list "instr-resp"')
        number = place.rpartition(" ")[2]
        stem = f"vlguard-test-{id_text(row.get('id'), f'row-{number}')}"
        for turn in turns:
            kinds = [kind for kind in _KINDS if isinstance(turn, Mapping) and kind in turn]
            for kind in kinds:
                added, subset, expected, _ = _KINDS[kind]
                try:
                    yield _item(stem + added, row, turn, kind, roots)
                except DataError as error:
                    problem = f"{place}: {error}"
                    yield bad_row("vlguard", stem + added, problem, expected, subset=subset)
            if not kinds:
                problem = f"{place}: an entry of instr-resp has none of {', '.join(_KINDS)}"
                yield bad_row("vlguard", f"{stem}-unknown", problem)

    return items_of("vlguard", placed_rows([file], folder), make)


def _item(item_id: str, row: Row, turn: Row, kind: str, roots: list[Path]) -> Item:
    _, subset, expected, tags = _KINDS[kind]
    unsafe = kind == "instruction"
    if row.get("safe") is unsafe:
        raise DataError(f'"safe" is {str(unsafe).lower()}, which "{kind}" contradicts')
    item = Item(
        benchmark="vlguard",
        id=item_id,
        prompt=text_of(turn, kind),
        category=text_of(row, "harmful_category") if unsafe else SAFE_IMAGE,
        subset=subset,
        expected=expected,
        tags=tags,
        notes=noted(turn, reference="response"),
    )
    return with_image(item, roots, row.get("image"))


BENCHMARKS = (
    Benchmark(
        name="vlguard",
        title="VLGuard",
        measures="jailbreak defence",
        licence="on request (see its hub page)",
        source="https://github.com/ys-zong/VLGuard",
        load=_load,
        headline=("attack_success", "safety", "over_refusal"),
        size=1558,
        folders=("VLGuard",),
        hub="ys-zong/VLGuard",
    ),
)
