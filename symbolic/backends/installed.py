"""Which PySR the worker would import, found without importing it."""

from __future__ import annotations

import importlib.util
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from interpret.errors import UsageError
from symbolic.backends.pysr_parameters import Version, parse_version


def installed(name: str) -> bool:
    """Whether a package is there for a worker: with code of its own, and not only in the working directory.

    A folder that merely bears the name is a namespace package to Python; and the worker, unlike this process, does not
    look for modules in the working directory.
    """
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, OSError):
        return False
    if spec is None or spec.loader is None or spec.origin is None:
        return False
    if not _in_working_directory(Path(spec.origin)):
        return True
    # It hides another one, or it is all there is.
    return version_text(name) is not None


def version_text(name: str) -> str | None:
    """The version in an installed package's metadata; None where it has none."""
    try:
        return version(name)
    except (PackageNotFoundError, OSError):
        return None


def pysr_version() -> Version | None:
    """The installed PySR's version; None where its metadata do not say."""
    text = version_text("pysr")
    try:
        return None if text is None else parse_version(text)
    except UsageError:
        return None


def _in_working_directory(module: Path) -> bool:
    """Whether a package's file lies in the working directory, and only that makes it importable."""
    try:
        here, place = Path.cwd(), module.resolve().parent.parent
    except (OSError, RuntimeError):
        return False
    named = [Path(text).resolve() for text in os.environ.get("PYTHONPATH", "").split(os.pathsep) if text]
    return place == here.resolve() and place not in named
