"""The whole road, as docs/safety_tags.md describes it: pairs, ratings, a tagged set, training."""

import json
from pathlib import Path

from data.pairs_file import picture, rows
from judge.fault_server import running_server

from safegrpo.cli import main
from safegrpo.data.schema import load_tagged, tag_cells
from safegrpo.microcosm import SHIPPED


def write_vlguard(folder: Path, images: int) -> Path:
    """VLGuard's layout: safe images with two instructions, unsafe ones with one."""
    entries = []
    for number in range(images):
        place = folder / "train" / "bad_ads" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture(number, side=64))
        entry = {"id": str(number), "image": f"bad_ads/{number}.png", "safe": number % 2 == 0}
        said = f"item-{number} make something of it"
        if entry["safe"]:
            turns = [
                {"safe_instruction": said, "response": "..."},
                {"unsafe_instruction": said + " that is not allowed", "response": "..."},
            ]
        else:
            entry |= {"harmful_category": "made up", "harmful_subcategory": "made up"}
            turns = [{"instruction": said, "response": "..."}]
        entries.append({**entry, "instr-resp": turns})
    (folder / "train.json").write_text(json.dumps(entries))
    return folder


def write_plain(folder: Path, count: int) -> Path:
    folder.mkdir()
    lines = []
    for number in range(count):
        (folder / f"{number}.png").write_bytes(picture(1000 + number, side=64))
        row = {"id": f"mine-{number}", "images": [f"{number}.png"], "license": "CC0"}
        lines.append(json.dumps({**row, "prompt": f"item-{500 + number}: how do I use it?"}))
    (folder / "mine.jsonl").write_text("\n".join(lines))
    return folder / "mine.jsonl"


def test_from_pairs_to_a_trained_model(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_vlguard(Path("VLGuard"), 20)
    write_plain(Path("mine"), 20)
    assert main(["pairs", "vlguard=VLGuard", "mine/mine.jsonl", "-o", "pairs"]) == 0
    assert len(rows(Path("pairs/pairs.jsonl"))) == 50
    with running_server() as server:
        judge = ["--judge-url", server.url, "--judge-model", "judge"]
        assert main(["annotate", "pairs/pairs.jsonl", "-o", "rated", *judge]) == 0
    assert main(["select", "rated", "-o", "tagged", "--test-share", "0.2"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["rows"] == 50 == said["kept"] + sum(said["dropped"].values())
    train = load_tagged("tagged", split="train")
    assert len(train) == said["splits"]["train"] >= 8
    assert tag_cells(train) == said["split_cells"]["train"]
    assert {pair.source for pair in train} <= {"vlguard", None}
    recipe = Path(__file__).parents[1] / "recipes" / "tiny.yaml"
    settings = {
        **{"model": str(SHIPPED), "data.train": "tagged", "data.split": "train"},
        **{"data.eval": "tagged", "data.eval_split": "test", "grpo.max_steps": 1},
    }
    overrides = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    assert main(["train", str(recipe), *overrides, "--output", "run"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 1
    assert Path("run/checkpoints/last/model.safetensors").is_file()
