"""Further processes of this program, which import what this one imports, wherever they are started."""

from __future__ import annotations

import sys


def command(module: str, descriptor: int) -> list[str]:
    """The command of a process that calls the module's ``main`` with that descriptor, which is to be passed on.

    Its import path is ours. With ``python -m`` the working folder would come first, and a ``json.py`` of the user's
    that lies there would be run.
    """
    path = [entry for entry in sys.path if isinstance(entry, str)]
    program = f"import sys; sys.path[:] = {path!a}; from {module} import main; main(int(sys.argv[1]))"
    return [sys.executable, "-P", "-c", program, str(descriptor)]
