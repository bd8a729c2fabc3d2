"""Whatever the text or bytes: a result or a named error, never an error from inside, never code that runs.

These are the doors through which foreign input comes: addresses, formulas, data files, commands.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpret.address import parse as parse_address
from interpret.cli import main
from interpret.data import load
from interpret.errors import InterpretError
from interpret.explanation import NeuronExplanation
from interpret.store import create_run
from symbolic.expression import from_json, to_json
from symbolic.parser import parse as parse_formula

BOUNDED = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
EVIL = [
    "__import__('os').system('touch pwned')", "x0.__class__.__mro__", "lambda: 0", "exec('1')", "eval(x0)", "x0;x1",
    "().__class__", "open('pwned','w')", "x0 if x1 else x2", "[x0 for x0 in x1]", "f'{x0}'", "x0\n\nimport os", "$(id)",
]  # fmt: skip


def quiet(call: Callable[..., Any], *arguments: Any) -> Any:
    """The call's result, or None where it raises an error of ours; any other error is the test's failure."""
    said = None
    try:
        return call(*arguments)
    except InterpretError as error:
        said = str(error)
    assert said and len(said) < 5000, "an error says something, and not everything"
    return None


_ADDRESS = st.sampled_from([
    "fc1", ".", "[", "]", ",", ":", "*", "…", "...", "-", "0", "3", "99999999999999999999", "@", "1", "'", '"', " ",
    "\t", "\x00", "ü", "\udc80", "\n", "e", "layer", "_orig_mod",
])  # fmt: skip


@BOUNDED
@given(text=st.one_of(st.text(max_size=40), st.lists(_ADDRESS, max_size=12).map("".join)))
def test_addresses(text: str) -> None:
    address = quiet(parse_address, text)
    if address is not None:
        assert quiet(parse_address, str(address)) == address, "what is printed reads back as the same address"


_FORMULA = st.sampled_from([
    "x0", "x1", "+", "-", "*", "/", "^", "**", "(", ")", "sin", "log", "exp(", "1e999", "0.5", "pi", ",", "`", "``",
    "e", "x9", "nan", "\x00", "²", "·", "−", "=", "<", "__", ".", "import", " ",
])  # fmt: skip


@BOUNDED
@given(
    text=st.one_of(st.text(max_size=60), st.lists(_FORMULA, max_size=16).map("".join), st.sampled_from(EVIL))
)
def test_formulas(text: str) -> None:
    tree = quiet(parse_formula, text, ["x0", "x1"])
    if tree is not None:
        stored = quiet(to_json, tree)
        assert stored is None or from_json(stored) == tree


@pytest.mark.parametrize("text", EVIL)
def test_code_is_no_formula(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert quiet(parse_formula, text, ["x0", "x1", "x2"]) is None
    assert os.listdir(tmp_path) == []


_WORD = st.sampled_from(["x", "+", "sin", "", "__"])
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(-3, 10**20), _WORD),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_WORD, inner, max_size=2)),
    max_leaves=12,
)


@BOUNDED
@given(value=st.one_of(_JSON.map(json.dumps), st.text(max_size=30), st.just("[" * 100_000)))
def test_stored_formulas(value: str) -> None:
    quiet(from_json, value)


@pytest.mark.parametrize("ending", [".csv", ".npz", ".npy", ".safetensors", ".parquet"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=300))
def test_data_files_of_any_bytes(tmp_path: Path, ending: str, content: bytes) -> None:
    file = tmp_path / f"d{ending}"
    file.write_bytes(content)
    quiet(load, file)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_archives(tmp_path: Path, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, X=np.arange(12.0).reshape(4, 3), y=np.arange(4))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path / "d.npz"
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    quiet(load, file)


_CELL = st.one_of(
    st.floats().map(str), st.sampled_from(["", "a", "1", "nan", '"', "=1+1", "\x00", "1e999", "true", "ü"])
)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.lists(_CELL, max_size=4).map(",".join), max_size=6))
def test_tables(tmp_path: Path, rows: list[str]) -> None:
    file = tmp_path / "d.csv"
    file.write_text("\n".join(rows), encoding="utf-8")
    quiet(load, file)


class _Bomb:
    """Unpickling it writes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


def test_pickles_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("bomb.npy", np.array([_Bomb()], dtype=object), allow_pickle=True)
    np.savez("bomb.npz", X=np.array([_Bomb()], dtype=object))
    with zipfile.ZipFile("odd.npz", "w") as archive:
        archive.writestr("X.npy", Path("bomb.npy").read_bytes())
    for name in ("bomb.npy", "bomb.npz", "odd.npz"):
        assert quiet(load, Path(name)) is None
    assert not Path("pwned").exists()


_WORDS = st.sampled_from([
    "query", "explain", "layers", "report", "run", "--json", "--csv", "--where", "--like", "--sort", "--limit",
    "--uses", "r2 > 0", "x0*x1", "-1", "--", "-x", "--jobs", "0", "", "net.py:model", "\x07", "--help",
    "fc1[*]", "--revisions",
])  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(words=st.lists(_WORDS, max_size=6))
def test_commands(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., NeuronExplanation],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if not Path("run").exists():
        with create_run("run") as run:
            run.add(make())
    code = main(words)
    said = capsys.readouterr()
    assert code in (0, 2), said.err
    assert "Traceback" not in said.err
