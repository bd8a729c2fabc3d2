"""Every measured figure in the README and the documentation was printed by a command in the repository.

Tables of figures are those of a record word for word. A figure in the text is found, rounded to the digits shown, in
the record of a command that its section names, or in what a block of its page printed, as the page shows it and
tests/docs/test_blocks.py compares it; a number in a block's source is no evidence. Whatever else looks like a figure
is a setting, and stands in ``GIVEN``. docs/benchmarks.md is written as a whole by `make bench`.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from string import digits

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "docs" / "_build"
sys.path.insert(0, str(BUILD))
try:
    import figures
finally:
    sys.path.remove(str(BUILD))

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf8")
    for path in figures.pages()
    if path.name != "benchmarks.md"
}

#: What looks like a measured figure and is none, by page: bounds and settings that the code has, versions, examples.
GIVEN = {
    "README.md": ("Python 3.11 or", "answers twice"),
    "docs/architecture.md": ("section 3.4)",),
    "docs/attribution.md": ("60 retrainings, 50 held-out points", "a tenth of the labels flipped"),
    "docs/examples.md": ("takes less than a minute",),  # tests/roof/test_examples.py holds them to it
    "docs/howto/clusters.md": ("over 256 MB",),
    "docs/howto/regression.md": ("of a concept, 1.5e-3,",),
    "docs/howto/verdict.md": (
        "the upper 95 % bound", "of at most twice 0.005", "by a factor of two",
        "needs a tenth of that", "a twentieth of the rows", "above four times 0.005",
        "Above 100 they are",
    ),
    "docs/howto/units.md": ("over 64 pixels",),
    "docs/index.md": ("in ten minutes", "answers twice"),
    "docs/probe.md": ("channel 12", "unit 42"),
    "docs/pysr.md": (
        "Julia 1.10", "a quarter of an hour", "once a second", "(1.5 or later)", "four times a second", "at 0.6 of it",
        "agree to 1e-6", "seconds (60)", "16 is refused", "above 2,048",
    ),
    "docs/runs.md": ("waits up to a minute", "ends with 130", "130 interrupted", "ends with 70"),
    "docs/scale.md": (
        "with 32 units, 4 inputs, 500 rows", "100,000 made-up neurons", "8 frontier rows, 30 neighbors, 20 pictures",
        "over 100 runs", "at most 4,000 rows",
    ),
    "docs/theory/gp.md": (
        "A fifth of the examples, at least 20 and at most a third", "fewer than 19", "95 % quantile",
        "cancellation above 100", "sections 2.1 and 5.4",
    ),
    "docs/theory/symbolic.md": (
        "in one half of the space", "AI Feynman 2.0", "above the noise by 0.2", "between 0.2 and 1.35",
        "doi:10.1088/2632-2153/ad9fd0",
    ),
    "docs/tutorial.md": ("Ten minutes, no knowledge", "correlation is below 0.99"),
}  # fmt: skip

#: Units that may follow a number without a space.
GLUED = r"(?:[xX]|-?fold|[kKMGT]?i?B|[kKMGT]|[mµn]?s|min|h|dB|pp|[kMG]?Hz)\b"
NUMBER = re.compile(
    rf"(?<![\w.,])(?<!\w-)(?:\d+(?:,\d+)*(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?(?:(?={GLUED})|(?!\.?\w))"
)
UNIT = re.compile(
    rf"\s?(%|percent\b|{GLUED}|seconds?\b|minutes?\b|(?:core-)?hours?\b|days?\b|\w+bytes?\b|×|times\b|degrees?\b"
    r"|(?:out )?of (?:the )?\d)"
)
COUNT = "an?|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|half|several|few|some|many"
MANY = "two|three|four|five|six|seven|eight|nine|ten|twenty|fifty|hundred|thousand|million|many|several"
SHARE = "half|halves|(?:third|quarter|fifth|sixth|eighth|tenth|twentieth|hundredth|thousandth)s?"
#: Figures in words.
SAID = re.compile(
    rf"\b(?:{COUNT}|hundreds of|thousands of) (?:an? )?"
    rf"(?:seconds|minutes?|hours?|days?|times|\w+bytes|percent|{SHARE})\b"
    r"|\b(?:about|under|over|than|within|in|takes?|took|once|times) a second\b"
    rf"|\b(?:{MANY}) (?:out )?of (?:the )?(?:{MANY}|\d+)\b|\bfactors? of (?:about )?(?:{MANY}|\d)"
    r"|\b(?:a|half a|several) dozen times\b|\b\w+(?:ty|teen) percent\b"
    rf"|\b(?:{MANY})-?fold\b|\borders? of magnitude\b|\b(?:twice|thrice)\b|\b(?:half|double|triple) (?:as|the)\b"
    r"|\b(?:(?:doubl|tripl|quadrupl)(?:es|ed|ing)|halv(?:ed|ing|es (?:the|its|it)))\b",
    re.IGNORECASE,
)
#: A year, that counts nothing.
YEAR = re.compile(r"(?:19|20)\d\d(?![\w%]|\s?[a-z×%])")
#: What is no text: blocks, comments, targets of links; formulas and code, but for a number that is alone or what
#: something is said to be.
HIDDEN = re.compile(
    r"^ *```.*?^ *```|<!--.*?-->|\$\$.*?\$\$|\$[^$\n]+\$|`[^`]*`|\]\([^)]*\)|https?://\S+|arXiv:[\d.]+",
    re.DOTALL | re.MULTILINE,
)
ALONE = re.compile(r"[-+]?(?:\d[\d.,e-]*|\.\d+)\s?\\?[%\w]{0,3}")
#: In code or a formula: what something is said to be. An argument's value (`sort=2`) is a setting.
WORTH = re.compile(
    r"(?:\A[\w²]+ (?=[\d.]*\.\d)|\s[=≈<>]=?|(?<!\")[≈:](?= )|\\approx|\\l[te]q?|\\g[te]q?)\s*"
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(?!\w)"
)
QUOTED = re.compile(r"\"[^\"]*\"")
#: What a block printed, as the page shows it and tests/docs/test_blocks.py compares it.
PRINTED = re.compile(r'^ *```text title="prints"\n.*?^ *```', re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"`(python (?:benchmarks|examples|docs)/[^`]*)`")


@dataclass(frozen=True)
class Figure:
    """What looks like a measured figure, and the section it stands in."""

    text: str
    unit: str
    section: str
    near: str

    def rounds(self, number: float) -> bool:
        """Whether a printed number, to the digits shown, is this figure."""
        plain, _, power = self.text.replace(",", "").partition("e")
        half = 0.5 * 10.0 ** (int(power or 0) - len(plain.partition(".")[2]))
        shown = float(self.text.replace(",", ""))
        found = (number, 100 * number) if self.unit == "%" else (number,)
        return any(abs(shown - each) <= half * (1 + 1e-9) for each in found)


def sections(text: str) -> list[str]:
    """A page cut at its headings; a comment of Python in a block is none."""
    blocks = [match.span() for match in re.finditer(r"^ *```.*?^ *```", text, re.DOTALL | re.MULTILINE)]
    starts = [m.start() for m in re.finditer(r"^#+ ", text, re.MULTILINE)]
    cuts = [0, *(s for s in starts if not any(a <= s < b for a, b in blocks)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts)]


def text_of(section: str) -> str:
    """Its sentences and the tables that no record fills, in one line; of code only what is a number alone."""

    def kept(hidden: re.Match[str]) -> str:
        if not hidden[0].startswith(("`", "$")) or hidden[0].startswith("```"):
            return " "
        code = hidden[0].strip("`$")
        said = [found["number"] for found in WORTH.finditer(QUOTED.sub('""', code))]
        return f" {code} " if ALONE.fullmatch(code) else f" {' ; '.join(said)} "

    return " ".join(HIDDEN.sub(kept, figures.PASSAGE.sub(" ", section)).split())


def shown(text: str, given: tuple[str, ...] = ()) -> Iterator[Figure]:
    """Figures in the text of a page: neither in the passages that records fill, nor what is given."""
    for section in sections(text):
        words = text_of(section)
        taken = [(at.start(), at.end()) for each in given for at in re.finditer(re.escape(each), words)]
        for match in [*NUMBER.finditer(words), *SAID.finditer(words)]:
            if any(a <= match.start() and match.end() <= b for a, b in taken):
                continue
            unit = UNIT.match(words, match.end())
            number = match[0].lstrip(".")[0].isdigit()
            counts = number and match[0].isdigit() and int(match[0]) <= 10
            if unit or not (counts or YEAR.match(words, match.start())):
                near = words[max(0, match.start() - 40) : match.end() + 40]
                yield Figure(match[0], unit[1] if unit and number else "", section, near)


def commands(text: str) -> list[str]:
    """Commands that a text names, perhaps across the end of a line."""
    return COMMAND.findall(" ".join(text.split()))


def printed(figure: Figure, page: str, known: dict[str, figures.Record]) -> list[float]:
    """Every number of the records whose commands the section names, and of what the page's own blocks printed."""
    named = [known[command].printed for command in commands(figure.section) if command in known]
    blocks = [block[0] for block in PRINTED.finditer(page)]
    return [float(n.replace(",", "")) for text in (*named, *blocks) for n in NUMBER.findall(text)]


def unfounded(text: str, known: dict[str, figures.Record], given: tuple[str, ...] = ()) -> list[str]:
    """What a page shows and no command printed: figures, and tables that are not a record's."""
    wrong = [
        figure.near
        for figure in shown(text, given)
        if not figure.text.lstrip(".")[0].isdigit()
        or not any(map(figure.rounds, printed(figure, text, known)))
    ]
    if figures.filled(text, known) != text:
        wrong.append("a table that is not its record's; run: python docs/_build/figures.py --pages-only")
    return wrong


@pytest.fixture(scope="module")
def known() -> dict[str, figures.Record]:
    return figures.records()


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_was_printed(page: str, known: dict[str, figures.Record]) -> None:
    assert unfounded(PAGES[page], known, GIVEN.get(page, ())) == []


def test_what_is_given_is_there() -> None:
    for page, fragments in GIVEN.items():
        for fragment in fragments:
            others = tuple(each for each in fragments if each != fragment)
            left = len([*shown(PAGES[page], others)])
            assert left > len([*shown(PAGES[page], fragments)]), f"{page} has no {fragment!r}"


def test_a_block_of_text_is_what_was_printed() -> None:
    """Or the figures in it were nobody's."""
    for page, text in PAGES.items():
        assert not re.search(r'^ *```text(?! title="prints")', text, re.MULTILINE), page


def test_records_are_those_of_the_commands(known: dict[str, figures.Record]) -> None:
    files = {
        path.stem: figures.HEAD.fullmatch(path.read_text(encoding="utf8"))
        for path in figures.FOLDER.iterdir()
    }
    assert {name: match and match["command"] for name, match in files.items()} == figures.COMMANDS
    used = "\n".join(PAGES.values())
    for command, record in known.items():
        assert f"`{command}`" in used, f"no page names {command}"
        assert NUMBER.search(record.printed), command
        assert "FAILS" not in record.printed, f"a bound of {command} does not hold"


def test_every_passage_has_a_record_and_names_its_command(known: dict[str, figures.Record]) -> None:
    passages = [(match, section) for text in PAGES.values() for section in sections(text)
                for match in figures.PASSAGE.finditer(section)]  # fmt: skip
    assert len(passages) >= 7
    assert sum(text.count("<!-- printed by") for text in PAGES.values()) == len(passages)
    for match, section in passages:
        assert match["command"] in known
        assert match["command"] in commands(section), f"the section does not name {match['command']}"


#: Reads a script's arguments as the script does, and ends there; a script without a parser takes what it names itself.
PARSED = """
import argparse, json, runpy, sys
sys.path[:0] = [""]
class Done(BaseException): pass
real = argparse.ArgumentParser.parse_args
def parsed(self, *arguments, **more):
    real(self, *arguments, **more)
    raise Done
argparse.ArgumentParser.parse_args = parsed
base, refused = list(sys.path), []
for script, *arguments in json.loads(sys.stdin.read()):
    sys.path[:] = [script.rpartition("/")[0], *base[1:]]
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except Done:
        pass
    except SystemExit:
        refused.append([script, *arguments])
print(json.dumps(refused))
"""


def refused(commands: list[str]) -> list[list[str]]:
    """Commands with an argument that their script does not take."""
    split = [shlex.split(command)[1:] for command in commands]
    done = subprocess.run(
        [sys.executable, "-c", PARSED], input=json.dumps(split), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_command_named_exists_with_its_options() -> None:
    """Those of the pages, of the records and of the page of benchmarks; none is run."""
    pages = [path.read_text(encoding="utf8") for path in figures.pages()]
    named = sorted({*figures.COMMANDS.values(), *commands("\n".join(pages))})
    assert len(named) > 15
    plain = []
    for command in named:
        script = ROOT / shlex.split(command)[1]
        assert script.is_file(), command
        if "ArgumentParser" not in script.read_text(encoding="utf8"):
            assert all(
                f'"{word}"' in script.read_text(encoding="utf8") for word in shlex.split(command)[2:]
            ), command
            plain.append(command)
    assert refused([command for command in named if command not in plain]) == []
    assert refused(["python benchmarks/start.py --no-such-option"]) == [
        ["benchmarks/start.py", "--no-such-option"]
    ]


def changed(text: str, at: int) -> str:
    """The text with another digit there."""
    return f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}"


def test_another_digit_in_a_table_is_noticed(known: dict[str, figures.Record]) -> None:
    tried = 0
    for text in PAGES.values():
        for match in figures.PASSAGE.finditer(text):
            for at in range(match.start("text"), match.end("text")):
                if text[at] in digits:
                    assert figures.filled(changed(text, at), known) == text
                    tried += 1
    assert tried > 300


def test_another_digit_in_the_text_is_noticed(known: dict[str, figures.Record]) -> None:
    """Figures of the pages' own blocks included."""
    tried = 0
    for page, text in PAGES.items():
        given = GIVEN.get(page, ())
        for figure in shown(text, given):
            for at in (i for i, sign in enumerate(figure.text) if sign in digits):
                other = text.replace(
                    figure.section, figure.section.replace(figure.text, changed(figure.text, at), 1)
                )
                assert unfounded(other, known, given), (page, figure.near, at)
                tried += 1
    assert tried >= 4


@pytest.mark.parametrize(
    "sentence",
    ["It takes 3.7 s.", "An AUC of 0.9871.", "Of it 43 % is lost.", "It is 12 times faster.", "An error of 3e-7.",
     "About half an hour.", "Several times faster.", "It costs 17 kB.", "193 images", "In a second.", "two thirds",
     "10x faster", "A factor of 3.5x.", "Twice as fast.", "An order of magnitude.", "A hundredfold gain.",
     "A ten-fold one.", "It halves the cost.",
     "At double the speed.", "9 of 10 rules", "It is $0.9999$.", "`auc = 0.9871`",
     "`auc: 0.9871`", "$R^2 = 0.9871$", "$p < 0.01$", "2013 images", "5GB",
     "12ms", "An AUC of .987.", "1.2M rows", "It gains 3 dB.", "0,9871", "Costs are halved.",
     "Nine of ten rules.", "By a factor of 3.", "Ninety percent of it.", "`AUC 0.9871`", "`.987`"],
)  # fmt: skip
def test_a_figure_from_nowhere_is_noticed(sentence: str, known: dict[str, figures.Record]) -> None:
    page = PAGES["docs/scale.md"]
    assert unfounded(f"{page}\n{sentence}\n", known) != []


def test_what_is_no_figure() -> None:
    text = "3 seeds, `f(0.5)`, x0, $x^{0.5}$, fc1[3], [2.5](2.6.md), GPEX (2023), a second one, `0.97`, v2.0"
    assert [figure.text for figure in shown(text)] == ["2.5", "0.97"]
    assert [*shown("`alpha=0.2`, `x[0:3]`, $\\lambda\\in[-1,2]$, NeurIPS 2023, 1 of us, `--jobs 4`")] == []


def test_the_source_of_a_block_is_no_evidence() -> None:
    page = "```python\nprint(48 / 7)\n```\n\nIt is 48 times faster.\n"
    assert unfounded(page, {}) != []
    assert unfounded(page + '\n```text title="prints"\n48\n```\n', {}) == []


def test_rounding() -> None:
    def figure(text: str, unit: str = "") -> Figure:
        return Figure(text, unit, "", "")

    assert figure("2.03").rounds(2.026636)
    assert not figure("2.02").rounds(2.026636)
    assert figure("81", "%").rounds(0.808)
    assert not figure("80", "%").rounds(0.808)
    assert figure("1.3e-4").rounds(1.26e-4)
    assert not figure("1.3e-4").rounds(1.36e-4)
    assert figure("4,597").rounds(4597.4)
