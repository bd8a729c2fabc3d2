"""Sums over processes: two of them under torchrun equal one with all the rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gp
from gp import distributed, matching
from gp.sums import Sums
from interpret.errors import UsageError

WORKER = """
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from gp import distributed
from interpret.errors import RowsNotStored, UsageError

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, folder = dist.get_rank(), Path(sys.argv[1])
data = np.load(folder / "data.npz")
mine = slice(0, 130) if rank == 0 else slice(130, None)
d = distributed.fit_features(data["U"][mine], data["V"][mine], noise=0.5)
p = d.predict_features(data["Q"])
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)).eval()
e = distributed.distill(net, data["X"][mine])
q = e.predict(data["X"][:20])
t = distributed.distill(net, data["X"][mine], kernel="learned", steps=20, dim=4)
try:
    d.contributions(data["Q"][0])
    said = ""
except RowsNotStored as error:
    said = str(error)
try:
    distributed.fit_features(data["U"][mine, : 4 + rank], data["V"][mine])
    shapes = ""
except UsageError as error:
    shapes = str(error)
np.savez(folder / f"rank{rank}.npz", mean=p.mean, variance=p.variance, net=q.mean, noise=e.noise, examples=d.examples,
         learned=t.predict(data["X"][:20]).mean, level=np.max(t.noise), said=said, shapes=shapes)
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    g = np.random.default_rng(0)
    U = g.normal(size=(200, 5)) * [1, 3, 0.1, 1, 10] + 100
    V = U @ g.normal(size=(5, 2)) + g.normal(size=(200, 2))
    np.savez(folder / "data.npz", U=U, V=V, Q=U[:30] + g.normal(size=(30, 5)), X=U.astype(np.float32) - 100)
    (folder / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*command, str(folder / "worker.py"), str(folder)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        env={**__import__("os").environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return np.load(folder / "data.npz"), [np.load(folder / f"rank{r}.npz") for r in range(2)]


def test_two_processes_equal_one(ranks):
    data, (first, second) = ranks
    alone = gp.fit_features(data["U"], data["V"], noise=0.5)
    p = alone.predict_features(data["Q"])
    for rank in (first, second):
        np.testing.assert_allclose(rank["mean"], p.mean, rtol=1e-10, atol=1e-10 * np.abs(data["V"]).max())
        np.testing.assert_allclose(rank["variance"], p.variance, rtol=1e-9)
        assert rank["examples"] == 200
    assert np.array_equal(first["mean"], second["mean"])


def test_a_network_is_distilled_over_both(ranks):
    data, (first, second) = ranks
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)).eval()
    alone = gp.distill(net, data["X"], noise=float(first["noise"]))
    expected = alone.predict(data["X"][:20]).mean
    np.testing.assert_allclose(first["net"], expected, rtol=1e-9, atol=1e-10)
    assert np.array_equal(first["net"], second["net"])


def test_a_learned_kernel_is_the_same_everywhere_and_its_noise_counts_all_rows(ranks):
    _, (first, second) = ranks
    assert np.array_equal(first["learned"], second["learned"])
    shares = matching.recipe("explain").shares  # of all 200 rows, not of the first process's 130
    assert any(first["level"] == pytest.approx(200 * share) for share in shares)


def test_what_is_elsewhere_and_what_does_not_fit_is_said(ranks):
    _, (first, second) = ranks
    assert "200 training rows are spread over 2 processes" in str(first["said"])
    assert "sums of different shapes" in str(first["shapes"]) and "different shapes" in str(second["shapes"])


def test_without_a_group_it_says_how_to_start():
    with pytest.raises(UsageError, match="start with torchrun"):
        distributed.all_reduced(Sums.start(torch.ones(1, 3, 2).double(), torch.ones(1, 3, 1).double()))
