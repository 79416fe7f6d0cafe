"""Preprocessing and the feedback store."""

import threading

import numpy as np
import pytest

from course_lib import data
from course_lib.services import feedback, preprocess, process
from tests.services.conftest import send


def test_bitmaps_colour_pictures_and_strokes_become_the_training_s_pixels():
    bitmap = np.random.default_rng(0).random((32, 32)) < 0.3
    colours = np.where(bitmap[..., None], 20, 240).repeat(3, axis=2)
    strokes = [[[0, 0], [1, 3]], [[1, 1], [2, 0]]]
    for body, expected in (
        ({"bitmaps": [bitmap.astype(int).tolist()]}, data.from_bitmap(bitmap)),
        ({"rgb": [colours.tolist()]}, data.from_bitmap(bitmap)),
        ({"strokes": [strokes]}, data.from_strokes(strokes)),
    ):
        found = preprocess.to_pixels(body)
        assert found.shape == (1, 1, 8, 8) and found.dtype == np.float32 and np.array_equal(found[0, 0], expected)


@pytest.mark.parametrize("body", [
    {}, {"bitmaps": []}, {"bitmaps": 3}, {"bitmaps": [[1]]}, {"bitmaps": [None]}, {"bitmaps": [["a"]]}, {"rgb": [[[1, 2, 3]]]},
    {"strokes": [[[1, 2], [3]]]}, {"strokes": [5]}, {"strokes": [["x"]]}, {"bitmaps": [[1]], "rgb": [[1]]},
    {"bitmaps": [[[0] * 32] * 31 + [[0] * 31]]}, {"bitmaps": [[[0] * 32] * 32] * 257}, {"strokes": [[[[float("inf"), 1], [2, 3]]]]},
])  # fmt: skip
def test_what_is_no_drawing_is_refused_with_a_sentence(body):
    with np.errstate(invalid="ignore"), pytest.raises(process.Refused) as refused:
        preprocess.to_pixels(body)
    assert refused.value.status == 400 and refused.value.message


def test_over_http_mistakes_get_their_status_and_the_service_outlives_them(run):
    url = run("preprocess").url
    assert send(url, "POST", "/pixels", b"{")[0] == 400
    assert send(url, "POST", "/pixels", b"[1]")[0] == 400
    assert send(url, "POST", "/pixels", b" " * (process.MAX_BODY_BYTES + 1))[0] == 413
    assert send(url, "GET", "/pixels")[0] == 405
    assert send(url, "POST", "/nothing", {})[0] == 404
    good = {"bitmaps": [np.ones((32, 32), int).tolist()]}
    assert send(url, "POST", "/pixels", good, X_Request_Timeout_Ms="soon")[0] == 400
    status, found, headers = send(url, "POST", "/pixels", good, X_Request_Id="mine-1")
    assert status == 200 and np.array_equal(found["pixels"], np.ones((1, 1, 8, 8)))
    assert headers["x-request-id"] == "mine-1"
    for unfit in ("not mine\t!", "é", "a" * 129):
        assert len(send(url, "POST", "/pixels", good, X_Request_Id=unfit)[2]["x-request-id"]) == 32


def test_feedback_is_kept_once_for_each_key_and_listed_in_order(run, tmp_path):
    url = run("feedback", "--file", str(tmp_path / "f.db")).url
    news = {"label": 3, "prediction": 8, "request_id": "r1", "model_version": "2", "pixels": np.ones((8, 8)).tolist()}
    assert send(url, "POST", "/feedback", news, Idempotency_Key="a")[:2] == (201, {"id": 1})
    assert send(url, "POST", "/feedback", news, Idempotency_Key="a")[:2] == (200, {"id": 1})
    assert send(url, "POST", "/feedback", news | {"label": 4}, Idempotency_Key="a")[0] == 422
    assert send(url, "POST", "/feedback", {"label": 4}, Idempotency_Key="b")[:2] == (201, {"id": 2})
    assert send(url, "POST", "/feedback", news)[0] == 400
    rows = send(url, "GET", "/feedback")[1]["feedback"]
    assert (
        [row["label"] for row in rows] == [3, 4] and rows[0]["pixels"] == news["pixels"] and rows[1]["pixels"] is None
    )
    assert [row["id"] for row in send(url, "GET", "/feedback?after=1&limit=5")[1]["feedback"]] == [2]
    assert send(url, "GET", "/feedback?after=x")[0] == 400


@pytest.mark.parametrize("wrong", [
    {}, {"label": 10}, {"label": -1}, {"label": True}, {"label": "3"}, {"label": 2.0}, {"label": 1, "prediction": 11},
    {"label": 1, "request_id": 5}, {"label": 1, "model_version": "v" * 65}, {"label": 1, "pixels": [[1]]}, {"label": 1, "pixels": [["a"] * 8] * 8},
])  # fmt: skip
def test_what_is_no_feedback_is_refused(wrong):
    with pytest.raises(process.Refused):
        feedback.valid(wrong)


def test_of_many_threads_with_one_key_one_is_the_first(tmp_path):
    store = feedback.Store(tmp_path / "f.db")
    found = []
    threads = [threading.Thread(target=lambda: found.append(store.keep("k", {"label": 1}))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert sorted(found) == [(1, False)] * 7 + [(1, True)]
