"""What asks Prometheus, evaluated by its own promtool: the canary's analysis, the alerts; and its configuration, read by it."""

import functools
import subprocess
from collections.abc import Callable, Iterator

import pytest
import yaml

from course_lib.ops.reach import probe
from course_lib.places import CHECKOUT
from tests.deploy import stand_ins
from tests.deploy.tree import absent, of

MONITORING = CHECKOUT / "k8s/components/monitoring"
FILES = {name: (MONITORING / name).read_text(encoding="utf-8") for name in ("prometheus.yml", "alerts.yml")}

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
    with stand_ins.prometheus() as image:
        yield functools.partial(run, image)


def run(image: str, files: dict[str, str], *words: str) -> str:
    """What promtool says where these files are. Fails with it where promtool does."""
    lines = [f"cat > {name} <<'END'\n{text}\nEND" for name, text in files.items()]
    command = ["docker", "run", "--rm", "--network=none", "--user=65534", "--workdir=/tmp", "--entrypoint=/bin/sh"]
    done = subprocess.run([*command, image, "-c", "\n".join([*lines, f"exec promtool {' '.join(words)} 2>&1"])],
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_configuration_and_alerts(promtool):
    said = promtool(FILES, "check", "config", "prometheus.yml")
    assert "3 rules found" in said and "SUCCESS" in said
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

UP = [{"series": 'up{job="digits",service="digits",instance="10.0.0.1:8501"}', "values": "1x20"}]
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
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in given]
    firing = [
        {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "15m", "exp_samples": samples}
    ]
    promtool(with_alerts({"input_series": series, "promql_expr_test": firing}), "test", "rules", "tests.yml")


def with_alerts(case: dict) -> dict[str, str]:
    """The files of a run of `promtool test rules`."""
    tests = {"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": [{"interval": "1m", **case}]}
    return {**FILES, "tests.yml": yaml.safe_dump(tests)}
