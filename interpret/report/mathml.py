"""MathML from elsewhere, parsed and rebuilt from an allow list, so that nothing else reaches a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from html.entities import html5
from xml.etree import ElementTree

from markupsafe import Markup, escape

from interpret.report.clean import escaped, visible

_ELEMENTS = frozenset(
    {
        "math",
        "mrow",
        "mi",
        "mn",
        "mo",
        "mtext",
        "mspace",
        "msup",
        "msub",
        "msubsup",
        "mfrac",
        "msqrt",
        "mroot",
    }
    | {"munder", "mover", "munderover", "mtable", "mtr", "mtd", "mstyle", "mpadded", "mphantom", "semantics"}
)
_ATTRIBUTES = frozenset(
    {
        "display",
        "mathvariant",
        "stretchy",
        "fence",
        "separator",
        "form",
        "lspace",
        "rspace",
        "width",
        "height",
    }
    | {"depth", "displaystyle", "scriptlevel", "linethickness", "columnalign", "accent", "symmetric"}
)
_VALUE = re.compile(r"[\w.+%\- ]{1,30}")
_ENTITY = re.compile(r"&(?!amp;|lt;|gt;|quot;|apos;|#)(\w+;)")
_JOINING = frozenset({"+", "-", "−"})
_FENCES = frozenset("()[]{}|")
_WITH_TEXT = frozenset({"mi", "mn", "mo", "mtext"})
#: A product with a longer name than this may be broken between its factors.
_LONG_WORD = 14
_INVISIBLE_TIMES, _DOT = "\u2062", "\u00b7"
#: Longer formulas are shown as text: a browser would spend seconds on them, and nobody reads them.
LONGEST = 40_000


def formula(mathml: str, fallback: str = "", *, display: bool = False) -> Markup:
    """``mathml`` as markup that is safe to place in a page, or ``fallback`` as text where it is invalid.

    Args:
        mathml: a ``<math>`` element; named HTML entities and a namespace are allowed, anything outside core
            presentation MathML is dropped with its content kept.
        fallback: the expression as plain text, for a browser that is given no MathML.
        display: ask for display style, with large fractions.
    """
    chunks = _shown(mathml)
    if chunks is None:
        return Markup('<code class="formula-text">{}</code>').format(visible(fallback, 2000))
    style = ' displaystyle="true"' if display else ""
    shown = " ".join(f"<math{style}>{chunk}</math>" for chunk in chunks)
    return Markup(f'<span class="formula">{shown}</span>')


# A neuron's formula stands in the index, over its page and in its frontier; plain rows are those of other neurons too.
@lru_cache(maxsize=64)
def _shown(mathml: str) -> tuple[str, ...] | None:
    """What is inside each ``<math>`` that the formula is shown as; None where ``mathml`` is invalid."""
    root = _parsed(mathml)
    if root is None or root.tag != "math":
        return None
    try:
        _show_products(root)
        return tuple(_chunks(root))
    except RecursionError:
        # A thousand roots one in another: foreign, and no formula that a reader wants typeset.
        return None


def _show_products(root: ElementTree.Element) -> None:
    """A dot between factors that would be read as one word: width·tanh(height), 0.5·tilt; not in 2x or x₀x₁."""
    for element in root.iter():
        if len(element) < 3:
            continue
        children = list(element)
        for left, sign, right in zip(children, children[1:], children[2:], strict=False):
            if _text(sign) == _INVISIBLE_TIMES:
                ends, begins = _edge(left, last=True), _edge(right, last=False)
                if "word" in (ends, begins) or begins == "number":
                    sign.text = _DOT


def _edge(element: ElementTree.Element, last: bool) -> str:
    """What a factor ends (or begins) with: a "word" of several letters, a "number", or something else ("")."""
    while element.tag not in _WITH_TEXT:
        name, children = element.tag, list(element)
        if not children or name in ("mfrac", "msqrt", "mroot", "mtable"):
            return ""
        # Of powers and indices the base counts: it stands on the line.
        element = children[-1 if last and name not in ("msup", "msub", "msubsup") else 0]
    if element.tag == "mn":
        return "number"
    return "word" if element.tag != "mo" and len((element.text or "").strip()) > 1 else ""


def _chunks(root: ElementTree.Element) -> list[str]:
    """The terms of a sum, one ``<math>`` each: browsers break lines between elements, never inside one."""
    terms = root
    while len(terms) == 1 and terms[0].tag in ("mrow", "mstyle", "semantics"):
        terms = terms[0]
    chunks: list[list[str]] = [[]]
    children, breaks = _terms(terms), _JOINING
    if _is_long(root):
        children = [factor for term in children for factor in (_flat(term) if _is_long(term) else [term])]
        breaks = _JOINING | {_DOT}
    for child in children:
        if _text(child) in breaks and chunks[-1]:
            chunks.append([])
            # At the start of an element an operator would be taken for a sign, and set without its spaces.
            child.set("form", "infix")
        chunks[-1].append(_rebuilt(child))
    return ["".join(chunk) for chunk in chunks]


def _terms(sum_: ElementTree.Element) -> list[ElementTree.Element]:
    """Terms and signs of a sum whose first term may be a sum in turn, as ((a + b) + c) is when a tree is written."""
    children = list(sum_)
    while len(children) > 1 and _joins(children[1]) and children[0].tag == "mrow" and _is_sum(children[0]):
        children = [*children[0], *children[1:]]
    return children


def _is_long(term: ElementTree.Element) -> bool:
    """Whether it has a name that no phone is wide enough for beside another."""
    return any(len(leaf.text or "") > _LONG_WORD for leaf in term.iter() if leaf.tag in _WITH_TEXT)


def _flat(term: ElementTree.Element) -> list[ElementTree.Element]:
    """The factors and dots of a product; else the term itself."""
    signs = {_text(child) for child in term}
    if term.tag != "mrow" or signs & (_JOINING | _FENCES) or (len(term) > 1 and _DOT not in signs):
        return [term]
    return [factor for child in term for factor in _flat(child)]


def _text(element: ElementTree.Element) -> str:
    """The sign of an operator, "" of anything else."""
    return (element.text or "").strip() if element.tag == "mo" else ""


def _joins(element: ElementTree.Element) -> bool:
    return _text(element) in _JOINING


def _is_sum(element: ElementTree.Element) -> bool:
    """Whether signs stand in it at the top level, and no parentheses, inside which none may be broken off."""
    signs = {(child.text or "").strip() for child in element if child.tag == "mo"}
    if not signs and len(element) == 1 and element[0].tag == "mrow":
        return _is_sum(element[0])
    return bool(signs & _JOINING) and not signs & _FENCES


def _parsed(mathml: str) -> ElementTree.Element | None:
    """The tree, its names without their namespaces: no namespace changes what an element is."""
    if not mathml or len(mathml) > LONGEST or "<!" in mathml or "<?" in mathml:
        return None
    plain = _ENTITY.sub(lambda found: html5.get(found[1], ""), mathml)
    try:
        root = ElementTree.fromstring(plain)
    except (ElementTree.ParseError, UnicodeError):
        return None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _rebuilt(element: ElementTree.Element) -> str:
    """An element as it is allowed to be; of any other what is inside, escaped."""
    name = element.tag
    inside = "".join(map(_rebuilt, element)) if len(element) else ""
    if element.text and name in _WITH_TEXT:
        inside = _leaf(name, element.text) + inside
    if name not in _ELEMENTS or name == "math":
        return inside
    attributes = _attributes(element.attrib) if element.attrib else ""
    return f"<{name}{attributes}>{inside}</{name}>"


def _leaf(name: str, text: str) -> str:
    shown = visible(text, 200)
    return escaped(shown.replace("-", "−") if name in ("mo", "mn") else shown)


def _attributes(given: Mapping[str, str]) -> str:
    return "".join(
        f' {key}="{escape(value)}"'
        for key, value in sorted(given.items())
        if key in _ATTRIBUTES and _VALUE.fullmatch(value)
    )
