"""``twinscope.toml``: the options of the command line, written down once.

A table per verb, a key per option: ``[explain]`` with ``jobs = 2`` equals ``twinscope explain --jobs 2``;
hyphens may be underscores. What is given on the command line goes first.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from interpret.errors import UsageError

NAME = "twinscope.toml"


def read(path: Path | None) -> dict[str, dict[str, Any]]:
    """The file's tables; the one in the working folder when ``path`` is None, empty when there is none.

    Raises:
        UsageError: the file is absent though asked for, or is not TOML, or holds something beside tables.
    """
    if path is None and not Path(NAME).is_file():
        return {}
    file = path or Path(NAME)
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: the configuration cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{file}: not a TOML file: {error}") from error
    for key, value in values.items():
        if not isinstance(value, dict):
            raise UsageError(
                f"{file}: {key!r} stands outside a table; write it under a verb, such as [explain]"
            )
    return values


def checked(
    values: Mapping[str, Mapping[str, Any]], options: Mapping[str, set[str]]
) -> dict[str, dict[str, Any]]:
    """The tables with hyphens as underscores, when every verb and key has a meaning.

    Raises:
        UsageError: an unknown verb or option; the nearest are named.
    """
    result = {}
    for verb, table in values.items():
        _known(verb, set(options), f"[{verb}]: no such verb")
        plain = {key.replace("-", "_"): value for key, value in table.items()}
        for key in plain:
            _known(key, options[verb], f"[{verb}] {key}: no such option")
        result[verb] = plain
    return result


def _known(name: str, names: set[str], problem: str) -> None:
    if name in names:
        return
    near = get_close_matches(name, sorted(names), n=3, cutoff=0.5) or sorted(names)
    raise UsageError(f"{NAME}: {problem}; there {'is' if len(near) == 1 else 'are'} {', '.join(near)}")
