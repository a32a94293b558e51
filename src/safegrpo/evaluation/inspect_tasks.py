"""Our benchmarks as tasks of Inspect (inspect_ai): the same items, judgements and metrics.

Inspect asks the model, keeps the log and shows it; what is asked and what becomes of an answer is
ours (`inspect_scorers`).

Left out: the mode ecso, which asks more than one question.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal

from safegrpo.data.images import image_as_sent
from safegrpo.errors import ConfigError, DataError, MissingDependencyError
from safegrpo.evaluation.benchmarks import BENCHMARKS
from safegrpo.evaluation.benchmarks.base import BROKEN
from safegrpo.evaluation.item import Item
from safegrpo.evaluation.judging import rubric_of
from safegrpo.evaluation.plan import Items, Plan
from safegrpo.judge.question import Picture
from safegrpo.thinking import GUIDE, guided_prompt, load_guide

try:
    from inspect_ai import Task, task
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ChatMessageUser, Content, ContentText, GenerateConfig
except ImportError as error:
    raise MissingDependencyError(
        "tasks for Inspect need it: pip install 'inspect_ai>=0.3.285,<0.4'"
    ) from error

from safegrpo.evaluation.inspect_scorers import image_content, official, rubric, rules

_JUDGED = {"official": official, "rubric": rubric}


@task
def safegrpo(
    benchmark: str,
    data: str | None = None,
    mode: str = "guided",
    judge: Literal["official", "rubric"] | None = None,
    limit: int | None = None,
    guide: str | None = None,
) -> Task:
    """One benchmark in one mode, `guided` or `direct`.

    `data` is the set's folder, or one that holds it (None: the hub). `judge` adds judgements of the
    model in the role of grader. `limit` draws as many items, the same as `safegrpo eval` does.
    `guide` is a file that replaces ours. Raises ConfigError, DataError and InputFileError.
    """
    if mode not in ("guided", "direct"):
        raise ConfigError(f"mode {mode!r:.40} is neither guided nor direct")
    if judge not in (None, "official", "rubric"):
        raise ConfigError(f"judge {judge!r:.40} is neither official nor rubric")
    words = None if mode == "direct" else load_guide(guide) if guide else GUIDE
    folder = None if data is None else Path(str(data))
    plan = Plan((benchmark,), data=folder, modes=(mode,), limit=limit)
    items, one = Items(plan), BENCHMARKS[benchmark]
    samples: list[Sample] = []
    skipped: Counter[str] = Counter()
    scorers: set[str] = set()
    for _, item, _ in items.asked():
        made = item.skip or _sample(item, mode, words)
        if isinstance(made, str):
            skipped[made] += 1
            continue
        samples.append(made)
        if judge is not None and (named := rubric_of(one, item, judge)):
            scorers.add(named[0])
    if not samples:
        raise DataError(f"{benchmark}: none of its items can be asked: {dict(skipped)}")
    return Task(
        dataset=MemoryDataset(samples, name=benchmark),
        scorer=[rules(), *(_JUDGED[name](benchmark) for name in sorted(scorers))],
        config=GenerateConfig(
            temperature=0.0, max_tokens=min(plan.max_new_tokens, one.max_tokens.get(mode, 1 << 30))
        ),
        metadata={"mode": mode, "skipped": dict(skipped), "items": items.counts[benchmark]},
    )


def _named(name: str) -> None:
    """Register a benchmark as a task of its own, so that a run can take several."""

    @task(name=name)
    def of_name(**options: Any) -> Task:
        return safegrpo(name, **options)


for _name in BENCHMARKS:
    _named(_name)


def _sample(item: Item, mode: str, guide: str | None) -> Sample | str:
    """What is asked, with all that its rows know of it as metadata; or why it cannot be."""
    try:
        sent = [image_as_sent(ref) for ref in item.images]
    except DataError:
        return BROKEN
    text = item.prompt if guide is None else guided_prompt(item.prompt, guide)
    content: list[Content] = [image_content(Picture(*one)) for one in sent]
    return Sample(
        id=item.id,
        input=[ChatMessageUser(content=[*content, ContentText(text=text)])],
        target=item.answer.right if item.answer else str(item.expected or ""),
        metadata={**item.known(), "benchmark": item.benchmark, "mode": mode},
    )
