"""Results on their way from a worker: bytes that hold no code, the same for a local pool and for a
cluster.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from interpret import errors
from interpret.errors import InterpretError
from interpret.runs.codec import Encoded

if TYPE_CHECKING:
    from interpret.sweep import Result

_LENGTH = 8


def result_to_bytes(result: Result) -> bytes:
    """A result as one byte string: a JSON header, then the packs and pictures that it lists."""
    header: dict[str, Any] = {
        "address": result.address,
        "error": result.error,
        "message": result.message,
        "seconds": result.seconds,
    }
    parts: list[bytes] = []
    if result.encoded is not None:
        e = result.encoded
        header |= {
            "document": len(e.document),
            "volatile": e.volatile,
            "digest": e.digest,
            "packs": _sizes(e.packs),
            "blobs": _sizes(e.blobs),
        }
        parts = [e.document, *e.packs.values(), *e.blobs.values()]
    head = json.dumps(header).encode("ascii")
    return b"".join([len(head).to_bytes(_LENGTH, "little"), head, *parts])


def _sizes(content: Mapping[str, bytes]) -> list[tuple[str, int]]:
    return [(key, len(value)) for key, value in content.items()]


def result_from_bytes(frame: bytes) -> Result:
    """The result that ``result_to_bytes`` was given; its explanation is decoded anew from its bytes."""
    from interpret.runs.codec import Memory, decode
    from interpret.sweep import Result

    view = memoryview(frame)
    at = _LENGTH + int.from_bytes(view[:_LENGTH], "little")
    header = json.loads(bytes(view[_LENGTH:at]))

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return bytes(view[at - size : at])

    explanation = encoded = None
    if "document" in header:
        document = take(header["document"])
        packs = {key: take(size) for key, size in header["packs"]}
        blobs = {key: take(size) for key, size in header["blobs"]}
        encoded = Encoded(header["address"], document, header["volatile"], packs, blobs, header["digest"])
        explanation = decode(document, encoded.volatile, Memory(encoded))
    return Result(
        header["address"], explanation, encoded, header["error"], header["message"], header["seconds"]
    )


def error_to_plain(error: InterpretError) -> dict[str, str]:
    """An error of ours as its name and message."""
    return {"error": type(error).__name__, "message": str(error)}


def error_from_plain(plain: Mapping[str, str]) -> InterpretError:
    """The error of that name; InterpretError itself for names that are none of ours."""
    kind = getattr(errors, plain["error"], InterpretError)
    if not (isinstance(kind, type) and issubclass(kind, InterpretError)):
        kind = InterpretError
    return kind(plain["message"])
