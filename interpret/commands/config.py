"""``twinscope.toml``: the options of the command line, written down once.

A table per verb, a key per option: ``[explain]`` with ``jobs = 2`` equals ``twinscope explain --jobs 2``;
hyphens may be underscores. What is given on the command line goes first.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from interpret.errors import UsageError

NAME = "twinscope.toml"
#: What an option takes.
Kind = Literal["list", "flag", "value"]


def read(path: Path | None) -> dict[str, dict[str, Any]]:
    """The file's tables; the one in the working folder when ``path`` is None, empty when there is none.

    Raises:
        UsageError: the file is absent though asked for, or is not TOML, or holds something beside tables.
    """
    if path is None and not Path(NAME).is_file():
        return {}
    file = path or Path(NAME)
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8-sig"))
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
    values: Mapping[str, Mapping[str, Any]], options: Mapping[str, Mapping[str, Kind]], verb: str | None
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The table of ``verb`` with hyphens as underscores, and what is wrong in those of other verbs.

    Raises:
        UsageError: an option unknown to ``verb``, or a table whose name is nearly that; the nearest are named.
    """
    result, warnings = {}, []
    for name, table in values.items():
        problems = [_unknown(name, set(options), f"[{name}]: no such verb")]
        plain = {key.replace("-", "_"): value for key, value in table.items()}
        if name in options:
            problems = [_unknown(key, set(options[name]), f"[{name}] {key}: no such option") for key in plain]
        found = [problem for problem in problems if problem]
        # A table of no verb is taken for this one's where the name is near.
        ours = name == verb or (name not in options and get_close_matches(name, [str(verb)], cutoff=0.5))
        if found and ours:
            raise UsageError(found[0])
        warnings += found
        if name == verb:
            result[name] = {key: _value(name, key, value, options[name][key]) for key, value in plain.items()}
    return result, warnings


def _value(verb: str, key: str, value: Any, kind: Kind) -> Any:
    """What click takes: a list for an option that is repeatable, of one where the file has no list.

    Raises:
        UsageError: a truth value where none is expected, or a list or table.
    """
    values = value if isinstance(value, list) and kind == "list" else [value]
    if any(isinstance(one, dict | list) or (isinstance(one, bool) != (kind == "flag")) for one in values):
        wanted = {
            "flag": "true or false",
            "list": "texts or numbers, as a list",
            "value": "one text or number",
        }
        raise UsageError(f"{NAME}: [{verb}] {key}: {wanted[kind]} is expected; {value!r:.80} came")
    return values if kind == "list" else value


def _unknown(name: str, names: set[str], problem: str) -> str:
    """What to say of a name that is none of these; "" of one that is."""
    if name in names:
        return ""
    near = get_close_matches(name, sorted(names), n=3, cutoff=0.5) or sorted(names)
    return f"{NAME}: {problem}; there {'is' if len(near) == 1 else 'are'} {', '.join(near)}"
