"""The report: frozen view data, templates, figures, and the pages written from them."""

from __future__ import annotations

from interpret.report.notebooks import notebook
from interpret.report.write import write, write_comparison

__all__ = ["notebook", "write", "write_comparison"]
