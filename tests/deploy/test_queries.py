"""What asks Prometheus, evaluated by its own promtool: the canary's analysis, the alerts, the objectives, the dashboard; and
its configuration and Alertmanager's, read by their own programs."""

import functools
import json
import subprocess
from collections.abc import Callable, Iterator

import pytest
import yaml

from course_lib.ops.reach import probe
from course_lib.places import CHECKOUT
from tests.deploy import stand_ins
from tests.deploy.tree import absent, of

MONITORING = CHECKOUT / "k8s/components/monitoring"
FILES = {name: (MONITORING / name).read_text(encoding="utf-8")
         for name in ("prometheus.yml", "alerts.yml", "objectives.yml")}  # fmt: skip

Promtool = Callable[..., str]


def answered(service: str, code: int, values: str, pod: str = "a") -> dict[str, str]:
    """A counter as a server tells it. values: promtool's notation, one a minute."""
    labels = f'namespace="digits",service="{service}",pod="{pod}",code="{code}"'
    return {"series": f"model_server_requests_total{{{labels}}}", "values": values}


@pytest.fixture(scope="module")
def promtool() -> Iterator[Promtool]:
    """`promtool(files, *words)` runs it where these files are; returns what it says. Skips where no engine is in reach."""
    found = probe("docker")
    if not found.there:
        absent(f"promtool comes in Prometheus' image, and no engine is within reach: {found.reason}")
    with stand_ins.image("prometheus") as image:
        yield functools.partial(run, image, "promtool")


@pytest.fixture(scope="module")
def amtool() -> Iterator[Promtool]:
    """The same of Alertmanager's program."""
    found = probe("docker")
    if not found.there:
        absent(f"amtool comes in Alertmanager's image, and no engine is within reach: {found.reason}")
    with stand_ins.image("alertmanager") as image:
        yield functools.partial(run, image, "amtool")


def run(image: str, program: str, files: dict[str, str], *words: str) -> str:
    """What a program of the image says where these files are. Fails with it where the program does."""
    lines = [f"cat > {name} <<'END'\n{text}\nEND" for name, text in files.items()]
    command = ["docker", "run", "--rm", "--network=none", "--user=65534", "--workdir=/tmp", "--entrypoint=/bin/sh"]
    done = subprocess.run([*command, image, "-c", "\n".join([*lines, f"exec {program} {' '.join(words)} 2>&1"])],
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_configuration_and_alerts(promtool):
    said = promtool(FILES, "check", "config", "prometheus.yml")
    assert "3 rules found" in said and "13 rules found" in said and "SUCCESS" in said
    with pytest.raises(AssertionError, match="field names not found"):
        promtool({**FILES, "prometheus.yml": FILES["prometheus.yml"].replace("dns_sd_configs", "static_configs")},
                 "check", "config", "prometheus.yml")  # fmt: skip


# The analysis of a canary: result[0] is the share of failures; an empty result meets neither condition

ANALYSED = {
    "a perfect candidate, which has no series of failures": (
        [answered("digits-canary", 200, "0 1500")], 0, "passes"),
    "a good one": (
        [answered("digits-canary", 200, "0 1990"), answered("digits-canary", 503, "0 10")], 0.005, "passes"),
    "one of two pods that fail": (
        [answered("digits-canary", 200, "0 1000"), answered("digits-canary", 504, "0 11", "c")], 11 / 1011, "goes back"),
    "one that is overloaded": (
        [answered("digits-canary", 200, "0 990"), answered("digits-canary", 429, "0 10")], 0.01, "goes back"),
    "one that clients asked for nonsense": (
        [answered("digits-canary", 200, "0 1000"), answered("digits-canary", 400, "0 500")], 0, "passes"),
    "one beside which the stable version fails": (
        [answered("digits-canary", 200, "0 1000"), answered("digits", 503, "0 900", "b")], 0, "passes"),
    "one with too few requests, all of them good": (
        [answered("digits-canary", 200, "0 999")], None, "waits"),
    "one with too few requests, half of them bad": (
        [answered("digits-canary", 200, "0 100"), answered("digits-canary", 500, "0 100")], None, "waits"),
    "one that nobody asks": ([answered("digits", 200, "0 5000", "b")], None, "waits"),
}  # fmt: skip


@pytest.mark.parametrize("candidate", ANALYSED)
def test_the_analysis_decides_by_what_it_has_counted(candidate, promtool, deployed):
    series, share, decision = ANALYSED[candidate]
    (template,) = of("AnalysisTemplate", deployed.overlays["argo-rollouts"])
    (metric,) = template["spec"]["metrics"]
    samples = [] if share is None else [{"labels": "{}", "value": share}]
    case = {"expr": metric["provider"]["prometheus"]["query"], "eval_time": "1m", "exp_samples": samples}
    promtool(with_alerts({"input_series": series, "promql_expr_test": [case]}), "test", "rules", "tests.yml")
    result = [each["value"] for each in samples]
    good, bad = (
        eval(metric[f"{each}Condition"].replace("&&", "and"), {"result": result}) for each in ("success", "failure")
    )
    assert {(True, False): "passes", (False, True): "goes back", (False, False): "waits"}[good, bad] == decision


# Alerts

UP = [{"series": 'up{job="digits",service="digits",instance="10.0.0.1:8501"}', "values": "1x400"}]
ALERTS = {
    "nobody fails": ([*UP, answered("digits", 200, "0+600x20")], set()),
    "one in fifty fails": (
        [*UP, answered("digits", 200, "0+588x20"), answered("digits", 503, "0+12x20")],
        {"DigitsFailing"}),
    "one of two in an hour fails": ([*UP, answered("digits", 200, "1x20"), answered("digits", 503, "0x9 1x10")], set()),
    "one pod does not answer": (
        [*UP, {"series": 'up{job="digits",service="digits",instance="10.0.0.2:8501"}', "values": "1x5 0x15"}],
        {"DigitsUnreachable"}),
    "no pod is there": ([answered("digits", 200, "0+600x5")], {"DigitsGone"}),
}  # fmt: skip


@pytest.mark.parametrize("state", ALERTS)
def test_alerts_are_given_when_something_is_wrong_and_not_otherwise(state, promtool):
    series, given = ALERTS[state]
    promtool(with_alerts(firing(series, "15m", given)), "test", "rules", "tests.yml")


def firing(series: list[dict], at: str, given: set[str]) -> dict:
    """A case in which exactly these alerts fire at that time."""
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in given]
    return {"input_series": series, "promql_expr_test": [
        {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": at, "exp_samples": samples}]}  # fmt: skip


def with_alerts(case: dict) -> dict[str, str]:
    """The files of a run of `promtool test rules`."""
    tests = {"rule_files": ["alerts.yml", "objectives.yml"], "evaluation_interval": "1m"}
    return {**FILES, "tests.yml": yaml.safe_dump({**tests, "tests": [{"interval": "1m", **case}]})}


# Objectives: requests at the gateway, 600 a minute

FAST, STEADY, LEAK = "DigitsBudgetBurnsFast", "DigitsBudgetBurns", "DigitsBudgetLeaks"


def at_the_gateway(good: str, failed: str = "", quick: str = "") -> list[dict]:
    """The gateway's counters. good, failed: of /digits; quick: how many of all took 250 ms at most."""
    labels = 'namespace="digits",service="digits-gateway",route="digits"'
    series = [*UP, {"series": f'service_requests_total{{{labels},code="200"}}', "values": good}]
    if failed:
        series.append({"series": f'service_requests_total{{{labels},code="503"}}', "values": failed})
    if quick:
        name = "service_request_duration_seconds"
        series.append({"series": f"{name}_count{{{labels}}}", "values": good})
        series.append({"series": f'{name}_bucket{{{labels},le="0.25"}}', "values": quick})
    return series


OBJECTIVES = {
    "nothing has ever failed": (at_the_gateway("0+600x200", quick="0+600x200"), "3h", set()),
    "all is quiet": (at_the_gateway("0+600x200 120000x100", quick="0+600x200 120000x100"), "5h", set()),
    "a minute without answers in an hour": (
        at_the_gateway("0+600x100 60000 60600+600x100", "0x100 600x101"), "102m", {FAST, STEADY, LEAK}),
    "the same minute, a quarter of an hour later": (
        at_the_gateway("0+600x100 60000 60600+600x100", "0x100 600x101"), "117m", {STEADY, LEAK}),
    "one in fifty fails, for half an hour": (
        at_the_gateway("0+600x100 60588+588x60", "0x100 12+12x60"), "130m", {LEAK}),
    "one in fifty fails, for an hour and a half": (
        at_the_gateway("0+600x100 60588+588x90", "0x100 12+12x90"), "190m", {FAST, STEADY, LEAK}),
    "one in 500 fails": (at_the_gateway("0+599x200", "0+1.2x200"), "3h", {LEAK}),
    "half the answers are slow, for twenty minutes": (
        at_the_gateway("0+600x200", quick="0+600x100 60300+300x100"), "120m", {FAST, STEADY, LEAK}),
    "half were slow, and it is over": (
        at_the_gateway("0+600x200", quick="0+600x100 60300+300x20 66900+600x100"), "128m", {STEADY, LEAK}),
}  # fmt: skip


@pytest.mark.parametrize("state", OBJECTIVES)
def test_a_budget_that_burns_calls_for_as_long_as_it_burns(state, promtool):
    promtool(with_alerts(firing(*OBJECTIVES[state])), "test", "rules", "tests.yml")


def test_a_page_says_what_burns_how_fast_and_where_to_read_on(promtool):
    slow = at_the_gateway("0+600x200", quick="0+600x60 36000+300x140")
    alert = {
        "exp_labels": {"severity": "page", "objective": "quick"},
        "exp_annotations": {"summary": 'The budget of "quick" burns 50.0 times as fast as it may.',
                            "runbook": f"runbooks.md#{FAST.lower()}"},
    }  # fmt: skip
    case = {"input_series": slow, "alert_rule_test": [{"eval_time": "3h", "alertname": FAST, "exp_alerts": [alert]}]}
    promtool(with_alerts(case), "test", "rules", "tests.yml")


def test_alertmanager_takes_its_configuration_and_sends_pages_and_tickets_their_ways(amtool):
    files = {"alertmanager.yml": (MONITORING / "alertmanager.yml").read_text(encoding="utf-8")}
    assert "SUCCESS" in amtool(files, "check-config", "alertmanager.yml")
    for severity, receiver in (("page", "pager"), ("ticket", "tickets")):
        said = amtool(files, "config", "routes", "test", "--config.file=alertmanager.yml", f"severity={severity}")
        assert said.split()[-1] == receiver  # before it, what amtool says of its own options


# The dashboard


def test_the_dashboard_is_one_that_grafana_reads_and_its_queries_are_promql(promtool):
    board = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    assert board["title"] and board["uid"] and board["schemaVersion"] >= 36
    (source,) = board["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    ids, taken, asked = set(), set(), []
    for panel in board["panels"]:
        ids.add(panel["id"])
        assert panel["type"] == "timeseries" and panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": f"${{{source['name']}}}"}
        assert panel["fieldConfig"]["defaults"]["unit"], f"{panel['title']}: a number without a unit says nothing"
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        assert len({each["refId"] for each in panel["targets"]}) == len(panel["targets"]) > 0
        assert all(each["legendFormat"] for each in panel["targets"])
        asked += [each["expr"] for each in panel["targets"]]
    assert len(ids) == len(board["panels"])
    rules = [{"record": f"panel:{number}:query", "expr": each} for number, each in enumerate(asked)]
    made = yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]})
    assert f"{len(asked)} rules found" in promtool({"panels.yml": made}, "check", "rules", "panels.yml")
    with pytest.raises(AssertionError, match="parse error"):
        promtool({"panels.yml": made.replace("sum by (le) (", "sum by le (")}, "check", "rules", "panels.yml")
