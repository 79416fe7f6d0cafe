"""Goes through every page of the built book in a browser, light and dark, wide and narrow, and keeps what is wrong."""

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page

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

SERIOUS = """async () => (await axe.run(document, {
        runOnly: {type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}, resultTypes: ['violations'],
    })).violations.filter(each => ['serious', 'critical'].includes(each.impact))
    .map(each => each.id + ': ' + each.nodes.length + ' times, as ' + each.nodes[0].target.join(' ') + ' ' + each.nodes[0].html.slice(0, 120)
        + ' ' + (each.nodes[0].any[0]?.message ?? ''))"""


@dataclass
class Visit:
    """What was seen: pages, and by kind (pictures, formulas, sideways, code, axe, errors) what is wrong, a line each."""

    pages: int = 0
    wrong: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def every_page(html: Path, page: Page, errors: list[str], axe: str) -> Visit:
    """Opens each page once and looks at it in four ways; errors: the list that `watched` fills."""
    visit = Visit()
    for path in sorted(html.rglob("*.html")):
        if "_static" in path.parts:
            continue
        visit.pages += 1
        name = path.relative_to(html).as_posix()
        page.set_viewport_size(WIDE)
        page.goto(path.as_uri())
        page.evaluate(axe)
        for theme, size in (("light", WIDE), ("light", NARROW), ("dark", NARROW), ("dark", WIDE)):
            page.set_viewport_size(size)
            seen = page.evaluate(LOOK, [theme, (theme, size) == ("light", WIDE)])
            if size is WIDE:
                seen["axe"] = page.evaluate(SERIOUS)
            for kind, found in seen.items():
                visit.wrong[kind] += [f"{name}, {theme}, {size['width']} wide: {each}" for each in found]
        visit.wrong["errors"] += [f"{name}: {each}" for each in errors]
        errors.clear()
    return visit
