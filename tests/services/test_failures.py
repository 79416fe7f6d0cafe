"""What the gateway does where a service behind it fails: tries again, stops asking, gives up in time."""

import time

from course_lib.services.breaker import RetryBudget
from tests.services.conftest import PIXELS, send


def test_what_fails_is_tried_again_where_that_does_no_harm(run, behind):
    predictor, store = behind(), behind()
    gate = run("gateway", "--predictor", predictor.url, "--feedback", store.url)
    predictor.plan = ["hang up", 503]
    assert send(gate.url, "POST", "/digits", PIXELS)[0] == 200 and len(predictor.seen) == 3
    store.plan = ["hang up"]
    assert send(gate.url, "POST", "/feedback", {"label": 1})[0] == 503 and len(store.seen) == 1
    store.plan = ["hang up"]
    assert send(gate.url, "POST", "/feedback", {"label": 1}, Idempotency_Key="k")[0] == 200
    assert [sent.get("Idempotency-Key") for _, sent, _ in store.seen[1:]] == ["k", "k"]


def test_retries_stay_within_their_budget():
    budget = RetryBudget(0.25, reserve=2)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(4):
        budget.earn()
    assert [budget.spend() for _ in range(2)] == [True, False]


def test_a_deadline_ends_the_wait_and_is_not_tried_again(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url)
    predictor.plan = [1.5]
    start = time.monotonic()
    assert send(gate.url, "POST", "/digits", PIXELS, X_Request_Timeout_Ms="100")[0] == 504
    assert time.monotonic() - start < 1.4 and len(predictor.seen) == 1
    for wrong in ("0", "-5", "soon", "1e3"):
        assert send(gate.url, "POST", "/digits", PIXELS, X_Request_Timeout_Ms=wrong)[0] == 400


def test_after_failures_in_a_row_the_service_is_left_alone_and_asked_again_later(run, behind):
    predictor = behind()
    gate = run(
        "gateway",
        "--predictor",
        predictor.url,
        "--attempts",
        "1",
        "--breaker-failures",
        "3",
        "--breaker-seconds",
        "0.5",
    )
    predictor.plan = [500] * 3
    assert [send(gate.url, "POST", "/digits", PIXELS)[0] for _ in range(3)] == [500] * 3
    status, said, headers = send(gate.url, "POST", "/digits", PIXELS)
    assert (
        status == 503 and "left alone" in said["error"] and headers["retry-after"] == "1" and len(predictor.seen) == 3
    )
    assert 'gateway_breaker_open{upstream="predictor-0"} 1.0' in send(gate.url, "GET", "/metrics")[1]["text"]
    time.sleep(0.6)
    assert send(gate.url, "POST", "/digits", PIXELS)[0] == 200


def test_one_hasty_client_does_not_open_the_breaker_for_all(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--breaker-failures", "3", "--timeout-ms", "2000")
    predictor.plan = [0.2] * 5
    hasty = [send(gate.url, "POST", "/digits", PIXELS, X_Request_Timeout_Ms="20")[0] for _ in range(5)]
    assert hasty == [504] * 5 and send(gate.url, "POST", "/digits", PIXELS)[0] == 200


def test_nor_does_a_hasty_client_keep_it_closed(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--breaker-failures", "3", "--timeout-ms", "2000",
               "--attempts", "1", "--breaker-seconds", "0.5")  # fmt: skip

    def ask(*plan: object) -> list[int]:
        predictor.plan = list(plan)
        hasty = [{"X_Request_Timeout_Ms": "20"} if isinstance(step, float) else {} for step in plan]
        return [send(gate.url, "POST", "/digits", PIXELS, **each)[0] for each in hasty]

    assert ask(500, 0.2, 500, 0.2, 500, 200) == [500, 504, 500, 504, 500, 503]
    time.sleep(0.6)
    assert ask(0.2, 500, 200) == [504, 500, 503]  # half-open, the hasty one has shown nothing
    time.sleep(0.6)
    assert ask(0.2, 200, 200) == [504, 200, 200]


def test_a_try_that_may_not_be_repeated_takes_nothing_from_the_budget(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--attempts", "2", "--retry-share", "0",
               "--breaker-failures", "1000")  # fmt: skip
    predictor.plan = [503] * 100
    for _ in range(12):
        assert send(gate.url, "POST", "/digits", PIXELS)[0] == 503
    assert len(predictor.seen) == 12 + 10, "the reserve of ten pays for ten retries"
