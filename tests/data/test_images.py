import contextlib
import io
import struct
import time
import warnings
import zlib
from pathlib import Path

import pytest
from PIL import Image

from safegrpo.data.images import ImageRef, open_image, quoted, resolve_image, verify_image
from safegrpo.errors import DataError

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def red(width: int = 8, height: int = 6) -> Image.Image:
    return Image.new("RGB", (width, height), RED)


def red_then_blue() -> Image.Image:
    """Two pixels side by side, red on the left."""
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), BLUE)
    return image


def ref(data: bytes, name: str = "x.png") -> ImageRef:
    return ImageRef(data=data, name=name)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


# What a reference is


def test_a_reference_takes_a_path_or_bytes_and_not_both() -> None:
    for wrong in ({}, {"path": Path("a.png"), "data": b"x"}):
        with pytest.raises(ValueError, match="either a path or data"):
            ImageRef(**wrong)


def test_a_reference_is_called_after_its_file() -> None:
    assert ImageRef(path=Path("some/cat.png")).name == "cat.png"


def test_a_reference_does_not_print_its_bytes() -> None:
    assert "secret" not in repr(ref(b"secret"))


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'image "gone.png" cannot be read: No such file'):
        open_image(ImageRef(path=tmp_path / "gone.png"))


def test_quoted_shortens_and_escapes() -> None:
    assert quoted("a\x1b[31m\x9b" + "b" * 500).startswith('"a\\u001b[31m\\x9bbb')
    assert len(quoted("b" * 500)) == 122


# Which file a name may lead to


def test_a_file_below_the_root_is_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").write_bytes(encoded(red()))
    assert resolve_image(tmp_path, "sub/a.png") == (tmp_path / "sub" / "a.png").resolve()


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        resolve_image(Path("data"), "x.png", 'row 17 (id "a3")')
    message = 'row 17 (id "a3"): image file "x.png" not found under data/; pass --images DIR'
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "absolute path"),
        ("\\\\host\\share\\a.png", "absolute path"),
        ("C:\\a.png", "URL or names a drive"),
        ("https://example.org/a.png", "URL"),
        ("file:///etc/passwd", "URL"),
        ("data:image/png;base64,AAAA", "URL"),
        ("../outside.png", "leads out of"),
        ("sub/../../outside.png", "leads out of"),
        ("link.png", "leads out of"),
        ("linked_folder/outside.png", "leads out of"),
        ("loop.png", "not a usable path|not found"),
        ("a\0.png", "not a usable path|not found"),
        ("a" * 5000, "not a usable path|not found"),
        ("sub", "not found"),
        ("", "empty"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(encoded(red()))
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "linked_folder").symlink_to(tmp_path)
    (root / "loop.png").symlink_to(root / "loop.png")
    with pytest.raises(DataError, match=reason):
        resolve_image(root, name)


def test_a_link_that_stays_below_the_root_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(red()))
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert resolve_image(tmp_path, "b.png") == (tmp_path / "a.png").resolve()


# What comes out of a good file


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_common_format_opens_as_rgb(kind: str) -> None:
    image = open_image(ref(encoded(red(), kind)))
    assert (image.mode, image.size) == ("RGB", (8, 6))


def test_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "really_webp.png"
    path.write_bytes(encoded(red_then_blue(), "WEBP", lossless=True))
    assert open_image(ImageRef(path=path)).getpixel((0, 0)) == RED


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP", "PNG"])
def test_exif_orientation_is_applied_once(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side: turn a quarter clockwise
    stored = Image.new("RGB", (32, 16), RED)
    stored.paste(BLUE, (16, 0, 32, 16))
    image = open_image(ref(encoded(stored, kind, exif=exif)))
    assert image.size == (16, 32)
    red_part, _, blue_part = image.getpixel((8, 4))
    assert red_part > 200 and blue_part < 60


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_leaves_the_picture(tmp_path: Path) -> None:
    broken = encoded(red(16, 8), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert verify_image(ref(broken)) == (16, 8)


def test_transparent_parts_become_white() -> None:
    layer = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    layer.putpixel((1, 0), (0, 0, 0, 0))
    image = open_image(ref(encoded(layer)))
    assert [image.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]


def test_a_transparent_palette_colour_becomes_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    opened = open_image(ref(encoded(image, transparency=1)))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    image = Image.new("I;16", (2, 1))
    image.putpixel((0, 0), 65535)
    image.putpixel((1, 0), 128 * 257)
    opened = open_image(ref(encoded(image)))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [WHITE, (128, 128, 128)]


def test_pixels_without_an_agreed_range_are_refused() -> None:
    with pytest.raises(DataError, match="mode F"):
        open_image(ref(encoded(Image.new("F", (2, 2)), "TIFF")))


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_is_seen(kind: str) -> None:
    options = {"save_all": True, "append_images": [Image.new("RGB", (8, 6), BLUE)]}
    image = open_image(ref(encoded(red(), kind, **options)))
    assert image.getpixel((3, 3))[0] > 200


# What comes out of a bad one


def test_a_bomb_is_refused_by_its_header_at_once() -> None:
    start = time.process_time()
    with pytest.raises(DataError, match="more than 50,000,000 pixels; it was not decoded"):
        open_image(ref(png_header(60_000, 60_000)), where="row 3")
    assert time.process_time() - start < 1


def test_an_image_above_our_limit_and_below_pillows_is_refused() -> None:
    with pytest.raises(DataError, match=r"8,000 x 8,000|8000 x 8000"):
        open_image(ref(png_header(8000, 8000)))


def test_a_small_tiff_of_one_enormous_tile_is_refused() -> None:
    # 8 x 8 pixels of uncompressed grey, in tiles (tags 322 and 323) of 60,000 x 60,000.
    tags = {
        256: 8,
        257: 8,
        258: 8,
        259: 1,
        262: 1,
        277: 1,
        322: 60_000,
        323: 60_000,
        324: 8,
        325: 4,
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    with pytest.raises(DataError, match="60000 x 60000"):
        open_image(ref(b"II*\0" + struct.pack("<I", 8) + directory))


def test_a_size_at_which_pillow_only_warns_is_refused_without_a_warning_turned_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="more than 50,000,000 pixels"):
            open_image(ref(png_header(10_000, 10_000)))


def test_the_limit_is_the_callers_and_counts_pixels() -> None:
    data = encoded(red(10, 10))
    assert open_image(ref(data), max_pixels=100).size == (10, 10)
    with pytest.raises(DataError, match=r'row 2: image "x.png" has more than 99 pixels'):
        open_image(ref(data), max_pixels=99, where="row 2")


def test_pillows_own_limit_stays_as_it_was() -> None:
    before = Image.MAX_IMAGE_PIXELS
    open_image(ref(encoded(red())), max_pixels=10**9)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_truncated_image_is_refused(kind: str) -> None:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    data = encoded(noise, kind)
    with pytest.raises(DataError, match=r'image "x.png" is (corrupt or truncated|not a readable)'):
        verify_image(ref(data[: len(data) // 2]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is an empty file"),
        (b"<html>not found</html>", "is not a readable PNG, JPEG"),
        (png_header(0, 5), "is not a readable PNG, JPEG|corrupt"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a readable"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        open_image(ref(data))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of odd TIFF tags
def test_bytes_changed_anywhere_give_an_image_or_a_data_error() -> None:
    noise = Image.effect_noise((24, 24), 90).convert("RGB")
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        whole = encoded(noise, kind)
        for position in range(0, len(whole), max(1, len(whole) // 60)):
            broken = bytearray(whole)
            broken[position] ^= 0xFF
            with contextlib.suppress(DataError):
                assert open_image(ref(bytes(broken)), max_pixels=10_000).mode == "RGB"


# Real images


def test_real_images_keep_their_size(shared_data: Path) -> None:
    files = sorted(shared_data.glob("*/data/images/**/*.png"))
    assert len(files) >= 60
    for path in files:
        with Image.open(path) as image:
            stored = image.size
        assert verify_image(ImageRef(path=path)) == stored
