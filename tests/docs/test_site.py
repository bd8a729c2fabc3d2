"""The built site in a real browser: every link leads somewhere, every page has a title, nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOOK = """() => ({
    title: document.title,
    headings: [...document.querySelectorAll('article h1')].map(e => e.textContent.trim()),
    ids: [...document.querySelectorAll('[id], a[name]')].map(e => e.id || e.name),
    links: [...document.querySelectorAll('a[href]')].map(e => e.href),
    sources: [...document.querySelectorAll('img[src], script[src], link[rel=stylesheet], source[src]')]
        .map(e => e.src || e.href),
    broken: [...document.images].filter(e => e.complete && !e.naturalWidth).map(e => e.src),
    source: [...document.querySelectorAll('article math')].map(e => e.textContent)
        .filter(t => /[\\\\\ue000-\uf8ff]/.test(t)),
    styled: [...document.querySelectorAll('article math [mathvariant]:not([mathvariant=normal])')]
        .map(e => e.outerHTML),
    cut: [...document.querySelectorAll('article td code')].filter(e => e.getClientRects().length > 1)
        .map(e => e.textContent),
    math: [...document.querySelectorAll('article math')].map(e => e.getBoundingClientRect().width),
    raw: (document.querySelector('article')?.innerText.match(/\\\\\\(|\\\\\\[|\\{\\{|<!--/g) || []).length,
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
})"""


@pytest.fixture(scope="module")
def seen(site: Path, served: str, browser: Any) -> dict[str, dict[str, Any]]:
    """What the browser says of every page at the width of a phone; what reached its console or left the machine."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    pages = {}
    for path in sorted(site.rglob("*.html")):
        address = f"{served}/{path.relative_to(site).as_posix()}"
        tab, messages, elsewhere = context.new_page(), [], []
        tab.on("console", lambda message, to=messages: to.append(message.text))
        tab.on("pageerror", lambda error, to=messages: to.append(str(error)))
        tab.on(
            "request",
            lambda r, to=elsewhere: (
                None if r.url.startswith((served, "data:", "blob:")) else to.append(r.url)
            ),
        )
        tab.goto(address, wait_until="load")
        pages[address] = tab.evaluate(LOOK) | {"messages": messages, "elsewhere": elsewhere}
        tab.close()
    context.close()
    return pages


def test_the_site_has_its_pages(seen: dict[str, dict[str, Any]]) -> None:
    assert len(seen) > 20


def test_every_page_has_a_title_and_one_heading(seen: dict[str, dict[str, Any]]) -> None:
    titles = {address: page["title"] for address, page in seen.items()}
    assert all(title.strip() for title in titles.values()), titles
    for address, page in seen.items():
        assert len(page["headings"]) == 1 or address.endswith("404.html"), (address, page["headings"])


def test_no_internal_link_is_broken(seen: dict[str, dict[str, Any]], site: Path, served: str) -> None:
    checked = 0
    for address, page in seen.items():
        if address.endswith("404.html"):
            continue  # it may be shown at any address
        for link in page["links"]:
            target, place = urldefrag(urljoin(address, link))
            if not target.startswith(served):
                continue
            checked += 1
            where = target if target in seen else target.rstrip("/") + "/index.html"
            if where in seen:
                assert not place or unquote(place) in seen[where]["ids"], f"{address} → {link}: no such place"
            else:
                path = site / unquote(target.removeprefix(served).lstrip("/"))
                assert path.is_file(), f"{address} → {link}: no such page"
    assert checked > 500


def test_nothing_reaches_the_console_or_leaves_the_machine(seen: dict[str, dict[str, Any]]) -> None:
    for address, page in seen.items():
        assert page["messages"] == [], address
        assert page["elsewhere"] == [], address
        assert page["broken"] == [], address


def test_formulas_are_drawn(seen: dict[str, dict[str, Any]]) -> None:
    theory = [page for address, page in seen.items() if "/theory/" in address]
    assert len(theory) == 2
    for page in theory:
        assert len(page["math"]) > 25
        assert min(page["math"]) > 2
    for address, page in seen.items():
        assert page["source"] == [], address
        assert page["styled"] == [], (
            f"{address}: browsers ignore the attribute; the character has to have the style"
        )
        assert page["raw"] == 0, f"{address} shows source that should have been rendered"


def test_no_page_is_wider_than_a_phone(seen: dict[str, dict[str, Any]]) -> None:
    assert {address: page["wide"] for address, page in seen.items() if page["wide"] > 1} == {}


def test_code_in_tables_is_not_cut(seen: dict[str, dict[str, Any]]) -> None:
    assert {address: page["cut"] for address, page in seen.items() if page["cut"]} == {}


def test_a_wide_table_has_the_page_and_keeps_its_first_column(served: str, browser: Any) -> None:
    """The peers' table fits a large screen; on a phone the tools' names stay where they are while the rest scrolls."""
    edges = "e => [e.getBoundingClientRect().left, e.getBoundingClientRect().right]"
    for width, fits in ((1400, True), (820, True), (390, False)):
        tab = browser.new_page(viewport={"width": width, "height": 900})
        tab.goto(f"{served}/peers.html")
        assert (tab.locator("article table").first.evaluate(edges)[1] <= width) == fits, width
        if not fits:
            frame = tab.locator(".md-typeset__scrollwrap").first
            frame.evaluate("e => { e.scrollLeft = 200 }")
            assert frame.evaluate("e => e.scrollLeft") == 200
            left, right = tab.locator("article td").first.evaluate(edges)
            assert left >= 0
            assert right < width / 2
        tab.close()


def test_search_finds_a_page(served: str, browser: Any) -> None:
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    box, hits = tab.get_by_role("textbox", name="Search"), tab.locator(".md-search-result__item a")
    for _ in range(20):  # what is typed before the index is read is not answered
        tab.goto(f"{served}/index.html")
        box.click()
        tab.wait_for_timeout(1_000)
        box.press_sequentially("cancellation")
        tab.wait_for_timeout(1_000)
        if hits.count():
            break
    assert "cancellation" in tab.locator(".md-search-result").inner_text().lower()
    tab.close()


def test_pages_open_from_files(site: Path, browser: Any) -> None:
    """Without a server too: text, style and links; only the search needs one."""
    tab = browser.new_context(offline=True).new_page()
    tab.goto((site / "tutorial.html").as_uri())
    tab.get_by_role("link", name="Reading a verdict").first.click()
    assert tab.url.endswith("howto/verdict.html")
    assert tab.locator("article h1").inner_text().startswith("Reading a verdict")
