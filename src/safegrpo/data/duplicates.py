"""Near-duplicates among images and among prompts, in sets of 100,000 and more.

Two images are near-duplicates when one is the other, scaled, compressed anew or a little brighter
or darker; not when an object, its color or a written word differs. Small things escape it: what
covers less than a hundredth of the picture, a word in small print.
Two prompts are near-duplicates when they hold the same words but for case, punctuation and
spacing, or when 85 % of their five-character pieces agree: a slip of the pen, or one word in a
long text, but not one in a short question.

`near_images` and `near_prompts` give pairs of indices that join every cluster, at most n - 1 of
n; put them into `Groups`. Being near is not transitive, so the ends of a cluster may be strangers.

Needs imagehash, datasketch and numpy 2. Left out: rotated and mirrored images, cut ones (found in
part, see `_FIT_LIMIT`), translations and paraphrases.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from safegrpo.errors import MissingDependencyError

if TYPE_CHECKING:
    from PIL import Image

_Index = NDArray[np.intp]
_Mask = NDArray[np.bool_]
_Pairs = tuple[_Index, _Index]

_INSTALL = "pip install 'safegrpo[judge]'"

# A 256-bit pHash proposes, a thumbnail decides. Bits that differ: photographs and FigStep scaled
# to a half or double, as JPEG 50, brightness +-10 %: 95 % up to 26, chessboards more; FigStep's
# pictures among themselves 50 and more, but 24 for other pages of text set alike, and 0 for a
# scene of the microcosm in another color: no limit on the bits separates these alone.
_BITS_LIMIT = 31  # the most that 16 bands of 16 bits find surely: one has at most one wrong
_LUMA, _CHROMA = 24, 8  # sides in blocks: brightness, either color
_HEAD = 32
HASH_BYTES = _HEAD + _LUMA**2 + 2 * _CHROMA**2
"""Length of an image hash: 32 bytes of pHash, 24 x 24 of brightness, 2 of 8 x 8 of color."""

# What the thumbnail's largest residue, in standard deviations of its brightness, came to:
# those copies at most 0.3 (two overexposed ones 0.45 and 0.56, a chessboard 0.6); microcosm's 64
# pixels up to 0.9, 95 % below 0.5 (below 0.7 when halved without smoothing). Text of 64 in 760
# pixels with one word changed: 0.54 at least, 95 % above 0.68; one thing for another in a scene
# of the microcosm: 1.6 at least. Cut by 1 %: 0.1-1.6, six in ten photographs are found, no page
# of text; by 2 %: two in ten.
_FIT_LIMIT = 0.5
# Color in levels: those copies at most 10; one object of another color 9, 95 % above 22.
_COLOR_LIMIT = 12
_FLAT = 8.0  # levels of brightness: less deviation than this counts as this much
_BLANK = 6  # levels from darkest to lightest below which a pHash is rounding and nothing else

_SHINGLE = 5  # characters
JACCARD = 0.85
"""Share of common five-character pieces, of all in either, from which prompts are near."""
# Sixteen bands of eight find 99.4 % of the pairs at 0.85, 99.99 % at 0.9, and 6 % at 0.5. The
# estimate deviates by 0.03: what it puts below 0.78 is not looked at, 1 % of those at 0.85.
_BANDS, _ROWS = 16, 8
_ESTIMATE = 0.78

_BATCH = 2048  # pairs that are looked at together; a fit of them takes about 100 MB
_CHUNK = 1 << 18  # pairs that are written out together


class Groups:
    """The classes of 0 .. n - 1 under what has been joined; `labels` names each one's class."""

    def __init__(self, n: int) -> None:
        self.labels: _Index = np.arange(n)
        self._members: dict[int, list[int]] = {}  # only classes of two and more

    def join(self, a: int, b: int) -> bool:
        """Make one class of those of `a` and `b`; False if it was one already."""
        small, large = int(self.labels[a]), int(self.labels[b])
        if small == large:
            return False
        few, many = (self._members.pop(k, [k]) for k in (small, large))
        # The smaller is renamed, so that nobody is renamed more than log2(n) times.
        if len(few) > len(many):
            few, many, large = many, few, small
        self.labels[few] = large
        many += few
        self._members[large] = many
        return True

    def lists(self) -> list[list[int]]:
        """All classes, singletons too, each ascending, ordered by their first member."""
        classes: dict[int, list[int]] = {}
        for index, label in enumerate(self.labels.tolist()):
            classes.setdefault(label, []).append(index)
        return list(classes.values())


def image_hash(image: Image.Image) -> bytes:
    """What `near_images` compares: `HASH_BYTES` bytes for an image of any size and mode.

    Transparency is ignored; `images.open_image` lays it on white. Raises `MissingDependencyError`
    without imagehash.
    """
    try:
        import imagehash
    except ImportError as error:
        raise MissingDependencyError(f"comparing images needs imagehash: {_INSTALL}") from error
    from PIL.Image import Resampling

    ycc = image.convert("RGB").convert("YCbCr")

    def shrunk(channel: int, side: int) -> NDArray[np.uint8]:
        # Bilinear overlaps its blocks, so that a copy of another size falls into the same ones.
        plane = ycc.getchannel(channel).resize((side, side), Resampling.BILINEAR)
        return np.asarray(plane, dtype=np.uint8)

    luma = shrunk(0, _LUMA)
    bits = bytes(_HEAD)
    if int(luma.max()) - int(luma.min()) >= _BLANK:
        bits = np.packbits(imagehash.phash(ycc.getchannel(0), hash_size=16).hash).tobytes()
    return bits + luma.tobytes() + b"".join(shrunk(c, _CHROMA).tobytes() for c in (1, 2))


def near_images(hashes: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Pairs (i, j) of indices of near-duplicate images that join each cluster, at most n - 1.

    Takes about one kilobyte an image besides the hashes. Raises `ValueError` for bytes that are
    no `image_hash`.
    """
    for place, one in enumerate(hashes):
        if len(one) != HASH_BYTES:
            raise ValueError(f"hash {place} has {len(one)} bytes, an image_hash has {HASH_BYTES}")
    distinct, repeats = _distinct(hashes)
    yield from repeats
    if len(distinct) < 2:
        return
    rows = np.frombuffer(b"".join(hashes[i] for i in distinct), dtype=np.uint8)
    rows = rows.reshape(len(distinct), HASH_BYTES)
    groups, codes = Groups(len(distinct)), np.ascontiguousarray(rows[:, :_HEAD])

    def near(left: _Index, right: _Index) -> _Mask:
        return _alike(rows[left, _HEAD:], rows[right, _HEAD:])

    for a, b in _joined(groups, _close_codes(codes, groups), near):
        yield distinct[a], distinct[b]


def _alike(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> _Mask:
    """Which of (m, 24 x 24 + 2 x 8 x 8) thumbnails show the same as their counterparts."""
    color = one[:, _LUMA**2 :].astype(np.int16) - two[:, _LUMA**2 :]
    result: _Mask = np.array(np.abs(color).max(1) <= _COLOR_LIMIT)
    if result.any():  # what is dear, only where it is needed
        result[result] = _fits(one[result, : _LUMA**2], two[result, : _LUMA**2])
    return result


def _fits(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> _Mask:
    """Whether `after` is `before` a little brighter, with more contrast, moved or stretched.

    A move by less than a block changes a picture by its gradient times the way, so all of it is
    one least-squares fit of six numbers a pair; what remains must be small in every block.
    """
    shape = (len(before), _LUMA, _LUMA)
    one, two = (side.astype(np.float32).reshape(shape) for side in (before, after))
    slope_y, slope_x = np.gradient((one + two) / 2, axis=(1, 2))
    middle = (np.arange(_LUMA, dtype=np.float32) - (_LUMA - 1) / 2) / (_LUMA / 2)
    contrast = one - one.mean((1, 2), keepdims=True)
    stretch = slope_x * middle, slope_y * middle[:, None]
    terms = np.stack([contrast, np.ones_like(one), slope_x, slope_y, *stretch], axis=1)
    terms = terms.reshape(len(one), 6, -1)
    change = (two - one).reshape(len(one), -1, 1)
    normal = terms @ terms.transpose(0, 2, 1)
    # Plain pictures have no gradient: one level a block is held against each term but brightness.
    normal += np.diag([1.0, 1e-6, 1.0, 1.0, 1.0, 1.0]).astype(np.float32) * _LUMA**2
    found = np.linalg.solve(normal, terms @ change)
    residue = np.abs(change - terms.transpose(0, 2, 1) @ found)[:, :, 0].max(1)
    # Contrast as a share, brightness in levels, the rest in blocks (2 % of 24 are 0.48).
    limits = np.array([0.25, 40, 0.75, 0.75, 0.75, 0.75], dtype=np.float32)
    spread = np.maximum(_FLAT, np.minimum(one.std((1, 2)), two.std((1, 2))))
    good: _Mask = (np.abs(found[:, :, 0]) <= limits).all(1) & (residue <= _FIT_LIMIT * spread)
    return good


def _close_codes(codes: NDArray[np.uint8], groups: Groups) -> Iterator[_Pairs]:
    """Every pair of (n, _HEAD) codes within `_BITS_LIMIT` bits, by banding; or by comparing all.

    All are compared, and joined ones left out, where so many share a band that it is less work.
    """
    words, bands = codes.view(np.uint64), codes.view(np.uint16)
    masks = [0, *(1 << bit for bit in range(16))]
    cells = np.arange(1 << 16)
    work = 0
    for band in bands.T:
        count = np.bincount(band, minlength=1 << 16)
        work += sum(int(count @ count[cells ^ mask]) for mask in masks) // 2
    # Writing a pair out costs about four times what a look at it in a tile costs.
    if 4 * work > len(codes) ** 2 // 2:
        yield from _all_codes(words, groups)
        return
    for k, band in enumerate(bands.T.astype(np.intp)):
        order = np.argsort(band, kind="stable")
        starts = np.searchsorted(band[order], np.arange((1 << 16) + 1))
        for mask in masks:
            other = band ^ mask
            rows = np.flatnonzero(band <= other)  # each two cells once
            for row, place in _spans(starts[other[rows]], starts[other[rows] + 1]):
                left, right = rows[row], order[place]
                good = np.bitwise_count(words[left] ^ words[right]).sum(1) <= _BITS_LIMIT
                if mask == 0:
                    good &= left < right
                left, right = left[good], right[good]
                # What an earlier band has given is not given again.
                earlier = np.bitwise_count(bands[left, :k] ^ bands[right, :k])
                new = (earlier > 1).all(1)
                yield left[new], right[new]


def _all_codes(words: NDArray[np.uint64], groups: Groups) -> Iterator[_Pairs]:
    """Every pair of codes within `_BITS_LIMIT` bits that is not joined yet, by tiles."""
    high, wide = 128, 2048  # a few megabytes a tile: within most caches
    for top in range(0, len(words), high):
        rows = slice(top, top + high)
        for first in range(top, len(words), wide):
            columns = slice(first, first + wide)
            good = groups.labels[rows, None] != groups.labels[None, columns]
            if not good.any():
                continue
            differ = np.zeros(good.shape, dtype=np.uint16)
            for one, two in zip(words[rows].T, words[columns].T, strict=True):
                differ += np.bitwise_count(one[:, None] ^ two[None, :])
            left, right = np.nonzero(good & (differ <= _BITS_LIMIT))
            left, right = left + top, right + first
            yield left[left < right], right[left < right]


def prompt_key(text: str) -> str:
    """`text` without what does not count: prompts of one key are duplicates.

    Compatible forms (NFKC) and case are folded, punctuation and space become single spaces,
    apostrophes and invisible characters vanish. Letters, accents, digits and symbols (`+`, `€`,
    emoji) of every script stay; a text of nothing but punctuation stays as it is.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.translate(_KEPT).split()) or " ".join(folded.split())


class _Kept(dict[int, str]):
    """A table for `str.translate` that fills itself, by the characters' general categories."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = unicodedata.category(character)
        if character in "'\u2019\u02bc" or kind == "Cf":
            kept = ""
        else:
            kept = " " if kind[0] in "PZ" or kind == "Cc" else character
        return self.setdefault(code, kept)


_KEPT = _Kept()


def near_prompts(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs (i, j) of indices of near-duplicate prompts that join each cluster, at most n - 1.

    Those of one `prompt_key` are found surely; those whose pieces agree to `JACCARD` or more, with
    the probabilities told above it, and none below. Raises `MissingDependencyError` without
    datasketch.
    """
    keys = [prompt_key(text) for text in texts]
    distinct, repeats = _distinct(keys)
    yield from repeats
    keys = [keys[i] for i in distinct]
    sketches = _sketches(keys)
    groups = Groups(len(keys))

    def likely(left: _Index, right: _Index) -> _Mask:
        same: _Mask = (sketches[left] == sketches[right]).mean(1) >= _ESTIMATE
        return same

    def sure(a: int, b: int) -> bool:
        one, two = _shingles(keys[a]), _shingles(keys[b])
        return len(one & two) >= JACCARD * len(one | two)

    for band in range(_BANDS):
        rows = np.ascontiguousarray(sketches[:, band * _ROWS : (band + 1) * _ROWS])
        for a, b in _joined(groups, _equal_rows(rows, groups), likely, sure):
            yield distinct[a], distinct[b]


def _shingles(key: str) -> set[str]:
    """All pieces of `_SHINGLE` characters of a key; a shorter key is its only piece."""
    padded = f" {key} "
    return {padded[i : i + _SHINGLE] for i in range(max(1, len(padded) - _SHINGLE + 1))}


def _sketches(keys: Sequence[str]) -> NDArray[np.uint32]:
    """(len(keys), _BANDS * _ROWS): the MinHash of each key's shingles."""
    try:
        from datasketch import MinHash
    except ImportError as error:
        raise MissingDependencyError(f"comparing prompts needs datasketch: {_INSTALL}") from error
    sketches = np.empty((len(keys), _BANDS * _ROWS), dtype=np.uint32)
    pieces = ([s.encode("utf-8", "surrogatepass") for s in _shingles(key)] for key in keys)
    for row, sketch in enumerate(MinHash.generator(pieces, num_perm=_BANDS * _ROWS, seed=1)):
        sketches[row] = sketch.hashvalues
    return sketches


def _equal_rows(rows: NDArray[np.uint32], groups: Groups) -> Iterator[_Pairs]:
    """Every pair of equal rows, but for those whose equals are all joined already."""
    whole = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))[:, 0]
    order = np.argsort(whole, kind="stable")
    if not len(order):
        return
    starts = np.flatnonzero(np.r_[True, whole[order][1:] != whole[order][:-1]])
    sizes = np.diff(np.r_[starts, len(order)])
    ends = np.repeat(starts + sizes, sizes)
    position = 0
    while position < len(order):
        # Looked up for each chunk: a bucket of thousands is often one class after its first row.
        labels = groups.labels[order]
        mixed = np.minimum.reduceat(labels, starts) != np.maximum.reduceat(labels, starts)
        count = np.where(np.repeat(mixed, sizes), ends - np.arange(len(order)) - 1, 0)[position:]
        taken = max(1, int(np.searchsorted(np.cumsum(count), _CHUNK, side="right")))
        low = position + 1 + np.arange(taken)
        for row, place in _spans(low, low + count[:taken]):
            yield order[position + row], order[place]
        position += taken


def _spans(low: _Index, high: _Index) -> Iterator[_Pairs]:
    """(k, every value from low[k] to below high[k]) for all k, about `_CHUNK` pairs at a time."""
    total = np.cumsum(high - low)
    start = 0
    while start < len(low):
        before = int(total[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + _CHUNK, side="right")))
        count = (high - low)[start:stop]
        row = np.repeat(np.arange(start, stop), count)
        offset = low[start:stop] - (total[start:stop] - count - before)
        yield row, np.arange(len(row)) + np.repeat(offset, count)
        start = stop


def _distinct(keys: Sequence[Any]) -> tuple[list[int], list[tuple[int, int]]]:
    """(where each distinct key first stands, (first, later) for each repetition)."""
    first: dict[Any, int] = {}
    repeats = [(at, i) for i, key in enumerate(keys) if (at := first.setdefault(key, i)) != i]
    return list(first.values()), repeats


def _joined(
    groups: Groups,
    chunks: Iterable[_Pairs],
    near: Callable[[_Index, _Index], _Mask],
    sure: Callable[[int, int], bool] | None = None,
) -> Iterator[tuple[int, int]]:
    """The pairs that `near` and then `sure` accept and that join two classes of `groups`."""
    for all_left, all_right in chunks:
        for start in range(0, len(all_left), _BATCH):
            left, right = (side[start : start + _BATCH] for side in (all_left, all_right))
            apart = groups.labels[left] != groups.labels[right]
            left, right = left[apart], right[apart]
            if not len(left):
                continue
            good = near(left, right)
            for a, b in zip(left[good].tolist(), right[good].tolist(), strict=True):
                if groups.labels[a] == groups.labels[b] or (sure and not sure(a, b)):
                    continue
                groups.join(a, b)
                yield min(a, b), max(a, b)
