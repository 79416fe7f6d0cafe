"""Drill 5, solved by script for every fault, and what must not count as solved."""

import re

import numpy as np
import pytest

from course_lib.drills import drill_5
from course_lib.drills.programs.alarm import expressions, system
from course_lib.drills.programs.alarm.watcher import rules_of
from tests.drills.conftest import examined, mended

NOTHING = [None, "three", float("nan"), [1, 2]]


def readings(drill) -> dict[str, dict]:
    """What an honest reader finds for each cause."""
    alert, desk = drill.silent, drill.sick
    expr, left, _ = drill.rule(alert)
    alone = drill.query(drill.shares[alert])
    values = drill.query(left)
    parts = re.findall(r"rate\(([^\[]*)\[", expr)
    gone = next((part for part in parts if not drill.query(part)), parts[0])
    good = system.PARTS[alert][parts.index(gone)]
    rang = drill.rings("InkLost")
    ended = [each for each in rang if each is not None]
    labels = drill.query("desk_labels_total")
    ink = drill.query(drill.shares["InkLost"])[f"desk={desk}"]
    right, wrong = (labels[f"desk={desk}, right={each}"] for each in ("yes", "no"))
    return {
        "aggregation": {"alert": alert, "desk": desk, "rule": next(iter(values.values()), 0.0),
                        "at_desk": alone.get(f"desk={desk}", 0.0)},
        "empty": {"alert": alert, "selector": gone, "instead": good},
        "harmless": {"desk": desk, "ink": ink, "right": right, "wrong": wrong},
        "sensor": {"desk": desk, "counted": round(ink, 4), "pictures": drill.pictures(desk).mean()},
        "hasty": {"alert": "InkLost", "rang": len(rang), "seconds": float(np.median(ended or [0.0]))},
    }  # fmt: skip


def edit(drill, old, new, file="rules.yml", service="watcher"):
    path = drill.folder / file
    text = path.read_text(encoding="utf-8")
    assert re.search(old, text), text
    path.write_text(re.sub(old, new, text), encoding="utf-8")
    drill.restart(service)
    assert "runs again" in drill.said, drill.said


def hide(drill, fault) -> str:
    """A repair that takes the complaint away and not its cause; what must be said of it. Undone by `repair`."""
    drill.patience_s = 12
    if fault == "aggregation":  # it rings, and nobody knows where
        edit(drill, r"> 0\.5", "> 0.3")
        return "no page named it"
    if fault == "empty":  # it rings for ever
        (drill.folder / "kept.yml").write_text(drill.rules.read_text())
        drill.rules.write_text("groups: [{rules: [{alert: A, expr: 'sum(', labels: {severity: page}}]}]")
        drill.restart("watcher")
        assert "does not run" in drill.said and "Traceback" not in drill.said and "sum(" in drill.said
        assert "ended before it was ready" in drill.said
        drill.repaired()
        assert "watcher does not run" in drill.said
        drill.rules.write_text((drill.folder / "kept.yml").read_text())
        edit(drill, r"InkLost\n        expr: .*", "InkLost\n        expr: desk_pictures_total > 0")
        return "still rings"
    if fault == "harmless":  # it never rings again
        edit(drill, r"(InkLost\n        expr: .* < )[\d.]+", r"\g<1>0.01")
        return "neither page nor ticket"
    if fault == "sensor":  # it does not look at this desk any more
        edit(drill, r"(desk_(?:ink|pictures)_total)", rf'\1{{desk!="{drill.sick}"}}')
        return "still counts another ink"
    edit(drill, r"(InkLost\n        expr: .* < )[\d.]+", r"\g<1>0.31\n        for: 600s")  # some night it rings
    drill.repaired()
    assert "not repaired" in drill.said and "often true" in drill.said, drill.said
    edit(drill, r"0\.31\n        for: 600s", "0.295")
    edit(drill, r"(InkLost\n(?:.*\n)+?.*)severity: page", r"\1severity: ticket")
    return "rang at a time when nothing happened"


def repair(drill, fault):
    drill.patience_s = 40
    if fault == "aggregation":
        edit(drill, "> 0.3", "> 0.5")
        edit(drill, rf"({drill.silent}\n        expr: ).*", rf"\g<1>{drill.shares[drill.silent]} > 0.5")
    elif fault == "empty":
        drill.rules.write_text((drill.folder / "kept.yml").read_text())
        found = readings(drill)["empty"]
        edit(drill, re.escape(found["selector"]) + r"(?=\[)", found["instead"])
    elif fault == "harmless":
        edit(drill, "< 0.01", "< 0.2")
        edit(drill, r"(InkLost\n(?:.*\n)+?.*)severity: page", r"\1severity: ticket")
    elif fault == "sensor":
        edit(drill, r'\{desk!="[^"]*"\}', "")
        edit(
            drill,
            r"rows = .*\ncolumns = .*",
            "rows = [0, 8]\ncolumns = [0, 8]",
            f"{drill.sick}/sensor.toml",
            drill.sick,
        )
    else:
        edit(drill, r"(InkLost\n        expr: ).*", rf"\g<1>{drill.shares['InkLost']} < 0.2\n        for: 2s")
        edit(drill, "ticket", "page")


def labels_of_a_moment(drill, honest):
    """Two numbers that the desk never counted together are refused, also where their share is about right."""
    right, wrong = honest["right"], honest["wrong"]
    drill.until(lambda: drill.at(drill.sick, "sum by (desk) (desk_labels_total)") > right + wrong + 30, 60, "no labels")
    assert drill.labels_were(drill.sick, right, wrong)
    labels = drill.query("desk_labels_total")
    later = [labels[f"desk={drill.sick}, right={each}"] for each in ("yes", "no")]
    assert drill.labels_were(drill.sick, later[0] - right, later[1] - wrong)  # the growth of a while
    for invented in ({"wrong": wrong + 8}, {"right": 60, "wrong": 14}, {"right": right * 100}):
        drill.diagnose("harmless", honest | invented)
        assert not drill.diagnosed and "labels do not agree" in drill.said, drill.said


@pytest.mark.parametrize("fault", drill_5.TheDrill.faults)
def test_the_fault_is_found_by_its_evidence_and_repaired_at_its_cause(begin, fault):
    drill = begin(5, fault)
    honest = readings(drill)
    for name in honest[fault]:
        for value in NOTHING:
            drill.diagnose(fault, honest[fault] | {name: value})
            assert not drill.diagnosed and "is not shown" in drill.said, (name, value)
            assert "Error" not in drill.said, "the learner reads Python's words"
    for name, value in {"rule": 0.7, "at_desk": 0.9876, "instead": "desk_none_total", "ink": 0.12, "counted": 0.12,
                        "pictures": 0.5, "rang": 1000, "right": 100_000}.items():  # fmt: skip
        if name in honest[fault]:
            drill.diagnose(fault, honest[fault] | {name: value})
            assert not drill.diagnosed and "is not shown" in drill.said, (name, value)
    if fault == "empty":  # it rings where it should, and computes no share
        drill.diagnose(fault, honest[fault] | {"instead": "desk_ink_total"})
        assert not drill.diagnosed and "is not shown" in drill.said
    if fault == "harmless":
        labels_of_a_moment(drill, readings(drill)[fault])
    examined(drill, fault, readings(drill))
    mended(drill, fault, hide, repair)


A, B = (("desk", "a"),), (("desk", "b"),)
VIEW = expressions.View([expressions.Look(t, {("m_total", (("code", "200"), *A)): 10.0 * t, ("m_total", B): v,
                                              ("of_total", B): 4.0}) for t, v in ((0, 6.0), (1, 8.0), (2, 1.0))], 2)  # fmt: skip


@pytest.mark.parametrize(("expression", "value"), {
    "m_total": {(("code", "200"), *A): 20, B: 1},
    'm_total{code="200"}': {(("code", "200"), *A): 20},
    'm_total{code!="200"}': {B: 1},
    "increase(m_total[2s])": {(("code", "200"), *A): 20, B: 3},
    "sum by (desk) (rate(m_total[2s]))": {A: 10, B: 1.5},
    "sum(m_total) by (desk) / sum by (desk) (of_total)": {B: 0.25},
    "avg(m_total) + 2 * 3": {(): 16.5},
    "sum by (desk) (m_total) > 5": {A: 20},
    "sum by (desk) (m_total) > 0 and of_total": {B: 1},
    "sum(none_total) / sum(m_total) > 0.5": {},
    "sum(none_total) or 0 * sum(m_total)": {(): 0},
    "max(m_total) - min(m_total) - count(m_total)": {(): 17},
}.items())  # fmt: skip
def test_expressions_mean_what_they_mean_in_prometheus(expression, value):
    assert expressions.compiled(expression)(VIEW) == value


@pytest.mark.parametrize(
    "text", ["sum(", "rate(m_total)", "rate(m_total[4])", "m_total{code=200}", "m_total )", "a > > 1", "a $ b"]
)
def test_what_is_no_expression_is_refused_with_a_sentence(text):
    with pytest.raises(ValueError, match="expected|cannot read"):
        expressions.compiled(text)


@pytest.mark.parametrize(("change", "says"), [
    ({"for": "soon"}, "`for` in seconds"), ({"labels": {}}, "page or ticket"), ({"record": "r"}, "a rule has alert"),
])  # fmt: skip
def test_a_rule_that_the_watcher_does_not_know_is_refused(change, says):
    import yaml

    rule = {"alert": "A", "expr": "m_total > 1", "labels": {"severity": "page"}}
    assert rules_of(yaml.safe_dump({"groups": [{"rules": [rule]}]}))[0]["for_s"] == 0
    with pytest.raises(ValueError, match=says):
        rules_of(yaml.safe_dump({"groups": [{"rules": [rule | change]}]}))
