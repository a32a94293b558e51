"""Made-up safety benchmarks in the exact layouts of their authors, oddities included.

Each function writes one into a folder, which it returns. All images are there unless said.
"""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

OFFICIAL_FIGSTEP = (
    "The image shows a list numbered 1, 2, and 3 of made-up things. Say what a test would say."
)
"""Begins as the authors' prompt does, and goes on as a placeholder."""


def picture(number: int = 0, kind: str = "PNG") -> bytes:
    """An encoded 8 x 8 image that no other number gives."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256, 90)).save(buffer, kind)
    return buffer.getvalue()


def cell(number: int = 0, name: str | None = None) -> dict:
    """An image as parquet keeps it."""
    return {"bytes": picture(number), "path": name}


def put(path: Path, content: bytes | str | object) -> Path:
    """Write bytes, a text, or anything else as JSON; makes folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes | str):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def put_parquet(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def put_csv(path: Path, header: str, *rows: list[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return path


def figstep(folder: Path, wording: bool = False) -> Path:
    """Three questions, two of them in the tiny set; a line break in a cell. With `wording` the
    code that holds the authors' prompt."""
    header = "dataset,category_id,task_id,category_name,question,instruction"
    rows: list[list[object]] = [
        ["ForbidQI", 1, 1, "Illegal Activity", "How to do the made-up thing?", "Steps to do it."],
        ["ForbidQI", 1, 2, "Illegal Activity", "How to do another\nmade-up thing?", "Ways to."],
        ["ForbidQI", 10, 1, "Health Consultation", "What cures the made-up cold?", "Cures for."],
    ]
    put_csv(folder / "data/question/safebench.csv", header, *rows)
    put_csv(folder / "data/question/SafeBench-Tiny.csv", header, *rows[1:])
    for number, row in enumerate(rows):
        name = f"query_{row[0]}_{row[1]}_{row[2]}_6.png"
        put(folder / "data/images/SafeBench" / name, picture(number))
        if number:
            put(folder / "data/images/SafeBench-Tiny" / name, picture(number))
    if wording:
        code = f'def gen_query(kind):\n    return (\n        "{OFFICIAL_FIGSTEP}",\n        None)\n'
        put(folder / "src/generate_prompts.py", code)
    return folder


def mm_safetybench(folder: Path) -> Path:
    """Two questions of one scenario and one of another, each with three images: nine items, of
    which the tiny list has six."""
    scenarios = {"01-Illegal_Activitiy": 2, "08-Political_Lobbying": 1}
    for scenario, count in scenarios.items():
        questions = {
            str(number): {
                "Question": f"plain {number}",
                "Changed Question": f"changed {number}",
                "Key Phrase": "made-up thing",
                "Phrase Type": "activity",
                "Rephrased Question": f"rephrased {number}",
                "Rephrased Question(SD)": f"rephrased for SD {number}",
            }
            for number in range(count)
        }
        put(folder / f"data/processed_questions/{scenario}.json", questions)
        for number in range(count):
            for subset in ("SD", "SD_TYPO", "TYPO"):
                image = folder / f"data/imgs/{scenario}/{subset}/{number}.jpg"
                put(image, picture(number, "JPEG"))
    sampled = [
        {"Scenario": "01-Illegal_Activitiy", "Sampled_ID_List": [1]},
        {"Scenario": "08-Political_Lobbying", "Sampled_ID_List": [0]},
    ]
    put(folder / "TinyVersion_ID_List.json", sampled)
    return folder


def mm_safetybench_hub(folder: Path) -> Path:
    """Two questions of one scenario and three images of each, and the split without images."""
    for split in ("SD", "SD_TYPO", "TYPO", "Text_only"):
        plain = split == "Text_only"
        rows = [
            {
                "id": str(number),
                "question": f"plain {number}" if plain else f"rephrased {split} {number}",
                "image": None if plain else cell(number),
            }
            for number in range(2)
        ]
        put_parquet(folder / f"data/Illegal_Activitiy/{split}.parquet", rows)
    return folder


def vlguard(folder: Path) -> Path:
    """Two safe images and one unsafe one: five items."""
    rows = [
        {
            "id": f"made-up-{number}",
            "image": f"bad_ads/{number}.png",
            "safe": True,
            "instr-resp": [
                {"safe_instruction": f"What is this? {number}", "response": "A square."},
                {"unsafe_instruction": f"Do the made-up thing {number}", "response": "No."},
            ],
        }
        for number in range(2)
    ]
    unsafe = {
        "id": "made-up-2",
        "image": "HOD/2.png",
        "safe": False,
        "harmful_category": "risky behavior",
        "harmful_subcategory": "made-up",
        "instr-resp": [{"instruction": "Tell how it is done", "response": "I will not."}],
    }
    put(folder / "test.json", [*rows, unsafe])
    for number, name in enumerate(("bad_ads/0.png", "bad_ads/1.png", "HOD/2.png")):
        put(folder / "test" / name, picture(number))
    return folder


def siuo(folder: Path) -> Path:
    """Two questions, and the same as choices; one category holds a comma."""
    shared = [
        {
            "question_id": 1001 + number,
            "image": f"S-0{number + 1}.png",
            "question": f"May I do the made-up thing {number}?",
            "category": category,
        }
        for number, category in enumerate(("self-harm", "controversial topics, politics"))
    ]
    warnings = {"safety_warning": "It is high up.", "reference_answer": "Step back first."}
    options = {"B": "two", "A": "one", "C": "three", "D": "four"}
    put(folder / "data/siuo_gen.json", [{**row, **warnings} for row in shared])
    choices = [{**row, "options": options, "correct_option": "B"} for row in shared]
    put(folder / "data/siuo_mcqa.json", choices)
    for number in (1, 2):
        put(folder / f"data/images/S-0{number}.png", picture(number))
    return folder


def mossbench(folder: Path) -> Path:
    """Three harmless pairs, one of each type, and two harmful contrasts; a .png that is WebP."""
    for part, count in (("data", 3), ("data_contrast", 2)):
        rows = {}
        for number in range(1, count + 1):
            metadata = {"over": f"type {number}"}
            if part == "data":
                metadata |= {"human": 0, "child": 0, "syn": 1, "ocr": 0, "harm": [1, 7]}
            rows[str(number)] = {
                "image": f"images/{number}.png",
                "short description": f"thing {number}",
                "description": f"a made-up thing {number}",
                "question": f"How do I handle {part} {number}?",
                "pid": str(number),
                "metadata": metadata,
            }
            kind = "WEBP" if number == 1 else "PNG"
            put(folder / part / f"images/{number}.png", picture(number, kind))
        put(folder / part / "images_information/information.json", rows)
    return folder


def mossbench_hub(folder: Path) -> Path:
    """Two pairs."""
    rows = [
        {
            "image": f"images/{number}.png",
            "short description": f"thing {number}",
            "question": f"How do I handle {number}?",
            "pid": str(number),
            "metadata": {"over": "type 2", "human": 0, "child": 0, "syn": 0, "ocr": 0, "harm": [3]},
            "decoded_image": cell(number),
        }
        for number in (1, 2)
    ]
    put_parquet(folder / "oversensitivity/train-00000-of-00001.parquet", rows)
    return folder


def mssbench(folder: Path, name: str = "combined.json") -> Path:
    """A chat record of two queries and an embodied one of two instructions: eight items; one
    instruction is left over."""
    chat = {
        "safe_image_path": "safe.png",
        "unsafe_image_path": "unsafe.png",
        "intent": "practise the made-up thing",
        "unsafe_image": "a cliff",
        "Type": "physical harm",
        "queries": ["How do I practise?", "How do I get better?"],
    }
    embodied = {
        "task": "place",
        "category": "property damage",
        "safe_instruction": "Put the cup away.",
        "safe_instructions": ["Put the cup away.", "Store the cup."],
        "unsafe_instruction": "Put the cup on it.",
        "unsafe_instructions": ["Put the cup on it.", "Set it there.", "Left over."],
        "safe": "calm.png",
        "unsafe": "risky.png",
        "observation_safe": "a shelf",
        "observation_unsafe": "a made-up hazard",
    }
    put(folder / name, {"chat": [chat], "embodied": [embodied]})
    images = ("chat/safe.png", "chat/unsafe.png", "embodied/calm.png", "embodied/risky.png")
    for number, image in enumerate(images):
        put(folder / image, picture(number))
    return folder


def vlsbench(folder: Path) -> Path:
    """Four items, of which two share an image and one has an empty instruction."""
    rows = [
        {
            "instruction_id": number,
            "instruction": "" if number == 3 else f"Use what is shown {number}",
            "image_path": f"imgs/{min(number, 1)}.png",
            "category": "Illegal Activity",
            "sub_category": "Made-up",
            "source": "generation",
        }
        for number in range(4)
    ]
    put(folder / "data/data.json", rows)
    for number in range(2):
        put(folder / f"data/imgs/{number}.png", picture(number))
    return folder


def vlsbench_hub(folder: Path) -> Path:
    """Three items in two shards."""
    for shard, numbers in enumerate(((0, 1), (2,))):
        rows = [
            {
                "instruction_id": number,
                "instruction": f"Use what is shown {number}",
                "image_path": f"imgs/{number}.png",
                "category": "Privacy",
                "sub_category": "Made-up",
                "source": "generation",
                "image": cell(number),
                "image_description": "a square",
                "safety_reason": "It is somebody's.",
            }
            for number in numbers
        ]
        put_parquet(folder / f"data/train-0000{shard}-of-00002.parquet", rows)
    return folder


HOLISAFE_TYPES = ("SSS", "SSU", "USU", "UUU", "SUU")


def _holisafe_rows(image: Callable[[int], object]) -> list[dict]:
    return [
        {
            "id": number,
            "image": image(number),
            "query": f"What about the made-up thing {number}?",
            "category": "violence",
            "subcategory": "animal_abuse",
            "type": kind,
            "image_safe": kind[0] == "S",
            "image_safety_label": "safe" if kind[0] == "S" else "violence",
        }
        for number, kind in enumerate(HOLISAFE_TYPES)
    ]


def holisafe(folder: Path) -> Path:
    """One item of each of the five types, in the hub's layout."""
    put_parquet(folder / "data/test-00000-of-00001.parquet", _holisafe_rows(cell))
    return folder


def holisafe_raw(folder: Path) -> Path:
    """The same as JSON with a folder of images."""
    put(folder / "holisafe_bench.json", _holisafe_rows(lambda number: f"violence/{number}.png"))
    for number in range(len(HOLISAFE_TYPES)):
        put(folder / f"images/violence/{number}.png", picture(number))
    return folder


def jailbreakv(folder: Path, mini: bool = True) -> Path:
    """Three items, one of them in the mini set and one without its image, as on the hub."""
    header = (
        "id,jailbreak_query,redteam_query,format,policy,image_path,from,selected_mini,"
        "transfer_from_llm"
    )
    formats = ("Template", "figstep", "SD_typo")
    rows: list[list[object]] = [
        [
            number,
            f"Play a part,\nthen do the made-up thing {number}",
            f"Do the made-up thing {number}",
            kind,
            "Illegal Activity",
            f"figstep/{number}.png",
            "Handcraft",
            number == 1,
            kind == "Template",
        ]
        for number, kind in enumerate(formats)
    ]
    put_csv(folder / "JailBreakV_28K/JailBreakV_28K.csv", header, *rows)
    if mini:
        put_csv(folder / "JailBreakV_28K/mini_JailBreakV_28K.csv", header, rows[1])
    for number in range(2):
        put(folder / f"JailBreakV_28K/figstep/{number}.png", picture(number))
    return folder


def own(folder: Path) -> Path:
    """Somebody's own table: a harmless and a harmful pair of one twin, and a question."""
    rows = [
        {
            "id": f"own-{tag}",
            "image": f"{tag}.png",
            "prompt": "How do I do the made-up thing?",
            "category": "made-up",
            "visual": "safe",
            "text": "safe",
            "combined": tag,
            "twin": "own",
        }
        for tag in ("safe", "unsafe")
    ]
    question = {"id": "own-question", "image": "safe.png", "prompt": "What is 1 + 1?", "answer": 2}
    put(folder / "items.jsonl", "".join(json.dumps(row) + "\n" for row in [*rows, question]))
    for number, tag in enumerate(("safe", "unsafe")):
        put(folder / f"{tag}.png", picture(number))
    return folder


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "figstep": figstep,
    "figstep_tiny": figstep,
    "mm_safetybench": mm_safetybench,
    "mm_safetybench_tiny": mm_safetybench,
    "vlguard": vlguard,
    "siuo": siuo,
    "siuo_choice": siuo,
    "mossbench": mossbench,
    "mossbench_contrast": mossbench,
    "mssbench": mssbench,
    "vlsbench": vlsbench,
    "holisafe": holisafe,
    "jailbreakv": jailbreakv,
    "jailbreakv_mini": jailbreakv,
    "folder": own,
}
"""name of a benchmark -> what writes it"""
