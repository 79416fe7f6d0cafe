"""The ledger's rows and picture, the models that ship, and the data."""

import json

import numpy as np
import onnxruntime
import pytest

from course_lib import data, models, places
from course_lib.idioms import begin, ledger, lesson


def test_a_row_is_shown_in_the_table_and_replaced_by_a_newer_one():
    ledger.record("m", "onnx", accuracy=0.5, bytes=1000)
    ledger.record("m", "onnx", accuracy=0.75, bytes=2000, max_abs_diff=1e-5)
    assert [row.accuracy for row in ledger.rows("m")] == [0.75]
    assert repr(ledger.table("m")).splitlines()[2].split() == ["01", "m", "onnx", "0.7500", "2,000", "1.0e-05"]


@pytest.mark.parametrize("row", [{"accuracy": 98.0, "bytes": 10}, {"accuracy": -0.1, "bytes": 10}, {"accuracy": 0.5, "bytes": 0},
                                 {"accuracy": 0.5, "bytes": 1.5}, {"accuracy": float("nan"), "bytes": 1}])  # fmt: skip
def test_a_row_that_cannot_be_is_refused(row):
    with pytest.raises(ValueError, match="expected"):
        ledger.record("m", "onnx", **row)


def test_a_lesson_sees_the_kept_rows_of_earlier_lessons_and_not_of_later_ones(monkeypatch):
    places.RECORDINGS.mkdir()
    monkeypatch.setenv("COURSE_RECORD", "1")
    for number, form in (("01", "onnx"), ("10", "int8"), ("06", "torchscript")):
        monkeypatch.setattr(lesson, "_current", number)
        monkeypatch.setattr(ledger, "_own", {})
        ledger.record("m", form, accuracy=0.9, bytes=100)
    monkeypatch.setattr(lesson, "_current", "06")
    monkeypatch.setattr(ledger, "_own", {})
    assert [row.form for row in ledger.rows()] == ["onnx"]
    monkeypatch.setattr(lesson, "_current", "01")
    ledger.record("m", "pt2", accuracy=0.9, bytes=100)  # what a lesson no longer records goes when it is built again
    assert [(row.lesson, row.form) for row in ledger.kept()] == [("01", "pt2"), ("06", "torchscript"), ("10", "int8")]


def test_the_first_floor_shows_no_rows_of_the_second(monkeypatch):
    places.RECORDINGS.mkdir()
    monkeypatch.setenv("COURSE_RECORD", "1")
    for number in ("10", "10b"):
        monkeypatch.setattr(lesson, "_current", number)
        monkeypatch.setattr(ledger, "_own", {})
        ledger.record("m", f"of {number}", accuracy=0.9, bytes=100)
    monkeypatch.setattr(ledger, "_own", {})
    for number, seen in (("10b", ["of 10"]), ("11", ["of 10"]), ("11b", ["of 10", "of 10b"])):
        monkeypatch.setattr(lesson, "_current", number)
        assert [row.form for row in ledger.rows()] == seen


def test_outside_the_build_no_row_is_kept():
    ledger.record("m", "onnx", accuracy=0.9, bytes=100)
    assert not places.RECORDINGS.exists()


def test_the_picture_says_in_words_what_it_shows(capsys):
    with pytest.raises(RuntimeError, match="no row yet"):
        ledger.picture("Nothing")
    ledger.record("m", "onnx", accuracy=0.9, bytes=100)
    ledger.picture("One point")
    assert "m: filled, this lesson's forms: onnx at 100 B and 90.0 %." in capsys.readouterr().out


def test_a_lesson_has_a_scratch_folder_of_its_own_each_time():
    first, second = begin("01"), begin("01")
    assert first != second and first.is_dir() and not list(first.iterdir())
    with pytest.raises(ValueError, match="expected a lesson's number, 00 to 27, got '77'"):
        begin("77")


def test_before_begin_an_idiom_says_what_to_run(monkeypatch):
    monkeypatch.setattr(lesson, "_current", None)
    with pytest.raises(RuntimeError, match="run its first cell"):
        ledger.record("m", "onnx", accuracy=0.5, bytes=1)


def test_the_models_that_ship_answer_as_their_ledger_rows_say():
    kept = json.loads((places.CHECKOUT / "source/recordings/ledger.json").read_text())
    rows = {row["form"]: row for row in kept if row["lesson"] == "01"}
    _, test = data.digits()
    for form, version in (("onnx", 1), ("int8", 2)):
        file = models.path("digits_cnn", version)
        session = onnxruntime.InferenceSession(file)
        answers = session.run(["logits"], {"pixels": test.images[:, None]})[0].argmax(axis=1)
        assert (
            abs((answers == test.labels).mean() - rows[form]["accuracy"]) <= 0.005
        )  # int8 kernels differ by processor
        assert file.stat().st_size == rows[form]["bytes"] < 200_000


def test_an_unknown_model_and_a_changed_file_are_refused(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="expected one of digits_cnn/1/model.onnx"):
        models.path("digits_cnn", 7)
    monkeypatch.setattr(models, "MODELS", tmp_path / "models")
    monkeypatch.setenv("COURSE_RECORD", "1")
    for version in (1, 2):
        (tmp_path / "file").write_bytes(b"line\n")
        models.keep(tmp_path / "file", "m", version)
    file = models.path("m", 1)
    assert models.problems() == []
    file.write_bytes(b"line\r\n")
    with pytest.raises(ValueError, match="delete it if it is there, then `git checkout models` restores it"):
        models.path("m", 1)
    models.keep(tmp_path / "file", "m", 2)
    (file.parent / "extra").touch()
    changed, unlisted = models.problems()  # what was kept since gave the changed file no sum of its own
    assert changed.startswith("models/m/1/model.onnx is not the file that models/SHA256SUMS lists")
    assert unlisted.startswith("models/m/1/extra is not in models/SHA256SUMS")
    file.unlink()
    assert models.problems()[0] == changed


def test_a_version_may_have_several_files_each_with_its_checksum(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "MODELS", tmp_path / "models")
    monkeypatch.setenv("COURSE_RECORD", "1")
    for text, name in (("graph", "model.onnx"), ("numbers", "weights.safetensors"), ("newer", "model.onnx")):
        (tmp_path / "file").write_text(text)
        models.keep(tmp_path / "file", "m", 1, name)
    assert models.path("m", 1).read_text() == "newer"
    assert models.path("m", 1, "weights.safetensors").read_text() == "numbers"
    (tmp_path / "models/m/card.md").write_text("a card has no checksum")
    sums = (tmp_path / "models/SHA256SUMS").read_text()
    assert [line.split()[1] for line in sums.splitlines()] == ["m/1/model.onnx", "m/1/weights.safetensors"]
    with pytest.raises(FileNotFoundError, match="got m/1/model.keras"):
        models.path("m", 1, "model.keras")


def test_outside_the_build_no_model_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "MODELS", tmp_path / "models")
    (tmp_path / "file").write_bytes(b"x")
    models.keep(tmp_path / "file", "m", 1)
    assert not (tmp_path / "models").exists()


def test_the_split_is_the_same_at_each_call_and_shares_no_image():
    train, test = data.digits()
    again, _ = data.digits()
    assert (train.images.shape, test.images.shape) == ((1347, 8, 8), (450, 8, 8))
    assert np.array_equal(train.images, again.images)
    assert train.images.dtype == np.float32 and train.labels.dtype == np.int64
    assert not {each.tobytes() for each in train.images} & {each.tobytes() for each in test.images}


def test_what_is_held_out_is_stratified_the_same_each_time_and_shares_no_image():
    train, _ = data.digits()
    fit, validation = data.hold_out(train)
    assert (len(fit.labels), len(validation.labels)) == (1122, 225)
    assert np.array_equal(validation.images, data.hold_out(train)[1].images)
    assert not np.array_equal(validation.labels, data.hold_out(train, seed=1)[1].labels)
    assert not {each.tobytes() for each in fit.images} & {each.tobytes() for each in validation.images}
    assert np.ptp(np.bincount(validation.labels) - np.bincount(train.labels) * 225 / 1347) < 2
    with pytest.raises(ValueError):
        data.hold_out(train, 5)


def test_a_bitmap_is_counted_in_blocks_of_sixteen():
    bitmap = np.zeros((32, 32))
    bitmap[:4, :4] = 255
    bitmap[4:6, 4:8] = 1
    form = data.from_bitmap(bitmap)
    assert form.shape == (8, 8) and form.dtype == np.float32
    assert (form[0, 0], form[1, 1], form.sum()) == (1.0, 0.5, 1.5)
    with pytest.raises(ValueError, match="32 × 32"):
        data.from_bitmap(np.zeros((28, 28)))


def test_a_drawing_takes_the_same_form_wherever_and_however_large_it_is_drawn():
    seven = [[(20, 10), (80, 10), (45, 95)], [(35, 50), (72, 50)]]
    moved = [[(300 + x / 3, 5 + y / 3) for x, y in stroke] for stroke in seven]
    assert np.abs(data.from_strokes(seven) - data.from_strokes(moved)).max() <= 1 / 16
    assert data.from_strokes([]).sum() == data.from_strokes([[]]).sum() == 0
    assert 0 < data.from_strokes([[(3, 3)]]).sum() < 3  # a dot
    assert (data.from_strokes(seven)[[0, -1]].sum(axis=1) > 0).all()  # it fills the height, as the data do


def test_drawings_hold_about_as_much_ink_as_the_data():
    strokes = [
        [[(20, 10), (80, 10), (45, 95)]],
        [[(60, 5), (20, 60), (85, 60)], [(65, 35), (62, 95)]],
        [[(50, 5), (50, 95)]],
    ]
    ink = [data.from_strokes(each).sum() for each in strokes]
    train, _ = data.digits()
    low, high = np.quantile(train.images.sum(axis=(1, 2)), [0.01, 0.99])
    assert all(low * 0.7 < each < high for each in ink)
