"""How the book's pages are made: links, folded hints, linked terms, links from lesson to lesson; and what its check finds."""

import json
import re

import pytest

from course_lib import syllabus
from course_lib.places import CHECKOUT
from tools.site import check, landing, pages, practice, sections
from tools.site.book import Book
from tools.site.cells import Pictures, Reader, text_of
from tools.site.glossary import Glossary


@pytest.fixture(scope="module")
def book() -> Book:
    return Book(syllabus.load())


@pytest.fixture
def reader(book, tmp_path) -> Reader:
    return Reader(book, Glossary(CHECKOUT / "GLOSSARY.md"), Pictures(tmp_path))


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ("[map](../README.md#the-map)", "[map](/manual.md#the-map)"),
        ("[02](02_loss_functions.ipynb)", "[02](/notebooks/02_loss_functions.ipynb)"),
        ("[s](../solutions/02_loss_functions.ipynb)", "[s](/exercises/02_loss_functions.ipynb)"),
        ("[two\nlines](../GLOSSARY.md)", "[two\nlines](/glossary.md)"),
        ("[`code`](../GLOSSARY.md)", "[`code`](/glossary.md)"),
        ("`[a](../GLOSSARY.md)`", "`[a](../GLOSSARY.md)`"),
        ("```\n[a](../GLOSSARY.md)\n```", "```\n[a](../GLOSSARY.md)\n```"),
        ("[out](https://onnx.ai)", "[out](https://onnx.ai)"),
        ("[here](#below)", "[here](#below)"),
        ("[a file](../k8s/base/deployment.yaml)", "a file"),
    ],
)
def test_links_lead_to_pages(written, becomes):
    here = Book(syllabus.load())
    assert here.relinked(written, CHECKOUT / "notebooks" / "00_welcome.ipynb", "notebooks/00_welcome") == becomes
    assert not here.lost


def test_a_link_to_no_file_is_told():
    here = Book(syllabus.load())
    assert here.relinked("[x](nowhere.md)", CHECKOUT / "README.md", "manual") == "x"
    assert here.lost == ["README.md: nowhere.md leads to no file of the course"]


def test_every_exercise_has_its_hints_and_its_solution_folded(book, reader):
    for lesson in book.lessons:
        if not book.has(lesson, "exercises"):
            continue
        made = practice.cells(reader, lesson)
        numbers = [found.group(1) for cell in made if (found := practice.EXERCISE.match(text_of(cell)))]
        names = {cell.get("id") for cell in made}
        for number in numbers:
            assert {f"hints-{number.replace('.', '-')}", f"solution-{number.replace('.', '-')}"} <= names, number


def test_hints_are_read_and_not_run():
    told = practice.hints(CHECKOUT / "course_lib" / "checks" / "lesson_09.py")
    says, hints = told["09.1"][0]
    assert says.startswith("the scale is the range") and len(hints) == 3


def test_the_third_hint_lies_two_folds_below_the_first():
    fold = practice.hint_fold([("it holds `x`", ["one", "two", "three"])])
    assert (
        fold.index("one")
        < fold.index("Second hint")
        < fold.index("two")
        < fold.index("Third hint")
        < fold.index("three")
    )
    assert "<code>x</code>" in fold and "open" not in fold


def test_a_term_is_linked_once_and_in_prose_alone():
    glossary = Glossary(CHECKOUT / "GLOSSARY.md")
    new = [each for each in glossary.terms if each.english == "logits"]
    text = (
        "# logits\n\n`logits` and $logits$ and [logits](x.md)\n\n```\nlogits\n```\n\nThe *logits* of it, logits again."
    )
    assert glossary.linked(text, new).endswith("The *{term}`logits <logits>`* of it, logits again.")
    assert glossary.linked(text, new).count("{term}") == 0, "the second cell has nothing left to link"


def test_most_terms_are_linked_from_the_lesson_that_brings_them(book, reader):
    glossary, linked, wanted = reader.glossary, 0, 0
    for lesson in book.lessons:
        terms = glossary.first_in(lesson.number)
        cells = reader.notebook(lesson.notebook("notebooks"), f"notebooks/{lesson.stem}", terms=lesson.number)
        linked += sum(text_of(cell).count("{term}`") for cell in cells if cell["cell_type"] == "markdown")
        wanted += len(terms)
    assert linked > 0.75 * wanted, f"{linked} of {wanted}"


def test_the_next_lesson_is_the_next_on_the_first_floor(book):
    first, deeper = (pages.steps(book, book.syllabus.lesson(each)) for each in ("02", "02b"))
    assert "Next: [03 " in first and "Deeper: [02b " in first and "Previous: [01 " in first
    assert "Next: [03 " in deeper and "First floor: [02 " in deeper and "exercises 02b" in deeper


def test_the_map_marks_the_lesson_and_links_the_others(reader):
    drawn = reader.map("notebooks/09_quantization", "09")
    assert 'href="../notebooks/10_quantize_models.html"' in drawn and drawn.count("aria-current") == 1


def test_the_first_page_shows_what_lessons_returned(book, reader):
    text = landing.page(reader, CHECKOUT / "site" / "landing.md")
    assert "{{" not in text and "_static/figures/" in text and "no request failed" in text
    with pytest.raises(landing.Missing, match="not there"):
        landing.shown(reader, "01", "not there")


def test_a_route_names_its_lessons_and_says_how_long_it_takes(reader):
    boxes = landing.routes(reader).split("\n- ")
    platform = next(each for each in boxes if "Platform engineer" in each)
    assert "[17 Kubernetes](/notebooks/17_kubernetes.ipynb)" in platform
    whole, own, practice = (60 * int(h) + int(m or 0) for h, m in re.findall(r"(\d+) h(?: (\d+) min)?", platform))
    assert whole == own + practice > 600


def test_the_instructors_box_says_how_long_the_half_day_plan_takes(reader):
    box = landing.routes(reader).partition("**Instructor**")[2]
    assert f"{landing.hours(landing.planned(reader))} with talk and a break" in box
    assert "(/half_day.md)" in box and "(/teaching.md)" in box


def test_those_who_teach_have_a_part_of_the_menu(book):
    tree = pages.trees(book)
    teaching = tree[tree.index(":caption: Teaching") :].partition("```")[0].split()
    assert teaching[2:] == ["teaching", "half_day", "two_days", "six_weeks", "teaching/placement"]


def test_a_built_page_goes_with_its_page(tmp_path):
    for name in ("html/a.html", "html/notebooks/b.html", "html/notebooks/live.html", "html/gone.html", "html/search.html",
                 "pages/a.md", "pages/notebooks/b.ipynb", "extra/notebooks/live.html"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    pages.swept(tmp_path / "html", tmp_path / "pages", tmp_path / "extra")
    left = {path.relative_to(tmp_path / "html").as_posix() for path in (tmp_path / "html").rglob("*.html")}
    assert left == {"a.html", "notebooks/b.html", "notebooks/live.html", "search.html"}


def test_the_glossary_has_a_heading_for_each_letter_and_a_link_to_it(book):
    text = Glossary(CHECKOUT / "GLOSSARY.md").page(book)
    letters = re.findall(r"^## (\w+)$", text, re.M)
    assert letters[0] == "Numbers" and letters[1:] == sorted(set(letters[1:])) and len(letters) > 20
    assert all(f"[{letter}](#{letter.lower()})" in text for letter in letters)


def test_the_search_is_given_sections_without_code_and_solutions(tmp_path):
    page = """<nav>menu</nav><article class="bd-article"><section id="a"><h1>13 Speed<a class="headerlink">#</a></h1>
        <p>Why <em>this</em>, <span class="math">x^2</span>?</p><section id="b"><h2>Which p99?</h2><p>The client<br>waits.</p><div class="cell_input">
        <pre>code()</pre></div><details class="course-fold"><p>the solution</p></details><ul><li>one</li><li>two</li></ul></section>
        <dl><dt id="term-goodput">goodput</dt><dt id="term-1">有效吞吐量</dt><dd><p>in time</p></dd></dl></section></article>
        <footer>foot</footer>"""
    found = [["a", "13 Speed", "Why this, …?"], ["b", "Which p99?", "The client waits. one two"],
             ["term-goodput", "goodput · 有效吞吐量", "in time"]]  # fmt: skip
    assert [[each[0], each[1], each[2]] for each in sections.of(page)] == found
    for name in ("a.html", "search.html"):
        (tmp_path / name).write_text(page, encoding="utf-8")
    sections.write(tmp_path)
    told = json.loads((tmp_path / "sections.js").read_text(encoding="utf-8").partition(" = ")[2].rstrip(";\n"))
    assert told == [[f"a.html#{anchor}", "13 Speed", heading, words] for anchor, heading, words in found]


def test_the_styles_know_every_colour_of_words_in_outputs(book):
    styles = (CHECKOUT / "site" / "_static" / "book.css").read_text(encoding="utf-8")
    used = set()
    for path in [*book.pages, *(each.replace("exercises/", "solutions/") for each in book.pages)]:
        if path.endswith(".ipynb") and (CHECKOUT / path).is_file():
            used |= set(re.findall(r'<b style=\\"color:(#\w{6})\\"', (CHECKOUT / path).read_text(encoding="utf-8")))
    assert len(used) > 3
    assert not [each for each in used if f'[data-theme="dark"] .course-card b[style*="{each}"]' not in styles]


def test_the_check_finds_what_is_wrong_in_html(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="there"><a href="b.html#none">b</a> <a href="c.html">c</a> <a href="#there">a</a> <img src="p.png">'
        '<script src="https://cdn.example/x.js"></script>'
    )
    (tmp_path / "b.html").write_text('<a href="a.html#there">a</a> <a href="https://onnx.ai">out</a>')
    assert check.problems(tmp_path) == [
        "a.html: the picture p.png has no alternative text",
        "a.html: p.png leads nowhere",
        "a.html: loads https://cdn.example/x.js from another host",
        "a.html: b.html#none has no such place",
        "a.html: c.html leads nowhere",
    ]
