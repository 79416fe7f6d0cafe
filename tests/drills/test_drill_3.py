"""Drill 3, solved by script for every fault, and what must not count as solved."""

import json

import pytest

from course_lib.drills import drill_3
from tests.drills.conftest import examined, mended

PREDICTORS = drill_3.PREDICTORS


def readings(drill) -> dict[str, dict]:
    """What an honest reader finds for each cause: of both predictors, or of one."""
    state = drill.metric("predictor-1", "predictor_state_seconds_total")
    computed = [drill.metric(each, "predictor_computed_total") for each in PREDICTORS]
    clients = [drill.metric(each, "predictor_client_seconds_total") for each in PREDICTORS]
    requests = sum(v for k, v in drill.metric("gateway", "service_requests_total").items() if "route=models" in k)
    return {
        "batch_wait": {"filling": state["state=filling"], "busy": state["state=busy"]},
        "retry_storm": {"requests": requests, "tries": sum(drill.metric("gateway", "gateway_tries_total").values())},
        "queue": {name: sum(each[key] for each in computed) for name, key in
                  (("computed", "late=no"), ("late", "late=yes"))},
        "neighbour": {name: sum(each.get(f"client={name}", 0) for each in clients) for name in ("report", "app")},
    }  # fmt: skip


def edit(drill, pairs, *names):
    file = drill.folder / "services.toml"
    text = file.read_text(encoding="utf-8")
    for old, new in pairs.items():
        assert old in text
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")
    for name in names:
        drill.restart(name)
        assert "runs again" in drill.said


def second(drill) -> str:
    """The gateway's option for predictor-1, as it stands in `services.toml`."""
    return f'    "--predictor",\n    "{drill.services["predictor-1"].url}",\n'


def pretend(drill):
    """Fewer users, and a faster model, by the files alone."""
    for name, old, new, says in [
        ("users.json", '"rate_per_s": 20', '"rate_per_s": 2', "choose our users"),
        ("services.toml", "--sample-ms=3", "--sample-ms=0", "no option makes it faster"),
    ]:
        file = drill.folder / name
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")
        drill.repaired()
        assert "not repaired" in drill.said and says in drill.said, drill.said
        file.write_text(text, encoding="utf-8")


def slow_down(drill):
    plan = json.loads((drill.folder / "report.json").read_text())
    (drill.folder / "report.json").write_text(json.dumps(plan | {"workers": 1, "rate_per_s": 0.5}))
    drill.restart("report")


def hide(drill, fault) -> str | tuple[str, ...]:
    """A repair that takes the alert away and not its cause; what must be said of it. Undone by `repair`."""
    if fault == "batch_wait":
        drill.services["predictor-1"].stop()
        return "predictor-1 does not run"
    if fault == "retry_storm":
        edit(drill, {second(drill): ""}, "gateway")
        return "asks predictor-1 hardly or not at all"
    if fault == "queue":
        for name in PREDICTORS:
            drill.restart(name)
        return "After a burst of 200 requests", "The median answer still takes", "got no answer"  # on a busy machine
    drill.services["report"].stop()
    return "slow it down, do not stop it"


def repair(drill, fault):
    if fault == "batch_wait":
        wait = next(
            each for each in (1500, 2000) if f"--batch-wait-ms={each}" in (drill.folder / "services.toml").read_text()
        )
        edit(drill, {f"--batch-wait-ms={wait}": "--batch-wait-ms=0"}, *PREDICTORS)
    elif fault == "retry_storm":
        changed = {"--try-ms=20": "--try-ms=1000", "--attempts=6": "--attempts=3", "--retry-share=10": "--retry-share=0.1",
                   "--breaker-failures=1000000": "--breaker-failures=10"}  # fmt: skip
        edit(drill, changed | {'    "--timeout-ms': second(drill) + '    "--timeout-ms'}, "gateway")
    elif fault == "queue":
        edit(drill, {"--max-queue=10000": "--max-queue=16", "--keep-late=yes": "--keep-late=no"}, *PREDICTORS)
    else:
        slow_down(drill)


@pytest.mark.parametrize("fault", drill_3.TheDrill.faults)
def test_the_fault_is_found_by_its_evidence_and_repaired_at_its_cause(begin, fault):
    drill = begin(3, fault)
    drill.diagnose("retry_storm", {"requests": 10, "tries": 100_000})
    assert "do not agree" in drill.said
    drill.diagnose("batch_wait", {"filling": 0, "busy": 0})
    assert "do not agree" in drill.said
    with pytest.raises(ValueError, match="has no metric 'predictor_wating'; it has .*predictor_waiting"):
        drill.metric("predictor-0", "predictor_wating")
    examined(drill, fault, readings(drill))
    pretend(drill)
    mended(drill, fault, hide, repair)
