"""The canary's decisions, over counters as the gateway writes them; the orders to a stand-in for kubectl."""

import contextlib
import json
import math

import pytest

from course_lib.release import canary
from course_lib.release.canary import (
    ALPHA,
    BETA,
    Canary,
    blame,
    counted,
    decide,
    evidence,
    judge,
    of_candidate,
    of_stable,
)

LIMITS = {"failed": (0.005, 0.05), "slow": (0.02, 0.2), "different": (0.05, 0.2)}

METRICS = """
# TYPE gateway_tries_total counter
gateway_tries_total{outcome="200",predictor="predictor-0"} 900.0
gateway_tries_total{outcome="200",predictor="predictor-1"} 90.0
gateway_tries_total{outcome="503",predictor="predictor-1"} 3.0
gateway_tries_total{outcome="cancelled",predictor="predictor-1"} 7.0
gateway_tries_total{outcome="200",predictor="shadow-0"} 100.0
# TYPE gateway_shadow_total counter
gateway_shadow_total{outcome="same"} 95.0
gateway_shadow_total{outcome="different"} 5.0
# TYPE gateway_try_duration_seconds histogram
gateway_try_duration_seconds_bucket{le="0.5",upstream="predictor-1"} 80.0
gateway_try_duration_seconds_bucket{le="+Inf",upstream="predictor-1"} 93.0
gateway_try_duration_seconds_count{upstream="predictor-1"} 93.0
"""


def test_the_counters_of_two_gateways_add_up_and_the_candidates_are_told_from_the_stable_ones():
    one, two = of_candidate(counted([METRICS])), of_candidate(counted([METRICS, METRICS]))
    assert one == {"failed": (3, 193), "slow": (13, 93), "different": (5, 100)}
    assert two == {what: (2 * wrong, 2 * count) for what, (wrong, count) in one.items()}


def test_the_stable_version_is_counted_beside_it():
    assert of_stable(counted([METRICS])) == {"failed": (0, 900), "slow": (0, 0)}


def test_evidence_is_for_the_limit_that_the_counts_are_nearer_to():
    assert evidence(50, 1000, 0.05, 0.2) < math.log(BETA) < 0 < math.log(1 / ALPHA) < evidence(200, 1000, 0.05, 0.2)


@pytest.mark.parametrize(("change", "verdict"), [
    ({}, "promote"), ({"different": (60, 300)}, "roll back"), ({"failed": (30, 300)}, "roll back"), ({"slow": (0, 5)}, "go on"),
])  # fmt: skip
def test_one_bad_test_sends_back_and_one_that_is_undecided_holds_up(change, verdict):
    assert decide({"failed": (0, 300), "slow": (1, 300), "different": (10, 300)} | change, LIMITS) == verdict


def test_counts_and_limits_must_be_of_the_same_things():
    for found, limits in (({"failed": (0, 1)}, LIMITS), ({}, {})):
        with pytest.raises(ValueError, match="expected counts"):
            decide(found, limits)


def test_blame_is_the_evidence_of_whose_requests_went_wrong():
    assert blame((8, 100), (32, 400), 10) < math.log(BETA) < 0 < math.log(1 / ALPHA) < blame((10, 100), (1, 400), 10)
    assert blame((0, 100), (0, 400), 10) == blame((3, 0), (5, 10), 10) == blame((3, 10), (0, 0), 10) == 0


@pytest.mark.parametrize(("candidate", "stable", "verdict"), [
    ((8, 100), (32, 400), "fine"), ((8, 100), None, "bad"), ((8, 100), (0, 0), "bad"), ((8, 100), (0, 400), "bad"),
    ((0, 20), (0, 80), "unknown"), ((0, 100), (0, 400), "fine"), ((9, 9000), (0, 36000), "fine"),
])  # fmt: skip
def test_a_measure_is_bad_by_comparison_alone_and_fine_by_either(candidate, stable, verdict):
    assert judge(candidate, LIMITS["failed"], stable) == verdict


def test_on_a_day_on_which_everything_fails_a_good_candidate_is_promoted_all_the_same():
    found = {"failed": (30, 300), "slow": (1, 300), "different": (10, 300)}
    assert decide(found, LIMITS) == "roll back"
    assert decide(found, LIMITS, {"failed": (120, 1200), "slow": (4, 1200)}) == "promote"
    assert decide(found, LIMITS, {"failed": (3, 1200), "slow": (4, 1200)}) == "roll back"


class Sent:
    def stop(self):
        pass

    def result(self):
        return {
            "answered": 9,
            "failed": {},
            "by_version": {"1": 5},
            "version_by_half_second": {"1": [5]},
            "begun_at": 0,
        }


@pytest.fixture
def orders(monkeypatch):
    """What the canary orders, with a cluster that does it at once; counters are read from `orders.metrics`."""
    asked = []

    def kubectl(*words, **_):
        if words[:2] == ("get", "--raw"):
            return kubectl.metrics
        asked.append((words[1], json.loads(words[-1])["spec"]))
        return ""

    @contextlib.contextmanager
    def traffic(namespace, image, bodies, **asks):
        asked.append(("traffic", asks["path"]))
        yield Sent()

    kubectl.metrics, kubectl.asked = METRICS, asked
    monkeypatch.setattr(canary, "kubectl", kubectl)
    monkeypatch.setattr(canary, "traffic", traffic)
    monkeypatch.setattr(canary, "wait_for_rollout", lambda *_: 0.0)
    monkeypatch.setattr(canary, "pods", lambda *_: [{"name": "g", "leaving": False, "ready": True}])
    monkeypatch.setattr(canary.time, "sleep", lambda _: None)
    return kubectl


def test_a_good_one_takes_the_stable_place_before_its_share_goes_back_to_nothing(orders):
    orders.metrics = METRICS.replace('"503"', '"200x"').replace("} 3.0", "} 0.0").replace("} 80.0", "} 93.0")
    told = Canary("n", "gateway:1", {1: "one", 2: "two"}, "digits_linear").release(
        2, ["{}"], LIMITS | {"failed": (0.1, 0.5)}
    )
    assert told["verdict"] == "promote" and [what for _, what in told["events"]] == [
        "20 %",
        "promote",
        "promoted",
        "gone",
    ]
    deployments = [deployment for deployment, _ in orders.asked]
    assert deployments == ["deployment/digits-canary", "traffic", "deployment/digits-gateway", "deployment/digits",
                           "deployment/digits-gateway", "deployment/digits-canary"]  # fmt: skip
    assert orders.asked[1] == ("traffic", "/v1/models/digits_linear:predict")
    shares = [
        spec["template"]["spec"]["containers"][0]["args"] for name, spec in orders.asked if name.endswith("gateway")
    ]
    assert "--predictor=http://digits-canary=20" in shares[0] and "--shadow=http://digits-canary=1" in shares[0]
    assert "--predictor=http://digits-canary=0" in shares[1] and not any("shadow" in each for each in shares[1])


def test_a_slow_one_goes_back_and_the_stable_version_is_left_alone(orders):
    told = Canary("n", "gateway:1", {1: "one", 2: "two"}).release(2, ["{}"], LIMITS)
    assert told["verdict"] == "roll back" and "deployment/digits" not in [name for name, _ in orders.asked]
    assert told["looks"][-1]["beside"] == {"failed": (0, 900), "slow": (0, 0)}


def test_what_an_apply_sends_names_the_stable_version_and_no_candidate(monkeypatch):
    def rendered(folder, image):
        gateway = {"containers": [{"name": "gateway", "image": "digits-gateway:0.1.0"}]}
        objects = {
            "digits": {"template": {"spec": {"containers": [{"image": image}]}}},
            "digits-canary": {"replicas": 1},
            "digits-gateway": {"template": {"spec": gateway}},
        }
        return [{"kind": "Deployment", "metadata": {"name": name}, "spec": spec} for name, spec in objects.items()]

    monkeypatch.setattr(canary, "rendered", rendered)
    stable, candidate, gateway = Canary("n", "gateway:1", {1: "one", 2: "two"}).documents(2)
    assert stable["spec"]["template"]["spec"]["containers"][0]["image"] == "two" and candidate["spec"]["replicas"] == 0
    (container,) = gateway["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "gateway:1" and "--predictor=http://digits-canary=0" in container["args"]


def test_what_is_not_known_in_time_goes_back(orders):
    orders.metrics = ""
    told = Canary("n", "gateway:1", {1: "one", 2: "two"}).release(2, ["{}"], LIMITS, seconds=0.05)
    assert told["verdict"] == "roll back" and told["looks"][-1]["failed"] == (0, 0)
