"""guess and reveal: kept once the learner says so, scored once, by a rule, and never in the way of "Run all"."""

import json
import os
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from course_lib import places
from course_lib.idioms import guess, guesses, reveal, store
from course_lib.idioms.guess_fields import fields
from course_lib.idioms.guesses import Choice, Number, Order, Share
from tools.build import execute

QUESTION = "How many of about 2,000 requests will fail?"


@pytest.fixture
def said(capsys):
    """What was printed since it was last asked for."""
    return lambda: capsys.readouterr().out


def new_kernel():
    """Forgets what a kernel holds, as a restart does."""
    guesses._asked.clear()
    guesses._unkept.clear()


def entry(name="lost"):
    return store.guesses()["01"][name]


def answer(**options):
    """Asks, and guesses by code."""
    guess("lost", QUESTION, **options)


def test_a_question_stands_as_text_with_its_bounds_and_a_way_to_answer_without_widgets(said):
    guess("lost", QUESTION, low=0, high=2000, unit="requests")
    guess("part", "Which share?", share=True)
    guess("which", "Which one?", choices=["int8", "float32"])
    guess("rank", "From fast to slow?", order=["a", "b", "c"])
    text = said()
    assert f"? {QUESTION}  [guess]\n    A whole number from 0 to 2,000 requests.\n" in text
    assert "A share, from 0 to 100 %." in text
    assert "One of: int8 · float32" in text and "Put in order: a · b · c" in text
    assert text.count("add `mine=…` to the call") == 4
    assert store.guesses() == {}  # nothing is a guess before the learner says so


def test_unanswered_the_measurement_stands_alone_with_an_invitation(said):
    guess("lost", QUESTION, low=0, high=2000, unit="requests")
    said()
    reveal("lost", 43, "live")
    assert said().splitlines() == ["◆ Measured: 43 requests  [reveal]", f"    {QUESTION}",
                                   "    You kept no guess before this. Next time, guess first.", "    live"]  # fmt: skip
    assert "scored" not in entry()


def test_a_guess_stands_beside_the_measurement_and_is_scored(said):
    answer(low=0, high=2000, unit="requests", mine=120)
    assert "Your guess so far: 120 requests. You can change it until you see the measurement." in said()
    reveal("lost", 43)
    assert ("Your guess: 120 requests, 77 requests too high. That is a good guess: within a tenth of the range, "
            "200 requests." in said())  # fmt: skip
    assert entry()["scored"] == {"value": 120, "truth": 43, "good": True}
    assert {"question", "kind", "low", "high", "unit", "value", "date", "seen"} <= entry().keys()


@pytest.mark.parametrize(
    ("form", "value", "truth", "good"),
    [
        (Number(1, 10), 4, 8, True),
        (Number(1, 10), 4, 8.1, False),
        (Number(1, 10), 9, 4, False),
        (Number(0.1, 1000.0), 1.0, 0.5, True),
        (Number(1, 100), 50, 1000, False),  # another machine's, outside of the bounds
        (Number(1, 100), 100, 190, True),
        (Number(1, 100), 1, 0, False),  # no factor leads to zero
        (Number(1, 100), 1, -1, False),
        (Number(0, 2000), 200, 0, True),
        (Number(0, 2000), 201, 0, False),
        (Number(0, 2000), 0, 0, True),
        (Number(1, 9), 2, 2.8, True),
        (Number(1, 9), 2, 4, False),  # less than a decade: a factor of two is no excuse
        (Number(-1.0, 1.0), 0.1, 0.3, True),
        (Share(), 30, 20, True),
        (Share(), 30, 19.9, False),
        (Choice(("a", "b")), "a", "a", True),
        (Choice(("a", "b")), "a", "b", False),
        (Order(("a", "b", "c")), ["b", "a", "c"], ["b", "a", "c"], True),
        (Order(("a", "b", "c")), ["b", "c", "a"], ["b", "a", "c"], False),
    ],
)
def test_what_counts_as_good(form, value, truth, good):
    assert form.judged(value, truth)[0] is good


def test_an_order_says_how_many_stand_in_their_place(said):
    guess("rank", "From fast to slow?", order=["a", "b", "c"], mine=["b", "c", "a"])
    reveal("rank", ["b", "a", "c"])
    assert "Your guess: b, then c, then a. That does not count as good: 1 of 3 stand in their place." in said()


def test_a_share_is_guessed_in_percent_and_measured_from_0_to_1(said):
    guess("part", "Which share?", share=True, mine=50)
    reveal("part", np.float32(0.44))
    text = said()
    assert "Measured: 44 %" in text and "50 %, 6 percentage points too high. That is a good guess" in text


@pytest.mark.parametrize("truth", [43, np.int64(43), np.float32(43), np.array(43), 43.0], ids=repr)
def test_a_measurement_may_be_any_single_number(truth, said):
    answer(low=0, high=2000)
    reveal("lost", truth)
    assert "Measured: 43 " in said()


@pytest.mark.parametrize(("truth", "wrong"), [(float("nan"), ValueError), (np.inf, ValueError), ("43", TypeError),
                                              (None, TypeError), (True, TypeError), ([43], TypeError),
                                              (np.array([43]), TypeError)], ids=repr)  # fmt: skip
def test_a_measurement_that_is_no_number_is_refused_and_nothing_counts_as_seen(truth, wrong):
    answer(low=0, high=2000)
    with pytest.raises(wrong, match="expected a .*number as the measurement, got"):
        reveal("lost", truth)
    assert store.guesses() == {}


def test_a_measurement_of_another_kind_says_what_was_expected():
    guess("part", "Which share?", share=True)
    guess("which", "Which one?", choices=["int8", "float32"])
    guess("rank", "From fast to slow?", order=["a", "b", "c"])
    for name, truth, wrong, words in (
        ("part", 43, ValueError, "a share from 0 to 1"),
        ("which", "int4", ValueError, "one of int8, float32"),
        ("which", 8, TypeError, "the right choice's text"),
        ("rank", "abc", TypeError, "a list, in the measured order"),
        ("rank", ["a", "b"], ValueError, "a, b, c, each once"),
        ("rank", ["a", "b", "b"], ValueError, "a, b, c, each once"),
    ):
        with pytest.raises(wrong, match=f"expected {words}"):
            reveal(name, truth)


@pytest.mark.parametrize("options", [
    {}, {"low": 0}, {"high": 3}, {"low": 3, "high": 3}, {"low": 4, "high": 3}, {"low": "0", "high": "3"},
    {"low": 0, "high": float("inf")}, {"low": float("nan"), "high": 1}, {"low": False, "high": True},
    {"low": 0, "high": 3, "share": True}, {"share": 0.3}, {"share": True, "unit": "ms"}, {"choices": ["a"]},
    {"choices": ["a", "a"]}, {"choices": []}, {"choices": "ab"}, {"choices": [1, 2]}, {"choices": ["a", " "]},
    {"order": ["a"]}, {"order": 3}, {"order": ["a", "b"], "choices": ["a", "b"]},
], ids=str)  # fmt: skip
def test_arguments_that_ask_for_nothing_are_refused(options):
    with pytest.raises(ValueError, match="expected"):
        guess("lost", QUESTION, **options)


@pytest.mark.parametrize(
    ("name", "question"), [("", "What?"), (" ", "What?"), ("lost", ""), (3, "What?"), ("lost", None)]
)
def test_a_guess_needs_a_name_and_a_question(name, question):
    with pytest.raises(ValueError, match="expected a text as the"):
        guess(name, question, share=True)


@pytest.mark.parametrize(("options", "mine"), [
    ({"low": 0, "high": 10}, 11), ({"low": 0, "high": 10}, -1), ({"low": 0, "high": 10}, 1.5), ({"low": 0, "high": 10}, "3"),
    ({"low": 0, "high": 10}, float("nan")), ({"low": 0, "high": 10}, True), ({"share": True}, 101),
    ({"choices": ["a", "b"]}, "c"), ({"choices": ["a", "b"]}, 0), ({"order": ["a", "b"]}, ["a", "a"]),
    ({"order": ["a", "b"]}, "ab"), ({"order": ["a", "None"]}, ["a", None]),
], ids=str)  # fmt: skip
def test_a_guess_that_is_no_answer_is_refused_and_not_kept(options, mine):
    with pytest.raises(ValueError, match="is no answer to this question"):
        answer(**options, mine=mine)
    assert store.guesses() == {}


def test_a_guess_survives_a_restart_and_may_change_until_the_reveal(said):
    answer(low=0, high=2000, mine=1500)
    new_kernel()
    answer(low=0, high=2000)
    assert "Your guess so far: 1,500. You can change it until" in said()
    answer(low=0, high=2000, mine=120)
    new_kernel()
    answer(low=0, high=2000)
    reveal("lost", 43)
    assert "That is a good guess" in said()
    new_kernel()
    answer(low=0, high=2000)
    assert "You have seen the measurement: this guess counts, and a new one does not." in said()


def test_a_guess_kept_after_the_measurement_was_seen_is_shown_and_does_not_count(said):
    answer(low=0, high=2000)
    reveal("lost", 43)
    new_kernel()  # nor does a restart help
    answer(low=0, high=2000, mine=43)
    assert "You have seen the measurement, so a guess no longer counts." in said()
    reveal("lost", 43)
    assert "Your guess: 43, exactly what was measured. You kept it after you had seen the measurement" in said()
    assert "scored" not in entry()


def test_a_guess_changed_after_the_reveal_leaves_the_first_as_it_was_scored(said):
    answer(low=0, high=2000, mine=1500)
    reveal("lost", 43)
    answer(low=0, high=2000, mine=43)
    said()
    reveal("lost", 43)
    assert "does not count.\n    Your first guess counts: 1,500, not good." in said()
    assert entry()["scored"] == {"value": 1500, "truth": 43, "good": False}


def test_cells_run_twice_change_nothing(said):
    for _ in range(2):
        answer(low=0, high=2000, mine=120)
    for _ in range(2):
        reveal("lost", 43)
    answer(low=0, high=2000, mine=120)
    assert entry()["late"] is False and entry()["scored"]["good"]
    assert "does not count" not in said()


def test_measured_anew_the_first_measurement_seen_decides(said):
    answer(low=1, high=1000, mine=10)
    reveal("lost", 15)
    said()
    reveal("lost", 30)
    text = said()
    assert "3 times too low. That does not count as good" in text
    assert "The first measurement that you saw was 15, and your guess counts as good." in text
    assert entry()["scored"]["truth"] == 15


def test_a_reveal_before_its_guess_shows_the_measurement_and_says_so(said):
    reveal("lost", 43)
    reveal("which", "int8")
    reveal("rank", ["b", "a"])
    text = said()
    assert "◆ Measured: 43 " in text and "Measured: int8" in text and "Measured: b, then a" in text
    assert text.count("has not run in this kernel") == 3
    with pytest.raises(ValueError, match="finite number"):
        reveal("lost", float("nan"))


def test_a_kept_guess_is_compared_though_its_cell_has_not_run_in_this_kernel(said):
    answer(low=0, high=2000, unit="requests", mine=120)
    new_kernel()
    said()
    reveal("lost", 43)
    assert "Measured: 43 requests" in (text := said()) and "That is a good guess" in text


def test_a_kept_guess_that_no_longer_fits_its_question_is_none(said):
    guess("lost", QUESTION, choices=["few", "many"], mine="few")
    said()
    answer(low=0, high=2000)
    reveal("lost", 43)
    assert "so far" not in (text := said()) and "You kept no guess" in text


def test_what_cannot_be_kept_on_disk_is_said_and_counts_in_this_kernel(said):
    places.PROGRESS.parent.write_text("a file where the folder should be")
    answer(low=0, high=2000, mine=120)
    assert "It is kept in this kernel only." in said()
    reveal("lost", 43)
    assert "That is a good guess" in (text := said()) and "This was not kept:" in text
    answer(low=0, high=2000, mine=44)
    reveal("lost", 43)
    assert "Your first guess counts: 120, good." in said()


# The fields that a notebook shows.


def press(box):
    """Presses the button; gives what is said then."""
    box.children[1].click()
    return box.children[2].value


def test_a_number_is_typed_or_slid_and_kept_at_the_press_of_a_button_alone():
    kept = []
    box = fields(Number(1, 10_000, "ms"), QUESTION, None, lambda value: kept.append(value) or "kept", "")
    slider, field = box.children[0].children
    assert type(slider).__name__ == "FloatLogSlider" and type(field).__name__ == "BoundedIntText"
    assert field.value == 100  # the middle of four decades
    slider.value = 1234.5
    assert field.value == 1234
    field.value = 7
    assert slider.value == pytest.approx(7) and field.value == 7
    assert kept == [] and "kept" in press(box) and kept == [7]


@pytest.mark.parametrize(("form", "slides", "types", "value"), [
    (Number(0, 2000), "IntSlider", "BoundedIntText", 17), (Number(0.0, 1.5), "FloatSlider", "BoundedFloatText", 0.123456),
    (Number(0.001, 10.0), "FloatLogSlider", "BoundedFloatText", 0.0123456), (Share(), "FloatSlider", "BoundedFloatText", 0.25),
    (Number(-5, 5), "IntSlider", "BoundedIntText", -5),
])  # fmt: skip
def test_what_is_typed_is_kept_as_typed(form, slides, types, value):
    kept = []
    box = fields(form, QUESTION, None, lambda value: kept.append(value) or "", "")
    slider, field = box.children[0].children
    assert (type(slider).__name__, type(field).__name__) == (slides, types)
    field.value = value
    press(box)
    assert kept == [value] and form.fits(kept[0])
    for end in (form.low, form.high):
        field.value = end
        slider.value = slider.value
        assert field.value == end


def test_a_choice_and_an_order_are_kept_only_when_they_are_whole():
    kept = []
    box = fields(Choice(("a", "b")), QUESTION, None, lambda value: kept.append(value) or "", "")
    assert box.children[0].value is None and "Not kept: choose one" in press(box)
    box.children[0].value = "b"
    press(box)
    box = fields(Order(("x", "y", "z")), QUESTION, None, lambda value: kept.append(value) or "", "")
    places_of = box.children[0].children
    assert [each.description for each in places_of] == ["first", "second", "third"]
    assert "choose one for each place" in press(box)
    for place, text in zip(places_of, "xyy"):
        place.value = text
    assert "y stands in two places" in press(box)
    places_of[2].value = "z"
    press(box)
    assert kept == ["b", ["x", "y", "z"]]


@pytest.mark.parametrize(
    "form", [Number(0, 9), Share(), Choice(("a", "b")), Order(("a", "b"))], ids=lambda form: form.kind
)
def test_each_field_has_a_visible_name_and_the_question_as_its_tip(form):
    box = fields(form, QUESTION, None, str, "")
    field, button, status = box.children
    for each in getattr(field, "children", [field]):
        assert each.description and QUESTION in each.tooltip
    assert button.description == "Keep my guess" and QUESTION in button.tooltip
    assert 'role="status"' in status.value


@pytest.mark.parametrize(("form", "value"), [(Number(0, 9), 3), (Share(), 12.5), (Choice(("a", "b")), "b"),
                                             (Order(("a", "b")), ["b", "a"])], ids=str)  # fmt: skip
def test_fields_show_the_guess_so_far_and_keep_it_again(form, value):
    kept = []
    press(fields(form, QUESTION, value, lambda value: kept.append(value) or "", "so far"))
    assert kept == [value]


def test_what_is_said_beside_a_field_is_never_read_as_markup():
    assert "<b>" not in press(fields(Choice(("<b>", "c")), "?", "<b>", lambda value: f"kept {value}", ""))


# Real kernels.

ASK = """from course_lib.idioms import begin, guess, reveal
begin("01");"""
GUESSES = f"""guess("lost", "{QUESTION}", low=0, high=2000)
guess("part", "Which share?", share=True)
guess("which", "Which one?", choices=["int8", "float32"])
guess("rank", "From fast to slow?", order=["a", "b", "c"])"""


def run(folder, *cells, **env):
    """A notebook of these cells, run to its end as `Run all` does, by a kernel of its own."""
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    path = os.pathsep.join([str(places.CHECKOUT), os.environ.get("PYTHONPATH", "")])
    execute.execute(notebook, folder, {"COURSE_PROGRESS": str(folder / "progress.json"), "PYTHONPATH": path, **env})
    return notebook


def outputs(notebook):
    return [output.data for cell in notebook.cells for output in cell.outputs]


def test_run_all_in_a_kernel_does_not_wait_and_shows_each_question_with_its_fields(tmp_path):
    shown = outputs(run(tmp_path, ASK, GUESSES, 'reveal("lost", 43)'))
    assert [("text/html" in each) for each in shown] == [True, False] * 4 + [True]  # a card, then its fields
    assert QUESTION in shown[0]["text/html"] and "Measured: 43" in shown[-1]["text/html"]
    assert all(each["text/plain"] == "(a widget: run the lesson to use it)" for each in shown[1:8:2])


def test_a_guess_kept_in_one_kernel_is_known_to_the_next(tmp_path):
    run(tmp_path, ASK, f'guess("lost", "{QUESTION}", low=0, high=2000, mine=120)')
    shown = outputs(run(tmp_path, ASK, GUESSES, 'reveal("lost", 43)'))
    assert "Your guess: 120, 77 too high. That is a good guess" in shown[-1]["text/html"]
    assert json.loads((tmp_path / "progress.json").read_text())["guesses"]["01"]["lost"]["value"] == 120


def test_the_build_shows_the_questions_as_text_alike_each_time_and_no_widget(tmp_path):
    built = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        built.append(run(tmp_path / name, ASK, GUESSES, 'reveal("lost", 43)', COURSE_RECORD="1"))
    assert [nbformat.writes(each) for each in map(outputs_only, built)][0] == nbformat.writes(outputs_only(built[1]))
    assert len(outputs(built[0])) == 5 and all("text/html" in each for each in outputs(built[0]))


def outputs_only(notebook):
    for i, cell in enumerate(notebook.cells):
        cell.id = str(i)
    return notebook


def test_without_a_notebook_or_ipython_a_guess_is_printed(tmp_path):
    code = f'{ASK}\n{GUESSES}\nreveal("lost", 1)\nimport sys\nassert "IPython" not in sys.modules'
    env = {**os.environ, "COURSE_PROGRESS": str(tmp_path / "progress.json")}
    done = subprocess.run([sys.executable, "-c", code], cwd=places.CHECKOUT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    assert QUESTION in done.stdout and "◆ Measured: 1 " in done.stdout
