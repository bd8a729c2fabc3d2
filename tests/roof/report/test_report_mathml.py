"""MathML from elsewhere: what is allowed comes through, everything else does not."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpret.report.mathml import formula
from symbolic import printing
from symbolic.parser import parse

PLAIN = "<math><mi>x</mi></math>"


def test_a_formula_comes_through() -> None:
    shown = formula("<math><mfrac><mn>1</mn><msup><mi>x</mi><mn>2</mn></msup></mfrac></math>")
    assert "<mfrac><mn>1</mn><msup><mi>x</mi><mn>2</mn></msup></mfrac>" in shown


def test_a_sum_can_be_broken_between_its_terms() -> None:
    shown = formula("<math><mrow><mi>a</mi><mo>+</mo><mi>b</mi><mo>-</mo><mi>c</mi></mrow></math>")
    assert shown.count("<math>") == 3
    assert '<mo form="infix">−</mo>' in shown


def test_a_leading_minus_stays_with_its_term() -> None:
    assert formula("<math><mo>-</mo><mi>a</mi></math>").count("<math>") == 1


def test_a_product_is_not_broken() -> None:
    shown = formula(
        "<math><mrow><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mo>·</mo><mi>c</mi></mrow></math>"
    )
    assert shown.count("<math>") == 1


@pytest.mark.parametrize(
    "hostile",
    [
        "<math><mi onclick='alert(1)'>x</mi></math>",
        "<math><script>alert(1)</script><mi>x</mi></math>",
        "<math><mi xmlns:xlink='http://www.w3.org/1999/xlink' xlink:href='javascript:alert(1)'>x</mi></math>",
        "<math href='javascript:alert(1)'><mi style='position:fixed'>x</mi></math>",
        "<math><annotation-xml encoding='a'><img src='x' onerror='alert(1)'/></annotation-xml><mi>x</mi></math>",
        "<math><mi>x</mi><maction actiontype='statusline'><mi>y</mi></maction></math>",
        "<math><mtext>&lt;script&gt;alert(1)&lt;/script&gt;</mtext></math>",
        "<math><mi mathvariant='&quot; onload=&quot;alert(1)'>x</mi></math>",
    ],
)
def test_nothing_but_presentation_survives(hostile: str) -> None:
    shown = formula(hostile)
    tree = ElementTree.fromstring(str(shown))
    for element in tree.iter():
        assert element.tag in {"span", "math", "mi", "mtext"}
        assert set(element.attrib) <= {"class"}


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "<math><mi>x</math>",
        "<svg><mi>x</mi></svg>",
        "x0 < x1",
        "<math><mi>x</mi><!-- a comment --></math>",
        "<!DOCTYPE m [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><math><mi>&b;</mi></math>",
        "<?xml version='1.0'?><math><mi>x</mi></math>",
        "<math><mi>" + "x" * 50_000 + "</mi></math>",
        "<math><mi>\x00</mi></math>",
    ],
)
def test_what_is_no_formula_is_shown_as_text(broken: str) -> None:
    assert (
        formula(broken, "x0 < <b>x1</b>") == '<code class="formula-text">x0 &lt; &lt;b&gt;x1&lt;/b&gt;</code>'
    )


def test_a_formula_nested_too_deep_is_shown_as_text() -> None:
    deep = "<math>" + "<msqrt>" * 1400 + "<mi>x</mi>" + "</msqrt>" * 1400 + "</math>"
    assert "formula-text" in formula(deep, "a root")


def test_named_entities_of_html_are_understood() -> None:
    assert "\u2062" in formula("<math><mn>2</mn><mo>&InvisibleTimes;</mo><mi>x</mi></math>")
    assert "&lt;" in formula("<math><mi>x</mi><mo>&lt;</mo><mn>1</mn></math>")


@given(st.text(max_size=60))
def test_any_name_is_only_ever_text(name: str) -> None:
    from markupsafe import escape

    made = f"<math><mi>{escape(name)}</mi></math>"
    shown = formula(made, name)
    tree = ElementTree.fromstring(str(shown).replace("\x00", ""))
    assert {element.tag for element in tree.iter()} <= {"span", "math", "mi", "code"}


def test_a_sum_written_as_a_tree_breaks_at_every_term() -> None:
    def mrow(*parts: str) -> str:
        return f"<mrow>{''.join(parts)}</mrow>"

    a, b, c, d = (f"<mi>{letter}</mi>" for letter in "abcd")
    plus, minus, times = "<mo>+</mo>", "<mo>-</mo>", "<mo>⁢</mo>"
    nested = mrow(mrow(mrow(mrow(a, plus, mrow(b, times, c))), minus, c), plus, d)
    assert str(formula(f"<math>{nested}</math>")).count("<math>") == 4
    fenced = mrow(mrow("<mo>(</mo>", a, plus, b, "<mo>)</mo>", times, c), plus, d)
    assert str(formula(f"<math>{fenced}</math>")).count("<math>") == 2, "never inside parentheses"


@pytest.mark.parametrize(
    ("text", "dots"),
    [
        ("width*tanh(height)", 1),
        ("0.71787*tilt", 1),
        ("width*height*tilt", 2),
        ("width**2*height", 1),
        ("2*sin(a)", 1),
        ("2*x0", 0),
        ("x0*x1", 0),
        ("3*(x0 + 1)", 0),
    ],
)
def test_a_product_of_words_is_not_read_as_one_word(text: str, dots: int) -> None:
    import sympy

    shown = formula(f"<math>{sympy.mathml(sympy.sympify(text), printer='presentation')}</math>")
    assert shown.count("\u00b7") == dots, shown
    names = ["width", "height", "tilt", "a", "x0", "x1"]
    written = printing.mathml(parse(text, names=names), names)
    assert written.count("\u00b7") == dots, written
    assert str(formula(written)).count("\u00b7") == dots


def test_a_product_of_long_names_can_be_broken_at_its_dots() -> None:
    long = "a rather long name of an input"
    names = [long, "short"]
    for text, chunks in ((f"`{long}`*short*sin(`{long}`) + short", 4), (f"short*sin(`{long}` + short*2)", 2)):
        shown = str(formula(printing.mathml(parse(text, names=names), names)))
        assert shown.count("<math>") == chunks, shown
