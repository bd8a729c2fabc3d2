"""Addresses: where in a network a value is. A dotted module path and an index as in NumPy.

::

    address := path [ "@" call ] ( "." name )* [ "[" quoted "]" ]* [ "[" item ("," item)* "]" ]
    item    := integer | slice | "..." | "…" | "*"

``net.2[5]``, ``conv[12]`` (reduced over positions), ``conv[12,3,3]``, ``output[-1, 42]`` (last token), ``fc@1[0]``
(second call), ``lstm.0[…, 3]`` (a position in a tuple), ``""`` (the model's own output). ``*`` is the one addition to
NumPy: the axis is reduced as trailing axes are, so ``output[*, 42]`` is unit 42 over all tokens.

Nothing here imports torch; what a path means for a model is ``interpret.probing.places``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from interpret.errors import AddressError, IndexOutOfRange

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Reduced:
    """The index item ``*``: this axis is reduced, as those behind the last item are."""

    def __repr__(self) -> str:
        return "*"


Item = int | slice | Reduced | type(Ellipsis)


@dataclass(frozen=True)
class Address:
    """A parsed address. ``index`` is None where there are no brackets: then the whole value is meant.

    ``path`` may still hold names that reach into the module's output (``lstm.0``); which part of it names a module
    is known only beside a model. ``keys`` are those that can name nothing else.
    """

    path: str
    call: int | None = None
    keys: tuple[str, ...] = ()
    index: tuple[Any, ...] | None = None
    text: str = field(default="", compare=False)

    @property
    def place(self) -> str:
        """The address without its index."""
        call = "" if self.call is None else f"@{self.call}"
        keys = (f".{key}" if _NAME.fullmatch(key) else f"[{quoted(key)}]" for key in self.keys)
        return "".join((self.path + call, *keys))

    def with_index(self, index: tuple[Any, ...] | None) -> Address:
        """The same place with another index."""
        text = self.place + ("" if index is None else f"[{', '.join(map(_item_text, index))}]")
        return Address(self.path, self.call, self.keys, index, text)

    def __str__(self) -> str:
        return self.with_index(self.index).text


_NAME = re.compile(r"[^\s.@\[\]\"',…]+")
#: Digits of a number; the largest axis that memory could hold has no more.
_DIGITS = 18
_INTEGER = re.compile(r"-?\d+")


def parse(text: Any) -> Address:
    """The address that ``text`` spells; an ``Address`` is returned as it is.

    Raises:
        AddressError: it does not parse; the message points at the character.
    """
    if isinstance(text, Address):
        return text
    if not isinstance(text, str):
        raise AddressError(f"an address is text such as 'fc1[3]'; got {type(text).__name__}: {text!r:.80}")
    return _Reader(text).address()


class _Reader:
    """A cursor over the text: every method reads one rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def address(self) -> Address:
        path = self._path()
        call = self._call()
        keys: list[str] = []
        while self._peek() == "." and call is not None:
            self.at += 1
            keys.append(self._name("a key"))
        index: tuple[Any, ...] | None = None
        while self._peek() == "[":
            if index is not None:
                self._fail("an address has one index; write [3, 5], not [3][5]")
            key = self._quoted_key()
            if key is None:
                index = self._index()
            else:
                keys.append(key)
        if self.at < len(self.text):
            self._fail("expected '.', '@', '[' or the end")
        return Address(path, call, tuple(keys), index, self.text)

    def _path(self) -> str:
        start = self.at
        if self._peek() in ("", "[", "@"):
            return ""
        self._name("a module name")
        while self._peek() == ".":
            self.at += 1
            self._name("a module name")
        return self.text[start : self.at]

    def _name(self, what: str) -> str:
        found = _NAME.match(self.text, self.at)
        if found is None:
            self._fail(f"expected {what}")
        self.at = found.end()
        return found.group()

    def _call(self) -> int | None:
        if self._peek() != "@":
            return None
        self.at += 1
        found = _INTEGER.match(self.text, self.at)
        if found is None:
            self._fail("expected a call number after '@' (0 is the first call, -1 the last)")
        self._check(found.group())
        self.at = found.end()
        return int(found.group())

    def _quoted_key(self) -> str | None:
        found = re.compile(r"""\[\s*(?:"([^"]*)"|'([^']*)')\s*\]""").match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found.group(1) if found.group(1) is not None else found.group(2)

    def _index(self) -> tuple[Any, ...]:
        self.at += 1
        items = [self._item()]
        while self._peek() == ",":
            self.at += 1
            items.append(self._item())
        if self._peek() != "]":
            self._fail("expected ',' or ']'")
        self.at += 1
        if sum(item is Ellipsis for item in items) > 1:
            self._fail("an index has at most one '…'", self.at - 1)
        return tuple(items)

    def _item(self) -> Any:
        self._space()
        for mark, item in (("...", Ellipsis), ("…", Ellipsis), ("*", Reduced())):
            if self.text.startswith(mark, self.at):
                self.at += len(mark)
                self._space()
                return item
        bounds, colons = [self._integer()], 0
        while self._peek() == ":" and colons < 2:
            self.at, colons = self.at + 1, colons + 1
            bounds.append(self._integer())
        if colons == 0:
            if bounds[0] is None:
                self._fail("expected an integer, a slice, '…' or '*'")
            return bounds[0]
        if colons == 2 and bounds[2] == 0:
            self._fail("the step of a slice is not 0", self.at - 1)
        return slice(*bounds)

    def _integer(self) -> int | None:
        self._space()
        found = _INTEGER.match(self.text, self.at)
        if found is None:
            return None
        self._check(found.group())
        self.at = found.end()
        self._space()
        return int(found.group())

    def _check(self, digits: str) -> None:
        if len(digits) > _DIGITS:
            self._fail(f"no axis is that long: a number has at most {_DIGITS} digits")

    def _space(self) -> None:
        while self._peek() == " ":
            self.at += 1

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _fail(self, rule: str, at: int | None = None) -> NoReturn:
        at = self.at if at is None else at
        start = max(0, at - 60)
        shown = self.text[start : at + 20].replace("\n", " ")
        found = f"found {self.text[at]!r}" if at < len(self.text) else "the text ends"
        raise AddressError(
            f"{rule}; {found} at character {at + 1} of the address\n  {shown}\n  {' ' * (at - start)}^"
        )


def settle(address: Address, shape: tuple[int, ...], reduce_trailing: bool = True) -> tuple[Any, ...]:
    """The index with one item per axis of ``shape``: non-negative int, list of ints, or ``Reduced``.

    Axes behind the last item are reduced; those that ``…`` stands for are kept whole, and so are all axes of an
    address without brackets.

    Raises:
        IndexOutOfRange: an item lies outside its axis, or there are more items than axes.
    """
    index = (Ellipsis,) if address.index is None else address.index
    given = sum(item is not Ellipsis for item in index)
    if given > len(shape):
        raise IndexOutOfRange(
            f"{address}: {given} indices, but the value there has {len(shape)} axes (shape {list(shape)} per example)"
        )
    rest = [slice(None) if Ellipsis in index or not reduce_trailing else Reduced()] * (len(shape) - given)
    if Ellipsis in index:
        at = index.index(Ellipsis)
        full = [*index[:at], *rest, *index[at + 1 :]]
    else:
        full = [*index, *rest]
    return tuple(
        _settle_item(address, axis, item, size)
        for axis, (item, size) in enumerate(zip(full, shape, strict=True))
    )


def _settle_item(address: Address, axis: int, item: Any, size: int) -> Any:
    if isinstance(item, Reduced):
        return item
    if isinstance(item, slice):
        chosen = list(range(*item.indices(size)))
        if not chosen:
            raise IndexOutOfRange(
                f"{address}: the slice on axis {axis} selects nothing; the axis has size {size}"
            )
        return chosen
    if not -size <= item < size:
        allowed = f"0 to {size - 1}, or {-size} to -1" if size else "nothing: the axis is empty"
        raise IndexOutOfRange(
            f"{address}: index {item} is out of range on axis {axis} of size {size}; use {allowed}"
        )
    return item % size


def expand(model: nn.Module, X: Any, text: str, **settings: Any) -> list[str]:
    """The scalar units that an address stands for: ``fc1[0:3]`` gives ``fc1[0]``, ``fc1[1]``, ``fc1[2]``.

    A layer without index gives all its units: channels of a convolution, features of a sequence layer (over all
    positions), else the last axis. A scalar address gives itself.

    Args:
        model: any module.
        X: probe data in any form that ``interpret.Probe`` takes; only its first batch is used.
        text: the address.
        settings: further arguments of ``interpret.Probe``, such as ``forward``.
    """
    from interpret.probing.inventory import unit_addresses

    return unit_addresses(model, X, text, **settings)


def _item_text(item: Any) -> str:
    if item is Ellipsis:
        return "…"
    if isinstance(item, slice):
        step = "" if item.step is None else f":{item.step}"
        return f"{'' if item.start is None else item.start}:{'' if item.stop is None else item.stop}{step}"
    return str(item)


def quoted(key: str) -> str:
    """A key as the grammar quotes it."""
    return f'"{key}"' if '"' not in key else f"'{key}'"
