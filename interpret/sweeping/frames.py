"""Results on their way from a worker: bytes that hold no code, the same for a local pool and for a
cluster.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from interpret.errors import StoreDamaged
from interpret.runs.encoding import sha256
from interpret.runs.writing import Entry

if TYPE_CHECKING:
    from interpret.sweep import Result

_LENGTH = 8
#: Fields of an entry that are JSON as they are.
_PLAIN = ("neuron", "digest", "volatile", "frontier", "neighbors", "symbols")


def result_to_bytes(result: Result) -> bytes:
    """A result as one byte string: a JSON header, then the document, packs and pictures that it lists."""
    header: dict[str, Any] = {
        "address": result.address,
        "error": result.error,
        "message": result.message,
        "seconds": result.seconds,
    }
    parts: list[bytes] = []
    if result.entry is not None:
        e = result.entry
        names, gradients = e.signature or ("", b"")
        header["entry"] = {
            **{name: getattr(e, name) for name in _PLAIN},
            "signature": names,
            "sizes": (len(e.body), len(gradients)),
            "packs": _sizes(e.packs),
            "blobs": _sizes(e.blobs),
        }
        parts = [e.body, gradients, *e.packs.values(), *e.blobs.values()]
    head = json.dumps(header).encode("ascii")
    return b"".join([len(head).to_bytes(_LENGTH, "little"), head, *parts])


def _sizes(content: Mapping[str, bytes]) -> list[tuple[str, int]]:
    return [(key, len(value)) for key, value in content.items()]


def result_from_bytes(frame: bytes) -> Result:
    """The result that ``result_to_bytes`` was given.

    Raises:
        StoreDamaged: a pack is not what its name says.
    """
    from interpret.sweep import Result

    view = memoryview(frame)
    at = _LENGTH + int.from_bytes(view[:_LENGTH], "little")
    header = json.loads(bytes(view[_LENGTH:at]))
    made = _entry(header["entry"], view[at:]) if "entry" in header else None
    return Result(header["address"], made, header["error"], header["message"], header["seconds"])


def _entry(plain: Mapping[str, Any], content: memoryview) -> Entry:
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return bytes(content[at - size : at])

    body, gradients = map(take, plain["sizes"])
    packs = {key: take(size) for key, size in plain["packs"]}
    blobs = {key: take(size) for key, size in plain["blobs"]}
    if any(sha256(pack) != key for key, pack in packs.items()):
        raise StoreDamaged("a worker's arrays did not arrive as they were sent; nothing of them was stored")
    return Entry(
        neuron=tuple(plain["neuron"]),
        digest=plain["digest"],
        body=body,
        volatile=plain["volatile"],
        frontier=list(map(tuple, plain["frontier"])),
        neighbors=list(map(tuple, plain["neighbors"])),
        symbols=[(kind, name) for kind, name in plain["symbols"]],
        signature=(plain["signature"], gradients) if gradients else None,
        packs=packs,
        blobs=blobs,
    )
