"""What a row of the study trains on: the microcosm's stream, whole or with something amiss.

Real training sets are small, wrongly labelled, lopsided, or silent about some ways to do harm.
Here each of these is one number, and all else stays the same pairs.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from safegrpo.errors import ConfigError
from safegrpo.microcosm.instructions import HARMFUL_TEXT, IMAGE_DECIDED, LOOKALIKE_TEXT, OPEN
from safegrpo.microcosm.pairs import Kind, MicroPair, Sampler, held_out, training_stream
from safegrpo.microcosm.things import CATEGORIES, OBJECTS
from safegrpo.thinking import SafetyTag, Tags

Unseen = Literal["kinds", "typographic", "risky_image", "harmful_text"]
"""What can be kept from training: object kinds, or a way to attack (a kind of harmful pair)."""

STEP = 12
QUESTION_SHARE = 1 / STEP
TWINS = 16  # of each instruction, in the set about unseen object kinds

_LAST = {category.kinds[-1] for category in CATEGORIES}
UNSEEN_KINDS = frozenset(thing for thing in OBJECTS if thing.name in _LAST)
"""The objects that a world without "kinds" never shows: the last kind of every category."""

PUBLISHED: dict[Kind, float] = {
    "harmful_text": 0.34,
    "compositional": 0.09,
    "typographic": 0.09,
    "risky_image": 0.13,
    "benign": 0.18,
    "lookalike_image": 0.12,
    "lookalike_text": 0.05,
}
"""Shares of kinds in the `published` mix. Of the published set, 961 of 3,293 are known to have a
safe image and an unsafe text (29 %, as most of our harmful texts have), 300 to be harmful only
together (9 %), and 300 to be texts drawn as images (9 %). The rest, from VLGuard and SPA-VL, has
both sides in numbers that are not told: they are guessed."""

_LONGEST = 100  # rows drawn for each one wanted, before a share counts as out of reach


class World(BaseModel):
    """The training set of a row, drawn by `training_set`.

    mix: "twins" is the demo's stream. "published" draws every pair by itself, by `PUBLISHED`: the
        published set's shares as far as they are known, no twins, and no questions.
    pairs: rows, whatever is left out (a longer stream is drawn then).
    questions: whether general questions stay in, one row of twelve. Without them the other rows
        are the same ones.
    label_noise: the probability that a tag is flipped, for each of a pair's three tags by itself.
        Questions are not tagged by anybody and keep theirs.
    harmful_share: the share of harmful ones among rows that are not questions, before any noise;
        None leaves it at what the stream has, 5 of 11. Rows too many are left out at random, the
        partner of a left-out twin stays.
    compositional: the share that is kept of pairs harmful only as a whole; their partners stay. Of
        the stream's rows 18 % are such pairs; of the published set's 9 % (300 of 3,293), which
        0.45 comes nearest to.
    without: what training never shows. "kinds": the objects in `UNSEEN_KINDS`, in any row; a twin
        goes with its partner. "typographic": no note at all, harmful, harmless or in a question.
        "risky_image", "harmful_text": no harmful pair of that kind; what only looks like it stays.
        The base model has seen all of these in its warm start: they are new to the alignment.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mix: Literal["twins", "published"] = "twins"
    pairs: int = Field(default=1920, ge=12, le=6000)
    questions: bool = True
    label_noise: float = Field(default=0.0, ge=0, lt=0.5, allow_inf_nan=False)
    harmful_share: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    compositional: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)
    without: tuple[Unseen, ...] = ()


def training_set(world: World, seed: int) -> list[MicroPair]:
    """`world.pairs` pairs in the stream's order; the same world and seed, the same pairs.

    Every twelve rows hold both sides of an instruction as long as nothing is left out. After
    label noise a pair's `tags`, and with them `harmful`, are what training is told; its `kind`
    stays what the pair is. Raises ConfigError if `harmful_share` is out of reach.
    """
    rows = _stream(world, seed)
    if world.harmful_share is None:
        kept = list(islice(rows, world.pairs))
    else:
        kept = _thinned(world, world.harmful_share, rows, random.Random(f"share/{seed}"))
    rng = random.Random(f"noise/{seed}")
    return [
        pair if pair.kind == "question" else _mislabelled(pair, world.label_noise, rng)
        for pair in kept
    ]


def _stream(world: World, seed: int) -> Iterator[MicroPair]:
    """The stream without what the world leaves out, whatever the shares."""
    rng = random.Random(f"compositional/{seed}")
    steps = _LONGEST * world.pairs // STEP
    stream = training_stream(seed, steps, STEP, QUESTION_SHARE)
    for batch in stream if world.mix == "twins" else _published_stream(seed, steps):
        # Half a twin of an unseen kind would say less about the kind than about its instruction,
        # of which one side would be rarer.
        broken = {p.twin for p in batch if "kinds" in world.without and _shows("kinds", p)} - {None}
        for pair in batch:
            # Drawn for every such pair, so that a smaller share keeps a part of a larger one's.
            rare = pair.kind == "compositional" and rng.random() >= world.compositional
            if rare or pair.twin in broken or any(_shows(name, pair) for name in world.without):
                continue
            if world.questions or pair.kind != "question":
                yield pair


def _published_stream(seed: int, steps: int) -> Iterator[list[MicroPair]]:
    sampler = Sampler("train", seed)
    kinds, shares = list(PUBLISHED), list(PUBLISHED.values())
    for _ in range(steps):
        yield [_pair_of(sampler.rng.choices(kinds, shares)[0], sampler) for _ in range(STEP)]


def _pair_of(kind: Kind, sampler: Sampler) -> MicroPair:
    """A pair of a kind: drawn until one is."""
    while True:
        if kind == "harmful_text" or kind == "lookalike_text":
            return sampler.by_text(HARMFUL_TEXT if kind == "harmful_text" else LOOKALIKE_TEXT)
        if kind in ("benign", "lookalike_image") and sampler.rng.random() < 0.5:
            pair = sampler.by_text(OPEN)
        else:
            instruction = sampler.rng.choice(IMAGE_DECIDED)
            medium = sampler.rng.choice(instruction.media)
            harmful = kind in ("compositional", "risky_image", "typographic")
            if not sampler.things(instruction, harmful, medium):
                continue
            pair = sampler.pair(instruction, harmful, medium)
        if pair.kind == kind:
            return pair


def _shows(name: Unseen, pair: MicroPair) -> bool:
    """Does the pair show what a world without `name` never shows?"""
    if name == "kinds":
        return pair.scene.thing in UNSEEN_KINDS
    if name == "typographic":
        return pair.scene.thing.medium == "note"
    return pair.kind == name


def _thinned(
    world: World, share: float, rows: Iterator[MicroPair], rng: random.Random
) -> list[MicroPair]:
    """The shortest beginning of the rows that holds enough of all sides, less what is too many.

    Left out at random and not as they come: else one kind of pair, or the end of the run, would
    bear it all.
    """

    def side(pair: MicroPair) -> str:
        return "question" if pair.kind == "question" else "harmful" if pair.harmful else "benign"

    questions = world.pairs // STEP if world.questions else 0
    harmful = round(share * (world.pairs - questions))
    benign = world.pairs - questions - harmful
    wanted = {"harmful": harmful, "benign": benign, "question": questions}
    drawn: dict[str, list[int]] = {name: [] for name in wanted}
    seen: list[MicroPair] = []
    while any(len(drawn[name]) < n for name, n in wanted.items()):
        pair = next(rows, None)
        if pair is None:
            raise ConfigError(
                f"world: harmful_share {share:g} is out of reach: a stream of {_LONGEST} times "
                f"{world.pairs} pairs holds {len(drawn['harmful'])} harmful ones and {harmful} are "
                f"wanted; raise compositional, shorten without, or lower harmful_share"
            )
        drawn[side(pair)].append(len(seen))
        seen.append(pair)
    kept = sorted(i for name, n in wanted.items() for i in rng.sample(drawn[name], n))
    return [seen[i] for i in kept]


def _mislabelled(pair: MicroPair, noise: float, rng: random.Random) -> MicroPair:
    """The pair with tags flipped at a rate of `noise`; more noise flips these and others."""

    def label(tag: SafetyTag) -> SafetyTag:
        if rng.random() >= noise:
            return tag
        return "safe" if tag == "unsafe" else "unsafe"

    tags = pair.tags
    return replace(pair, tags=Tags(label(tags.visual), label(tags.text), label(tags.combined)))


def tested_apart(
    world: World, split: Literal["dev", "test"] = "test", size: float = 1.0
) -> list[MicroPair]:
    """Held-out items that show just what the world keeps from training; none if that is nothing.

    For ways to attack they are the items of `held_out(split, size)` of that kind, with what is
    harmless about it: twin partners, and for harmful words the words that only sound so. For object
    kinds they are further twins of the split, `size` times 16 for each instruction that can show
    one, with an unseen kind on at least one side. The combinations are the split's own, so a row
    that trained on all kinds has not met them either, and can be compared.
    """
    pairs: list[MicroPair] = []
    if "kinds" in world.without:
        pairs += _unseen_twins(split, max(1, round(TWINS * size)))
    held = held_out(split, size)
    for name in ("typographic", "risky_image", "harmful_text"):
        if name in world.without:
            twins = {pair.twin for pair in held if pair.kind == name} - {None}
            like = "lookalike_text" if name == "harmful_text" else name
            pairs += [p for p in held if p.twin in twins or p.kind in (name, like)]
    return pairs


def _unseen_twins(split: Literal["dev", "test"], each: int) -> list[MicroPair]:
    sampler = Sampler(split, 1)  # not held_out's seed: other pictures than the main test's
    pairs: list[MicroPair] = []
    for instruction in IMAGE_DECIDED:
        sides = [t for side in (True, False) for t in sampler.things(instruction, side, "object")]
        if UNSEEN_KINDS.isdisjoint(sides):
            continue
        found: list[MicroPair] = []
        while len(found) < 2 * each:
            twins = sampler.twins("object", instruction)
            if any(_shows("kinds", pair) for pair in twins):
                found += [replace(p, id=f"kinds-{p.id}", twin=f"kinds-{p.twin}") for p in twins]
        pairs += found
    return pairs


def counts(pairs: Sequence[MicroPair]) -> dict[str, int]:
    """How many pairs of each kind, zeros included, by what the pairs are and not by their tags."""
    found = Counter(pair.kind for pair in pairs)
    return {kind: found[kind] for kind in get_args(Kind)}
