"""Save and load a distillation: one safetensors file whose header holds JSON. Never raw inputs, never code."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from gp import stored
from gp.arrays import ArrayMap
from gp.conditioning import Pass
from gp.distillation import Distillation
from gp.frontier import FrontierPoint
from gp.kernels import Array, FeatureMap, Heads, kernel_module
from gp.posterior import Basis, Posterior
from gp.rows import Gone, Held, Rows
from gp.sums import Sums
from gp.tails import FUNCTIONS, Named
from interpret.errors import InterpretError, LoadError, StoreError, UsageError
from interpret.probe import Probe
from interpret.probing.hashing import model_hash, versions

FORMAT = 1
_KEY = "twinscope-gp"
_NO_ROWS = "the distillation was saved with rows=False: it predicts, but has no training rows to explain by"
Tensor = torch.Tensor


def save(d: Distillation, path: Path, rows: bool) -> None:
    """Write ``path`` whole or not at all.

    Args:
        d: what is saved.
        path: a file that is there is replaced; its folder exists.
        rows: whether U and alpha are written.

    Raises:
        RowsNotStored: rows are asked for and were not kept.
        StoreError: the file cannot be written: no such folder, a full disk, something there that is no file.

    """
    if path.exists() and not path.is_file():
        raise StoreError(f"{path} is there and is no file; give the path of a file to write")
    arrays = {
        **_flat("posterior", d.posterior),
        **_flat("basis", d.posterior.basis),
        **_flat("sums", d.passed.sums),
    }
    arrays |= {
        "row_ids": torch.from_numpy(np.asarray(d.row_ids)),
        "heads.channel": torch.from_numpy(d.heads.channel),
    }
    if d.passed.held is not None:
        arrays["held"] = d.passed.held
    arrays["heads.place"] = torch.from_numpy(d.heads.place)
    config: dict[str, Any] = {}
    if d.map is not None:
        config, extra = d.map.state()
        arrays |= {
            f"map.{name}": torch.from_numpy(np.ascontiguousarray(value)) for name, value in extra.items()
        }
    if rows:
        arrays |= _rows(d)
    temporary = path.with_name(path.name + ".part")
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in arrays.items()}
    try:
        save_file(whole, str(temporary), metadata={_KEY: json.dumps(_header(d, config, rows))})
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path} cannot be written: {error}; nothing was changed") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def load(path: str | Path, model: nn.Module | Probe | None = None) -> Distillation:
    """Read what ``save`` wrote. With the model (its hash is checked) it predicts from inputs, without it from features.

    Args:
        path: the file.
        model: the network, or a probe of it where a ``forward`` of your own is needed.

    Raises:
        LoadError: no such file, another format, arrays that do not fit together, or another model.
        UsageError: ``model`` is neither a module nor a probe.

    """
    if model is not None and not isinstance(model, nn.Module | Probe):
        raise UsageError(f"model is a torch.nn.Module or a Probe of one; got {type(model).__name__}")
    header, arrays = _read(Path(path))
    try:
        stored.check(header, arrays)
        return _restored(header, arrays, model)
    except InterpretError:
        raise
    except (KeyError, TypeError, IndexError, ValueError, RuntimeError, AttributeError) as error:
        raise LoadError(f"{path} is damaged or of another version: {type(error).__name__} {error}") from error


def _restored(
    header: dict[str, Any], arrays: dict[str, Tensor], model: nn.Module | Probe | None
) -> Distillation:
    sums = _made(Sums, "sums", arrays, count=header["count"])
    basis = _made(Basis, "basis", arrays)
    posterior = _made(Posterior, "posterior", arrays, basis=basis)
    heads = Heads(
        tuple(header["shape"]),
        arrays["heads.channel"].numpy(),
        arrays["heads.place"].numpy(),
        header["primary"],
    )
    examples = header["examples"]
    source: Rows = Gone(_NO_ROWS, examples)
    if header["rows"]:
        source = _held(posterior, arrays["U"], arrays["alpha"])
    function = header["tail"]
    return Distillation(
        kernel=header["kernel"],
        heads=heads,
        posterior=posterior,
        passed=Pass(sums, None, None, examples, arrays.get("held")),
        rows=source,
        row_ids=arrays["row_ids"].numpy(),
        places=tuple(header["places"]),
        metric=header["metric"],
        center=header["center"],
        map=_map(header, arrays, model, heads),
        seed=header["seed"],
        notes=tuple(header["notes"]),
        frontier=tuple(FrontierPoint(**point) for point in header["frontier"]),
        model_hash=header["model_hash"],
        tail=None if function is None else _named(function),
        linear=header["linear"],
        ndim=header["ndim"],
        names=tuple(header.get("names", ())),
        pooled=bool(header.get("pooled", "map.pool" in arrays)),
    )


def _header(d: Distillation, config: dict[str, Any], rows: bool) -> dict[str, Any]:
    probe = getattr(getattr(d.map, "runner", d.map), "probe", None)
    return {
        "format": FORMAT,
        "versions": dict(versions()),
        "kernel": d.kernel,
        "shape": list(d.heads.shape),
        "primary": d.heads.primary,
        "count": d.passed.sums.count,
        "examples": d.examples,
        "places": list(d.places),
        "metric": d.metric,
        "center": d.center,
        "seed": d.seed,
        "notes": list(d.notes),
        "frontier": [asdict(point) for point in d.frontier],
        "model_hash": d.model_hash,
        "linear": d.linear,
        "ndim": d.ndim,
        "names": list(d.names),
        "pooled": d.pooled,
        "tail": None if d.tail is None else asdict(d.tail),
        "rows": rows,
        "map": config,
        "probe": None if probe is None else _probe_settings(probe),
    }


def _probe_settings(probe: Probe) -> dict[str, Any]:
    return {
        "address": probe.address,
        "reduce": probe.reduce,
        "batch_size": probe.batch_size,
        "forward": probe.forward is not None,
    }


def _flat(prefix: str, value: Any) -> dict[str, Tensor]:
    """The tensors of a dataclass, under dotted names."""
    pairs = ((f.name, getattr(value, f.name)) for f in fields(value))
    return {f"{prefix}.{name}": part for name, part in pairs if isinstance(part, Tensor)}


def _made(kind: Any, prefix: str, arrays: dict[str, Tensor], **given: Any) -> Any:
    names = [f.name for f in fields(kind) if f"{prefix}.{f.name}" in arrays]
    return kind(**{name: arrays[f"{prefix}.{name}"] for name in names}, **given)


def _rows(d: Distillation) -> dict[str, Tensor]:
    """U (G, M, P, E) in the eigenbasis and alpha (M, P, C)."""
    features, alphas = [], []
    for block, z in d.blocks():
        features.append(z.cpu())
        alphas.append(d.alphas(block.targets, z).permute(1, 2, 0, 3).flatten(2).cpu())
    return {"U": torch.cat(features, 1), "alpha": torch.cat(alphas)}


def _held(posterior: Posterior, z: Tensor, alpha: Tensor) -> Held:
    """Rows from U and alpha: v = b + u·w + σ²α."""
    groups, examples, places, _ = z.shape
    by_group = alpha.reshape(examples, places, groups, -1).permute(2, 0, 1, 3)
    targets = posterior.mean(z) + posterior.noise[:, None, None, None] * by_group
    raw = posterior.basis.raw(z.flatten(1, 2)).reshape(groups, examples, places, -1)
    step = max(1, 2**20 // max(1, raw[:, :1].numel()))
    return Held(raw, targets.permute(1, 2, 0, 3).flatten(2), step)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise LoadError(f"{path} is a safetensors file, but no saved distillation")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise LoadError(f"{path} cannot be read as a saved distillation: {error}") from error
    try:
        header = json.loads(metadata[_KEY])
    except ValueError as error:
        raise LoadError(f"{path} is damaged: its header is no JSON") from error
    if not isinstance(header, dict):
        raise LoadError(f"{path} is damaged: its header is no object")
    if header.get("format") != FORMAT:
        raise LoadError(
            f"{path} has format {header.get('format')}, this version reads {FORMAT}; it was written by "
            f"twinscope {header.get('versions', {}).get('twinscope', '-')}"
        )
    return header, arrays


def _map(header: dict[str, Any], arrays: dict[str, Tensor], model: Any, heads: Heads) -> FeatureMap | None:
    if header["kernel"] == "features":
        return ArrayMap(heads, header["metric"], header["center"], arrays["basis.center"].shape[1])
    if model is None:
        return None
    settings = header["probe"] or {}
    found = model_hash(model.model if isinstance(model, Probe) else model)
    if found != header["model_hash"]:
        raise LoadError(
            f"this is another model than the one distilled (hash {found}, not {header['model_hash']}): its weights or "
            f"layers differ; distil it anew, or load without model= to use the saved features"
        )
    if settings.get("forward") and not isinstance(model, Probe):
        raise LoadError("the distilled probe had a forward function of its own; pass such a probe as model=")
    if not isinstance(model, Probe):
        model = Probe(
            model,
            settings.get("address", ""),
            reduce=settings.get("reduce", "mean"),
            batch_size=settings["batch_size"],
        )
    extra: dict[str, Array] = {
        name[4:]: value.numpy() for name, value in arrays.items() if name.startswith("map.")
    }
    restored: FeatureMap = kernel_module(header["kernel"]).restore(model, header["map"], extra)
    return restored


def _named(config: dict[str, Any]) -> Named:
    if config["function"] not in FUNCTIONS:
        raise LoadError(f"the file names a tail {config['function']!r:.40} that this version does not know")
    return Named(config["function"], config["axis"], config["index"], tuple(config["shape"]))
