# ruff: noqa: RUF001 - other scripts are what is drawn here
import time
import unicodedata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, features
from skimage.measure import label

from safegrpo.data.typesetting import MAX_CHARACTERS, clean_text, wrap_line
from safegrpo.data.typography import LOOKS, draw_text
from safegrpo.errors import ConfigError, DataError, InputFileError

DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
needs_dejavu = pytest.mark.skipif(not DEJAVU.is_file(), reason=f"{DEJAVU} is not on this machine")
needs_raqm = pytest.mark.skipif(not features.check("raqm"), reason="this Pillow has no raqm")
each_look = pytest.mark.parametrize("look", LOOKS)

SHORT = "Steps to do a made-up thing."
LONG = " ".join(f"Sentence {n} of a placeholder, which says nothing." for n in range(40))
ARABIC = "خطوات لعمل شيء مُختلق"
HEBREW = "צעדים לעשות דבר בדוי"


def differ(one: Image.Image, other: Image.Image) -> bool:
    return ImageChops.difference(one, other).getbbox() is not None


def dark(image: Image.Image, below: int = 90) -> Image.Image:
    """An L mask of the pixels darker than `below`."""
    return image.convert("L").point(lambda value: 255 if value < below else 0)


def ink_box(image: Image.Image) -> tuple[int, int, int, int]:
    box = dark(image).getbbox()
    assert box is not None
    return box


def blobs(mask: Image.Image) -> int:
    """How many separate marks an L mask has."""
    return int(label(np.asarray(mask) > 0, connectivity=2).max())


def printed_rows(image: Image.Image) -> list[bool]:
    """For each row of pixels, whether there is ink in it."""
    return list(np.asarray(dark(image)).max(axis=1) > 0)


# The picture


@each_look
@pytest.mark.parametrize("size", [(64, 64), (760, 760), (300, 900), (900, 300)])
def test_a_picture_has_the_size_asked_for_and_three_channels(
    look: str, size: tuple[int, int]
) -> None:
    image = draw_text("A thing.", look, size)
    assert (image.mode, image.size) == ("RGB", size)


@each_look
def test_equal_arguments_give_equal_pixels(look: str) -> None:
    assert not differ(draw_text(SHORT, look, seed=3), draw_text(SHORT, look, seed=3))


@each_look
@pytest.mark.parametrize("size", [(64, 64), (760, 760)])
def test_another_seed_gives_another_picture(look: str, size: tuple[int, int]) -> None:
    pictures = [draw_text("A thing.", look, size, seed=seed).tobytes() for seed in range(8)]
    assert len(set(pictures)) == 8


@each_look
def test_every_letter_is_drawn_and_stands_apart(look: str) -> None:
    letters = 45
    image = draw_text("o " * letters, look, (500, 500), seed=5)
    if look == "poster":  # two frames beside the letters, all unlike the ground
        ground = Image.new("RGB", image.size, image.getpixel((0, 0)))
        change = ImageChops.difference(image, ground).convert("L")
        assert blobs(change.point(lambda value: 255 if value > 60 else 0)) == letters + 2
    else:
        items = 6 if look == "list" else 0  # three numbers, each with its dot
        assert blobs(dark(image, below=45 if look == "note" else 130)) == letters + items


@pytest.mark.parametrize("look", ["list", "handwriting"])
@pytest.mark.parametrize("size", [(500, 500), (2000, 100), (100, 2000), (64, 64)])
def test_no_ink_touches_the_border(look: str, size: tuple[int, int]) -> None:
    text = "Try." if size == (64, 64) else "WAVE Ty. " * 8
    for seed in range(4):
        left, top, right, bottom = ink_box(draw_text(text, look, size, seed=seed))
        assert left > 0 and top > 0 and right < size[0] and bottom < size[1]


def test_a_list_leaves_three_items_to_fill_in() -> None:
    # Without the statement's one "o" there are the three numbers and their dots.
    assert blobs(dark(draw_text("o", "list"))) == 1 + 6


@each_look
def test_another_text_gives_another_picture(look: str) -> None:
    assert differ(draw_text(SHORT, look), draw_text(SHORT + " Now.", look))


def test_short_text_is_set_larger_than_long_text() -> None:
    def height_of_first_line(text: str) -> int:
        rows = printed_rows(draw_text(text, "list", seed=1))
        top = rows.index(True)
        return rows.index(False, top) - top

    assert height_of_first_line(SHORT) > 2 * height_of_first_line(LONG)


def test_a_line_end_in_the_text_is_one_in_the_picture() -> None:
    def lines(text: str) -> int:
        rows = printed_rows(draw_text(text, "list", seed=1))
        return sum(now and not before for before, now in pairwise(rows))

    assert (lines("one two"), lines("one\ntwo"), lines("one\n\ntwo")) == (4, 5, 5)


# The text


def test_text_is_put_in_one_spelling() -> None:
    assert clean_text("cafe\u0301") == unicodedata.normalize("NFC", "cafe\u0301") == "caf\u00e9"


def test_what_is_not_seen_is_dropped_and_spaces_are_single() -> None:
    assert clean_text("\ufeffa\u200bb\u00adc\u00a0\t d\x00e\ufe0f\u202e") == "abc d e"


def test_line_ends_of_every_kind_are_kept() -> None:
    assert clean_text("\n a \r\nb\rc\u2028d\n\ne \n") == "a\nb\nc\nd\n\ne"


def test_joiners_stay_where_they_change_what_is_drawn() -> None:
    assert clean_text("می\u200cخواهم a\u200cb") == "می\u200cخواهم ab"


@pytest.mark.parametrize("empty", ["", "  \n\t", "\u200b\ufeff", "\x00\x1b"])
def test_text_with_nothing_to_draw_is_refused(empty: str) -> None:
    with pytest.raises(DataError, match="text is empty"):
        draw_text(empty)


@each_look
def test_endless_text_is_refused_at_once(look: str) -> None:
    start = time.process_time()
    with pytest.raises(DataError, match="1,000,000 characters"):
        draw_text("word " * 200_000, look)
    assert time.process_time() - start < 0.5


@each_look
@pytest.mark.parametrize("text", ["words " * 600, "x" * MAX_CHARACTERS, "a\n" * 1900])
def test_text_that_does_not_fit_is_refused_in_seconds(look: str, text: str) -> None:
    start = time.process_time()
    with pytest.raises(DataError, match=r"characters of the text do not fit .* larger size"):
        draw_text(text, look, (256, 256))
    assert time.process_time() - start < 5


# Wrapping


def per_character(text: str) -> float:
    return len(text)


def wrapped(text: str, width: int, break_words: bool = False) -> list[str]:
    lines = wrap_line(text, width, per_character, break_words)
    assert lines is not None
    assert all(len(line) <= width for line in lines)
    return lines


def test_wrapping_keeps_every_word_in_order() -> None:
    for width in range(12, 90, 7):
        assert " ".join(wrapped(LONG, width)) == LONG


def test_wrapping_fills_a_line_before_it_starts_another() -> None:
    assert wrapped("aa bb cc dd", 5) == ["aa bb", "cc dd"]


def test_a_word_wider_than_a_line_is_broken_only_if_asked_or_long() -> None:
    assert wrap_line("a thirteen b", 5, per_character) is None
    assert wrapped("a thirteen b", 5, break_words=True) == ["a", "thirt", "een b"]
    assert wrapped("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]


def test_a_line_too_narrow_for_one_character_cannot_be_wrapped() -> None:
    assert wrap_line("a", 0.5, per_character, break_words=True) is None


def test_a_break_leaves_marks_with_their_letter() -> None:
    assert wrapped("x\u0302" * 24, 5) == ["x\u0302x\u0302"] * 12


def test_chinese_is_wrapped_by_character_and_keeps_its_stops_off_a_line_start() -> None:
    assert wrapped("一二三四五六", 4) == ["一二三四", "五六"]
    assert wrapped("一二三四。五", 4) == ["一二三", "四。五"]
    assert wrapped("word一二 word", 5) == ["word一", "二", "word"]


def test_a_blank_line_stays_a_line() -> None:
    assert wrapped("", 5) == [""]


# Fonts and scripts


def test_characters_that_the_font_lacks_are_named() -> None:
    with pytest.raises(DataError, match=r"Aileron.* CYRILLIC CAPITAL LETTER ZHE.*name a \.ttf"):
        draw_text("Ж")
    with pytest.raises(DataError, match=r"CJK UNIFIED IDEOGRAPH-4E00.* and 6 more"):
        draw_text("一二三四五六七八九十")


def test_a_lone_surrogate_is_a_character_that_no_font_has() -> None:
    with pytest.raises(DataError, match=r"\\ud800"):
        draw_text("a\ud800")


def test_printable_ascii_needs_no_font_file() -> None:
    draw_text("".join(map(chr, range(0x20, 0x7F))))


@needs_dejavu
@each_look
@pytest.mark.parametrize("text", ["Шаги к вещи", "Βήματα για κάτι", "Schritte für Süßes – ja"])
def test_a_font_file_brings_other_scripts(look: str, text: str) -> None:
    assert draw_text(text, look, (300, 300), font=DEJAVU).size == (300, 300)


@needs_dejavu
@needs_raqm
@each_look
@pytest.mark.parametrize("text", [ARABIC, HEBREW, f"{ARABIC} 25 Made-Up", f"See {HEBREW}, he said"])
def test_scripts_from_right_to_left_are_drawn(look: str, text: str) -> None:
    assert draw_text(text, look, (300, 300), font=str(DEJAVU)).size == (300, 300)


@needs_dejavu
@needs_raqm
@pytest.mark.parametrize("look", ["list", "handwriting"])
def test_text_from_right_to_left_stands_on_the_right(look: str) -> None:
    left, _, right, _ = ink_box(draw_text("שלום", look, font=DEJAVU))
    assert left > 760 / 2 and 760 * 0.85 < right < 760


@needs_dejavu
@needs_raqm
@pytest.mark.parametrize("look", ["list", "handwriting"])
def test_joined_letters_stay_joined(look: str) -> None:
    joined = draw_text("سسسسس", look, font=DEJAVU, seed=1)
    assert blobs(dark(joined, 130)) == 1 + (6 if look == "list" else 0)


@needs_dejavu
@pytest.mark.parametrize("text", [ARABIC, HEBREW, "x\u0302"])
def test_scripts_that_need_shaping_are_refused_without_raqm(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "check", lambda feature: feature != "raqm")
    with pytest.raises(DataError, match="raqm"):
        draw_text(text, font=DEJAVU)


@each_look
def test_latin_is_drawn_without_raqm(look: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda feature: feature != "raqm")
    assert draw_text(SHORT, look).size == (760, 760)


def test_a_missing_font_file_is_an_input_file_error(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"none\.ttf"):
        draw_text(SHORT, font=tmp_path / "none.ttf")


def test_a_file_that_is_no_font_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "fake.ttf").write_bytes(b"not a font")
    for font in (tmp_path / "fake.ttf", tmp_path):
        with pytest.raises(DataError, match="not a readable"):
            draw_text(SHORT, font=font)


@needs_dejavu
def test_a_damaged_font_is_a_data_error_or_drawn(tmp_path: Path) -> None:
    whole = DEJAVU.read_bytes()
    for place in range(20_000, len(whole), 40_000):
        (tmp_path / "hurt.ttf").write_bytes(whole[:place] + b"\xff" * 9000 + whole[place + 9000 :])
        try:
            draw_text(SHORT, font=tmp_path / "hurt.ttf")
        except DataError as error:
            assert "hurt.ttf" in str(error) or "has no" in str(error)


# Options


def test_an_unknown_look_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r'"neon" is not one of list, handwriting'):
        draw_text(SHORT, "neon")


@pytest.mark.parametrize("size", [(63, 100), (100, 63), (4097, 100), (100, 4097), (0, -1)])
def test_sizes_out_of_range_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="from 64 to 4096"):
        draw_text(SHORT, size=size)
