"""PNG thumbnails: checked before they reach a page, and made smaller when they would make it heavy."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import lru_cache

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: A thumbnail above this many bytes, or this many pixels a side, is drawn again smaller.
MOST_BYTES = 6_000
MOST_PIXELS = 96


@dataclass(frozen=True)
class Picture:
    """A PNG with its size in pixels."""

    png: bytes
    width: int
    height: int


@lru_cache(maxsize=4096)
def picture(png: bytes) -> Picture | None:
    """``png`` ready for a page, or None when the bytes are no PNG."""
    if len(png) < 24 or not png.startswith(_SIGNATURE) or png[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", png[16:24])
    if not (0 < width <= 1 << 14 and 0 < height <= 1 << 14):
        return None
    if len(png) <= MOST_BYTES and max(width, height) <= MOST_PIXELS * 4:
        return Picture(png, width, height)
    return _smaller(png)


def _smaller(png: bytes) -> Picture | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as opened:
            opened.thumbnail((MOST_PIXELS, MOST_PIXELS))
            image = opened.convert("RGBA" if "A" in opened.getbands() else "RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    for colors in (0, 256, 64, 16):
        buffer = io.BytesIO()
        (image.quantize(colors) if colors else image).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= MOST_BYTES:
            break
    return Picture(buffer.getvalue(), image.width, image.height)
