"""One explanation to bytes and back: a canonical JSON document, packs of arrays, and pictures by their hash.

The same explanation always gives the same bytes: keys are sorted, and what differs from run to run though
the result is the same (seconds, the date) is kept apart from the document, so that results can be compared
by ``digest``. The walk there is ``interpret.runs.encoding``, the walk back ``interpret.runs.decoding``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from interpret.errors import StoreDamaged
from interpret.explanation import NeuronExplanation
from interpret.runs.decoding import Reader, Source, builder
from interpret.runs.encoding import Writer, pack, sha256

__all__ = ["Encoded", "Memory", "Reader", "canonical", "decode", "encode", "sha256", "unpack"]


@dataclass(frozen=True)
class Encoded:
    """One explanation as bytes.

    ``document`` is canonical JSON; ``volatile`` maps field paths to what was kept out of it; ``packs`` maps
    the SHA-256 of a safetensors file to its content; ``blobs`` the same for pictures; ``digest`` is the hash
    of all that must be equal when the same neuron is explained again.
    """

    address: str
    document: bytes
    volatile: dict[str, Any]
    packs: dict[str, bytes]
    blobs: dict[str, bytes]
    digest: str


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces; refuses NaN, which is not JSON."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode("utf-8", "surrogatepass")


def encode(explanation: NeuronExplanation) -> Encoded:
    """Turn an explanation into bytes; equal explanations give equal bytes."""
    writer = Writer()
    body = writer.text(explanation)
    own = "null"
    if writer.own:
        content = pack(writer.own)
        key = sha256(content)
        writer.packs[key] = content
        own = f'"{key}"'
    document = f'{{"explanation":{body},"own":{own}}}'.encode("utf-8", "surrogatepass")
    return Encoded(
        explanation.address, document, writer.volatile, writer.packs, writer.blobs, sha256(document)
    )


class Memory:
    """The reader over an ``Encoded`` that never reached a disk."""

    def __init__(self, encoded: Encoded) -> None:
        self._encoded = encoded

    def pack(self, key: str) -> dict[str, np.ndarray]:
        """Arrays of the pack of that hash."""
        return unpack(self._encoded.packs[key], key)

    def blob(self, key: str) -> bytes:
        """The bytes of that hash."""
        return self._encoded.blobs[key]


def unpack(content: bytes, key: str) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file whose SHA-256 must be ``key``.

    Raises:
        StoreDamaged: the content is not what was written under that name.
    """
    if sha256(content) != key:
        raise StoreDamaged(
            f"arrays/{key[:12]}….safetensors does not have the content that its name promises; it was "
            f"damaged after "
            f"it was written. Nothing was changed; explain the neuron again, or restore the file."
        )
    from safetensors.numpy import load

    return dict(load(content))


def decode(document: bytes, volatile: dict[str, Any], reader: Reader) -> NeuronExplanation:
    """The explanation that ``encode`` was given.

    Raises:
        StoreDamaged: the document is not one, or lacks a field that has no default.
    """
    try:
        whole = json.loads(document)
        own, body = whole["own"], whole["explanation"]
        found: NeuronExplanation = builder(NeuronExplanation)(Source(own, volatile, reader), body, None)
    except StoreDamaged:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise StoreDamaged(
            f"a stored explanation does not decode ({type(error).__name__}: {error})"
        ) from error
    return found
