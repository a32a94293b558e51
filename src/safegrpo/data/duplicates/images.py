"""Near-duplicate images: one is the other, scaled, compressed anew or a little brighter or darker.

They are none when an object, its color or a written word differs. Small things escape it: what
covers less than a hundredth of the picture, a word in small print. Left out: rotated and mirrored
images, and cut ones, which are found in part (see `_FIT_LIMIT`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from safegrpo.data.duplicates.groups import (
    INSTALL,
    Groups,
    Index,
    Mask,
    Pairs,
    distinct_keys,
    joined,
    spans,
)
from safegrpo.errors import MissingDependencyError

if TYPE_CHECKING:
    from PIL import Image

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


def image_hash(image: Image.Image) -> bytes:
    """What `near_images` compares: `HASH_BYTES` bytes for an image of any size and mode.

    Transparency is ignored; `images.open_image` lays it on white. Raises `MissingDependencyError`
    without imagehash.
    """
    try:
        import imagehash
    except ImportError as error:
        raise MissingDependencyError(f"comparing images needs imagehash: {INSTALL}") from error
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
    distinct, repeats = distinct_keys(hashes)
    yield from repeats
    if len(distinct) < 2:
        return
    rows = np.frombuffer(b"".join(hashes[i] for i in distinct), dtype=np.uint8)
    rows = rows.reshape(len(distinct), HASH_BYTES)
    groups, codes = Groups(len(distinct)), np.ascontiguousarray(rows[:, :_HEAD])

    def near(left: Index, right: Index) -> Mask:
        return _alike(rows[left, _HEAD:], rows[right, _HEAD:])

    for a, b in joined(groups, _close_codes(codes, groups), near):
        yield distinct[a], distinct[b]


def _alike(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> Mask:
    """Which of (m, 24 x 24 + 2 x 8 x 8) thumbnails show the same as their counterparts."""
    color = one[:, _LUMA**2 :].astype(np.int16) - two[:, _LUMA**2 :]
    result: Mask = np.array(np.abs(color).max(1) <= _COLOR_LIMIT)
    if result.any():  # what is dear, only where it is needed
        result[result] = _fits(one[result, : _LUMA**2], two[result, : _LUMA**2])
    return result


def _fits(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Mask:
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
    good: Mask = (np.abs(found[:, :, 0]) <= limits).all(1) & (residue <= _FIT_LIMIT * spread)
    return good


def _close_codes(codes: NDArray[np.uint8], groups: Groups) -> Iterator[Pairs]:
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
            for row, place in spans(starts[other[rows]], starts[other[rows] + 1]):
                left, right = rows[row], order[place]
                good = np.bitwise_count(words[left] ^ words[right]).sum(1) <= _BITS_LIMIT
                if mask == 0:
                    good &= left < right
                left, right = left[good], right[good]
                # What an earlier band has given is not given again.
                earlier = np.bitwise_count(bands[left, :k] ^ bands[right, :k])
                new = (earlier > 1).all(1)
                yield left[new], right[new]


def _all_codes(words: NDArray[np.uint64], groups: Groups) -> Iterator[Pairs]:
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
