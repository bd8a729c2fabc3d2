"""Made-up explanations of any size, so that the store is tested without a network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from interpret.explanation import (
    Coefficient,
    Control,
    CrossCheck,
    ExamplePart,
    FailingRegion,
    FormulaPart,
    FrontierRow,
    LinkFigure,
    Neighbor,
    NeuronExplanation,
    Prototypes,
    Provenance,
    QueryCase,
    Suspect,
    Thumbnail,
)
from interpret.outcome import Verdict


def _formula(rng: np.random.Generator, points: np.ndarray, word: Verdict, misalignment: float) -> FormulaPart:
    n, d = points.shape
    rows = tuple(
        FrontierRow(2 + 3 * k, k + 1, misalignment / (k + 1), misalignment, 2 * misalignment, 0.1,
                    f"x0*x1 + {k}", f"x_0 x_1 + {k}", f"<math><mi>x</mi><mn>{k}</mn></math>", chosen=k == 1)
        for k in range(3)
    )  # fmt: skip
    directions = rng.normal(size=(n, d))
    link = LinkFigure("affine", "2T + 1", 0.999, True, *(rng.normal(size=20) for _ in range(4)))
    return FormulaPart(
        verdict=word, reasons=("because",), advice=(), engine="eigen", expression="x0*x1 + sin(x3)",
        latex="x_0 x_1", mathml="<math/>", variables=("x0", "x1", "x3"), operators=("*", "+", "sin"), tree="",
        misalignment=misalignment, misalignment_low=misalignment / 2, misalignment_high=misalignment * 2,
        mse=0.01,
        frontier=rows, coefficients=(Coefficient("x1", 2.0, 1.9, 2.1),), link=link,
        controls=(Control("linear", 0.3), Control("random weights", 0.5, "x0", 0.01, True)),
        alternatives=("x0*x1",), names=("x0", "x1", "x3"), points=points, directions=directions,
        formula_directions=directions + 0.01, cosines=rng.uniform(size=n), points_used=n, points_dropped=3,
        failing=FailingRegion("x0 < −1", 0.1, 0.2, 0.001, (4, 5)), seconds=float(rng.uniform()),
    )  # fmt: skip


def _examples(rng: np.random.Generator, r2: float) -> ExamplePart:
    near = tuple(Neighbor(i, 0.9 - i / 100, 0.1, (1, 2) if i == 0 else None) for i in range(5))
    picture = Thumbnail(7, "image", "seven", png=b"\x89PNG" + bytes(range(200)))
    row = Thumbnail(8, "row", names=("a", "b"), values=(1.0, float("nan")))
    case = QueryCase("typical", 3, 1.0, 1.1, 0.9, 1.3, 1.2, 0.0, near, near[:2], picture)
    return ExamplePart(
        "activation", 1e-3, 100, 0.9999, r2, 0.01, 0.95, -3.0, 1.2, 0.99, True,
        *(rng.normal(size=30) for _ in range(4)), *(np.linspace(0, 1, 5) for _ in range(2)),
        cases=(case,), thumbnails=(picture, row), prototypes=Prototypes((1, 2), (0.5, 0.5), (0.8, 0.9)),
        suspects=(Suspect(9, "3", "8", -2.0),), notes=("a note",), seconds=float(rng.uniform()),
    )  # fmt: skip


def made(
    address: str = "fc1[0]", *, seed: int = 0,
    verdict: str = "EXACT", misalignment: float = 1e-3, r2: float = 0.99,
    model: str = "net:model", created: str = "2026-01-01T00:00:00+00:00", data: str = "d" * 16,
) -> NeuronExplanation:  # fmt: skip
    """An explanation with every field filled; equal arguments give equal results but for the times."""
    rng = np.random.default_rng([seed, *address.encode("utf-8", "backslashreplace")])
    points = np.random.default_rng(seed).normal(size=(12, 3))
    word = Verdict(verdict)
    return NeuronExplanation(
        address=address, title=f"{model} · {address}", model=model, verdict=word,
        claim="It multiplies x0 by x1.",
        reasons=("aligned",), advice=("look here",), formula=_formula(rng, points, word, misalignment),
        examples=_examples(rng, r2), crosscheck=CrossCheck(0.99, 0.98, 0.97),
        provenance=Provenance(seed, data, "m" * 16, created, (("torch", "2"),), (("engine", "both"),), 1.5),
        failures=(("pysr", "is not installed"),), units=(("x0", "m"),),
    )  # fmt: skip


@pytest.fixture(scope="session")
def make() -> Callable[..., NeuronExplanation]:
    return made
