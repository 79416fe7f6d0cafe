"""claim and observe: what holds is shown, what does not hold fails or is said, and nothing else is taken for a truth."""

import numpy as np
import pytest

from course_lib import show
from course_lib.idioms import ClaimFailed, claim, claims, observe


def test_a_claim_that_holds_is_shown_with_its_figure(capsys):
    claim("two is less than three", 2 < 3, "2 and 3")
    assert capsys.readouterr().out == "✓ two is less than three  [claim]\n    2 and 3\n"


def test_a_claim_that_does_not_hold_is_shown_and_fails_the_cell(capsys):
    with pytest.raises(ClaimFailed, match="three is less than two — does not hold here: 3 and 2"):
        claim("three is less than two", 3 < 2, "3 and 2")
    assert capsys.readouterr().out.startswith("✗ three is less than two")


def test_a_claim_about_a_packages_own_words_fails_in_the_pinned_version_alone(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(claims.metadata, "version", lambda package: "1.0+cpu")
    (tmp_path / "constraints.txt").write_text("tool==1.0\nother-tool==2.0 ; os_name == 'posix'\n")
    monkeypatch.setattr(claims, "CHECKOUT", tmp_path)
    with pytest.raises(ClaimFailed):
        claim("it says so", False, pinned="tool")
    capsys.readouterr()
    claim("it says so", True, pinned="other-tool")
    assert capsys.readouterr().out == "✓ it says so  [claim]\n"
    claim("it says so", False, pinned="other-tool")
    said = capsys.readouterr().out
    assert said.startswith("○ it says so  [otherwise in the version that is installed here]")
    assert "other-tool 1.0 is installed here; the text speaks of 2.0" in said
    with pytest.raises(ValueError, match="expected a package that constraints.txt pins, got 'ool'"):
        claim("it says so", True, pinned="ool")


def test_an_observation_never_fails_and_says_which_way_it_went(capsys):
    observe("it is fast", True, "1 ms")
    observe("it is fast", False, "9 ms")
    first, second = capsys.readouterr().out.split("9 ms")[0].split("    1 ms\n")
    assert "observed here" in first and "not so here" in second


@pytest.mark.parametrize("idiom", [claim, observe])
@pytest.mark.parametrize("holds", [None, 1, 0, "yes", "", [], [True], np.array([True]), np.float64(1.0), ...])
def test_only_a_truth_value_is_taken_for_one(idiom, holds):
    with pytest.raises(TypeError, match="expected True or False"):
        idiom("something holds", holds)


def test_the_truth_values_of_numpy_and_of_a_tensor_are_taken():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed; NumPy's truth values are tested all the same"
    )
    claim("numpy", np.bool_(True))
    claim("tensor", torch.tensor(1.0) < 2)
    with pytest.raises(ClaimFailed):
        claim("numpy", np.array([1, 2]).max() < 1)


def test_a_card_escapes_what_it_shows():
    card = show.card("✓", show.GREEN, "1 < 2 & <script>alert(1)</script>", "<b>")
    assert "<script>" not in card._repr_html_() and "&lt;b&gt;" in card._repr_html_()
    assert "<script>" in repr(card)  # plain text is shown as it is


def test_a_table_aligns_numbers_right_and_survives_no_rows():
    assert repr(show.table(["n", "name"], [[5, "a"], [50, "bc"]])) == " n  name\n 5  a\n50  bc"
    assert repr(show.table(["n"], [])) == "n"


def test_a_figure_needs_a_title_and_its_content_in_words():
    with pytest.raises(ValueError, match="title"):
        show.finding("", alt="a line")
    with pytest.raises(ValueError, match="alt"):
        show.finding("It rises", alt="  ")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (72131, "72.1 kB"), (2e8, "200.0 MB"), (3e9, "3.0 GB")]
)
def test_bytes_are_written_as_people_read_them(count, text):
    assert show.bytes_text(count) == text
