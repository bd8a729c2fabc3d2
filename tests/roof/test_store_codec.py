"""Bytes of an explanation: the way there and back, equality, and what damage does."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpret.errors import StoreDamaged
from interpret.explanation import NeuronExplanation, Provenance
from interpret.outcome import Verdict
from interpret.runs.codec import Memory, canonical, decode, encode, sha256, unpack


def same(a: Any, b: Any) -> bool:
    """Deep equality in which NaN equals NaN and arrays must agree in dtype, shape and every bit."""
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and a.tobytes() == b.tobytes()
        )
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)
        )
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return type(a) is type(b) and a == b


def there_and_back(e: NeuronExplanation) -> NeuronExplanation:
    encoded = encode(e)
    return decode(encoded.document, encoded.volatile, Memory(encoded))


def test_every_field_survives(make: Callable[..., NeuronExplanation]) -> None:
    e = make()
    assert same(there_and_back(e), e)
    assert same(there_and_back(dataclasses.replace(e, formula=None)).examples, e.examples)
    bare = dataclasses.replace(e, formula=None, examples=None, crosscheck=None)
    assert same(there_and_back(bare), bare)


def test_same_can_fail(make: Callable[..., NeuronExplanation]) -> None:
    e = make()
    assert e.formula is not None
    points = e.formula.points.copy()
    points[0, 0] = np.nextafter(points[0, 0], 9)
    assert not same(e, dataclasses.replace(e, formula=dataclasses.replace(e.formula, points=points)))


def test_digest_ignores_time_only(make: Callable[..., NeuronExplanation]) -> None:
    e = make()
    later = dataclasses.replace(
        e, provenance=dataclasses.replace(e.provenance, created="2030-01-01", seconds=99.0)
    )
    assert encode(later).digest == encode(e).digest
    assert encode(later).volatile != encode(e).volatile
    assert encode(dataclasses.replace(e, claim="another")).digest != encode(e).digest
    assert e.formula is not None
    moved = dataclasses.replace(e.formula, cosines=e.formula.cosines + 1e-16)
    moved.cosines[0] = np.nextafter(e.formula.cosines[0], 9)
    assert encode(dataclasses.replace(e, formula=moved)).digest != encode(e).digest


def test_shared_points_are_one_pack(make: Callable[..., NeuronExplanation]) -> None:
    first, second = encode(make("fc1[0]")), encode(make("fc1[1]"))
    assert len(set(first.packs) & set(second.packs)) == 1
    assert len(first.packs) == 2


def test_packs_and_document_are_canonical(make: Callable[..., NeuronExplanation]) -> None:
    encoded = encode(make())
    assert all(sha256(content) == key for key, content in encoded.packs.items())
    assert canonical(json.loads(encoded.document)) == encoded.document
    assert encode(make()).packs == encoded.packs


@settings(max_examples=50, deadline=None)
@given(
    text=st.text(st.characters(), max_size=40),
    numbers=st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 2),
    whole=st.integers(-(2**70), 2**70),
)
def test_any_text_and_number_survives(text: str, numbers: tuple[float, float], whole: int) -> None:
    e = NeuronExplanation(
        address=text, title=text, model="m", verdict=Verdict.NONE, claim=text, reasons=(text,), advice=(),
        formula=None,        examples=None, crosscheck=None, failures=((text, text),),
        provenance=Provenance(whole, "", "", text, (), (), numbers[0]),
    )  # fmt: skip
    assert same(there_and_back(e), e)
    encoded = encode(e)
    assert canonical(json.loads(encoded.document)) == encoded.document


def test_numpy_numbers_and_lists_are_stored_as_plain_ones(make: Callable[..., NeuronExplanation]) -> None:
    e = make()
    assert e.formula is not None
    odd = dataclasses.replace(
        e.formula, mse=np.float32(0.25), points_used=np.int64(12), misalignment=np.float64("nan"), reasons=["because"]
    )  # fmt: skip
    plain = dataclasses.replace(e.formula, mse=0.25, misalignment=math.nan)
    assert encode(dataclasses.replace(e, formula=odd)) == encode(dataclasses.replace(e, formula=plain))


def test_a_number_beyond_all_bounds_is_damage(make: Callable[..., NeuronExplanation]) -> None:
    encoded = encode(make())
    document = encoded.document.replace(b'"points_used":12', b'"points_used":1e999')
    assert document != encoded.document
    with pytest.raises(StoreDamaged, match="does not decode"):
        decode(document, encoded.volatile, Memory(encoded))


def test_lone_surrogates_survive(make: Callable[..., NeuronExplanation]) -> None:
    e = make("fc\udc80[0]")
    assert there_and_back(e).address == e.address


def test_altered_pack_is_refused(make: Callable[..., NeuronExplanation]) -> None:
    encoded = encode(make())
    key, content = next(iter(encoded.packs.items()))
    broken = bytearray(content)
    broken[-1] ^= 1
    with pytest.raises(StoreDamaged, match="content that its name promises"):
        unpack(bytes(broken), key)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_document_never_breaks_inside(
    make: Callable[..., NeuronExplanation], data: st.DataObject
) -> None:
    pristine = encode(make())
    document = bytearray(pristine.document)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(document) - 1))
        document[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(document)), st.integers(0, len(document))))
    with contextlib.suppress(StoreDamaged):
        decode(bytes(document[:cut]), pristine.volatile, Memory(pristine))


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()])])
def test_what_cannot_be_stored_is_refused(make: Callable[..., NeuronExplanation], value: Any) -> None:
    e = dataclasses.replace(make(), claim=value)
    with pytest.raises(TypeError, match="claim"):
        encode(e)
