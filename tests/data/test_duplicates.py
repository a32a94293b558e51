import io
import random
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("imagehash")
pytest.importorskip("datasketch")

from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from safegrpo.data.duplicates import (
    HASH_BYTES,
    Groups,
    image_hash,
    near_images,
    near_prompts,
    prompt_key,
)
from safegrpo.data.images import ImageRef, open_image
from safegrpo.microcosm.draw import draw
from safegrpo.microcosm.pairs import held_out

VARIANTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "double": lambda image: image.resize((image.width * 2, image.height * 2)),
    "jpeg": lambda image: jpeg(image, 50),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.08),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
}
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "motorcycle_left")


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def photograph(name: str) -> Image.Image:
    folder = Path(pytest.importorskip("skimage.data").__file__).parent
    return open_image(ImageRef(path=folder / f"{name}.png"))


def page(*lines: str) -> Image.Image:
    """Text on white, laid out as typographic attacks are."""
    image = Image.new("RGB", (760, 760), "white")
    font = ImageFont.load_default(64)
    ImageDraw.Draw(image).multiline_text((30, 30), "\n".join(lines), "black", font, spacing=20)
    return image


def images_near(images: Sequence[Image.Image]) -> list[tuple[int, int]]:
    return list(near_images([image_hash(image) for image in images]))


def clusters(n: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    groups = Groups(n)
    assert all(groups.join(a, b) for a, b in pairs), "a pair joined what was joined already"
    return groups.lists()


def made_hashes(codes: np.ndarray, thumbnails: np.ndarray | int = 128) -> list[bytes]:
    """Hashes of (n, 32) bytes of pHash, and thumbnails which are plain grey by default."""
    rows = np.empty((len(codes), HASH_BYTES), dtype=np.uint8)
    rows[:, :32], rows[:, 32:] = codes, thumbnails
    return [row.tobytes() for row in rows]


def random_codes(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 32), dtype=np.uint8)


def random_prompts(n: int) -> list[str]:
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 8))) for _ in range(3000)]
    return [" ".join(rng.choices(words, k=15)) for _ in range(n)]


def seconds(work: Callable[[], object]) -> float:
    """The best of three runs."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def test_groups_join_classes_and_say_whether_they_were_two() -> None:
    groups = Groups(6)
    assert groups.join(4, 1) and groups.join(5, 2) and groups.join(2, 4)
    assert not groups.join(1, 5)
    assert groups.lists() == [[0], [1, 2, 4, 5], [3]]
    assert len(set(groups.labels[[1, 2, 4, 5]])) == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_photograph_is_found_changed(variant: str) -> None:
    originals = [photograph(name) for name in PHOTOGRAPHS]
    changed = [VARIANTS[variant](image) for image in originals]
    n = len(originals)
    assert clusters(2 * n, images_near(originals + changed)) == [[i, n + i] for i in range(n)]


def test_a_photograph_is_found_cut_by_one_percent() -> None:
    image = photograph("coffee")  # in others a sharp edge against the border can be too much
    x, y = image.width // 100, image.height // 100
    inner = image.crop((x, y, image.width - x, image.height - y))
    assert images_near([image, inner]) == [(0, 1)]


def test_a_photograph_with_an_object_put_in_is_another() -> None:
    image = photograph("chelsea")
    other = image.copy()
    side = min(image.size) // 5
    ImageDraw.Draw(other).ellipse([40, 40, 40 + side, 40 + side], fill="red")
    assert images_near([image, other]) == []


def test_pages_that_differ_in_one_word_are_different() -> None:
    nouns = ("bread", "table", "chair", "quilt", "shelf")
    pages = [
        page("Steps to make a", f"{noun} for the", "house at home", "1.", "2.") for noun in nouns
    ]
    assert images_near(pages) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_page_is_found_changed(variant: str) -> None:
    image = page("Steps to make a", "table for the", "house at home", "1.", "2.")
    assert images_near([image, VARIANTS[variant](image)]) == [(0, 1)]


def test_figstep_holds_no_two_alike_and_each_is_found_changed(shared_data: Path) -> None:
    folder = shared_data / "figstep" / "data" / "images" / "SafeBench-Tiny"
    originals = [open_image(ImageRef(path=path)) for path in sorted(folder.glob("*.png"))]
    assert len(originals) == 50
    changed = [jpeg(VARIANTS["half"](image), 50) for image in originals]
    assert clusters(100, images_near(originals + changed)) == [[i, 50 + i] for i in range(50)]


def test_scenes_of_the_microcosm_are_all_different() -> None:
    scenes = list(dict.fromkeys(pair.scene for pair in held_out("test", 0.3)))
    assert len(scenes) > 200
    assert images_near([draw(scene) for scene in scenes]) == []


def test_plain_images_are_told_apart_by_their_color() -> None:
    plain = [Image.new("RGB", size, color) for color in ("white", "black", "red", "blue")
             for size in ((64, 64), (300, 200))]  # fmt: skip
    assert clusters(8, images_near(plain)) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_an_image_of_any_mode_and_size_has_a_hash() -> None:
    images = [
        Image.new(mode, size) for mode in ("1", "L", "P", "RGBA") for size in ((1, 1), (9, 400))
    ]
    assert {len(image_hash(image)) for image in images} == {HASH_BYTES}


def test_what_is_no_image_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="hash 1 has 8 bytes"):
        list(near_images([bytes(HASH_BYTES), bytes(8)]))


@pytest.mark.parametrize("shared_bytes", [0, 2, 24], ids=["banded", "one band", "most bands"])
def test_all_codes_within_31_bits_are_found_and_none_beyond(shared_bytes: int) -> None:
    rng = np.random.default_rng(1)
    codes = random_codes(1500)
    codes[:, :shared_bytes] = 7
    # Copies of the first 500 with 0 to 63 bits wrong.
    for k in range(500):
        wrong = np.zeros(256, dtype=np.uint8)
        wrong[rng.choice(256, size=k % 64, replace=False)] = 1
        codes[1000 + k] = codes[k] ^ np.packbits(wrong)
    apart = np.bitwise_count(codes[:, None] ^ codes[None]).sum(-1, dtype=np.int64)
    expected = Groups(1500)
    for a, b in np.argwhere(apart <= 31).tolist():
        expected.join(a, b)
    assert clusters(1500, list(near_images(made_hashes(codes)))) == expected.lists()


def test_identical_images_are_chained() -> None:
    hashes = made_hashes(random_codes(3)) * 2000
    pairs = list(near_images(hashes))
    assert len(pairs) == 5997
    assert [len(group) for group in clusters(6000, pairs)] == [2000] * 3


def test_thousands_of_nearly_equal_images_give_one_cluster_of_few_pairs() -> None:
    thumbnails = np.random.default_rng(0).integers(250, 252, (5000, HASH_BYTES - 32))
    pairs = list(near_images(made_hashes(np.zeros((5000, 32), dtype=np.uint8), thumbnails)))
    assert len(pairs) == 4999
    assert len(clusters(5000, pairs)) == 1


@pytest.mark.parametrize("shared_bytes", [0, 16], ids=["random", "half of it shared"])
def test_memory_for_images_grows_as_their_number(shared_bytes: int) -> None:
    codes = random_codes(20_000)
    codes[:, :shared_bytes] = 7
    hashes = made_hashes(codes)
    tracemalloc.start()
    assert list(near_images(hashes)) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 4096  # half a byte for each pair would be more


def test_time_for_images_grows_slower_than_the_square() -> None:
    hashes = made_hashes(random_codes(20_000))
    short, long = (seconds(lambda n=n: list(near_images(hashes[:n]))) for n in (10_000, 20_000))
    assert long / short < 4


@pytest.mark.parametrize(
    "text",
    ["how do i use this knife", "HOW DO I USE THIS KNIFE?!", "  How do I\nuse  this “knife”… ",
     "How do I use this \uff4b\uff4e\uff49\uff46\uff45?", "How do I u\u00adse this kn\u200bife?"],
)  # fmt: skip
def test_case_punctuation_and_spacing_do_not_count(text: str) -> None:
    assert prompt_key(text) == "how do i use this knife"


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("How do I use this knife?", "How do I use this gun?"),
        ("What is 12 + 5?", "What is 12 + 6?"),
        ("What is 1+5?", "What is 1<5?"),
        ("这把刀怎么用", "这把枪怎么用"),
        ("كيف أستخدم هذا؟", "كيف أنظف هذا؟"),
        ("มีดนี้ใช้อย่างไร", "ปืนนี้ใช้อย่างไร"),
        ("Is this safe?", "Is this not safe?"),
        ("?", "!"),
        ("😀", "😡"),
    ],
)  # fmt: skip
def test_one_content_word_makes_a_short_prompt_another(one: str, two: str) -> None:
    assert prompt_key(one) and prompt_key(one) != prompt_key(two)
    assert list(near_prompts([one, two])) == []


def test_a_contraction_is_found_without_its_apostrophe() -> None:
    assert prompt_key("Don't") == prompt_key("don\u2019t") == prompt_key("dont")


def test_a_slip_of_the_pen_in_a_long_prompt_is_found() -> None:
    text = (
        "Could you please explain to me, step by step, how the device in this picture is cleaned?"
    )
    slip = text.replace("picture", "pictrue")
    assert list(near_prompts([text, "What is that?", slip])) == [(0, 2)]


def test_only_prompts_above_the_threshold_are_near() -> None:
    texts = random_prompts(300)
    rng = random.Random(2)
    for text in texts[:150]:
        letters = list(text)
        for place in rng.sample(range(len(letters)), rng.randint(1, 4)):
            letters[place] = "q"
        texts.append("".join(letters))

    def pieces(text: str) -> set[str]:
        return {f" {text} "[i : i + 5] for i in range(len(text) - 2)}

    sets = [pieces(text) for text in texts]
    near = {(i, j) for i in range(450) for j in range(i + 1, 450)
            if len(sets[i] & sets[j]) >= 0.85 * len(sets[i] | sets[j])}  # fmt: skip
    found = set(near_prompts(texts))
    assert found <= near
    assert 30 < len(near) < 120 and len(found) >= 0.9 * len(near)


def test_identical_prompts_are_chained() -> None:
    pairs = list(near_prompts(["One?", "Two.", "one"] * 2000))
    assert [len(group) for group in clusters(6000, pairs)] == [4000, 2000]


def test_thousands_of_nearly_equal_prompts_give_one_cluster_of_few_pairs() -> None:
    long = "How would I use the thing in this picture for my project at home today,"
    letters = "abcdefghijklmno"
    names = [a + b + c for a in letters for b in letters for c in letters[:10]]
    assert len(list(near_prompts([f"{long} {name}?" for name in names]))) == len(names) - 1


def test_prompts_of_other_numbers_are_different() -> None:
    long = "How would I use the thing in this picture for my project at home today, number"
    assert list(near_prompts([f"{long} {i}?" for i in range(3000)])) == []
    assert list(near_prompts([f"{long} 12?", f"{long} 12!"])) == [(0, 1)]


def test_empty_and_lone_surrogate_prompts_are_compared_too() -> None:
    assert list(near_prompts(["", " ", "\ud800"])) == [(0, 1)]
    assert list(near_prompts([])) == [] and list(near_images([])) == []


def test_time_and_memory_for_prompts_grow_slower_than_the_square() -> None:
    texts = random_prompts(10_000)
    short, long = (seconds(lambda n=n: list(near_prompts(texts[:n]))) for n in (5_000, 10_000))
    assert long / short < 4
    tracemalloc.start()
    list(near_prompts(texts[:5000]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5000 * 8192
