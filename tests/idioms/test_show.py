"""Cards, tables and figures: readable without styles, in both themes, and by those who do not see them."""

import re

import matplotlib.pyplot as plt
import pytest

from course_lib import show
from course_lib.places import CHECKOUT
from course_lib.show import colours, figures, path, pods, request, threats
from tools.build.execute import PICTURE, _compressed


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("paper", ["#FFFFFF", "#F5F5F5", "#111111"])
@pytest.mark.parametrize("name", ["BLUE", "GREEN", "RED", "GREY", "ORANGE"])
def test_a_cards_mark_has_enough_contrast_on_light_and_on_dark(name, paper):
    painted = re.search(r"color:(#\w+)", show.card("✓", getattr(colours, name), "it holds", label="claim").markup)[1]
    assert contrast(painted, paper) >= 3


def test_without_styles_a_card_still_says_what_it_is():
    markup = show.card("✓", show.GREEN, "half of `a < b`", "0.5 of 1", label="claim").markup
    words = re.sub(r"<[^>]+>", " ", re.sub(r' style="[^"]*"', "", markup))
    assert " ".join(words.split()) == "✓ claim · half of a &lt; b 0.5 of 1"
    assert "<code>a &lt; b</code>" in markup and "`" not in markup


def test_a_table_says_its_sides_beside_the_style_and_has_a_header_and_a_caption():
    block = show.table(["form", "bytes"], [["onnx", "1,000"], ["int8", 9]], caption="Two files")
    assert "<caption" in block.markup and block.markup.count('<th scope="col"') == 2
    assert block.markup.count('align="left"') == 4 and block.markup.count('align="right"') == 3
    assert block.text.splitlines() == ["Two files", "form  bytes", "onnx  1,000", "int8      9"]
    with pytest.raises(ValueError, match="expected a name for each column"):
        show.table(["", "bytes"], [])


@pytest.fixture
def shown(monkeypatch):
    blocks = []
    monkeypatch.setattr(figures, "put", blocks.append)
    return blocks


def test_a_figure_carries_its_words_where_a_reader_gets_them(shown):
    plt.plot([1, 2])
    show.finding("It rises", alt='A line that "rises"\nfrom 1 to 2')
    markup = shown[0]._repr_html_()
    assert '<img alt="A line that &quot;rises&quot; from 1 to 2"' in markup and "data:image/png;base64," in markup
    assert repr(shown[0]).startswith("Figure: It rises.")
    with pytest.raises(ValueError, match="needs a title"):
        show.finding("It rises", alt=" ")


def test_each_colour_of_the_palette_survives_the_builds_compression(shown):
    import base64
    import io

    from PIL import Image

    show.style_figures()
    for i, colour in enumerate(show.PALETTE):
        plt.plot([0, 1], [i, i], lw=6, color=colour)
        plt.imshow([[0, 1], [1, 0.5]], extent=(0, 1, 8, 12), cmap="viridis", aspect="auto")
    plt.ylim(-1, 12)
    show.finding("Seven lines", alt="Seven lines, and a picture with many colours")
    encoded = re.search(PICTURE, shown[0]._repr_html_())[2]
    picture = Image.open(io.BytesIO(base64.b64decode(_compressed(encoded)))).convert("RGB")
    kept = {colour for _, colour in picture.getcolors(10_000)}
    for colour in show.PALETTE:
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert min(max(abs(a - b) for a, b in zip(wanted, each)) for each in kept) <= 8


def test_the_map_is_drawn_and_told_from_the_syllabus_alone(shown):
    path.picture(here="02b")
    assert shown[0].alt == path.words("02b") and "Lesson 02b, A loss in floating point" in shown[0].alt
    assert "still" not in shown[0].alt and "VII Beyond: 25, 25b, 26, 26b, 27" in shown[0].alt


def test_the_picture_of_a_requests_path_names_sections_that_lesson_01_has(shown):
    request.request_path()
    lesson = (CHECKOUT / "source/notebooks/01_grand_tour.py").read_text(encoding="utf-8")
    for number, about in (
        ("2", "ONNX"),
        ("3", "quantization"),
        ("4", "API"),
        ("6", "container"),
        ("7", "deleted"),
    ):
        assert number in shown[0].alt and re.search(rf"^# ## {number}\. .*{about}", lesson, re.M)


def test_the_picture_of_threats_tells_each_number_and_its_place(shown):
    threats.threat_model([("listens", "client → gateway", "22c"), ("sends a bomb", "preprocessing", "22")], here="22c")
    assert "2 threats" in shown[0].title and "about 1 of them" in shown[0].title
    assert shown[0].alt.endswith("1 at client → gateway; 2 at preprocessing")


@pytest.mark.parametrize(("where", "error"), [(["nowhere"], KeyError), (["preprocessing"] * 2, IndexError)])
def test_a_threat_without_a_place_in_the_picture_is_refused(where, error):
    with pytest.raises(error):
        threats.threat_model([("does harm", each, "22") for each in where], here="22")
    plt.close("all")


def test_a_load_without_answers_is_refused_with_its_failures():
    with pytest.raises(ValueError, match="failed: 3 × refused"):
        pods.answers_by_pod({"by_half_second": {}, "failed": {"refused": 3}}, "Nothing")
