"""Rows from 10⁴ to 10⁷ with 128 features and ten heads: time linear, memory flat; prediction and neighbors at 10⁶."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

import numpy as np
import pandas as pd

import gp
from benchmarks.gp_measure import measured

WIDTH, HEADS, CHUNK = 128, 10, 10_000


def main(arguments: Namespace) -> None:
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(WIDTH, WIDTH)).astype(np.float32) / WIDTH**0.5
    weights = generator.normal(size=(WIDTH, HEADS)).astype(np.float32) / WIDTH**0.5
    first = np.maximum(generator.normal(size=(CHUNK, WIDTH)).astype(np.float32) @ mixing, 0)
    targets = first @ weights + 0.01 * np.sin(first[:, :HEADS])

    def chunks(rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same chunk with its columns turned: new rows at no cost, so that the fit is what is timed."""
        for start in range(0, rows, CHUNK):
            turn = start // CHUNK % WIDTH
            yield np.roll(first, turn, axis=1), targets

    gp.fit_features(lambda: chunks(CHUNK))
    rows, power = [], 4
    while 10**power <= arguments.most:
        fitted = measured(lambda count=10**power: gp.fit_features(lambda: chunks(count)))
        row = {
            "rows": 10**power,
            "fit s": fitted.seconds,
            "fit cpu s": fitted.processor,
            "MB": fitted.megabytes,
        }
        rows.append({**row, "cpu s per 10⁶ rows": fitted.processor / 10 ** (power - 6)})
        if power == 6:
            rows[-1] |= explained(fitted.value, first)
        print(pd.DataFrame(rows[-1:]).to_string(index=False, float_format="%.3g"), flush=True)
        power += 1


def explained(d: gp.Distillation, queries: np.ndarray) -> dict[str, float]:
    predicted = measured(lambda: d.predict(queries))
    near = measured(lambda: d.neighbors(queries[:100], k=10))
    return {
        "10⁴ predictions s": predicted.seconds,
        "predictions cpu s": predicted.processor,
        "neighbors of 100 s": near.seconds,
        "neighbors cpu s": near.processor,
        "neighbors MB": near.megabytes,
    }
