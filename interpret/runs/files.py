"""Arrays of a run on disk: safetensors files named by the hash of their content, written once and never
changed.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import numpy as np

from interpret.errors import StoreDamaged
from interpret.runs.codec import sha256, unpack
from interpret.runs.temporary import beside

_SUFFIX = ".safetensors"
_KEPT = 8


class ArrayFiles:
    """The ``arrays`` folder of one run.

    A file appears under its name only when all of it is on the disk: it is written to a temporary name,
    synced and renamed, and the folder is synced. A file that is there already is compared, not written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[str] = set()
        self._read: OrderedDict[str, dict[str, np.ndarray]] = OrderedDict()

    def path(self, key: str) -> Path:
        """Where the pack of that SHA-256 lies."""
        return self._folder / key[:2] / (key + _SUFFIX)

    def write(self, key: str, content: bytes) -> None:
        """Make sure the pack is on disk.

        Raises:
            StoreDamaged: a file of that name has other content; it is left as it is.
            OSError: the disk is full or the folder cannot be written; no partial file is left under the name.
        """
        if key in self._known:
            return
        path = self.path(key)
        if path.exists():
            self._compare(path, key)
        else:
            self._create(path, content)
        self._known.add(key)

    def _compare(self, path: Path, key: str) -> None:
        if sha256(path.read_bytes()) != key:
            raise StoreDamaged(
                f"{path}: the file does not have the content that its name promises. It was left as it is; "
                f"remove it "
                f"and run the same command again to write it anew."
            )

    def _create(self, path: Path, content: bytes) -> None:
        for folder in (self._folder, path.parent):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                # A folder is there after a power failure when the one around it was synced.
                _sync(folder.parent)
        temporary = beside(path)
        try:
            with temporary.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)

    def read(self, key: str) -> dict[str, np.ndarray]:
        """Arrays of a pack, checked against its hash; the last few are kept in memory.

        Raises:
            StoreDamaged: the file is missing or altered.
        """
        if key not in self._read:
            path = self.path(key)
            if not path.is_file():
                raise StoreDamaged(
                    f"{path}: the file is missing from the run. Restore it, or explain the neuron again."
                )
            self._read[key] = unpack(path.read_bytes(), key)
            while len(self._read) > _KEPT:
                self._read.popitem(last=False)
        return self._read[key]

    def forget(self) -> None:
        """Keep nothing in memory: the next reading is of the disk."""
        self._read.clear()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
