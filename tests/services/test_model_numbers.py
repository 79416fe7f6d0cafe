"""What the gateway tells of the model's own answers: digits, confidences, versions; labels that clients cannot multiply."""

import json

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from course_lib.services.answers import digits
from course_lib.services.process import Refused
from tests.services.conftest import PIXELS, send


def told(url: str) -> dict[tuple[str, ...], float]:
    """{(name, labels' values …): value} of the gateway's /metrics."""
    text = send(url, "GET", "/metrics")[1]["text"]
    families = text_string_to_metric_families(text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_digits_are_counted_by_class_and_version_and_confidences_by_version(run, behind):
    predictor = behind()
    predictor.more = {"X-Model-Version": "3"}
    gate = run("gateway", "--predictor", predictor.url)
    for _ in range(3):
        assert send(gate.url, "POST", "/digits", PIXELS)[1]["digits"] == [7, 2]
    seen = told(gate.url)
    assert seen["gateway_digits_total", "7", "3"] == seen["gateway_digits_total", "2", "3"] == 3
    assert seen["gateway_confidence_count", "3"] == 6
    assert seen["gateway_confidence_bucket", "0.95", "3"] == 0, "rows of zeros and a one are probabilities: sure"


@pytest.mark.parametrize("version", ["", "made-up", "1" * 10, "3; drop"])
def test_what_is_no_version_gets_no_label_of_its_own(run, behind, version):
    predictor = behind()
    predictor.more = {"X-Model-Version": version}
    gate = run("gateway", "--predictor", predictor.url)
    send(gate.url, "POST", "/digits", PIXELS)
    assert {key[2] for key in told(gate.url) if key[0] == "gateway_digits_total"} == {""}


def test_what_passes_through_or_fails_is_not_counted_as_digits(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--attempts", "1")
    send(gate.url, "POST", "/v1/models/digits_cnn:predict", {"instances": PIXELS["pixels"]})
    predictor.text = json.dumps({"predictions": [["no", "numbers"]]}).encode()
    assert send(gate.url, "POST", "/digits", PIXELS)[0] == 502
    assert not [key for key in told(gate.url) if key[0].startswith("gateway_digits")]


def test_confidence_is_the_largest_probability_of_logits_and_of_probabilities():
    logits = np.array([[0.0, 2.0, *[0.0] * 8], [1000.0, *[0.0] * 9], [0.0] * 10])
    named, sure = digits(json.dumps({"predictions": logits.tolist()}).encode())
    assert named == [1, 0, 0]
    assert sure == pytest.approx([np.exp(2) / (np.exp(2) + 9), 1.0, 0.1])
    shares = np.full((1, 10), 0.05)
    shares[0, 4] = 0.55
    assert digits(json.dumps({"predictions": shares.tolist()}).encode()) == ([4], pytest.approx([0.55]))


def test_an_answer_without_pictures_is_refused_as_before():
    with pytest.raises(Refused):
        digits(b'{"predictions": []}')
