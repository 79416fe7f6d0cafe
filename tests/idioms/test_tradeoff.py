"""The ledger's picture: its labels cover nothing, with the rows of every lesson and with thirty rows."""

import base64
import io
import itertools
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from course_lib.idioms import ledger
from course_lib.idioms.ledger import Row
from course_lib.places import CHECKOUT
from course_lib.show import colours, figures, tradeoff
from tests.idioms.test_show import contrast
from tools.build.execute import PICTURE, _compressed

KEPT = [Row(**row) for row in json.loads((CHECKOUT / "source/recordings/ledger.json").read_text(encoding="utf-8"))]
LESSONS = sorted({row.lesson for row in KEPT})
A_TITLE = "Training moves a model up; it takes compression to move it to the left"


@pytest.fixture
def drawn(monkeypatch):
    """Draws rows as `ledger.picture` does in a lesson; returns the figure as it was saved, and what was put."""
    close, put = plt.close, []

    def draw(own, earlier=(), also=()):
        closed = []
        monkeypatch.setattr(plt, "close", closed.append)
        tradeoff.picture(own, earlier, A_TITLE, also)
        return closed[-1], put

    monkeypatch.setattr(figures, "put", put.append)
    monkeypatch.setattr(tradeoff, "put", put.append)
    figures.style_figures()
    yield draw
    close("all")


def of_lesson(lesson):
    """The lesson's own rows, and the newest of each form of earlier ones."""
    rows = {(row.model, row.form): row for row in KEPT if row.lesson <= lesson}.values()
    return [row for row in rows if row.lesson == lesson], [row for row in rows if row.lesson != lesson]


def thirty(models, seed, low=0.1):
    chance = np.random.default_rng(seed)
    sizes, shares = 10 ** chance.uniform(3, 7, 30), chance.uniform(low, 1, 30)
    return [
        Row("10", f"model {i % models}", f"a form, number {i}", float(share), int(size))
        for i, (size, share) in enumerate(zip(sizes, shares))
    ]


def texts(figure):
    """The texts that the figure shows: of each axis only the labels of ticks within its reach."""
    found = list(figure.texts) + ([figure._supylabel] if figure._supylabel not in figure.texts else [])
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        for axis, side in ((axes.xaxis, 0), (axes.yaxis, 1)):
            low, high = axis.get_view_interval()
            found += [text for text in axis.get_ticklabels() if low <= text.get_position()[side] <= high]
    return [text for text in found if text is not None and text.get_visible() and text.get_text().strip()]


def check(figure):
    """No text on another, no label on a mark or outside of its panel, no axis beyond 100 %."""
    renderer = figure.canvas.get_renderer()
    figure.canvas.draw()
    boxes = [(text, Text.get_window_extent(text, renderer)) for text in texts(figure)]
    for (one, box), (other, another) in itertools.combinations(boxes, 2):
        assert not box.overlaps(another), f"{one.get_text()!r} and {other.get_text()!r}"
    for axes in figure.axes:
        marks = [line for line in axes.lines if len(line.get_xdata()) == 1]
        assert axes.get_ylim()[1] <= 100 and axes.get_ylim()[0] >= 0
        for label in axes.texts:
            box = Text.get_window_extent(label, renderer)
            assert not [mark for mark in marks if box.contains(*axes.transData.transform(mark.get_xydata()[0]))]
            assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            assert axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1
        assert all(text.get_text().endswith(" %") for text in axes.get_yticklabels())
    sizes = [text.get_text().split() for text in figure.axes[-1].get_xticklabels()]
    assert len(sizes) >= 2 and all(unit in ("B", "kB", "MB", "GB") and "." not in size for size, unit in sizes)


@pytest.mark.parametrize("lesson", LESSONS)
def test_in_every_lesson_this_lessons_forms_are_named_and_each_model_has_its_look(drawn, lesson):
    own, earlier = of_lesson(lesson)
    figure, put = drawn(own, earlier)
    check(figure)
    names = ", ".join(label.get_text() for axes in figure.axes for label in axes.texts)
    assert all(row.form in names for row in own) and len(put) == 1
    for axes in figure.axes:
        marks = [line for line in axes.lines if len(line.get_xdata()) == 1]
        seen = {(line.get_markerfacecolor(), line.get_markeredgecolor(), line.get_marker()) for line in marks}
        colour, mark = tradeoff.look(axes.get_title("center"))
        assert seen <= {(colour, "white", mark), ("none", colour, mark)}


@pytest.mark.parametrize("model", sorted({row.model for row in KEPT}))
def test_one_models_rows_are_drawn_alone(drawn, model):
    own, earlier = ([row for row in rows if row.model == model] for rows in of_lesson(LESSONS[-1]))
    check(drawn(own, earlier)[0])


@pytest.mark.parametrize(("models", "seed", "low"), [(1, 0, 0.1), (1, 2, 0.99), (3, 1, 0.9), (6, 0, 0.1), (6, 2, 0.99)])
def test_thirty_forms_have_thirty_marks_and_a_number_or_name_each(drawn, models, seed, low):
    rows = thirty(models, seed, low)
    figure, put = drawn(rows)
    check(figure)
    assert sum(len(line.get_xdata()) == 1 for axes in figure.axes for line in axes.lines) == 30
    if len(put) == 2:  # numbers, and the table that explains them
        assert all(row.form in put[1].text for row in rows)


@pytest.mark.parametrize("models", [1, 5])
def test_thirty_forms_of_earlier_lessons_leave_room_for_the_lessons_own(drawn, models):
    rows = thirty(models, 4, 0.95)
    figure, _ = drawn(rows[:6], rows[6:])
    check(figure)


def test_thirty_forms_in_one_place_have_one_label(drawn):
    figure, put = drawn([Row("10", "m", f"a form, number {i}", 1.0, 5000) for i in range(30)])
    check(figure)
    assert [label.get_text() for label in figure.axes[0].texts] == ["1–30"] and put[1].text.count("a form") == 30


@pytest.mark.parametrize(("count", "spread"), [(30, 0.05), (60, 0.3)])
def test_a_crowd_of_forms_shares_labels_that_the_table_explains(drawn, count, spread):
    chance = np.random.default_rng(0)
    shares, sizes = chance.normal(0.98, 0.01 * spread, count), 10 ** chance.normal(4.5, spread, count)
    rows = [Row("10", "m", f"<{i}>", min(1, float(a)), int(b)) for i, (a, b) in enumerate(zip(shares, sizes))]
    figure, put = drawn(rows)
    check(figure)
    assert all(row.form in put[1].text for row in rows)
    said = [label.get_text().split("–") for label in figure.axes[0].texts]
    assert sorted(n for each in said for n in range(int(each[0]), int(each[-1]) + 1)) == list(range(1, count + 1))


def test_a_single_row_and_a_model_at_either_end_of_the_axis_are_drawn(drawn):
    check(drawn([Row("01", "m", "onnx", 1.0, 7)])[0])
    check(drawn([Row("01", "m", "onnx", 0.0, 7), Row("01", "m", "large", 1.0, 3 * 10**9)])[0])
    check(drawn([], [Row("01", "m", "onnx", 0.5, 999_999)])[0])


def test_a_model_without_a_look_of_its_own_gets_one_by_its_name():
    assert tradeoff.look("a new model") in tradeoff.OTHER_LOOKS
    assert tradeoff.look("a new model") == tradeoff.look("a new model")


def test_models_differ_in_colour_and_in_mark_and_stand_out_from_paper():
    looks = [tradeoff.look(model) for model in {row.model for row in KEPT}]
    assert len(set(looks)) == len(looks)
    for colour, _ in [*tradeoff.LOOKS.values(), *tradeoff.OTHER_LOOKS]:
        assert contrast(colour, "#FFFFFF") >= 3 and colour in colours.PALETTE
    assert len({mark for _, mark in [*tradeoff.LOOKS.values(), *tradeoff.OTHER_LOOKS]}) == 10


def test_the_colours_of_small_hollow_marks_survive_the_builds_compression(drawn):
    encoded = re.search(PICTURE, drawn(*of_lesson("13"))[1][0]._repr_html_())[2]
    picture = Image.open(io.BytesIO(base64.b64decode(_compressed(encoded)))).convert("RGB")
    kept = {"#{:02X}{:02X}{:02X}".format(*colour) for _, colour in picture.getcolors(10_000)}
    assert {tradeoff.look(row.model)[0] for row in KEPT} <= kept


def test_the_words_say_what_is_seen_and_stay_short(drawn):
    own = [Row("09", "m", "int4 weights", 0.993, 9000), Row("09", "m", "int8 weights", 0.996, 18_000)]
    earlier = [Row("06", "m", "onnx", 0.984, 85_500), Row("04", "m", "safetensors", 0.996, 62_000)]
    _, put = drawn(own, earlier)
    assert "m: filled, this lesson's forms: int4 weights at 9.0 kB and 99.3 %, int8 weights at" in put[0].alt
    assert "hollow, forms of earlier lessons: 2 from 62.0 kB to 85.5 kB and from 98.4 % to 99.6 %." in put[0].alt
    assert put[0].title == A_TITLE
    put.clear()
    assert len(drawn(thirty(1, 0))[1][0].alt) < 200


def test_the_lessons_call_draws_the_newest_row_of_each_form_and_names_what_the_title_speaks_of(monkeypatch):
    earlier = [Row("00", model, "onnx", 0.5, 1000) for model in ("m", "teacher", "unasked")]
    monkeypatch.setattr(ledger, "kept", lambda: earlier)
    ledger.record("m", "int8", accuracy=0.5, bytes=1000)
    ledger.record("m", "int8", accuracy=0.75, bytes=2000)
    seen = []
    monkeypatch.setattr(tradeoff, "picture", lambda *arguments: seen.append(arguments))
    ledger.picture("A title", model="m")
    ledger.picture("A title", model=["m", "teacher"], also=[("teacher", "onnx")])
    newest = [Row("01", "m", "int8", 0.75, 2000)]
    assert seen == [(newest, earlier[:1], "A title", []), (newest, earlier[:2], "A title", earlier[1:2])]


def test_a_form_that_the_title_speaks_of_is_named_among_many(drawn):
    own, earlier = of_lesson("12")
    teacher = [row for row in earlier if (row.model, row.form) == ("digits_cnn", "safetensors")]
    figure, _ = drawn(own, earlier, also=teacher)
    check(figure)
    assert [label.get_text() for label in figure.axes[0].texts] == ["safetensors"]
