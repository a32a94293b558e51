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
    problems = problems_file(folder) if folder.is_dir() else None
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


def problems_file(folder: Path) -> Path | None:
    """The `problems.json` of a folder of ScienceQA or IconQA; None if it holds none."""
    inside = ("iconqa_data", "scienceqa")
    for below in ("", "data", *inside, *(f"data/{name}" for name in inside)):
        if (folder / below / "problems.json").is_file():
            return folder / below / "problems.json"
    return None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no mapping of questions")
    return value


def split_rows(path: Path, split: str) -> Iterator[tuple[str, str, object]]:
    """(task, id, row) of the questions of one split, in the order of `pid_splits.json` beside it.

    The task is empty for ScienceQA; the row is None where the file lacks the question. Raises
    InputFileError without `pid_splits.json`, DataError if either file is not what it should be.
    """
    problems = _json(path)
    splits_file = path.with_name("pid_splits.json")
    if not splits_file.is_file():
        raise InputFileError(f'"{splits_file}" not found; it says which questions are of a split')
    splits = _json(splits_file)
    # IconQA names them task_split, such as choose_txt_train.
    chosen = [name for name in splits if name == split or name.endswith(f"_{split}")]
    if not chosen:
        raise DataError(f'{splits_file}: no split "{split}" (there are {", ".join(splits)[:200]})')
    for name in chosen:
        task = name.removesuffix(f"_{split}") if name != split else ""
        if not isinstance(splits[name], list):
            raise DataError(f"{splits_file}: split {name} is no list of ids")
        for pid in splits[name]:
            yield task, str(pid), problems.get(str(pid))


def question_lines(question: str, hint: str, choices: Sequence[str]) -> list[str]:
    """The lines of a question: its hint, itself, and with choices their letters, one being asked.

    Raises DataError for more choices than there are LETTERS.
    """
    lines = [line.strip() for line in (hint, question) if line.strip()]
    if not choices:
        return lines
    if len(choices) > len(LETTERS):
        raise DataError(f"{len(choices)} choices, where {len(LETTERS)} have a letter")
    shown = [f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return [*lines, *shown, ASK_LETTER]


def choice_texts(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The choices of a row, none if it has none; DataError if they are no list of texts."""
    choices = row.get("choices")
    if choices is None:
        return ()
    if not isinstance(choices, list) or not all(isinstance(c, str | int | float) for c in choices):
        raise DataError("choices are no list of texts")
    return tuple(str(choice).strip() for choice in choices)


def letter_of(answer: object, choices: Sequence[str]) -> str:
    """The letter of the choice at the place `answer`, from 0; DataError if there is none."""
    places = [str(place) for place, _ in enumerate(choices[: len(LETTERS)])]
    if isinstance(answer, bool) or str(answer) not in places:
        raise DataError(f"answer {answer!r:.40} is none of {len(choices)} choices")
    return LETTERS[places.index(str(answer))]


def pictured(choices: Sequence[object]) -> list[str]:
    """The texts of choices that are images and come after the question's own image."""
    return [f"image {number}" for number in range(2, len(choices) + 2)]


def _problems(path: Path, split: str, root: Path) -> Iterator[TaggedPair]:
    for task, pid, row in split_rows(path, split):
        if not isinstance(row, Mapping):
            raise DataError(f"{path}: question {pid} of split {split} is missing")
        try:
            yield _question(pid, row, task, split, root)
        except DataError as error:
            raise DataError(f"{path}: question {pid}: {error}") from error


def _question(pid: str, row: Mapping[str, Any], task: str, split: str, root: Path) -> TaggedPair:
    choices = choice_texts(row)
    answer, question = row.get("answer"), row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise DataError("no question")
    iconic = bool(task) or "ques_type" in row
    hint = row.get("hint")
    by_image = str(row.get("ques_type") or task) == "choose_img"
    texts = pictured(choices) if by_image else choices
    if choices:
        right = letter_of(answer, choices)
    elif isinstance(answer, str | int | float) and str(answer).strip():
        right = str(answer)
    else:
        raise DataError("neither choices nor an answer")
    names = ["image.png"] if iconic or row.get("image") else []
    if by_image:
        names += [f"choice_{i}.png" for i in range(len(choices))]
    return TaggedPair(
        id=f"{'iconqa' if iconic else 'scienceqa'}-{pid}",
        images=tuple(ImageRef(path=_image(root, split, task, pid, name)) for name in names),
        prompt="\n".join(question_lines(question, hint if isinstance(hint, str) else "", texts)),
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
