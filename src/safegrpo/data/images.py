"""Images that came from somebody else: found under one folder, opened without surprises.

Every image of safegrpo is opened here. A file name from a data file may only lead to a file
below the folder the user named; the size in the header is held against a limit before anything
is decoded; and whatever Pillow makes of a broken file comes out as one `DataError`.

Left out: ICC colour profiles are not applied, and of an animation only the first frame is seen.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safegrpo.data.jsonl import replacing
from safegrpo.errors import DataError
from safegrpo.terminal import printable

if TYPE_CHECKING:
    from PIL import Image

DEFAULT_MAX_PIXELS = 50_000_000
"""Width times height above which an image is refused (a 48-megapixel photograph passes)."""

MAX_FILE = 128 * 2**20
"""Bytes above which a file is not even read."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""The only formats Pillow is allowed to try; the content decides, never the file's suffix."""

_URL_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")  # also catches the Windows drive "C:"
_TRANSPOSE_BY_ORIENTATION = {  # EXIF tag 0x0112 -> name in PIL.Image.Transpose
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@dataclass(frozen=True)
class ImageRef:
    """One image that has not been opened yet: a file, or the bytes of one.

    Exactly one of `path` and `data` is given, else `ValueError`. `name` is what messages call
    it; by default the file's name.
    """

    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    name: str = ""

    def __post_init__(self) -> None:
        if (self.path is None) == (self.data is None):
            raise ValueError("an ImageRef takes either a path or data")
        if not self.name:
            name = self.path.name if self.path is not None else "image bytes"
            object.__setattr__(self, "name", name)

    def read_bytes(self) -> bytes:
        """The encoded file as it is, byte for byte.

        `DataError` if it cannot be read, or has more than `MAX_FILE` bytes.
        """
        if self.data is not None:
            return self.data
        assert self.path is not None
        try:
            if self.path.stat().st_size > MAX_FILE:
                raise DataError(f"image {quoted(self.name)} is larger than {MAX_FILE >> 20} MiB")
            return self.path.read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"image {quoted(self.name)} cannot be read: {reason}") from error


def quoted(text: str, limit: int = 120) -> str:
    """`text` in double quotes for a message: shortened, and without control characters."""
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    escaped = json.dumps(shown, ensure_ascii=False)
    # JSON leaves C1 controls and lone surrogates alone; terminals and encoders do not.
    return printable(escaped)


def resolve_image(root: Path, relative: str, where: str = "") -> Path:
    """The file that `relative` names below `root`, as a resolved absolute path.

    `where` opens the message, such as `row 17 (id "a3")`. Raises `DataError` for an empty or
    absolute name, a URL, a path that leaves `root` (by `..` or through a symbolic link), and a
    file that is not there or not a regular file.
    """
    prefix = f"{where}: " if where else ""
    what = f"{prefix}image file {quoted(relative)}"
    if not relative.strip():
        raise DataError(f"{prefix}image file name is empty")
    if _URL_SCHEME.match(relative):
        raise DataError(f"{what} is a URL or names a drive; only files below {root}/ are read")
    if relative.startswith(("/", "\\")):
        raise DataError(f"{what} is an absolute path; name it relative to {root}/")
    try:
        base = root.resolve()
        found = (base / relative).resolve()
        inside = found.is_relative_to(base)
        is_there = inside and found.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # name too long, link loop, NUL
        raise DataError(f"{what} is not a usable path: {error}") from error
    if not inside:
        raise DataError(f"{what} leads out of {root}/; copy the file below it")
    if not is_there:
        raise DataError(f"{what} not found under {root}/; pass --images DIR")
    return found


def open_image(ref: ImageRef, max_pixels: int = DEFAULT_MAX_PIXELS, where: str = "") -> Image.Image:
    """The image of `ref`, fully decoded: mode RGB, upright, alpha laid on white.

    Raises `DataError` for more than `max_pixels` pixels (seen in the header, nothing is
    decoded), for a file that is no image of `FORMATS`, and for a corrupt or truncated one.
    Pillow's own limit of about 179 million pixels holds whatever `max_pixels` says.
    """
    from PIL import Image, UnidentifiedImageError

    what = f"{where}: image {quoted(ref.name)}" if where else f"image {quoted(ref.name)}"
    too_large = f"{what} has more than {max_pixels:,} pixels; it was not decoded. Scale it down"
    encoded = ref.read_bytes()
    if not encoded:
        raise DataError(f"{what} is an empty file")
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            width, height = _declared_size(image)
            if width * height > max_pixels:
                raise DataError(f"{too_large} (it is {width} x {height})")
            image.load()
            return _upright(_as_rgb(image, what), _orientation(image))
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(too_large) from error
    except UnidentifiedImageError as error:
        raise DataError(f"{what} is not a readable {', '.join(FORMATS)} image") from error
    except Exception as error:
        # Pillow's decoders answer broken files with nearly anything: OSError, SyntaxError,
        # struct.error, ValueError, EOFError, zlib.error, MemoryError, ...
        reason = str(error) or type(error).__name__
        raise DataError(f"{what} is corrupt or truncated: {reason}") from error


def verify_image(
    ref: ImageRef, max_pixels: int = DEFAULT_MAX_PIXELS, where: str = ""
) -> tuple[int, int]:
    """(width, height) in pixels, upright, of an image that decodes to its end; else `DataError`."""
    return open_image(ref, max_pixels, where).size


def image_as_sent(ref: ImageRef, max_side: int | None = None) -> tuple[str, bytes]:
    """(MIME type, encoded file) of an image as a model here would see it, at most `max_side` wide
    and high (None: of any size).

    The file goes as it is where that is so already. Of an animation only the first frame is shown,
    transparent parts are white, EXIF turns are made: such images are encoded anew. `DataError` as
    for `open_image`.
    """
    from PIL import Image

    encoded = ref.read_bytes()
    kind = _sent_as_is(encoded, max_side)
    if kind == "JPEG":
        # Decoding at an eighth of the size reads the file to its end as well, in half the time.
        with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as image:
            image.draft("RGB", (image.width // 8, image.height // 8))
            try:
                image.load()
            except Exception:
                kind = None  # broken: open_image says how
    if kind == "JPEG":
        return "image/jpeg", encoded
    shown = open_image(ImageRef(data=encoded, name=ref.name))
    if kind is not None:
        return f"image/{kind.lower()}", encoded
    if max_side is not None:
        shown.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # PNG for what came without loss and is small, as drawings and text are.
    lossless = image_suffix(encoded) in (".png", ".gif", ".bmp")
    shown.save(buffer, "PNG" if lossless else "JPEG", **({} if lossless else {"quality": 92}))
    return ("image/png" if lossless else "image/jpeg"), buffer.getvalue()


def _sent_as_is(encoded: bytes, max_side: int | None) -> str | None:
    """The format of a file that every endpoint shows as `open_image` does; None for any other."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG", "WEBP")) as image:
            plain = image.mode in ("RGB", "L") and not image.has_transparency_data
            still = getattr(image, "n_frames", 1) == 1 and _orientation(image) == 1
            small = max(image.size) <= (max_side or max(image.size))
            small = small and image.width * image.height <= DEFAULT_MAX_PIXELS
            return image.format if plain and still and small else None
    except Exception:
        return None  # open_image says what is wrong with it


def image_suffix(encoded: bytes) -> str:
    """The file suffix, with its dot, that the first bytes of an image ask for; else `.bin`."""
    if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if encoded.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return ".webp"
    if encoded.startswith((b"GIF87a", b"GIF89a")):
        return ".gif"
    if encoded.startswith(b"BM"):
        return ".bmp"
    if encoded.startswith((b"II*\x00", b"MM\x00*")):
        return ".tif"
    return ".bin"


def keep_image(encoded: bytes, folder: Path, suffix: str | None = None) -> str:
    """Put an image into `folder` under a name made from its content; returns the name.

    `suffix` is the name's, by default what the first bytes ask for.
    """
    name = hashlib.sha256(encoded).hexdigest()[:32] + (suffix or image_suffix(encoded))
    target = folder / name
    if not target.is_file() or target.read_bytes() != encoded:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_bytes(encoded)
    return name


def _declared_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) in pixels of the largest thing that decoding would make room for."""
    # A small TIFF may consist of one enormous tile, for which a whole buffer is allocated.
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    tile = int(tags.get(322, 0)), int(tags.get(323, 0))
    return max(image.size, tile, key=lambda size: size[0] * size[1])


def _as_rgb(image: Image.Image, what: str) -> Image.Image:
    """A decoded image in mode RGB; transparent parts become white."""
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        # Pillow clips 16-bit grey at 255, which turns most of a picture white: scale instead.
        grey = image if image.mode == "I" else image.convert("I")
        return grey.point(lambda value: value * (1 / 257) + 0.5).convert("L").convert("RGB")
    if image.mode in ("I", "F"):
        raise DataError(f"{what}: pixels of mode {image.mode} have no agreed white; save 8 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, of a decoded image."""
    try:
        # Asked after loading: Pillow turns a TIFF by itself then, and drops the tag.
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        # A damaged EXIF block says nothing about the pixels: leave them as they are stored.
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """`image` turned and mirrored as its EXIF orientation asks."""
    from PIL import Image

    name = _TRANSPOSE_BY_ORIENTATION.get(orientation)
    return image.transpose(Image.Transpose[name]) if name else image
