"""The explainer: what it asks, what it answers, and what it refuses."""

import json
import threading
import time

import numpy as np
import pytest

from course_lib.services import explain, process
from course_lib.serving.limits import Limits
from tests.services.conftest import ROWS, send
from tests.serving.conftest import DIGITS, IMAGE, WEIGHTS

EXPLAIN = DIGITS.replace(":predict", ":explain")
ONE = {"instances": [[5.0]]}


def test_of_a_linear_model_each_attribution_is_weight_times_pixel(run, server):
    url = f"http://127.0.0.1:{server.port}"
    images = [IMAGE, np.roll(IMAGE, 1, axis=2).tolist(), np.zeros((1, 8, 8)).tolist()]
    explainer = run("explain", "--predictor", url, "--most-predictions", "195").url
    status, found, headers = send(explainer, "POST", EXPLAIN, {"instances": images})
    assert status == 200 and set(found) == {"predictions", "explanations"}
    assert found["predictions"] == send(url, "POST", DIGITS, {"instances": images})[1]["predictions"]
    assert headers["x-model-version"] == "10", "the newest"
    for image, told, scores in zip(images, found["explanations"], found["predictions"], strict=True):
        assert set(told) == {"class", "score", "attributions"}
        assert told["class"] == int(np.argmax(scores)) and told["score"] == max(scores)
        expected = 10 * np.array(image) * WEIGHTS[:, told["class"]].reshape(1, 8, 8)
        assert np.allclose(told["attributions"], expected, atol=1e-3)


def test_one_request_asks_for_all_of_it_and_says_who_asks_and_until_when(run, behind):
    predictor = behind()
    predictor.more = {"X-Model-Version": "7"}
    url = run("explain", "--predictor", predictor.url, "--fill", "0.5").url
    status, found, headers = send(url, "POST", "/v1/models/m/versions/7:explain", ONE, X_Request_Id="mine",
                                  X_Request_Timeout_Ms="4000", traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")  # fmt: skip
    assert status == 200 and headers["x-model-version"] == "7" and headers["x-request-id"] == "mine"
    assert found == {"predictions": ROWS[:1], "explanations": [{"class": 7, "score": 1.0, "attributions": [1.0]}]}
    ((path, asked, body),) = predictor.seen
    assert path == "/v1/models/m/versions/7:predict" and json.loads(body) == {"instances": [[5.0], [0.5]]}
    assert asked["X-Request-Id"] == "mine" and 0 < int(asked["X-Request-Timeout-Ms"]) <= 4000
    assert asked["traceparent"].startswith("00-" + "1" * 32)
    assert "explain_predictions_total 2.0" in send(url, "GET", "/metrics")[1]["text"]


@pytest.mark.parametrize("body", [
    {}, {"inputs": [[1.0]]}, {"instances": 3}, {"instances": []}, {"instances": [[]]}, {"instances": [[1.0], [1.0, 2.0]]},
    {"instances": [["1"]]}, {"instances": [[None]]}, {"instances": [[True]]}, {"instances": {"pixels": [1.0]}},
    {"instances": [{"pixels": [1.0]}]}, {"instances": [[float("inf")]]}, {"instances": [[1.0]], "parameters": {}},
    {"instances": [[0.0] * 8] * 12}, {"instances": [[0.0] * 100]}, {"instances": [json.loads("[" * 70 + "1.0" + "]" * 70)]},
])  # fmt: skip
def test_what_cannot_be_explained_is_refused_with_a_sentence(body):
    with pytest.raises(process.Refused, match="expect") as refused:
        explain.instances_of(body, most=100)
    assert refused.value.status == 400


def test_as_many_as_allowed_are_explained():
    assert explain.instances_of({"instances": [[0.0] * 9] * 10}, most=100).shape == (10, 9)
    assert explain.instances_of({"instances": [1, 2.5]}, most=100).tolist() == [1.0, 2.5]


def test_mistakes_over_http_get_their_status_and_reach_no_predictor(run, behind):
    predictor = behind()
    url = run("explain", "--predictor", predictor.url).url
    assert send(url, "POST", EXPLAIN, b"{")[0] == send(url, "POST", EXPLAIN, b"[1]")[0] == 400
    assert send(url, "POST", EXPLAIN, {"instances": [[0.0] * 600]})[0] == 400
    assert send(url, "POST", EXPLAIN, b" " * (process.MAX_BODY_BYTES + 1))[0] == 413
    assert send(url, "POST", EXPLAIN, ONE, X_Request_Timeout_Ms="soon")[0] == 400
    assert send(url, "GET", EXPLAIN)[0] == 405
    for path in (DIGITS, "/v1/models/a/b:explain", "/v1/models/m%3Fx:explain", "/v1/models/m/versions/x:explain"):
        assert send(url, "POST", path, ONE)[0] == 404
    assert not predictor.seen


def test_the_predictor_s_refusals_come_back_in_its_own_words(run, behind):
    predictor = behind()
    url = run("explain", "--predictor", predictor.url).url
    predictor.plan, predictor.more = [400, 404, 429], {"Retry-After": "3"}
    for status in (400, 404, 429):
        assert send(url, "POST", EXPLAIN, ONE)[:2] == (status, {"error": f"a {status}"})
    assert send(url, "POST", EXPLAIN, ONE)[0] == 200


@pytest.mark.parametrize("text", [
    b"{", b"[]", b"{}", b'{"predictions": 1}', b'{"predictions": []}', b'{"predictions": [[1.0]]}',
    b'{"predictions": [[1.0], [null]]}', b'{"predictions": [["a"], ["b"]]}', b'{"predictions": [{"a": 1}, {"a": 2}]}',
    b'{"predictions": [[1.0, 2.0], [1.0]]}', b'{"predictions": [[1.0], [1.0], [1.0], [1.0]]}',
    b'{"predictions": ["7", "3"]}', b'{"predictions": [["1.5"], ["2"]]}', b'{"predictions": [[true], [false]]}',
])  # fmt: skip
def test_an_answer_of_the_predictor_that_is_none_is_a_502(text):
    with pytest.raises(process.Refused) as refused:
        explain.explanations(text, count=1, shape=(1,))
    assert refused.value.status == 502


def test_a_model_with_one_output_is_explained_too():
    told = explain.explanations(b'{"predictions": [5.0, 3.0, 5.5]}', count=1, shape=(2,))
    assert told == {"predictions": [5.0], "explanations": [{"class": 0, "score": 5.0, "attributions": [2.0, -0.5]}]}


def test_all_requests_under_way_leave_about_half_of_the_model_server_s_queue_to_others():
    assert explain.UNDER_WAY * explain.MOST_PREDICTIONS < 0.55 * Limits().max_queue


@pytest.mark.parametrize(
    "words", [("--fill", "nan"), ("--fill", "inf"), ("--most-predictions", "1"), ("--timeout-ms", "0")]
)
def test_options_with_which_nothing_could_be_explained_are_refused(words, capsys):
    with pytest.raises(SystemExit) as ended:
        explain.main(["--predictor", "http://127.0.0.1:9", "--port", "1", *words])
    assert ended.value.code == 2 and f"{words[0]}" in capsys.readouterr().err


def test_a_refusal_keeps_its_type(run, behind):
    predictor = behind()
    predictor.plan, predictor.more = [400], {"Content-Type": "text/plain"}
    answer = send(run("explain", "--predictor", predictor.url).url, "POST", EXPLAIN, ONE)
    assert answer[0] == 400 and answer[2]["content-type"].startswith("text/plain")


def test_a_deadline_is_kept_and_a_predictor_out_of_reach_is_a_503(run, behind):
    predictor = behind()
    url = run("explain", "--predictor", predictor.url).url
    predictor.plan = [1.5]
    status, said, _ = send(url, "POST", EXPLAIN, ONE, X_Request_Timeout_Ms="100")
    assert status == 504 and "the client's X-Request-Timeout-Ms" in said["error"]
    nowhere = run("explain", "--predictor", "http://127.0.0.1:9").url
    assert send(nowhere, "POST", EXPLAIN, ONE)[0] == 503


def test_four_requests_are_under_way_at_most(run, behind):
    predictor = behind()
    predictor.plan = [1.5] * 4
    url = run("explain", "--predictor", predictor.url, "--timeout-ms", "20000").url
    found = []
    threads = [threading.Thread(target=lambda: found.append(send(url, "POST", EXPLAIN, ONE)[0])) for _ in range(4)]
    for each in threads:
        each.start()
    while len(predictor.seen) < 4:
        time.sleep(0.01)
    status, said, headers = send(url, "POST", EXPLAIN, ONE)
    assert status == 503 and "under way" in said["error"] and headers["retry-after"] == "1"
    for each in threads:
        each.join()
    assert found == [200] * 4 and send(url, "POST", EXPLAIN, ONE)[0] == 200
