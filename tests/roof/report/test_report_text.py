"""Text and numbers on their way to a page."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpret.report.clean import close_to_one, count, number, percent, signed, visible, within


@given(st.text(max_size=400), st.integers(40, 200))
def test_visible_text_is_one_short_line_without_hidden_characters(text: str, longest: int) -> None:
    shown = visible(text, longest)
    assert not set(shown) & set("\x00\n\r\u202e\u2066\x1b\u200f\ufeff")
    assert all(
        at.isprintable() or at in "\u200c\u200d\ufe0f\u00ad\u2009\u2061\u2062\u2063\u2064" for at in shown
    )
    if len(text) > longest:
        assert "characters)" in shown


def test_hidden_characters_are_spelled_not_dropped() -> None:
    assert visible("a\u202eb\x00c\u200f") == "a⟨U+202E⟩b⟨U+0000⟩c⟨U+200F⟩"
    assert visible("naïve Größe 漢字 👩‍🔬 שלום") == "naïve Größe 漢字 👩‍🔬 שלום"
    assert visible("tab\tand\nline\u2028end") == "tab and line end"
    assert visible("x" * 10_000).endswith("(10\u2009000 characters)")


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12), st.integers(2, 6))
def test_a_written_number_is_within_its_last_digit(value: float, digits: int) -> None:
    text = number(value, digits).replace("−", "-")
    if "×10" in text:
        mantissa, exponent = text.split("×10")
        power = int(exponent.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")))
        read = float(mantissa) * 10.0**power
    else:
        read = float(text)
    assert math.isclose(read, value, rel_tol=0.51 * 10 ** (1 - digits), abs_tol=1e-300)


@given(st.floats(0.99, 1, exclude_max=True))
def test_near_one_is_never_rounded_up_to_one(value: float) -> None:
    written = close_to_one(value)
    assert float(written) <= value
    assert 1 - float(written) <= 10 * (1 - value) + 1e-9


def test_numbers_that_are_not() -> None:
    assert [number(at) for at in (math.nan, math.inf, -math.inf, 0.0, -0.0)] == ["–", "∞", "−∞", "0", "0"]
    assert close_to_one(math.nan) == percent(math.nan) == "–"
    assert close_to_one(1.0) == "1"
    assert signed(2.0) == "+2.00"
    assert signed(-2.0) == "−2.00"
    assert (count(1, "neuron"), count(2, "neuron"), count(12000, "row")) == (
        "1 neuron",
        "2 neurons",
        "12\u2009000 rows",
    )


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ((14.43, 14.39, 14.47), ("14.430", "14.390", "14.470")),
        ((0.5, -1.0, 2.0), ("0.50", "−1.00", "2.00")),
        ((1.0, 1.0, 1.0), ("1.00", "1.00", "1.00")),
        ((math.nan, math.nan, math.nan), ("–", "–", "–")),
    ],
)
def test_an_interval_is_written_so_that_its_ends_differ(
    given_: tuple[float, float, float], expected: tuple[str, str, str]
) -> None:
    assert within(*given_) == expected
