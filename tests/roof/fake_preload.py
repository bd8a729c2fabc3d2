"""A Dask worker preload: sessions of this worker make explanations up."""

from __future__ import annotations

from typing import Any


def dask_setup(worker: Any) -> None:
    import fake_sweep

    from interpret.sweeping import cluster

    cluster.Session = fake_sweep.FakeSession  # type: ignore[misc]
