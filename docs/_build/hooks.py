"""What the documentation's build does beyond its plugins: formulas as MathML, no hidden comments, files of the tree."""

from __future__ import annotations

import html
import re
import unicodedata
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

ROOT = Path(__file__).parents[2]
#: What arithmatex makes of $…$ and $$…$$.
FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*\\[(\[](.*?)\\[)\]]\s*</\1>', re.DOTALL)


#: Bars that open and close; the converter gives both the same operator, which browsers then space and stretch badly.
FENCES = {
    r"\lvert": ("\ue001", "prefix", "|"),
    r"\rvert": ("\ue002", "postfix", "|"),
    r"\lVert": ("\ue003", "prefix", "‖"),
    r"\rVert": ("\ue004", "postfix", "‖"),
}

#: A bar or bracket with a size of its own, such as ``\Bigl\lvert``; and the sizes.
SIZED = re.compile(r"\\([Bb]igg?)([lr])\s*(\\[lr]vert|\\[lr]Vert|[()\[\]|])")
SIZES = {"big": "1.2em", "Big": "1.8em", "bigg": "2.4em", "Bigg": "3em"}

#: A function's name; one that carries an index is a child among others, and takes no space beside it.
NAMED = re.compile(r"(<m(?:sub|sup|subsup|under|over|underover)>)?<mo>([a-z]{2,})</mo>")

#: A letter in a style of its own; browsers ignore the attribute, so the style has to be in the character.
LETTER = re.compile(r'<mi mathvariant="(double-struck|script)">([A-Z])</mi>')


def _letter(match: re.Match[str]) -> str:
    """ℝ, 𝔼, ℒ: the character whose name says both style and letter; some are older than the mathematical block."""
    name = f"{match[1].upper()} CAPITAL {match[2]}"
    try:
        sign = unicodedata.lookup(name)
    except KeyError:
        sign = unicodedata.lookup(f"MATHEMATICAL {name}")
    return f"<mi>{sign}</mi>"


def _named(match: re.Match[str]) -> str:
    space = "" if match[1] else '<mspace width="0.17em"/>'
    return f"{match[1] or ''}<mi>{match[2]}</mi>{space}"


def mathml(latex: str, display: str) -> str:
    """A formula as MathML that looks right without a mathematical font too."""
    large: list[str] = []

    def sized(match: re.Match[str]) -> str:
        form, size = ("prefix" if match[2] == "l" else "postfix"), SIZES[match[1]]
        sign = FENCES[match[3]][2] if match[3] in FENCES else match[3]
        large.append(
            f'<mo form="{form}" fence="true" stretchy="true" minsize="{size}" maxsize="{size}" lspace="0" '
            f'rspace="0">{sign}</mo>'
        )
        return f"{chr(0xE010 + len(large))} "

    latex = SIZED.sub(sized, latex)
    for name, (mark, _, _) in FENCES.items():
        latex = latex.replace(name, f"{mark} ")
    drawn = LETTER.sub(_letter, convert(latex, display=display))
    for mark, form, sign in FENCES.values():
        fence = f'<mo form="{form}" fence="true" stretchy="false" lspace="0" rspace="0">{sign}</mo>'
        drawn = drawn.replace(f"<mi>&#x0{ord(mark):X};</mi>", fence).replace(f"<mi>{mark}</mi>", fence)
    for at, fence in enumerate(large, start=0xE011):
        drawn = drawn.replace(f"<mi>&#x0{at:X};</mi>", fence).replace(f"<mi>{chr(at)}</mi>", fence)
    prime = r'<mrow><mi>\1</mi><mo form="postfix" lspace="0" rspace="0">&#x02032;</mo></mrow>'
    drawn = re.sub(r"<msup><mi>([^<]*)</mi><mi>&#x02032;</mi></msup>", prime, drawn)
    return NAMED.sub(_named, drawn)


def _listed_examples() -> str:
    """One section for each example: its title, its first paragraph, its code."""
    parts = []
    for path in sorted((ROOT / "examples").glob("*.py")):
        code = path.read_text(encoding="utf8")
        head = [line.removeprefix("#").removeprefix(" ") for line in code.split("# %%\n")[0].splitlines()[1:]]
        text = "\n".join(head).strip()
        title, _, intro = text.removeprefix("# ").partition("\n")
        indented = "\n".join(f"    {line}".rstrip() for line in code.splitlines())
        parts.append(
            f'## {title}\n\n{intro.strip()}\n\n??? note "examples/{path.name}"\n\n    ```python\n{indented}\n    ```\n'
        )
    return "\n".join(parts)


def _commands() -> str:
    """What each command prints for --help."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from interpret.cli import app

    verbs = sorted(get_command(app).commands)  # type: ignore[attr-defined]
    shown = []
    for verb in verbs:
        printed = (
            CliRunner().invoke(app, [verb, "--help"], prog_name="twinscope", env={"COLUMNS": "100"}).output
        )
        shown.append(f"## twinscope {verb}\n\n```text\n{printed.strip()}\n```\n")
    return "\n".join(shown)


MADE = {"{{ examples }}": _listed_examples, "{{ commands }}": _commands}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Take away comments, which are for the test that runs the pages; a fenced block is left as it is."""
    for mark, make in MADE.items():
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(
        p if p.startswith("```") else re.sub(r"<!--.*?-->\n?", "", p, flags=re.DOTALL) for p in parts
    )


def on_page_content(content: str, **_: Any) -> str:
    """Formulas become MathML here, so that a page needs neither a script nor a font to show them."""

    def drawn(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        formula = mathml(html.unescape(match[2]).strip(), display)
        return f'<div class="formula">{formula}</div>' if display == "block" else formula

    return FORMULA.sub(drawn, content)
