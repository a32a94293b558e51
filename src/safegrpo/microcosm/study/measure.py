"""What a row of the study is measured by: the test items, the controls, the harder slices.

Nothing is averaged here. Of each metric every unit's outcome is kept, so that rows and seeds can be
compared unit by unit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from safegrpo.data.images import image_as_sent
from safegrpo.data.pairs import TaggedPair
from safegrpo.evaluation.benchmarks.microcosm import MAX_TOKENS
from safegrpo.evaluation.generate import packed_trust
from safegrpo.evaluation.item import Item
from safegrpo.evaluation.metrics import METRICS, TWINS, Joined, twins, units
from safegrpo.evaluation.modes import Conversation, respond
from safegrpo.evaluation.rows import Generation
from safegrpo.evaluation.rules import GUIDED, judge_by_rules
from safegrpo.evaluation.run import PLAIN
from safegrpo.judge.endpoint import Sampling
from safegrpo.judge.local import LocalJudge
from safegrpo.judge.question import Judge, Picture, Question, Reply
from safegrpo.microcosm.measure import BATCH, ask_mode, item_of
from safegrpo.microcosm.model import save_model
from safegrpo.microcosm.pairs import MicroPair, held_out
from safegrpo.microcosm.study.controls import blank, forced_tags
from safegrpo.microcosm.study.slices import SLICES, slice_pairs

ECSO = "ecso"

JAILBREAKS: Mapping[str, str] = {
    f"jailbreak_{kind}": kind for kind in ("typographic", "risky_image", "harmful_text")
}
"""metric -> the kind of harmful pair whose safety it is"""

MEASURED: Mapping[str, str] = {
    **{name: name for name in ("compositional_safety", "safety", TWINS, "over_refusal")},
    "usefulness": "usefulness",
    "vqa_accuracy": "accuracy",
    **{name: name for name in METRICS if name == "format_rate" or name.startswith("tag_accuracy")},
}
"""name in a result -> metric of the evaluation"""


def measure_all(
    model: Any,
    processor: Any,
    modes: Sequence[str],
    *,
    split: Literal["dev", "test"] = "test",
    size: float = 1.0,
    apart: Mapping[str, Sequence[MicroPair]] | None = None,
) -> dict[str, Any]:
    """`modes`, `controls` and `slices` of a row's result, for a model in memory (float32).

    `modes` are some of guided, direct and ecso; `size` scales the held-out set and the slices.
    `apart` are further slices by name. All is greedy, so it is the same each time.
    """
    asking = Asking(model, processor, modes)
    pairs = [pair.tagged() for pair in held_out(split, size)]
    asked = {mode: asking.rows(pairs, mode) for mode in modes}
    blanks = blank(pairs)
    controls: dict[str, Any] = {
        "blank": {mode: {"outcomes": outcomes(asking.rows(blanks, mode))} for mode in modes}
    }
    if GUIDED in modes:
        controls["forced_tag"] = forced_tags(model, processor, _every_second_twin(pairs))
    harder: dict[str, Sequence[MicroPair]] = {
        name: slice_pairs(name, size, split) for name in SLICES
    }
    harder |= apart or {}
    slices: dict[str, dict[str, Any]] = {}
    for name, items in harder.items():
        tagged = [pair.tagged() for pair in items]
        slices[name] = {mode: {"outcomes": outcomes(asking.rows(tagged, mode))} for mode in modes}
    return {
        "modes": {
            mode: {"outcomes": outcomes(rows), "tokens": mean_tokens(rows, processor.tokenizer)}
            for mode, rows in asked.items()
        },
        "controls": controls,
        "slices": slices,
    }


def outcomes(rows: Sequence[Joined]) -> dict[str, str]:
    """metric -> a character for each of its units, in the order of the items: "1", "0", or "-" for
    one that has no value. Metrics without units in these rows are left out."""
    found = {name: _outcomes(metric, rows) for name, metric in MEASURED.items()}
    for name, kind in JAILBREAKS.items():
        of_kind = [row for row in rows if row.generation.item["category"] == kind]
        found[name] = _outcomes("safety", of_kind)
    return {name: marks for name, marks in found.items() if marks}


def _outcomes(metric: str, rows: Sequence[Joined]) -> str:
    if metric == TWINS:
        values = twins(rows)
        named = dict.fromkeys(str(row.generation.item["twin"]) for row in rows)
        names = [name for name in named if name]
    else:
        values = units(metric, rows)
        # A unit without a value may be missing in `units`; its place is kept all the same.
        names = [row.generation.id for row in rows if METRICS[metric].counts(row)]
    return "".join(_MARKS[values.get(name)] for name in names)


_MARKS: Mapping[float | None, str] = {None: "-", 0.0: "0", 1.0: "1"}


def mean_tokens(rows: Sequence[Joined], tokenizer: Any) -> float:
    """The mean number of tokens that a response took; a defence's with all that it asked."""
    return sum(_tokens(row.generation, tokenizer) for row in rows) / len(rows)


def _tokens(made: Generation, tokenizer: Any) -> int:
    if made.completion_tokens is not None:
        return made.completion_tokens
    return len(tokenizer(made.response, add_special_tokens=False)["input_ids"])


def _every_second_twin(pairs: Sequence[TaggedPair]) -> list[TaggedPair]:
    """Both sides of every second twin: about 200 of the whole test split."""
    decided = [pair for pair in pairs if pair.meta.get("twin")]  # twins stand side by side
    return [pair for i, pair in enumerate(decided) if i // 2 % 2 == 0]


class Asking:
    """A model in memory that is asked in some modes; for ecso, which asks several times, the same
    model again as a judge."""

    def __init__(self, model: Any, processor: Any, modes: Sequence[str]) -> None:
        self._model, self._processor = model, processor
        self._trust = packed_trust(model)  # one for all that is asked
        if ECSO in modes:
            with TemporaryDirectory() as folder:
                save_model(model, processor, folder, torch.float32)
                sampling = Sampling(max_tokens=MAX_TOKENS["direct"])
                self._judge = LocalJudge(folder, sampling, batch_size=BATCH)

    def rows(self, pairs: Sequence[TaggedPair], mode: str) -> list[Joined]:
        """Responses to the pairs in one mode, judged by rules, in order."""
        if mode != ECSO:
            return ask_mode(self._model, self._processor, pairs, mode, self._trust)
        return asyncio.run(_defended(self._judge, [item_of(pair) for pair in pairs]))


async def _defended(judge: Judge, items: Sequence[Item]) -> list[Joined]:
    made = await asyncio.gather(*(_by_ecso(judge, item) for item in items))
    return [Joined(one, judge_by_rules(one)) for one in made]


async def _by_ecso(judge: Judge, item: Item) -> Generation:
    async def ask(pictures: Sequence[Picture], text: str) -> Reply:
        return await judge.ask(Question("", (*pictures, text), {}, PLAIN))

    talk = Conversation(ask)
    pictures = [Picture(*image_as_sent(ref)) for ref in item.images]
    reply = await respond(ECSO, talk, pictures, item.prompt, "")
    return Generation(
        *(item.benchmark, item.id, ECSO, 0),
        status="done",
        item=item.known(),
        response=reply.text or "",
        completion_tokens=talk.completion_tokens,
    )
