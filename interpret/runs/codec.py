"""One explanation to bytes and back: a canonical JSON document, packs of arrays, and pictures by their hash.

The same explanation always gives the same bytes: keys are sorted, and what differs from run to run though
the result is the same (seconds, the date) is kept apart from the document, so that results can be compared
by ``digest``. Decoding is directed by the type annotations of :mod:`interpret.explanation`; nothing is
unpickled.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import types
import typing
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

import numpy as np

from interpret import explanation as records
from interpret.errors import StoreDamaged
from interpret.explanation import NeuronExplanation

#: Fields that tell when and how fast, not what; they do not enter the digest.
VOLATILE = frozenset({"seconds", "created"})
#: Array fields that many neurons of a layer have in common; each is a pack of its own, stored once.
SHARED = frozenset({"points"})
#: Byte fields are stored by hash, for the same example is shown beside many neurons.
_ARRAY, _BLOB = "$array", "$blob"
#: What JSON holds as it is.
_PLAIN = {str, int, bool}


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


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256, the name of every stored file."""
    return hashlib.sha256(content).hexdigest()


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces; refuses NaN, which is not JSON."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode("utf-8", "surrogatepass")


@cache
def _fields(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(kind))


class _Writer:
    """Collects arrays, blobs and volatile fields while the tree is turned into JSON."""

    def __init__(self) -> None:
        self.own: dict[str, np.ndarray] = {}
        self.shared: dict[str, np.ndarray] = {}
        self.blobs: dict[str, bytes] = {}
        self.volatile: dict[str, Any] = {}

    def value(self, value: Any, path: str) -> Any:
        if value is None or (isinstance(value, (bool, str)) and not isinstance(value, Enum)):
            return value
        if isinstance(value, Enum):
            return value.value
        if isinstance(value, np.ndarray):
            return self._array(value, path)
        if isinstance(value, (int, np.integer)):
            return int(value)
        if isinstance(value, (float, np.floating)):
            number = float(value)
            return number if math.isfinite(number) else repr(number)
        if isinstance(value, bytes):
            return self._blob(value)
        if isinstance(value, (tuple, list)):
            kinds = {type(v) for v in value}
            if kinds <= _PLAIN:
                return list(value)
            if kinds == {float}:
                return [v if math.isfinite(v) else repr(v) for v in value]
            return [self.value(v, f"{path}.{i}") for i, v in enumerate(value)]
        if dataclasses.is_dataclass(value):
            return self._record(value, path)
        raise TypeError(f"{path}: a {type(value).__name__} cannot be stored")

    def _record(self, value: Any, path: str) -> dict[str, Any]:
        out = {}
        for name in _fields(value.__class__):
            place = f"{path}.{name}" if path else name
            if name in VOLATILE:
                self.volatile[place] = self.value(getattr(value, name), place)
            else:
                out[name] = self.value(getattr(value, name), place)
        return out

    def _array(self, value: np.ndarray, path: str) -> dict[str, str]:
        if value.dtype.kind not in "fiub":
            raise TypeError(f"{path}: arrays of {value.dtype} cannot be stored")
        name = path.rsplit(".", 1)[-1]
        plain = np.ascontiguousarray(value).reshape(value.shape)
        if name in SHARED:
            self.shared[path] = plain
            return {_ARRAY: path, "pack": sha256(_pack({name: plain})), "name": name}
        self.own[path] = plain
        return {_ARRAY: path}

    def _blob(self, value: bytes) -> dict[str, str]:
        key = sha256(value)
        self.blobs[key] = value
        return {_BLOB: key}


def _pack(arrays: dict[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return bytes(save(dict(sorted(arrays.items()))))


def encode(explanation: NeuronExplanation) -> Encoded:
    """Turn an explanation into bytes; equal explanations give equal bytes."""
    writer = _Writer()
    body = writer.value(explanation, "")
    packs = {}
    for path, array in writer.shared.items():
        content = _pack({path.rsplit(".", 1)[-1]: array})
        packs[sha256(content)] = content
    own = None
    if writer.own:
        content = _pack(writer.own)
        own = sha256(content)
        packs[own] = content
    document = canonical({"own": own, "explanation": body})
    return Encoded(explanation.address, document, writer.volatile, packs, writer.blobs, sha256(document))


class Reader(typing.Protocol):
    """Where decoding finds packs and blobs; both raise StoreDamaged when content is missing or altered."""

    def pack(self, key: str) -> dict[str, np.ndarray]:
        """Arrays of the pack of that hash."""

    def blob(self, key: str) -> bytes:
        """The bytes of that hash."""


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
        found: NeuronExplanation = _Builder(own, volatile, reader).record(NeuronExplanation, body, "")
    except StoreDamaged:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreDamaged(
            f"a stored explanation does not decode ({type(error).__name__}: {error})"
        ) from error
    return found


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, vars(records))


@cache
def _rule(hint: Any) -> tuple[str, Any]:
    """How a value of that annotation is built, and what is inside; looked up once for each annotation."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return "optional", next(a for a in typing.get_args(hint) if a is not type(None))
    if origin is tuple:
        return "tuple", typing.get_args(hint)
    if isinstance(hint, type):
        if dataclasses.is_dataclass(hint):
            return "record", None
        if hint is bytes:
            return "bytes", None
        if issubclass(hint, (Enum, float, int, str)):
            return "scalar", None
    return "none", None


class _Builder:
    """Rebuilds the dataclass tree from its JSON, by the annotations."""

    def __init__(self, own: str | None, volatile: dict[str, Any], reader: Reader) -> None:
        self._own_key, self._volatile, self._reader = own, volatile, reader
        self._own: dict[str, np.ndarray] | None = None

    def record(self, kind: type, body: Any, path: str) -> Any:
        if not isinstance(body, dict):
            raise TypeError(f"{path or 'document'}: expected an object, found {type(body).__name__}")
        values = {}
        for name, hint in _hints(kind).items():
            place = f"{path}.{name}" if path else name
            if name in VOLATILE and place in self._volatile:
                values[name] = self.value(hint, self._volatile[place], place)
            elif name in body:
                values[name] = self.value(hint, body[name], place)
        return kind(**values)

    def value(self, hint: Any, body: Any, path: str) -> Any:
        rule, inner = _rule(hint)
        if rule == "optional":
            return None if body is None else self.value(inner, body, path)
        if type(body) is dict and _ARRAY in body:
            return self._array(body)
        if rule == "scalar":
            return body if hint is bool else hint(body)
        if rule == "tuple":
            return self._tuple(inner, body, path)
        if rule == "record":
            return self.record(hint, body, path)
        if rule == "bytes":
            return self._reader.blob(body[_BLOB]) if isinstance(body, dict) else base64.b64decode(body)
        raise TypeError(f"{path}: no rule for {hint!r}")

    def _tuple(self, arguments: tuple[Any, ...], body: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(body, list):
            raise TypeError(f"{path}: expected a list, found {type(body).__name__}")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            if arguments[0] in (float, int, str):
                return tuple(map(arguments[0], body))
            return tuple(self.value(arguments[0], v, f"{path}.{i}") for i, v in enumerate(body))
        return tuple(
            self.value(a, v, f"{path}.{i}") for i, (a, v) in enumerate(zip(arguments, body, strict=True))
        )

    def _array(self, body: dict[str, str]) -> np.ndarray:
        if "pack" in body:
            return self._reader.pack(body["pack"])[body["name"]]
        if self._own is None:
            if self._own_key is None:
                raise StoreDamaged("a stored explanation refers to arrays, and has none")
            self._own = self._reader.pack(self._own_key)
        return self._own[body[_ARRAY]]
