"""Pictures of a run, by their hash. The same example is shown beside many neurons, so those read last are kept."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from pathlib import Path

from interpret.errors import StoreDamaged
from interpret.runs.encoding import sha256

#: Bytes of pictures that are kept in memory; what one keeps beside its content counts as well.
_KEPT, _BESIDE = 16 * 1024**2, 256


class Pictures:
    """Table ``blob``, as it is read."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path
        self._read: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def read(self, key: str) -> bytes:
        """A picture, checked against its hash when it comes from the database.

        Raises:
            StoreDamaged: it is missing or altered.
        """
        found = self.kept(key)
        if found is not None:
            return found
        row = self._connection.execute("SELECT content FROM blob WHERE hash = ?", (key,)).fetchone()
        if row is None or not isinstance(row[0], bytes) or sha256(row[0]) != key:
            raise StoreDamaged(f"{self._path}: a stored picture is missing or altered. Nothing was changed.")
        self._keep(key, row[0])
        return bytes(row[0])

    def kept(self, key: str) -> bytes | None:
        """The picture where it is still in memory, checked already; None where it must be read."""
        found = self._read.get(key)
        if found is not None:
            self._read.move_to_end(key)
        return found

    def _keep(self, key: str, content: bytes) -> None:
        self._read[key] = content
        self._size += len(content) + _BESIDE
        while self._size > _KEPT:
            self._size -= len(self._read.popitem(last=False)[1]) + _BESIDE

    def forget(self) -> None:
        """Keep nothing in memory: the next reading is of the database."""
        self._read.clear()
        self._size = 0
