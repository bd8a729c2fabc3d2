"""Reach into what a module returns or takes: tuples, named tuples, lists, dicts, dataclasses, model outputs.

A *key* is the text of one step: a position (``"0"``, ``"-1"``), a dict key or a field's name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch


def children(value: Any) -> dict[str, Any]:
    """The parts one step below ``value``, by key; empty for a tensor or anything without parts."""
    if isinstance(value, torch.Tensor):
        return {}
    if isinstance(value, Mapping):  # a Hugging Face ModelOutput is one
        return {str(key): part for key, part in value.items()}
    if isinstance(value, tuple | list):
        names = getattr(value, "_fields", None)
        return {names[i] if names else str(i): part for i, part in enumerate(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {}


def pick(value: Any, keys: tuple[str, ...]) -> Any:
    """The part of ``value`` that ``keys`` lead to.

    Raises:
        KeyError: its argument is the key that leads nowhere and the keys there are instead.
    """
    for key in keys:
        parts = children(value)
        found = _match(value, parts, key)
        if found is None:
            raise KeyError(key, tuple(parts))
        value = parts[found]
    return value


def put(value: Any, keys: tuple[str, ...], new: Any) -> Any:
    """A shallow copy of ``value`` in which the part at ``keys`` is ``new``; ``value`` itself is not changed."""
    if not keys:
        return new
    parts = children(value)
    key = _match(value, parts, keys[0])
    if key is None:
        raise KeyError(keys[0], tuple(parts))
    return _replace(value, {key: put(parts[key], keys[1:], new)})


def leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], torch.Tensor]]:
    """Every tensor inside ``value`` with the keys that lead to it."""
    if isinstance(value, torch.Tensor):
        yield keys, value
    for key, part in children(value).items():
        yield from leaves(part, (*keys, key))


def mapped(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """``value`` with ``function`` applied to every tensor in it."""
    if isinstance(value, torch.Tensor):
        return function(value)
    parts = children(value)
    return _replace(value, {key: mapped(function, part) for key, part in parts.items()}) if parts else value


def single(value: Any, keys: tuple[str, ...] = ()) -> tuple[tuple[str, ...], Any]:
    """Follow the only tensor of ``value``: keys and tensor; ``(keys, value)`` unchanged where there are several."""
    found = list(leaves(value))
    return (keys + found[0][0], found[0][1]) if len(found) == 1 else (keys, value)


def _match(value: Any, parts: dict[str, Any], key: str) -> str | None:
    if key in parts:
        return key
    if isinstance(value, tuple | list) or hasattr(
        value, "to_tuple"
    ):  # positions reach into named parts as well
        try:
            return list(parts)[int(key)]
        except (ValueError, IndexError):
            return None
    return None


def _replace(value: Any, new: dict[str, Any]) -> Any:
    if isinstance(value, Mapping):
        originals = {str(key): key for key in value}
        changed = {originals[key]: part for key, part in new.items()}
        if type(value) is dict:
            return {**value, **changed}
        copy = _copy(value)
        for key, part in changed.items():
            copy[key] = part
        return copy
    if isinstance(value, tuple | list):
        parts = list(value)
        keys = list(children(value))
        for key, part in new.items():
            parts[keys.index(key)] = part
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return dataclasses.replace(value, **new)


def _copy(value: Any) -> Any:
    import copy

    return copy.copy(value)
