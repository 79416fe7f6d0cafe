"""`./course slides`: what a deck says is what the lesson says, and every slide can be read from the last row."""

import html
import json
import re

import pytest

from course_lib import syllabus
from course_lib.teaching.export import Refused
from tests.pages.browser import browser, watched
from tools.site import run
from tools.teaching import slides
from tools.teaching.__main__ import main

MAP = syllabus.load()
FORMULAS, WIDE = "02", "10"

SEEN = """() => {
  const slide = document.querySelector("section.shown"), edge = slide.getBoundingClientRect(), rest = slide.querySelector(".rest");
  const out = [...slide.querySelectorAll("h1, h2, p, li, td, th, img, mjx-container")].filter((each) => {
    const box = each.getBoundingClientRect();
    return box.width && (box.left < edge.left - 1 || box.right > edge.right + 1 || box.top < edge.top - 1 || box.bottom > edge.bottom + 1);
  }).map((each) => each.tagName + " " + each.textContent.slice(0, 40));
  if (slide.scrollWidth > 1280 || slide.scrollHeight > 720) out.push("the slide scrolls");
  if (rest && (rest.scrollHeight > rest.clientHeight + 1 || rest.scrollWidth > rest.clientWidth + 1)) out.push("its body scrolls");
  if (rest && parseFloat(getComputedStyle(rest).fontSize) < 18) out.push("its letters are small");
  return out;
}"""


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    return folder, slides.make([MAP.lesson(FORMULAS), MAP.lesson(WIDE)], folder)


def cells_of(number: str) -> list[dict]:
    return json.loads(MAP.lesson(number).notebook().read_text(encoding="utf-8"))["cells"]


def test_headings_guesses_figures_and_claims_are_those_of_the_notebook(decks):
    folder, _ = decks
    for number in (FORMULAS, WIDE):
        page = (folder / f"{MAP.lesson(number).stem}.html").read_text(encoding="utf-8")
        words = html.unescape(re.sub(r"<[^>]+>", "", page))
        said = [
            output["data"]["text/plain"]
            for cell in cells_of(number)
            for output in cell.get("outputs", [])
            if "data" in output
        ]
        said = [each if isinstance(each, str) else "".join(each) for each in said]
        claims = [
            each[2:].partition("  [claim]")[0].replace("`", "")
            for each in said
            if "  [claim]" in each.partition("\n")[0]
        ]
        measured = [each[11:].partition("  [reveal]")[0] for each in said if each.startswith("◆ Measured")]
        assert len(claims) > 10
        assert [each for each in claims if each not in words] == []
        assert [
            each for each in measured if f'<p class="value">{html.escape(each.strip(), quote=False)}</p>' not in page
        ] == []
        figures = [each for each in said if re.match("Figure: (?!You are here)", each)]
        assert len(re.findall(r'<div class="picture"><img alt="[^"]+" src="data:image/png', page)) == len(figures) > 2


def test_a_guess_has_a_slide_before_what_was_measured_and_says_what_to_ask(decks):
    made = slides.cut(MAP.lesson(FORMULAS))
    kinds = [each.kind for each in made]
    asked = [at for at, kind in enumerate(kinds) if kind == "ask"]
    assert len(asked) == kinds.count("reveal") == 4
    for at in asked:
        assert "reveal" in kinds[at + 1 :] and made[at].notes.startswith(f"**{slides.ASK}**")
    twice = next(each for each in made if each.kind == "reveal" and "twice" in each.heading)
    assert "Used as logits, they differ by at most 1" in twice.notes  # why the usual answer is wrong


def test_notes_are_of_their_own_section_and_a_section_without_a_slide_yet_keeps_its_text():
    made = slides.cut(MAP.lesson("14"))
    goals = next(each for each in made if each.heading == "You will be able to")
    assert "server must be a process" not in goals.notes
    first = next(each for each in made if each.heading.startswith("How do I put a model"))
    assert "Starlette" in first.notes and "server must be a process" in first.notes
    assert not [each.heading for each in made if "**Practise:**" in each.notes + each.body]


def test_a_formula_stands_under_the_sentence_that_leads_to_it_and_one_over_two_lines_is_read_as_one():
    burn = next(each for each in slides.cut(MAP.lesson("20")) if each.kind == "formulas" and "wrong" in each.heading)
    assert "<em>burn rate</em> is" in burn.body and burn.body.index("burn rate") < burn.body.index("frac")
    assert "\\varepsilon = 1 - 0.999 = 0.001" in slides.block(burn.notes)
    assert slides.lead("- one\n  thing\n\nA first. A second,\nlonger one:", 4) == "A second, longer one:"
    assert "`$a`\nand `$b`" in slides.block("x `$a`\nand `$b`").replace("<code>", "`").replace("</code>", "`")


def test_a_tall_picture_stands_alone_and_what_was_cleaned_up_has_no_slide():
    made = slides.cut(MAP.lesson("20"))
    (tall,) = [each for each in made if each.kind == "tall"]
    assert not tall.claims and "show it in the notebook" in tall.notes
    assert not [claim for each in made for claim in each.claims if "are gone" in claim]


def test_a_run_of_the_lesson_changes_the_deck(tmp_path, monkeypatch):
    lesson, cells = MAP.lesson("02"), cells_of("02")
    for cell in cells:
        for output in cell.get("outputs", []):
            told = output.get("data", {}).get("text/plain")
            if told and told[0].startswith("◆ Measured: 10.2"):
                told[0] = told[0].replace("10.2", "77.7")
    (tmp_path / "mine.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    monkeypatch.setattr(type(lesson), "notebook", lambda self, folder="notebooks": tmp_path / "mine.ipynb")
    values = [each.body for each in slides.cut(lesson) if each.kind == "reveal"]
    assert "77.7" in values[0]


def test_no_slide_overflows_at_1280_by_720_and_nothing_is_asked_of_the_network(decks):
    folder, _ = decks
    with browser() as opened, watched(opened, viewport={"width": 1280, "height": 720}) as (page, wrong):
        for number in (FORMULAS, WIDE):
            page.goto((folder / f"{MAP.lesson(number).stem}.html").as_uri())
            page.wait_for_function("!document.querySelector('script[src]') || document.querySelector('mjx-container')")
            page.wait_for_timeout(300)
            off = {}
            for at in range(page.locator("section").count()):
                page.evaluate(f"show({at})")
                off[at + 1] = page.evaluate(SEEN)
            assert {at: each for at, each in off.items() if each} == {}
            assert len(off) > 20
        assert wrong == []


def test_keys_turn_the_page_and_the_speakers_window_follows(decks):
    folder, _ = decks
    with browser() as opened, watched(opened, viewport={"width": 1280, "height": 720}) as (page, wrong):
        page.goto((folder / f"{MAP.lesson(WIDE).stem}.html").as_uri())
        for key, stands in (("ArrowRight", 2), ("PageDown", 3), (" ", 4), ("ArrowLeft", 3), ("Home", 1)):
            page.keyboard.press(key)
            assert page.evaluate("at + 1") == stands
        with page.expect_popup() as popup:
            page.keyboard.press("s")
        notes = popup.value
        notes.wait_for_selector("#notes h2")
        page.keyboard.press("ArrowRight")
        notes.wait_for_function("document.querySelector('#notes').textContent.includes('2 of')")
        notes.keyboard.press("End")
        page.wait_for_function("at + 1 === document.querySelectorAll('section').length")
        assert wrong == []


def test_printed_it_has_a_page_for_each_slide(decks):
    folder, _ = decks
    with browser() as opened, watched(opened) as (page, wrong):
        page.goto((folder / f"{MAP.lesson(WIDE).stem}.html").as_uri())
        printed = page.pdf(prefer_css_page_size=True)
        assert len(re.findall(rb"/Type\s*/Page\b", printed)) == page.locator("section").count()
        assert wrong == []


def test_without_the_program_for_formulas_it_says_so_and_still_makes_the_deck(tmp_path, monkeypatch):
    def unreachable(*_):
        raise run.Unreachable("pip could not download it")

    monkeypatch.setattr(run.FromWheel, "fetched", unreachable)
    told = slides.make([MAP.lesson(FORMULAS)], tmp_path)
    assert "formulas stay as they are typed" in told[0]
    assert "<script src=" not in next(tmp_path.glob("*.html")).read_text(encoding="utf-8")


def test_a_lesson_that_is_not_built_or_not_there_is_named(tmp_path, monkeypatch, capsys):
    lesson = MAP.lesson("02")
    monkeypatch.setattr(type(lesson), "notebook", lambda self, folder="notebooks": tmp_path / "02_loss_functions.ipynb")
    with pytest.raises(Refused, match="./course build 02"):
        slides.cut(lesson)
    with pytest.raises(SystemExit):
        main(["slides", "91"])
    assert "no lesson '91'" in capsys.readouterr().err
