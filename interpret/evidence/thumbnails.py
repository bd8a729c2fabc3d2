"""How one example looks to a person: an image, a few named values, a series or a text. No engine is involved."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from interpret.errors import UsageError
from interpret.explanation import Thumbnail

#: A row shows this many values; more of them are a wall of numbers.
ROW_VALUES = 8
#: The shorter side of an array that is drawn as an image.
IMAGE_SIDE = 4

Render = Callable[[Any], Any]


def png(pixels: np.ndarray, low: float | None = None, high: float | None = None) -> bytes:
    """PNG of an image (H, W), (1, H, W), (3, H, W) or (H, W, 3), scaled from [low, high] to black … white."""
    from PIL import Image

    image = np.asarray(pixels, dtype=float)
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[-1] not in (3, 4):
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    low = float(np.nanmin(image)) if low is None else low
    high = float(np.nanmax(image)) if high is None else high
    image = np.clip((np.nan_to_num(image) - low) / max(high - low, 1e-12), 0, 1)
    out = io.BytesIO()
    Image.fromarray(np.round(image * 255).astype(np.uint8)).save(out, format="PNG")
    return out.getvalue()


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether an example of this shape, without the batch axis, is drawn as a picture."""
    if len(shape) == 3 and (shape[0] in (1, 3) or shape[-1] in (1, 3)):
        shape = shape[1:] if shape[0] in (1, 3) else shape[:2]
    return len(shape) == 2 and min(shape) >= IMAGE_SIDE


class Thumbnailer:
    """Makes the thumbnail of any row of one data set.

    ``render(x)``, when given, decides: it may return a str (shown as text), bytes (a PNG) or an array (an image).
    ``order`` puts the columns of a table row in order of interest; without it they keep their own order.
    ``texts`` are the rows' texts, for models of tokens.
    """

    def __init__(
        self,
        X: Any,
        names: Sequence[str] | None = None,
        render: Render | None = None,
        order: Sequence[int] | None = None,
        labels: Sequence[Any] | np.ndarray | None = None,
    ) -> None:
        self.X, self.render, self.labels = X, render, labels
        self.names = tuple(names) if names is not None else None
        self.order = order
        self.low, self.high = _range(X)

    def __call__(self, index: int) -> Thumbnail:
        """The thumbnail of row ``index``; raises UsageError when ``render`` returns what cannot be shown."""
        x = row_of(self.X, index)
        label = "" if self.labels is None else _label(self.labels[index])
        if self.render is not None:
            return _rendered(self.render(x), index, label)
        if not hasattr(x, "shape"):
            return Thumbnail(index, "text", label, text=str(x))
        array = np.asarray(x)
        if is_image(array.shape):
            return Thumbnail(index, "image", label, png=png(array, self.low, self.high))
        flat = array.reshape(-1).astype(float)
        if self.names is None and flat.size > 2 * ROW_VALUES:
            return Thumbnail(index, "series", label, values=tuple(flat.tolist()))
        names = self.names or tuple(f"x{i}" for i in range(flat.size))
        picked = list(range(flat.size) if self.order is None else self.order)[:ROW_VALUES]
        return Thumbnail(
            index,
            "row",
            label,
            names=tuple(names[i] for i in picked),
            values=tuple(float(flat[i]) for i in picked),
        )


def _label(value: Any) -> str:
    """A class as it is named; a measured value with digits that a person compares."""
    if isinstance(value, float | np.floating) and not float(value).is_integer():
        return f"{float(value):.4g}"
    return str(value)


def row_of(X: Any, index: int) -> Any:
    """Row ``index`` of an array, tensor, frame, list, tuple or dict of inputs (the first float one is shown)."""
    if isinstance(X, dict):
        return row_of(next(iter(X.values())), index)
    if isinstance(X, tuple):
        return row_of(X[0], index)
    if hasattr(X, "iloc"):
        return X.iloc[index].to_numpy(dtype=float)
    x = X[index]
    return x.detach().cpu().numpy() if hasattr(x, "detach") else x


def _range(X: Any) -> tuple[float | None, float | None]:
    """One grey scale for the whole set: pictures side by side must be comparable."""
    if not hasattr(X, "shape") or hasattr(X, "iloc") or len(X.shape) < 3:
        return None, None
    sample = np.asarray(
        X[: min(len(X), 2000)].detach().cpu() if hasattr(X, "detach") else X[:2000], dtype=float
    )
    return float(np.nanmin(sample)), float(np.nanmax(sample))


def _rendered(shown: Any, index: int, label: str) -> Thumbnail:
    if isinstance(shown, str):
        return Thumbnail(index, "text", label, text=shown)
    if isinstance(shown, bytes):
        return Thumbnail(index, "image", label, png=shown)
    array = np.asarray(shown)
    if array.dtype != object and is_image(array.shape):
        return Thumbnail(index, "image", label, png=png(array))
    raise UsageError(
        f"render(x) must return a str, the bytes of a PNG, or an image array (H, W) or (H, W, 3); "
        f"it returned {type(shown).__name__}" + (f" of shape {array.shape}" if array.dtype != object else "")
    )
