"""Where one predictor of several fails, another one answers, as far as the weights allow it."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from course_lib.services import gateway
from tests.services.conftest import PIXELS, send
from tests.serving.conftest import DIGITS, IMAGE, start, until

NOWHERE = "http://127.0.0.1:9"


def lines_of(*predictors: str, clients: int = 0) -> list[list[str]]:
    """For so many clients, the names of the predictors in the order in which they would be asked."""
    words = ["--port", "1", *(word for each in predictors for word in ("--predictor", each))]
    made = gateway.Gateway(gateway.parsed(words))
    return [[each.name for each in made.line(f"c{i}")] for i in range(clients)]


def outcomes(gate) -> dict[str, dict[str, int]]:
    """How many tries of each upstream ended in which way."""
    found: dict[str, dict[str, int]] = {}
    for line in send(gate.url, "GET", "/metrics")[1]["text"].splitlines():
        if line.startswith("gateway_tries_total{"):
            labels, value = line.removeprefix("gateway_tries_total").rsplit(" ", 1)
            outcome, upstream = labels.split('"')[1::2]
            found.setdefault(upstream, {})[outcome] = int(float(value))
    return found


def asked_by_eight(gate, count: int, at_the_middle=lambda: None) -> Counter:
    """The statuses of so many requests, sent by eight clients at once."""

    def ask(number: int) -> int:
        if number == count // 2:
            at_the_middle()
        return send(gate.url, "POST", DIGITS, {"instances": [IMAGE]})[0]

    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(ask, range(count)))


def test_of_two_model_servers_one_is_killed_in_mid_traffic_and_no_request_fails(run, models, tmp_path):
    both = [start(tmp_path / f"server-{i}.log", models, "--threads", "1") for i in range(2)]
    try:
        gate = run("gateway", *(word for each in both for word in ("--predictor", f"http://127.0.0.1:{each.port}")))
        assert asked_by_eight(gate, 200, both[0].process.kill) == {200: 200}
        assert {"200", "open"} <= outcomes(gate)["predictor-0"].keys(), "it answered, and was left alone afterwards"
        assert outcomes(gate)["predictor-1"].keys() == {"200"}
    finally:
        for each in both:
            each.process.kill()
            each.process.wait()


def test_of_two_one_hangs_and_no_request_fails(run, behind):
    hanging, fine = behind(), behind()
    hanging.plan = ["hang"] * 1000
    gate = run("gateway", "--predictor", hanging.url, "--predictor", fine.url, "--try-ms", "1000")
    assert asked_by_eight(gate, 80) == {200: 80}
    assert outcomes(gate)["predictor-0"]["timeout"] >= 10 and outcomes(gate)["predictor-0"]["open"] > 0


def test_one_that_accepts_no_connection_counts_as_gone(run, behind):
    fine = behind()
    gate = run("gateway", "--predictor", NOWHERE, "--predictor", fine.url)
    assert asked_by_eight(gate, 80) == {200: 80} and len(fine.seen) == 80
    assert outcomes(gate)["predictor-0"].keys() == {"unreachable", "open"}


def test_a_full_one_is_passed_over(run, behind):
    slow, fine = behind(), behind()
    slow.plan = ["hang"]
    gate = run("gateway", "--predictor", f"{slow.url}=1", "--predictor", f"{fine.url}=1", "--max-under-way", "1")
    names = lines_of(f"{slow.url}=1", f"{fine.url}=1", clients=20)
    mine = [f"c{i}" for i, line in enumerate(names) if line[0] == "predictor-0"]
    waiting = threading.Thread(target=send, args=(gate.url, "POST", "/digits", PIXELS), kwargs={"X_Client_Id": mine[0]})
    waiting.start()
    until(lambda: slow.seen)
    status, _, headers = send(gate.url, "POST", "/digits", PIXELS, X_Client_Id=mine[1])
    assert (status, headers["x-upstream"]) == (200, "predictor-1") and outcomes(gate)["predictor-0"]["full"] == 1
    slow.let_go.set()
    waiting.join()


def test_the_stable_version_answers_for_the_candidate_whose_failures_are_counted(run, behind):
    stable, candidate = behind(), behind()
    candidate.plan = [503] * 1000
    gate = run("gateway", "--predictor", f"{stable.url}=4", "--predictor", f"{candidate.url}=1")
    found = [send(gate.url, "POST", "/digits", PIXELS, X_Client_Id=f"c{i}") for i in range(20)]
    assert {status for status, *_ in found} == {200} and {told["x-upstream"] for *_, told in found} == {"predictor-0"}
    first = [line[0] for line in lines_of(f"{stable.url}=4", f"{candidate.url}=1", clients=20)]
    assert outcomes(gate)["predictor-1"] == {"503": first.count("predictor-1")} != {"503": 0}


def test_the_candidate_gets_no_more_than_its_share_when_the_stable_version_is_away(run, behind):
    candidate, never = behind(), behind()
    names = ("--predictor", f"{NOWHERE}=4", "--predictor", f"{candidate.url}=1", "--predictor", f"{never.url}=0")
    gate = run("gateway", *names, "--attempts", "1")
    met = Counter(send(gate.url, "POST", "/digits", PIXELS, X_Client_Id=f"c{i}")[0] for i in range(20))
    first = [line[0] for line in lines_of(*names[1::2], clients=20)]
    assert met == {200: first.count("predictor-1"), 503: first.count("predictor-0")} and not never.seen


def test_only_one_of_as_much_weight_stands_in_and_one_of_no_weight_never_does():
    for line in lines_of("http://a=2", "http://b=2", "http://c=1", "http://d=0", clients=100):
        others = {
            "predictor-0": {"predictor-1"},
            "predictor-1": {"predictor-0"},
            "predictor-2": {"predictor-0", "predictor-1"},
        }
        assert set(line[1:]) == others[line[0]]


def test_the_clients_of_one_that_is_away_are_spread_over_the_others():
    lines = lines_of("http://a", "http://b", "http://c", clients=300)
    pairs = Counter(tuple(line[:2]) for line in lines)
    assert (
        len(pairs) == 6
        and min(pairs.values()) > 25
        and lines == lines_of("http://a", "http://b", "http://c", clients=300)
    )


def test_what_must_not_be_sent_twice_goes_elsewhere_only_where_nothing_was_sent(run, behind):
    store = behind()
    gate = run("gateway", "--predictor", NOWHERE, "--feedback", store.url)
    store.plan = ["hang up", 200]
    assert send(gate.url, "POST", "/feedback", {"label": 1})[0] == 503 and len(store.seen) == 1


@pytest.mark.parametrize(
    "words", [["http://a=0"], ["http://a", "--breaker-rate", "0"], ["http://a", "--breaker-failures", "0"]]
)
def test_a_gateway_that_could_ask_nobody_does_not_start(words, capsys):
    with pytest.raises(SystemExit) as ended:
        gateway.parsed(["--port", "1", "--predictor", *words])
    assert ended.value.code == 2 and "expected" in capsys.readouterr().err
