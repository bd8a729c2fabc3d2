"""Sums over processes: three under torchrun, one without rows, equal one process with all the rows."""

from __future__ import annotations

import os
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
from interpret.errors import InterpretError

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, folder = dist.get_rank(), Path(sys.argv[1])
data = np.load(folder / "data.npz")
U, V, X = data["U"], data["V"], data["X"]
mine = [slice(0, 130), slice(130, 130), slice(130, None)][rank]  # the middle one has no rows
found = {}


def said(name, call):
    try:
        call()
        found[name] = ""
    except InterpretError as error:
        found[name] = f"{type(error).__name__}: {error}"


for name, noise in (("plain", 0.5), ("tiny", 1e-12), ("auto", "auto")):
    d = distributed.fit_features(U[mine], V[mine], noise=noise)
    p = d.predict_features(data["Q"])
    found |= {name: p.mean, name + " variance": p.variance, name + " noise": d.noise, "examples": d.examples}
pair = dist.new_group([0, 2])
if rank != 1:
    found["pair"] = distributed.fit_features(U[mine], V[mine], noise=0.5, group=pair).predict_features(data["Q"]).mean
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2), nn.Softmax(-1)).eval()
late = [slice(0, 0), slice(0, 150), slice(150, None)][rank]  # the first one has no rows
e = distributed.distill(net, X[late])
q = e.predict(X[:20])
found |= {"net": q.mean, "latent": q.latent, "net noise": e.noise}
t = distributed.distill(net[:3], X[mine], kernel="learned", steps=20, dim=4)
found |= {"learned": t.predict(X[:20]).mean, "level": np.max(t.noise)}
said("rows", lambda: d.contributions(data["Q"][0]))
said("shapes", lambda: distributed.fit_features(U[:, : 4 + rank], V))
broken = U.copy()
broken[0] = np.nan
said("broken", lambda: distributed.fit_features(broken if rank == 2 else U, V))
said("nobody", lambda: distributed.fit_features(U[:0], V[:0]))
said("kernel", lambda: distributed.distill(net, X, kernel="other"))
np.savez(folder / f"rank{rank}.npz", **found)
dist.destroy_process_group()
"""


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2), nn.Softmax(-1)).eval()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    g = np.random.default_rng(0)
    U = g.normal(size=(200, 5)) * [1, 3, 0.1, 1, 10] + 100
    V = U @ g.normal(size=(5, 2)) + g.normal(size=(200, 2))
    np.savez(folder / "data.npz", U=U, V=V, Q=U[:30] + g.normal(size=(30, 5)), X=U.astype(np.float32) - 100)
    (folder / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=3", "--standalone"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*command, str(folder / "worker.py"), str(folder)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return np.load(folder / "data.npz"), [np.load(folder / f"rank{r}.npz") for r in range(3)]


@pytest.mark.parametrize("name", ["plain", "tiny", "auto"])
def test_three_processes_equal_one(ranks, name):
    data, found = ranks
    alone = gp.fit_features(data["U"], data["V"], noise={"plain": 0.5, "tiny": 1e-12, "auto": "auto"}[name])
    p = alone.predict_features(data["Q"])
    for rank in found:
        np.testing.assert_allclose(rank[name], p.mean, rtol=0, atol=1e-10 * np.abs(data["V"]).max())
        np.testing.assert_allclose(rank[name + " variance"], p.variance, rtol=1e-9)
        assert rank[name + " noise"] == alone.noise and rank["examples"] == 200
        assert np.array_equal(found[0][name], rank[name])


def test_two_of_three_processes_equal_one(ranks):
    data, (first, _, last) = ranks
    alone = gp.fit_features(data["U"], data["V"], noise=0.5).predict_features(data["Q"]).mean
    for rank in (first, last):
        np.testing.assert_allclose(rank["pair"], alone, rtol=0, atol=1e-10 * np.abs(alone).max())


def test_a_network_with_a_tail_is_distilled_over_all(ranks):
    data, found = ranks
    alone = gp.distill(network(), data["X"])
    p = alone.predict(data["X"][:20])
    for rank in found:
        assert rank["net noise"] == alone.noise
        np.testing.assert_allclose(rank["latent"], p.latent, rtol=0, atol=1e-10 * np.abs(p.latent).max())
        np.testing.assert_allclose(rank["net"], p.mean, rtol=0, atol=1e-10)
        assert np.array_equal(rank["net"], found[0]["net"])


def test_a_learned_kernel_is_the_same_everywhere_and_its_noise_counts_all_rows(ranks):
    _, found = ranks
    assert all(np.array_equal(found[0]["learned"], rank["learned"]) for rank in found)
    shares = matching.recipe("explain").shares  # of all 200 rows, not of the first process's 130
    assert any(found[0]["level"] == pytest.approx(200 * share) for share in shares)


def test_what_fails_on_one_process_is_said_on_all(ranks):
    _, found = ranks
    for rank in found:
        assert "200 training rows are spread over 3 processes" in str(rank["rows"])
        assert "UsageError: the processes have sums of different shapes" in str(rank["shapes"])
        assert "TooFewPoints: no process has any rows" in str(rank["nobody"])
        assert "no kernel 'other'" in str(rank["kernel"])
    assert str(found[2]["broken"]).startswith("BadInput: the features hold a value that is not finite")
    for rank in found[:2]:
        assert str(rank["broken"]).startswith(
            "UsageError: process 2 failed, so all stop: BadInput: the features"
        )


def test_without_a_group_it_says_how_to_start():
    with pytest.raises(UsageError, match="start with torchrun"):
        distributed.all_reduced(Sums.start(torch.ones(1, 3, 2).double(), torch.ones(1, 3, 1).double()))
