"""Fingerprints of a model and of data, so that an explanation says what it is an explanation of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

_PACKAGES = ("twinscope", "torch", "gpytorch", "numpy", "scipy", "scikit-learn", "sympy")


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            _feed(digest, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _feed(digest, item)
    else:
        array = np.asarray(value)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        if array.dtype.hasobject:
            digest.update(repr(array.tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(array).tobytes())


def data_hash(X: Any) -> str:
    """SHA-256 (first 16 hex digits) of an array, tensor, frame, or tuple, list or dict of them."""
    digest = hashlib.sha256()
    columns = getattr(X, "columns", None)
    if columns is not None:
        digest.update(repr(list(columns)).encode())
    _feed(digest, X)
    return digest.hexdigest()[:16]


def model_hash(model: torch.nn.Module) -> str:
    """SHA-256 (first 16 hex digits) of the module's structure as printed and its state dict."""
    digest = hashlib.sha256(repr(model).encode())
    _feed(digest, model.state_dict())
    return digest.hexdigest()[:16]


def versions(names: Iterable[str] = _PACKAGES) -> tuple[tuple[str, str], ...]:
    """Installed versions of the packages that a result depends on; "-" where one is missing."""

    def one(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "-"

    return tuple((name, one(name)) for name in names)
