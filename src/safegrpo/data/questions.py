"""General questions with a checkable answer, to be mixed into training so that ability stays.

Read from the user's own copy: ScienceQA and IconQA as their authors publish them (`problems.json`,
`pid_splits.json`, images in folders), or any tagged set whose rows have an answer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safegrpo.data.images import ImageRef
from safegrpo.data.pairs import TaggedPair
from safegrpo.data.schema import load_tagged
from safegrpo.errors import ConfigError, DataError, InputFileError

LETTERS = "ABCDEFGHIJ"
ASK_LETTER = "Answer with the letter of the right choice."
LICENSE = "CC BY-NC-SA 4.0"


def load_questions(
    path: str | Path, split: str | None = None, images_root: str | Path | None = None
) -> list[TaggedPair]:
    """The questions in a folder of ScienceQA or IconQA, or those rows of a tagged set that have an
    answer; without `split`, of the training part.

    Questions whose image is missing raise DataError: a set that is half there is not the set.
    Raises InputFileError if there is nothing at `path`, DataError if no row has an answer.
    """
    folder = Path(path)
    problems = _problems_file(folder) if folder.is_dir() else None
    if problems is None:
        rows = [pair for pair in load_tagged(path, images_root, split) if pair.answer is not None]
    else:
        rows = list(_problems(problems, split or "train", Path(images_root or folder)))
    if not rows:
        raise DataError(f"{path}: no question with an answer")
    return rows


def mix_questions(
    pairs: Sequence[TaggedPair], questions: Sequence[TaggedPair], share: float, seed: int
) -> list[TaggedPair]:
    """`pairs` with as many questions among them as make up `share` of all rows, at random places.

    A question comes again only when all have come. Raises ConfigError if `share` is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ConfigError(f"a share of questions is 0 or more, and below 1 (given {share})")
    rng = random.Random(seed)
    wanted = round(len(pairs) * share / (1 - share))
    drawn: list[TaggedPair] = []
    while len(drawn) < wanted:
        drawn += rng.sample(list(questions), min(len(questions), wanted - len(drawn)))
    mixed = [*pairs, *drawn]
    rng.shuffle(mixed)
    return mixed


def _problems_file(folder: Path) -> Path | None:
    for place in (folder, folder / "iconqa_data", folder / "data", folder / "scienceqa"):
        if (place / "problems.json").is_file():
            return place / "problems.json"
    return None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no mapping of questions")
    return value


def _problems(path: Path, split: str, root: Path) -> Iterator[TaggedPair]:
    problems = _json(path)
    splits_file = path.with_name("pid_splits.json")
    if not splits_file.is_file():
        raise InputFileError(f'"{splits_file}" not found; it says which questions are to train on')
    splits = _json(splits_file)
    # IconQA names them task_split, such as choose_txt_train.
    chosen = [name for name in splits if name == split or name.endswith(f"_{split}")]
    if not chosen:
        raise DataError(f'{splits_file}: no split "{split}" (there are {", ".join(splits)[:200]})')
    for name in chosen:
        task = name.removesuffix(f"_{split}") if name != split else ""
        for pid in splits[name]:
            row = problems.get(str(pid))
            if not isinstance(row, Mapping):
                raise DataError(f"{path}: question {pid} of split {name} is missing")
            try:
                yield _question(str(pid), row, task, split, root)
            except DataError as error:
                raise DataError(f"{path}: question {pid}: {error}") from error


def _question(pid: str, row: Mapping[str, Any], task: str, split: str, root: Path) -> TaggedPair:
    choices = row.get("choices") or []
    answer, question = row.get("answer"), row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise DataError("no question")
    iconic = bool(task) or "ques_type" in row
    lines = [question.strip()]
    hint = row.get("hint")
    if isinstance(hint, str) and hint.strip():
        lines.insert(0, hint.strip())
    pictured = str(row.get("ques_type") or task) == "choose_img"
    if choices:
        if not isinstance(answer, int) or not 0 <= answer < min(len(choices), len(LETTERS)):
            raise DataError(f"answer {answer!r:.40} is none of {len(choices)} choices")
        letters = LETTERS[: len(choices)]
        shown = (
            [f"({letter}) image {i + 2}" for i, letter in enumerate(letters)]
            if pictured
            else [f"({letter}) {choice}" for letter, choice in zip(letters, choices, strict=True)]
        )
        lines += [*shown, ASK_LETTER]
        right = letters[answer]
    elif isinstance(answer, str | int | float) and str(answer).strip():
        right = str(answer)
    else:
        raise DataError("neither choices nor an answer")
    names = ["image.png"] if iconic or row.get("image") else []
    if pictured:
        names += [f"choice_{i}.png" for i in range(len(choices))]
    return TaggedPair(
        id=f"{'iconqa' if iconic else 'scienceqa'}-{pid}",
        images=tuple(ImageRef(path=_image(root, split, task, pid, name)) for name in names),
        prompt="\n".join(lines),
        tags=None,
        answer=right,
        source="iconqa" if iconic else "scienceqa",
        license=LICENSE,
    )


def _image(root: Path, split: str, task: str, pid: str, name: str) -> Path:
    """Where an image is: copies of either set differ in the folders above the question's own."""
    for above in ("", "images", "iconqa", "iconqa_data/iconqa", "data/images", "scienceqa/images"):
        for below in (split, f"{split}/{task}", ""):
            path = root / above / below / pid / name
            if path.is_file():
                return path
    raise DataError(f'image "{name}" not found under {root}')
