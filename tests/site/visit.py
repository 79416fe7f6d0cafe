"""Goes through every page of the built book in a browser, light and dark, wide and narrow, and keeps what is wrong."""

from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from tests.pages.browser import browser, watched
from tools.site.run import FromWheel

AXE = FromWheel(
    "axe-playwright-python==0.1.8",
    "axe_playwright_python/axe.min.js",
    "84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc",
)
"""axe-core (MPL-2.0), which finds what shuts out readers with a screen reader, a keyboard alone or weak eyes."""

WIDE, NARROW = {"width": 1366, "height": 768}, {"width": 390, "height": 844}

LOOK = """async ([theme, formulas]) => {
    document.documentElement.dataset.theme = document.documentElement.dataset.mode = theme;
    if (formulas && window.MathJax?.startup?.promise) await MathJax.startup.promise;
    await Promise.all([...document.images].map(each => each.complete ? 0 : new Promise(done => each.onload = each.onerror = done)));
    const shown = each => each.getClientRects().length > 0;
    const wide = innerWidth > 1000;
    return {
        pictures: [...document.images].filter(each => !each.naturalWidth).map(each => each.src.slice(-60)),
        formulas: formulas ? [...document.querySelectorAll('.math')].filter(each => !each.querySelector('mjx-container svg')
            || each.querySelector('[data-mml-node="merror"]')).map(each => each.textContent.slice(0, 60)) : [],
        sideways: document.documentElement.scrollWidth > innerWidth ? [document.documentElement.scrollWidth + ' of ' + innerWidth] : [],
        code: wide ? [...document.querySelectorAll('div.cell_input pre')].filter(each => shown(each)
            && each.scrollWidth > each.clientWidth + 1).map(each => each.textContent.trim().slice(0, 60)) : [],
    };
}"""

SERIOUS = """async ([rules, without, contrast]) => (await axe.run({include: [['body']], exclude: without.map(each => [each])}, {
        runOnly: rules, rules: {'color-contrast': {enabled: contrast}}, resultTypes: ['violations'], preload: false,
    })).violations.filter(each => ['serious', 'critical'].includes(each.impact))
    .map(each => each.id + ': ' + each.nodes.length + ' times, as ' + each.nodes[0].html.slice(0, 160) + ' '
        + (each.nodes[0].any[0]?.message ?? ''))"""
CONTRAST = {"type": "rule", "values": ["color-contrast"]}
SCROLLING = {"type": "rule", "values": ["scrollable-region-focusable"]}
ALL_RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}

THOROUGH = ("index.html", "glossary.html", "search.html", "notebooks/00_welcome.html", "notebooks/02_loss_functions.html",
            "exercises/00_welcome.html")  # fmt: skip
"""Pages that axe reads as a whole. On the others it leaves out what is made alike everywhere, in which it spends most of its
time: formulas, coloured code, the sidebars."""
ALIKE = [".math", ".highlight", ".bd-sidebar-primary", ".bd-sidebar-secondary", ".course-map"]


COLOURS = (*THOROUGH, "exercises/0", "models/", "drills/", "notebooks/17_", "notebooks/20_", "notebooks/25_edge_page",
           "timings", "manual", "capstone", "half_day", "teaching")  # fmt: skip
"""Pages, by how their names begin, whose contrasts axe measures, in both themes; that takes seconds for a lesson. Each kind
of page is among them. The others have no more colours: test_pages.py holds those of their outputs against book.css."""


@dataclass
class Visit:
    """What was seen: pages, and by kind (pictures, formulas, sideways, code, axe, errors) what is wrong, a line each."""

    pages: list[str] = field(default_factory=list)
    wrong: dict[str, list[str]] = field(default_factory=dict)


def every_page(html: Path, axe: Path, workers: int = 2) -> Visit:
    """Opens each page once and looks at it in four ways: light and dark, wide and narrow."""
    names = sorted(path.relative_to(html).as_posix() for path in html.rglob("*.html") if "_static" not in path.parts)
    names.sort(key=lambda name: -(html / name).stat().st_size)  # shared out by size
    whole = Visit(names)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for wrong in pool.map(_some, [(html, axe, names[i::workers]) for i in range(workers)]):
            for kind, found in wrong.items():
                whole.wrong.setdefault(kind, []).extend(found)
    return whole


def _some(share: tuple[Path, Path, list[str]]) -> dict[str, list[str]]:
    html, axe, names = share
    script, wrong = axe.read_text(encoding="utf-8"), defaultdict(list)
    with browser() as opened, watched(opened) as (page, errors):
        for name in names:
            page.set_viewport_size(WIDE)
            page.goto((html / name).as_uri())
            page.evaluate(script)
            for theme, size in (("light", WIDE), ("light", NARROW), ("dark", NARROW), ("dark", WIDE)):
                page.set_viewport_size(size)
                seen = page.evaluate(LOOK, [theme, (theme, size) == ("light", WIDE)])
                coloured = name.startswith(COLOURS)
                if size is WIDE and (theme == "light" or coloured):
                    rules = ALL_RULES if theme == "light" else CONTRAST
                    seen["axe"] = page.evaluate(SERIOUS, [rules, [] if name in THOROUGH else ALIKE, coloured])
                elif theme == "light":
                    seen["axe"] = page.evaluate(SERIOUS, [SCROLLING, [".math"], False])
                for kind, found in seen.items():
                    wrong[kind] += [f"{name}, {theme}, {size['width']} wide: {each}" for each in found]
            wrong["errors"] += [f"{name}: {each}" for each in errors]
            errors.clear()
    return dict(wrong)
