"""Models named on a command line, and weights from files that cannot run code."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import pickle
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from interpret.errors import LoadError, LoadRefused, said


def load_model(source: str, weights: str | Path | None = None) -> nn.Module:
    """The model that ``path/to/file.py:attr`` or ``package.module:attr`` names: a module, or a factory of one.

    The Python file is the user's own program and is imported as such; the weights file is only read.

    Args:
        source: file or module, a colon, a (dotted) attribute.
        weights: a ``.safetensors`` file, or a state dict saved by ``torch.save``; every tensor must fit.

    Raises:
        LoadError: it is missing, fails, or is no module; the weights do not fit.
        LoadRefused: the weights file is a pickle that would run code.
    """
    where, _, attribute = source.rpartition(":")
    if not where or not attribute:
        raise LoadError(f"a model is named path/to/file.py:attr or package.module:attr; got {source!r:.200}")
    with _search_path(where), _surroundings_kept():
        found = _named(_imported(where), where, attribute)
        model = found if isinstance(found, nn.Module) else _made(found, source)
    if weights is not None:
        _fill(model, read_weights(weights), Path(weights).name)
    return model


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """A state dict from a ``.safetensors`` file or one saved by ``torch.save``; no code in the file is run.

    Raises:
        LoadRefused: the file asks for more than tensors.
        LoadError: it is missing, damaged or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise LoadError(f"no such weights file: {str(path)!r}")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's protocol; whether it is refused is what matters
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = _first_sentence(error)
        if path.stat().st_size and (
            "Unsupported" in reason or "GLOBAL" in reason or "weights_only" in str(error).lower()
        ):
            raise LoadRefused(
                f"{path.name} was refused: it holds more than tensors, and loading it would run code from the file "
                f"({reason}). Save model.state_dict(), best as .safetensors"
            ) from None
        raise LoadError(f"{path.name} is damaged: {reason}") from None
    except (
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        TypeError,
    ) as error:
        raise LoadError(f"{path.name} is no state dict that can be read: {_first_sentence(error)}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise LoadError(
            f"{path.name} holds {type(state).__name__}, not a state dict; save model.state_dict()"
        )
    return state


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    import safetensors
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise LoadError(f"{path.name} is not a safetensors file that can be read: {error}") from error


def _fill(model: nn.Module, state: dict[str, torch.Tensor], name: str) -> None:
    """Load every tensor, or say which do not fit; nothing is loaded in part."""
    own = model.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    if missing or extra or wrong:
        problems = [
            f"{what} {', '.join(keys[:5])}{' …' if len(keys) > 5 else ''}"
            for what, keys in (
                ("lacks", missing),
                ("has unknown", extra),
                ("has other shapes for", sorted(wrong)),
            )
            if keys
        ]
        raise LoadError(f"{name} does not fit the model: it {'; it '.join(problems)}")
    model.load_state_dict(state)


def _named(found: Any, where: str, attribute: str) -> Any:
    for name in attribute.split("."):
        if not hasattr(found, name):
            makers = [
                k for k, v in vars(found).items() if (isinstance(v, nn.Module) or callable(v)) and k[0] != "_"
            ]
            there = ", ".join(makers[:12]) + (" …" if len(makers) > 12 else "")
            raise LoadError(
                f"{where!r} has no attribute {name!r}; it has {there or 'nothing that makes a model'}"
            )
        found = getattr(found, name)
    return found


@contextmanager
def _search_path(where: str) -> Iterator[None]:
    """Modules beside the user's file can be imported, as they can under ``python file.py``."""
    folder = str(Path(where).resolve().parent) if where.endswith(".py") else ""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


@contextmanager
def _surroundings_kept() -> Iterator[None]:
    """The working folder, which other paths depend on, and the depth of calls stay as they were; of a program
    that forks, the copy ends here.
    """
    folder, depth, process = Path.cwd(), sys.getrecursionlimit(), os.getpid()
    try:
        yield
    finally:
        if os.getpid() != process:
            os._exit(0)
        sys.setrecursionlimit(max(depth, sys.getrecursionlimit()))
        os.chdir(folder)


def _imported(where: str) -> ModuleType:
    try:
        return _from_file(Path(where)) if where.endswith(".py") else _from_package(where)
    except LoadError:
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the user's own program may fail in any way
        raise LoadError(
            f"{where!r} fails while it is imported: {type(error).__name__}: {said(error)}"
        ) from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise LoadError(f"no such Python file: {str(path)!r}")
    name = f"_twinscope_{path.stem}_{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _from_package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise LoadError(
            f"no module {error.name!r} for {name!r}; for a file write path/to/file.py:attr"
        ) from None
    finally:
        sys.path.remove("")


def _made(factory: Any, source: str) -> nn.Module:
    if not callable(factory):
        raise LoadError(
            f"{source!r} is {type(factory).__name__}, neither a torch.nn.Module nor a function that makes one"
        )
    try:
        model = factory()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the user's own factory may fail in any way
        raise LoadError(
            f"{source!r} fails when called without arguments: {type(error).__name__}: {said(error)}"
        ) from error
    if not isinstance(model, nn.Module):
        raise LoadError(f"{source!r} returns {type(model).__name__}, not a torch.nn.Module")
    return model


def _first_sentence(error: BaseException) -> str:
    """What torch says went wrong, without its advice to load unsafely."""
    text = " ".join(str(error).split())
    for mark in ("WeightsUnpickler error: ", "Unsupported "):
        if mark in text:
            text = text[text.index(mark) :].removeprefix(mark if mark.endswith(": ") else "")
    return re.split(r"\. | Check the documentation| by default", text)[0][:200] or type(error).__name__
