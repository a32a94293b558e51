"""Made-up sets of a few rows in the layouts of ScienceQA, IconQA, MathVista, POPE and MM-Vet.

Each function writes one into a folder: as its authors lay it out, or (`hub_…`) as a snapshot of the
hub. All images are 8 x 8 pixels.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def put(path: Path, content: bytes | str | Any) -> None:
    """A file with its folders: bytes and text as they are, anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes | str):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def put_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def cell(name: str | None = None) -> dict[str, Any]:
    """An image as the hub's parquet files hold it."""
    return {"bytes": png(), "path": name}


_SCIENCE: dict[str, dict[str, Any]] = {
    "7": {"question": "Which is a metal?", "choices": ["wood", "iron"], "answer": 1,
          "hint": "Look at the picture.", "image": "image.png", "task": "closed choice",
          "grade": "grade 2", "subject": "natural science", "topic": "physics",
          "category": "Materials", "skill": "Name it", "lecture": "", "solution": "",
          "split": "test"},
    "8": {"question": "What is 2 + 2?", "choices": ["4", "5", "6"], "answer": 0, "hint": "",
          "image": None, "subject": "language science", "split": "test"},
    "9": {"question": "In training?", "choices": ["yes", "no"], "answer": 0, "hint": "",
          "image": None, "subject": "social science", "split": "train"},
}  # fmt: skip


def scienceqa(folder: Path) -> None:
    """Two questions to test on, of which the first has an image, and one to train on."""
    put(folder / "data" / "scienceqa" / "problems.json", _SCIENCE)
    splits = {"train": ["9"], "val": [], "test": ["7", "8"], "minitest": ["7"]}
    put(folder / "data" / "scienceqa" / "pid_splits.json", splits)
    put(folder / "data" / "scienceqa" / "images" / "test" / "7" / "image.png", png())


def hub_scienceqa(folder: Path) -> None:
    """The same as on the hub: no ids, and a hash in the name of the file."""
    rows = [{**_SCIENCE[pid], "image": None} for pid in ("7", "8")]
    rows[0]["image"] = cell("image.png")
    put_parquet(folder / "data" / "test-00000-of-00001-f0e719df791966ff.parquet", rows)
    put_parquet(folder / "data" / "train-00000-of-00001-1028f23e353fbe3e.parquet", rows)


_ICON: dict[str, dict[str, Any]] = {
    "1": {"question": "How many?", "ques_type": "fill_in_blank", "answer": "3", "split": "test"},
    "2": {"question": "Which word?", "ques_type": "choose_txt", "choices": ["some, more", "none"],
          "answer": 1, "split": "test"},
    "3": {"question": "Which shape?", "ques_type": "choose_img", "answer": 0, "split": "test",
          "choices": ["choice_0.png", "choice_1.png", "choice_2.png"]},
    "4": {"question": "What time is it?", "ques_type": "fill_in_blank", "answer": "7:30",
          "split": "test"},
}  # fmt: skip


def iconqa(folder: Path) -> None:
    """Four questions of the three tasks, ids as numbers and as texts."""
    base = folder / "data" / "iconqa_data"
    put(base / "problems.json", _ICON)
    splits = {"choose_img_test": ["3"], "choose_txt_test": [2], "fill_in_blank_test": ["1", 4],
              "choose_txt_train": [], "choose_txt_minitest": ["2"]}  # fmt: skip
    put(base / "pid_splits.json", splits)
    for pid, row in _ICON.items():
        names = ["image.png", *(row["choices"] if row["ques_type"] == "choose_img" else ())]
        for name in names:
            put(base / "iconqa" / "test" / row["ques_type"] / pid / name, png())


def hub_iconqa(folder: Path) -> None:
    """The same as on the hub: choices as one text, the answer as a text, two choice images."""
    rows = []
    for pid, row in _ICON.items():
        choices = row.get("choices", [])
        text = repr(choices) if pid == "2" else ",".join(choices)
        answer = choices[row["answer"]] if choices else row["answer"]
        images = row["ques_type"] == "choose_img"
        rows.append(
            {"question_id": pid, "question": row["question"], "choices": text, "answer": answer,
             "query_image": cell(), "choice_image_0": cell() if images else None,
             "choice_image_1": cell() if images else None, "ques_type": row["ques_type"],
             "label": "a", "grade": "3", "skills": "x"}
        )  # fmt: skip
    put_parquet(folder / "data" / "test-00000-of-00001-e3c690d531807508.parquet", rows)


def _math(pid: int, question: str, **known: Any) -> dict[str, Any]:
    task = known.pop("task", "figure question answering")
    metadata = {"split": "testmini", "language": "english", "task": task, "skills": ["x"]}
    defaults = {"choices": None, "unit": None, "precision": None, "question_type": "free_form"}
    return {"question": question, "image": f"images/{pid}.jpg", **defaults, **known,
            "pid": str(pid), "metadata": metadata}  # fmt: skip


_MATH = [
    _math(1, "Which angle?", choices=["45°", "90°"], answer="90°", question_type="multi_choice",
          answer_type="text", task="geometry problem solving"),
    _math(2, "How much is in it?", unit="g", answer="1000", answer_type="integer"),
    _math(3, "How long?", precision=1.0, answer="1.2", answer_type="float"),
    _math(4, "Which two?", answer="[0, 6]", answer_type="list"),
]  # fmt: skip


def mathvista(folder: Path) -> None:
    """Four questions, one of each kind; the fourth's image is the first's again."""
    rows = [{**row, "image": "images/1.jpg"} if row["pid"] == "4" else row for row in _MATH]
    put(folder / "data" / "testmini.json", {row["pid"]: row for row in rows})
    put(folder / "data" / "query.json", {row["pid"]: "unused" for row in rows})
    for pid in (1, 2, 3):
        put(folder / "data" / "images" / f"{pid}.jpg", png())


def hub_mathvista(folder: Path) -> None:
    rows = [{**row, "decoded_image": cell(), "query": "unused"} for row in _MATH]
    put_parquet(folder / "data" / "testmini-00000-of-00001-725687bf7a18d64b.parquet", rows)
    put_parquet(folder / "data" / "test-00000-of-00002-6b81bd7f7e2065e6.parquet", rows)


def _pope(subset: str) -> list[dict[str, Any]]:
    thing = {"adversarial": "a dog", "popular": "a person", "random": "a lamp"}[subset]
    image = "COCO_val2014_000000000001.jpg"
    asked = (("a chair", "yes"), (thing, "no"))
    return [
        {"question_id": n, "image": image, "text": f"Is there {what} in the image?", "label": label}
        for n, (what, label) in enumerate(asked, start=1)
    ]


def pope(folder: Path) -> None:
    """Two questions a subset, with the same ids in each, in JSON lines called .json."""
    for subset in ("adversarial", "popular", "random"):
        lines = "".join(json.dumps(row) + "\n" for row in _pope(subset))
        put(folder / "output" / "coco" / f"coco_pope_{subset}.json", lines)
    put(folder / "val2014" / "COCO_val2014_000000000001.jpg", png())


def hub_pope(folder: Path) -> None:
    """The same as on the hub: all subsets in one split of several files."""
    for shard, subset in enumerate(("adversarial", "popular", "random")):
        rows = [
            {"id": str(n), "question_id": str(row["question_id"]), "question": row["text"],
             "answer": row["label"], "image_source": row["image"].removesuffix(".jpg"),
             "image": cell(), "category": subset}
            for n, row in enumerate(_pope(subset))
        ]  # fmt: skip
        put_parquet(folder / "data" / f"test-0000{shard}-of-00003.parquet", rows)


_VET: dict[str, dict[str, Any]] = {
    "v1_0": {"imagename": "v1_0.png", "question": "What is x?", "answer": "-1<AND>-5",
             "imagesource": "made up", "capability": ["math", "ocr"]},
    "v1_1": {"imagename": "v1_1.png", "question": "What is it?", "answer": "a lamp<OR>a light",
             "imagesource": "made up", "capability": ["rec"]},
}  # fmt: skip


def mmvet(folder: Path) -> None:
    put(folder / "mm-vet" / "mm-vet.json", _VET)
    for row in _VET.values():
        put(folder / "mm-vet" / "images" / row["imagename"], png())


def hub_mmvet(folder: Path) -> None:
    """The same as on the hub: the abilities as one text."""
    rows = [
        {"question_id": key, "image": cell(), "image_source": "made up",
         "question": row["question"], "answer": row["answer"],
         "capability": ",".join(row["capability"])}
        for key, row in _VET.items()
    ]  # fmt: skip
    put_parquet(folder / "data" / "test-00000-of-00001.parquet", rows)
