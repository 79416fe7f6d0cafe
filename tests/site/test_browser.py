"""Every page of the book in a browser, light and dark, on a desk's screen and on a phone's; and what its search finds."""

import json
import re
import shutil

import pytest

from course_lib.places import CHECKOUT
from tests.pages.browser import browser, watched
from tests.site import visit
from tools.site import run
from tools.site.__main__ import SITE

WHAT = {
    "errors": "no script fails, nothing is missing, nothing comes from another host",
    "pictures": "every picture is there",
    "formulas": "every formula is drawn",
    "sideways": "no page is wider than the screen",
    "code": "code fits its box on a desk's screen",
    "axe": "axe finds no serious violation",
}

WORDS = [
    ("quantization", "notebooks/09"), ("back-propagation", "glossary"), ("canary", "notebooks/19"),
    ("Kubernetes", "notebooks/17"), ("softmax", "notebooks/02"), ("circuit breaker", "notebooks/15"),
    ("准确率", "glossary"), ("反向传播", "glossary"), ("自动扩缩容", "glossary"), ("激活函数", "glossary"),
    ("基础镜像", "glossary"), ("back-pressure", "glossary"),
]  # fmt: skip
"""What readers type, and a page that the search must list among the first ten."""

QUESTIONS = [
    ("p99 too low client waits", "notebooks/13_performance.html#why-does-the-dashboard"),
    ("why is a p99 measured by a client that waits too low", "notebooks/13_performance.html#why-does-the-dashboard"),
    ("how to roll back a canary", "notebooks/19_canaries.html#how-do-i-run-a-canary-on-kubernetes"),
    ("quantization zero point exercise", "exercises/09_quantization.html#a-product-with-a-zero-point"),
    ("goodput", "glossary.html#term-goodput"),
    ("有效吞吐量", "glossary.html#term-goodput"),
    ("half-day workshop", "half_day.html"),
    ("how does an instructor run a half-day workshop", "half_day.html"),
    ("platform engineer route minutes", "index.html#your-route"),
]
"""What a reader who does not know the course asks, and the section that must be among the first three."""


@pytest.mark.parametrize("kind", WHAT, ids=lambda kind: WHAT[kind].replace(" ", "-"))
def test_of_every_page(seen, kind):
    assert len(seen.pages) > 80
    assert not seen.wrong.get(kind), "\n".join(seen.wrong[kind][:20])


def test_the_search_finds_terms_in_both_languages(html):
    with browser() as opened, watched(opened) as (page, wrong):
        missed = []
        for words, wanted in WORDS:
            page.goto(f"{(html / 'search.html').as_uri()}?q={words}")
            page.wait_for_selector("#search-results p.search-summary:not(:empty)")
            page.wait_for_function("() => /found|match/i.test(document.querySelector('#search-results p').textContent)")
            found = page.eval_on_selector_all("#search-results li a", "all => all.slice(0, 10).map(each => each.href)")
            if not any(wanted in each for each in found):
                missed.append(f"{words}: {[each.partition('/html/')[2] for each in found]}")
        assert not missed and not wrong, "\n".join(missed + wrong)


def test_the_search_finds_the_section_that_answers_a_question(html):
    with browser() as opened, watched(opened) as (page, wrong):
        missed = []
        for words, wanted in QUESTIONS:
            page.goto(f"{(html / 'search.html').as_uri()}?q={words}")
            page.wait_for_selector("#course-sections a")
            found = page.eval_on_selector_all("#course-sections a", "all => all.map(each => each.href)")
            if not any(wanted in each for each in found[:3]):
                missed.append(f"{words}: {[each.partition('/html/')[2] for each in found]}")
        assert not missed and not wrong, "\n".join(missed + wrong)


def test_a_search_without_an_answer_leads_on(html):
    with browser() as opened, watched(opened) as (page, wrong):
        page.goto(f"{(html / 'search.html').as_uri()}?q=zzzz")
        page.locator("#course-sections a", has_text="glossary").click()
        assert page.title().startswith("Glossary") and not wrong


def test_the_launch_buttons_lead_to_the_notebook_of_the_page(html, tmp_path):
    files = tmp_path / "pages"
    (files / "notebooks").mkdir(parents=True)
    shutil.copy(SITE / "pages" / "notebooks" / "00_welcome.ipynb", files / "notebooks")
    (files / "about.md").write_text("# No notebook\n", encoding="utf-8")
    tree = "# Start\n\n```{toctree}\nnotebooks/00_welcome\nabout\n```\n"
    (files / "index.md").write_text(tree, encoding="utf-8")
    run.sphinx(
        files, tmp_path / "html", tmp_path / "doctrees", run.python(), "owner/name"
    )  # warns of links to other pages
    launched = {}
    for page in ("notebooks/00_welcome", "about"):
        text = (tmp_path / "html" / f"{page}.html").read_text(encoding="utf-8")
        launched[page] = set(re.findall(r'href="(https://(?:mybinder|colab)[^"]*)"', text))
    assert launched == {
        "notebooks/00_welcome": {
            "https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree/notebooks/00_welcome.ipynb",
            "https://colab.research.google.com/github/owner/name/blob/main/notebooks/00_welcome.ipynb",
        },
        "about": set(),
    }


def test_a_page_that_stays_the_same_gets_the_new_menu(html, tmp_path):
    files = tmp_path / "pages"
    files.mkdir()
    (files / "index.md").write_text("# Start\n\n```{toctree}\na\nb\n```\n", encoding="utf-8")
    (files / "a.md").write_text("# Page a\n", encoding="utf-8")
    for title in ("First title", "Second title"):
        (files / "b.md").write_text(f"# {title}\n", encoding="utf-8")
        assert run.sphinx(files, tmp_path / "html", tmp_path / "doctrees", run.python(), "") == 0
        assert f">{title}</a>" in (tmp_path / "html" / "a.html").read_text(encoding="utf-8")


def test_the_search_does_not_look_into_solutions(html):
    index = json.loads((html / "searchindex.js").read_text(encoding="utf-8").partition("(")[2].rpartition(")")[0])
    told, looked = [], 0
    for number in ("09_quantization", "17_kubernetes", "20_monitoring"):
        page = index["docnames"].index(f"exercises/{number}")
        cells = {folder: _text(CHECKOUT / folder / f"{number}.ipynb") for folder in ("exercises", "solutions")}
        hidden = {each for each in re.findall(r"[a-z]{6,}", cells["solutions"]) if each[:5] not in cells["exercises"]}
        looked += len(hidden)
        told += [f"{number}: {each}" for each in hidden if page in _pages(index["terms"].get(each, []))]
    assert looked > 50 and not told


def _text(notebook):
    return " ".join(
        "".join(each["source"]) for each in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    ).lower()


def _pages(found):
    return found if isinstance(found, list) else [found]


def test_a_lesson_can_be_read_without_its_solution_being_seen(html):
    with browser() as opened, watched(opened) as (page, wrong):
        page.goto((html / "exercises" / "09_quantization.html").as_uri())
        assert page.locator("details.course-fold").count() >= 8
        assert page.locator("details.course-fold[open]").count() == 0
        fold = page.locator("details.course-fold", has_text="Solution").first
        assert not fold.locator("pre").first.is_visible()
        fold.locator("summary").first.click()
        assert fold.locator("pre").first.is_visible() and not wrong


def test_a_figure_fits_a_phone_and_a_tap_makes_it_larger(html):
    with browser() as opened, watched(opened, viewport=visit.NARROW) as (page, wrong):
        page.goto((html / "notebooks" / "15_microservices.html").as_uri())
        figure = page.locator("a.course-figure").last
        scrolls = "each => each.scrollWidth > each.clientWidth"
        for enlarged in (False, True, False):
            assert figure.evaluate(scrolls) == enlarged
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
            figure.click()
        assert page.title().startswith("15 ") and not wrong


def test_what_scrolls_can_be_reached_by_keyboard_also_on_a_turned_phone(html):
    with browser() as opened, watched(opened, viewport=visit.WIDE) as (page, wrong):
        page.goto((html / "notebooks" / "09b_fewer_bits.html").as_uri())
        page.locator("mjx-container svg").last.wait_for()
        page.set_viewport_size(visit.NARROW)
        page.wait_for_function("() => document.querySelector('mjx-container[display=true][tabindex=\"0\"]')")
        letters = "all => all.filter(each => each.tabIndex === 0).map(each => each.textContent)"
        assert not page.eval_on_selector_all("mjx-container:not([display=true])", letters) and not wrong


def test_the_theme_and_the_way_to_the_next_lesson_work(html):
    with browser() as opened, watched(opened) as (page, wrong):
        page.goto((html / "notebooks" / "02_loss_functions.html").as_uri())
        for theme in ("dark", "light"):
            page.locator(".theme-switch-button").first.click()
            page.locator(f".theme-change-button[data-mode={theme}]").first.click()
            assert page.evaluate("document.documentElement.dataset.theme") == theme
        page.locator(".course-steps a", has_text="03 Gradient descent").click()
        assert page.title().startswith("03 Gradient descent") and not wrong
