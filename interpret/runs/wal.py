"""Is SQLite's write-ahead log what was written? Asked before SQLite sees it.

SQLite reads a log up to the first frame that does not check, takes the rest for the remains of a crash, and drops
it when the last connection closes. So one flipped bit would cost every transaction behind it. The format is
https://www.sqlite.org/fileformat2.html#the_write_ahead_log: a header of 32 bytes, then frames of 24 bytes and a
page each; checksums run from the header through all frames.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER, _FRAME = 32, 24
#: The first four bytes; the lowest bit says that checksums are over big-endian words.
_MAGIC = 0x377F0682
#: Seconds before a log that looks damaged is read again: another process may be writing to it.
_AGAIN = 0.05

_Sum = tuple[int, int]


class _Log(NamedTuple):
    """Frames of a log: their marks of commit, salts, stored checksums, and the words that are summed."""

    commit: NDArray[np.bool_]
    salts: NDArray[np.uint32]
    stored: NDArray[np.uint32]
    words: NDArray[np.uint32]


def damage(log: Path) -> str:
    """What is wrong with a write-ahead log; "" for a sound one, an absent one, and one whose end a crash tore.

    A frame that does not check is damage when a transaction behind it was committed. One without such a
    transaction is what a kill or a power failure leaves, or is being written at this moment.
    """
    found = _damage(log)
    if found:
        time.sleep(_AGAIN)
        found = found if _damage(log) == found else ""
    return found


def _damage(log: Path) -> str:
    try:
        content = log.read_bytes()
    except FileNotFoundError:
        return ""
    if len(content) < _HEADER:
        return ""
    magic, _, page, *_ = struct.unpack(">8I", content[:_HEADER])
    order = ">" if magic & 1 else "<"
    head = np.frombuffer(content[:_HEADER], ">u4")
    total = _summed(np.frombuffer(content[:24], order + "u4").astype(np.uint32), (0, 0))
    if magic & ~1 != _MAGIC or total != (int(head[6]), int(head[7])) or page < 512 or page & (page - 1):
        # A header is one sector, which no crash tears: without its frames it is all there or all zero.
        return "its header does not check" if any(content[:_HEADER]) else ""
    frames = _frames(content, page, order)
    sound = _sound(frames, head[4:6], total)
    if sound == len(frames.commit):
        return ""
    behind = np.flatnonzero(frames.commit[sound + 1 :]) + sound + 1
    for i in behind:
        before = (int(frames.stored[i - 1, 0]), int(frames.stored[i - 1, 1]))
        if (frames.salts[i] == head[4:6]).all() and _checks(frames, int(i), before):
            return f"frame {sound + 1} of {len(frames.commit)} does not check, and committed ones follow it"
    return ""


def _frames(content: bytes, page: int, order: str) -> _Log:
    count = (len(content) - _HEADER) // (_FRAME + page)
    raw = np.frombuffer(content, np.uint8, count * (_FRAME + page), _HEADER).reshape(count, _FRAME + page)
    heads = np.ascontiguousarray(raw[:, :_FRAME]).view(">u4").astype(np.uint32)
    summed = np.concatenate([raw[:, :8], raw[:, _FRAME:]], axis=1)
    words = summed.view(order + "u4").astype(np.uint32)
    return _Log(heads[:, 1] != 0, heads[:, 2:4], heads[:, 4:6], words)


def _sound(frames: _Log, salts: NDArray[np.uint32], total: _Sum) -> int:
    """How many frames check, from the first on."""
    for i in range(len(frames.commit)):
        if (frames.salts[i] != salts).any() or not _checks(frames, i, total):
            return i
        total = (int(frames.stored[i, 0]), int(frames.stored[i, 1]))
    return len(frames.commit)


def _checks(frames: _Log, i: int, before: _Sum) -> bool:
    return _summed(frames.words[i], before) == (int(frames.stored[i, 0]), int(frames.stored[i, 1]))


def _summed(words: NDArray[np.uint32], before: _Sum) -> _Sum:
    """SQLite's checksum of an even number of words, begun at ``before``.

    Each pair (a, b) does s += a + t; t += b + s. That is linear modulo 2³², so what a word adds to the end is a
    Fibonacci number times the word.
    """
    weights = _fibonacci(len(words))
    n = len(words)
    # After n words: s = F(n−1)·s₀ + F(n)·t₀ + Σ F(n−1−i)·wᵢ, t = F(n)·s₀ + F(n+1)·t₀ + Σ F(n−i)·wᵢ.
    s = int((words * weights[n - 1 :: -1][:n]).sum(dtype=np.uint32))
    t = int((words * weights[n:0:-1]).sum(dtype=np.uint32))
    first = s + int(weights[n - 1]) * before[0] + int(weights[n]) * before[1]
    second = t + int(weights[n]) * before[0] + int(weights[n + 1]) * before[1]
    return first % 2**32, second % 2**32


def _fibonacci(count: int) -> NDArray[np.uint32]:
    """F(0) … F(count + 1) modulo 2³²."""
    found = _KNOWN.get(count)
    if found is None:
        values = [0, 1]
        for _ in range(count):
            values.append((values[-1] + values[-2]) % 2**32)
        found = _KNOWN[count] = np.array(values, np.uint32)
    return found


_KNOWN: dict[int, NDArray[np.uint32]] = {}
