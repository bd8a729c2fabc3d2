"""Views to HTML: Jinja2 with autoescape, and every text made visible on its way out."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from interpret.report.clean import visible
from interpret.report.tables import bar, cells


@cache
def environment() -> Environment:
    """The templates' environment; escaping cannot be forgotten, an unknown name is an error."""
    made = Environment(
        loader=PackageLoader("interpret.report", "templates"),
        autoescape=True,
        finalize=_finalized,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"bar": bar, "cells": cells}
    made.filters["slug"] = lambda text: "".join(
        at if at.isascii() and at.isalnum() else "-" for at in str(text).lower()
    )
    return made


def _finalized(value: Any) -> Any:
    """Markup passes; any other value becomes one line of visible text, which autoescape then escapes."""
    return value if isinstance(value, Markup) else visible(value, 2_000)


def html(template: str, **values: Any) -> str:
    """The page of ``template`` filled with ``values``."""
    return environment().get_template(template).render(**values) + "\n"


@cache
def asset(name: str) -> str:
    """The text of a style sheet or script."""
    return files("interpret.report").joinpath("assets", name).read_text(encoding="utf-8")


def inline_assets() -> dict[str, Markup]:
    """Style and script for a single file. They are ours; ``</`` in either would end the element early."""
    style, script = asset("report.css"), asset("report.js")
    if "</" in style or "</" in script:
        raise AssertionError("an asset contains '</', which would end its element in the page")
    return {"style": Markup(style), "script": Markup(script)}
