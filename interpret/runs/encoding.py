"""An explanation as canonical JSON, written in one walk over its dataclasses; arrays, pictures and times are put
aside.

How a value is written is looked up by its type, and found out once for each type. The text is what
``codec.canonical`` would give: keys sorted, no spaces.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from enum import Enum
from json.encoder import encode_basestring
from math import isfinite
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from interpret.runs.places import Place, dotted

#: Fields that tell when and how fast, not what; they do not enter the digest.
VOLATILE = frozenset({"seconds", "created"})
#: Array fields that many neurons of a layer have in common; each is a pack of its own, stored once.
SHARED = frozenset({"points"})
#: What stands for an array, and for bytes, which are stored by hash.
ARRAY, BLOB = "$array", "$blob"

Found = TypeVar("Found")


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256, the name of every stored file."""
    return hashlib.sha256(content).hexdigest()


def _float(value: float) -> str:
    return repr(value) if isfinite(value) else f'"{value!r}"'


def _scalar(kind: type) -> Callable[[Any], str] | None:
    """How values of a type are written that have no inside; None for other types."""
    if kind is type(None):
        return lambda _: "null"
    if kind is bool:
        return lambda value: "true" if value else "false"
    if issubclass(kind, Enum):
        return lambda value: json.dumps(value.value, ensure_ascii=False)
    if issubclass(kind, str):
        return encode_basestring
    if issubclass(kind, (int, np.integer)):
        return int.__repr__ if kind is int else lambda value: int.__repr__(int(value))
    if issubclass(kind, (float, np.floating)):
        return _float if kind is float else lambda value: _float(float(value))
    return None


class _ByType(dict[type, Found]):
    """What ``find`` gives for a type, asked once for each."""

    def __init__(self, find: Callable[[type], Found]) -> None:
        self._find = find

    def __missing__(self, kind: type) -> Found:
        found = self[kind] = self._find(kind)
        return found


class Writer:
    """Collects arrays, blobs and volatile fields while the tree is turned into JSON."""

    def __init__(self) -> None:
        self.own: dict[str, np.ndarray] = {}
        self.packs: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        #: Of blobs, which recur: most examples that are rows have the same empty picture.
        self.texts: dict[bytes, str] = {}
        self.volatile: dict[str, Any] = {}

    def text(self, value: Any, place: Place = None) -> str:
        """The value as JSON.

        Raises:
            TypeError: it holds what cannot be stored; where is said.
        """
        scalar = _SCALARS[type(value)]
        return _INSIDES[type(value)](self, value, place) if scalar is None else scalar(value)


Inside = Callable[[Writer, Any, Place], str]


def _inside(kind: type) -> Inside:
    """How values of a type that is no scalar are written."""
    if issubclass(kind, (tuple, list)):
        return _list
    if dataclasses.is_dataclass(kind):
        return _record(kind)
    if issubclass(kind, np.ndarray):
        return _array
    return _blob if issubclass(kind, bytes) else _refuse


def _record(kind: type) -> Inside:
    """Fields are written in the order of keys, into a text that is laid out once."""
    names = sorted(field.name for field in dataclasses.fields(kind))
    volatile = [name for name in names if name in VOLATILE]
    names = [name for name in names if name not in VOLATILE]
    # Of a single name attrgetter would give the value itself.
    values = attrgetter(*names) if len(names) > 1 else lambda value: [getattr(value, name) for name in names]
    frame = "{" + ",".join(f'"{name}":%s' for name in names) + "}"

    def write(writer: Writer, value: Any, place: Place) -> str:
        for name in volatile:
            here = (place, name)
            writer.volatile[dotted(here)] = json.loads(writer.text(getattr(value, name), here))
        texts = []
        for name, inner in zip(names, values(value), strict=True):
            scalar = _SCALARS[type(inner)]
            texts.append(
                scalar(inner) if scalar is not None else _INSIDES[type(inner)](writer, inner, (place, name))
            )
        return frame % tuple(texts)

    return write


def _list(writer: Writer, values: tuple[Any, ...] | list[Any], place: Place) -> str:
    kinds = set(map(type, values))
    if len(kinds) != 1:
        return f"[{','.join([writer.text(value, (place, i)) for i, value in enumerate(values)])}]"
    (kind,) = kinds
    scalar = _SCALARS[kind]
    if scalar is not None:
        return f"[{','.join(map(scalar, values))}]"
    write = _INSIDES[kind]
    return f"[{','.join([write(writer, value, (place, i)) for i, value in enumerate(values)])}]"


def _array(writer: Writer, value: np.ndarray, place: Place) -> str:
    path = dotted(place)
    if value.dtype.kind not in "fiub":
        raise TypeError(f"{path}: arrays of {value.dtype} cannot be stored")
    name = path.rsplit(".", 1)[-1]
    plain = np.ascontiguousarray(value).reshape(value.shape)
    if name not in SHARED:
        writer.own[path] = plain
        return f'{{"{ARRAY}":{encode_basestring(path)}}}'
    content = pack({name: plain})
    key = sha256(content)
    writer.packs[key] = content
    return f'{{"{ARRAY}":{encode_basestring(path)},"name":{encode_basestring(name)},"pack":"{key}"}}'


def _blob(writer: Writer, value: bytes, place: Place) -> str:
    del place
    text = writer.texts.get(value)
    if text is None:
        key = sha256(value)
        writer.blobs[key] = value
        text = writer.texts[value] = f'{{"{BLOB}":"{key}"}}'
    return text


def _refuse(writer: Writer, value: Any, place: Place) -> str:
    raise TypeError(f"{dotted(place)}: a {type(value).__name__} cannot be stored")


_SCALARS, _INSIDES = _ByType(_scalar), _ByType(_inside)


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as a safetensors file."""
    from safetensors.numpy import save

    return bytes(save(dict(sorted(arrays.items()))))
