"""Temporary names beside a file, which tell whose they are, so that what a killed process left can be
removed.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path


def beside(path: Path) -> Path:
    """A new hidden name in the folder of ``path``: ``.HOST.PID.RANDOM.tmp``."""
    return path.with_name(f".{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")


def alive(pid: int) -> bool:
    """Whether a process of that number exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def clear(folder: Path) -> int:
    """Remove what processes of this machine that are gone left in ``folder`` and one level below; how many
    files.
    """
    removed = 0
    for path in [*folder.glob(".*.tmp*"), *folder.glob("*/.*.tmp*")]:
        host, pid = path.name[1:].split(".tmp")[0].rsplit(".", 2)[:2]
        if host == socket.gethostname() and pid.isdigit() and not alive(int(pid)):
            path.unlink(missing_ok=True)
            removed += 1
    return removed
