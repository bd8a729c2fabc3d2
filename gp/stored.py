"""Whether what a file holds fits together: names, shapes, types and ranges, before anything is made of it."""

from __future__ import annotations

import math
from typing import Any

import torch

from gp.kernels import KERNELS
from interpret.errors import LoadError

Tensor = torch.Tensor


def check(header: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    """Compare every array with the shapes that the header and the weights ask for.

    Raises:
        LoadError: one is missing, or has another shape or type, or is not finite or out of range.
        KeyError, TypeError: the header itself lacks something.

    """
    if header["kernel"] not in (*KERNELS, "features"):
        raise LoadError(f"the file names a kernel {header['kernel']!r:.40} that this version does not know")
    examples, places, heads = (
        int(header["examples"]),
        math.prod(header["places"]),
        math.prod(header["shape"]),
    )
    for name, shape in _shapes(arrays, examples, places, heads, header["rows"]).items():
        _one(name, arrays[name], shape)
    if "posterior.quantiles" in arrays:
        groups, _, channels = arrays["posterior.weights"].shape
        levels = arrays["posterior.quantiles"].shape[-1]
        _one("posterior.quantiles", arrays["posterior.quantiles"], (groups, channels, levels))
    if "held" in arrays and (arrays["held"].dtype != torch.bool or arrays["held"].shape != (examples,)):
        raise LoadError(f"the file is damaged: held is not one truth value for each of {examples} examples")
    _ranges(header, arrays, places, heads)
    if int(header["count"]) != examples * places:
        raise LoadError(
            f"the file is damaged: {header['count']} rows are not {examples} examples at {places} places"
        )


def _shapes(
    arrays: dict[str, Tensor], examples: int, places: int, heads: int, rows: bool
) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every array that must be there."""
    groups, inner, channels = arrays["posterior.weights"].shape
    width = arrays["basis.rotation"].shape[1]
    shapes: dict[str, tuple[int, ...]] = {
        "posterior.weights": (groups, inner, channels),
        "posterior.baseline": (groups, channels),
        "posterior.root": (groups, inner, inner),
        "posterior.noise": (groups,),
        "posterior.amplitude": (groups, channels),
        "posterior.total": (groups, inner),
        "basis.center": (groups, width),
        "basis.rotation": (groups, width, inner),
        "basis.back": (groups, inner, width),
        "basis.turn": (groups, inner, inner),
        "basis.eigenvalues": (groups, inner),
        "sums.shift_h": (groups, width),
        "sums.shift_v": (groups, channels),
        "sums.sum_h": (groups, width),
        "sums.gram": (groups, width, width),
        "sums.cross": (groups, width, channels),
        "sums.sum_v": (groups, channels),
        "sums.square_v": (groups, channels),
        "heads.channel": (heads,),
        "heads.place": (heads,),
        "row_ids": (examples,),
    }
    if rows:
        shapes |= {"U": (groups, examples, places, inner), "alpha": (examples, places, groups * channels)}
    return shapes


def _one(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(value.shape) != shape:
        raise LoadError(f"the file is damaged: {name} has shape {list(value.shape)}, expected {list(shape)}")
    numbered = name.startswith(("heads.", "row_ids"))
    expected = torch.int64 if numbered else torch.float64
    if value.dtype != expected:
        raise LoadError(f"the file is damaged: {name} has type {value.dtype}, expected {expected}")
    if not numbered and not bool(torch.isfinite(value).all()):
        raise LoadError(f"the file is damaged: {name} holds values that are not finite")


def _ranges(header: dict[str, Any], arrays: dict[str, Tensor], places: int, heads: int) -> None:
    groups, _, channels = arrays["posterior.weights"].shape
    for name, most in (("channel", groups * channels), ("place", places)):
        index = arrays[f"heads.{name}"]
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < most:
            raise LoadError(f"the file is damaged: a {name} lies outside 0 to {most - 1}")
        for copy in (f"map.{name}", f"map.placed.{name}"):
            if copy in arrays and not torch.equal(arrays[copy], index):
                raise LoadError(f"the file is damaged: {copy} is not heads.{name}")
    if not 0 <= int(header["primary"]) < max(1, heads):
        raise LoadError(f"the file is damaged: there is no head {header['primary']}")
