"""A dataclass tree from its JSON, directed by the type annotations; nothing is unpickled.

How a value of an annotation is built is found out once for each annotation, all the way down. What does not fit
raises ValueError, KeyError, TypeError, AttributeError, OverflowError or RecursionError, which ``codec.decode``
turns into damage.
"""

from __future__ import annotations

import base64
import dataclasses
import types
import typing
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any

import numpy as np

from interpret import explanation as records
from interpret.errors import StoreDamaged
from interpret.runs.encoding import ARRAY, BLOB, VOLATILE
from interpret.runs.places import Place, dotted


class Reader(typing.Protocol):
    """Where decoding finds packs and blobs; both raise StoreDamaged when content is missing or altered."""

    def pack(self, key: str) -> dict[str, np.ndarray]:
        """Arrays of the pack of that hash."""

    def blob(self, key: str) -> bytes:
        """The bytes of that hash."""


class Source:
    """What belongs to one explanation beside its JSON: its arrays, its blobs, its volatile fields."""

    def __init__(self, own: str | None, volatile: dict[str, Any], reader: Reader) -> None:
        self.volatile, self.reader = volatile, reader
        self._own_key = own
        self._own: dict[str, np.ndarray] | None = None

    def array(self, body: dict[str, str]) -> np.ndarray:
        """The array that a reference means."""
        if "pack" in body:
            return self.reader.pack(body["pack"])[body["name"]]
        if self._own is None:
            if self._own_key is None:
                raise StoreDamaged("a stored explanation refers to arrays, and has none")
            self._own = self.reader.pack(self._own_key)
        return self._own[body[ARRAY]]


Build = Callable[[Source, Any, Place], Any]


@cache
def builder(hint: Any) -> Build:
    """The function that builds a value of that annotation from its JSON."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _optional(builder(next(a for a in typing.get_args(hint) if a is not type(None))))
    if origin is tuple:
        inner = typing.get_args(hint)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return _numbers(inner[0]) if inner[0] in (float, int, str) else _many(builder(inner[0]))
        return _fixed(tuple(map(builder, inner)))
    if isinstance(hint, type):
        if dataclasses.is_dataclass(hint):
            return _record(hint)
        if hint is bytes:
            return _bytes
        if hint is bool:
            return lambda source, body, place: body
        if issubclass(hint, (Enum, float, int, str)):
            return lambda source, body, place: hint(body)
    return _array(hint)


def _optional(build: Build) -> Build:
    return lambda source, body, place: None if body is None else build(source, body, place)


def _array(hint: Any) -> Build:
    def build(source: Source, body: Any, place: Place) -> Any:
        if type(body) is dict and ARRAY in body:
            return source.array(body)
        raise TypeError(f"{dotted(place)}: no rule for {hint!r}")

    return build


def _bytes(source: Source, body: Any, place: Place) -> bytes:
    del place
    return source.reader.blob(body[BLOB]) if isinstance(body, dict) else base64.b64decode(body)


def _list(body: Any, place: Place) -> list[Any]:
    if not isinstance(body, list):
        raise TypeError(f"{dotted(place)}: expected a list, found {type(body).__name__}")
    return body


def _numbers(kind: type) -> Build:
    return lambda source, body, place: tuple(map(kind, _list(body, place)))


def _many(build: Build) -> Build:
    def build_all(source: Source, body: Any, place: Place) -> tuple[Any, ...]:
        return tuple([build(source, inner, (place, i)) for i, inner in enumerate(_list(body, place))])

    return build_all


def _fixed(builds: tuple[Build, ...]) -> Build:
    def build_each(source: Source, body: Any, place: Place) -> tuple[Any, ...]:
        pairs = enumerate(zip(builds, _list(body, place), strict=True))
        return tuple([build(source, inner, (place, i)) for i, (build, inner) in pairs])

    return build_each


def _record(kind: type) -> Build:
    hints = typing.get_type_hints(kind, vars(records))
    # A value that JSON already gives as it should be is taken without a call.
    fields = [
        (name, hint if hint in (str, int, float) else None, builder(hint)) for name, hint in hints.items()
    ]
    volatile = [(name, builder(hint)) for name, hint in hints.items() if name in VOLATILE]

    def build_record(source: Source, body: Any, place: Place) -> Any:
        if not isinstance(body, dict):
            raise TypeError(f"{dotted(place) or 'document'}: expected an object, found {type(body).__name__}")
        values = {}
        for name, plain, build in fields:
            if name in body:
                inner = body[name]
                values[name] = inner if type(inner) is plain else build(source, inner, (place, name))
        for name, build in volatile:
            path = dotted((place, name))
            if path in source.volatile:
                values[name] = build(source, source.volatile[path], (place, name))
        return kind(**values)

    return build_record
