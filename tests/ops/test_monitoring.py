"""Prometheus in a lesson: its files with short windows, what its answers become, and where its images come from."""

import types

import docker.errors
import pytest
import yaml

from course_lib.ops import monitoring, public
from course_lib.places import CHECKOUT


def rules(text: str) -> dict[str, dict]:
    return {
        each.get("alert") or f"{each['record']} {each['labels']['objective']}": each
        for group in yaml.safe_load(text)["groups"]
        for each in group["rules"]
    }


def test_a_lessons_rules_are_the_components_own_over_seconds():
    hurried = rules(monitoring.files()["objectives.yml"])
    whole = rules((monitoring.FOLDER / "objectives.yml").read_text(encoding="utf-8"))
    assert set(hurried) == {"DigitsBudgetBurnsFast", *(f"digits:burn:rate{w} {o}" for w in ("5m", "1h") for o in ("answered", "quick"))}  # fmt: skip
    for name, rule in hurried.items():
        assert rule == whole[name] | {"expr": monitoring.in_seconds(whole[name]["expr"])}
        assert not any(window in rule["expr"] for window in monitoring.WINDOWS)


def test_a_lesson_looks_each_second_and_pages_its_own_pager():
    files = {name: yaml.safe_load(text) for name, text in monitoring.files().items()}
    assert files["prometheus.yml"]["global"]["scrape_interval"] == "1s"
    assert "alertmanager:9093" in str(files["prometheus.yml"]["alerting"])
    hooks = [each["webhook_configs"][0] for each in files["alertmanager.yml"]["receivers"]]
    assert [hook["url"] for hook in hooks] == ["http://pager:8080/page", "http://pager:8080/ticket"]
    assert all(hook["send_resolved"] for hook in hooks)


def test_until_gives_up_and_says_after_how_long():
    seen = []
    monitoring.until(lambda: seen.append(1) or len(seen) == 2, 5)
    with pytest.raises(TimeoutError, match="within 0.1 s"):
        monitoring.until(lambda: False, 0.1)


def test_an_answer_is_a_value_for_each_series(monkeypatch):
    series = [
        {"metric": {"__name__": "up", "service": "digits", "pod": "a"}, "value": [7, "1"]},
        {"metric": {}, "value": [7, "0.25"]},
    ]
    monkeypatch.setattr(monitoring, "ask", lambda url: {"data": {"result": series}})
    assert monitoring.query("http://x", "up") == {"digits a": 1.0, "": 0.25}


def test_panels_are_drawn_by_their_own_queries_with_legends_filled_in_and_without_nan(monkeypatch):
    asked = []

    def ask(url):
        asked.append(url)
        return {"data": {"result": [{"metric": {"service": "digits"}, "values": [[100, "NaN"], [101, "0.123456"]]}]}}

    monkeypatch.setattr(monitoring, "ask", ask)
    shown = monitoring.drawn("http://x", 100, 101)
    assert list(shown) == [panel["title"] for panel in monitoring.dashboard()["panels"]] == list(monitoring.units())
    assert shown["Latency: mean of each version"] == {"digits": [[1, 0.1235]]}
    assert len(asked) == sum(len(panel["targets"]) for panel in monitoring.dashboard()["panels"])
    assert not any("%5B5m%5D" in each or "%5B1h%5D" in each for each in asked)


def test_pages_alone_are_read_from_what_the_pager_printed(monkeypatch):
    alert = {"status": "firing", "labels": {"alertname": "A"}, "annotations": {}, "startsAt": "…"}
    lines = [[5.0, "/page", [alert]], [6.0, "/ticket", [alert]]]
    monkeypatch.setattr(monitoring, "kubectl", lambda *_: "\n".join(monitoring.json.dumps(each) for each in lines))
    assert monitoring.pages("n") == [{"at": 5.0, "status": "firing", "labels": {"alertname": "A"}, "annotations": {}}]


class Images:
    """An engine's images: those that are there, and what a pull meets."""

    def __init__(self, there: set[str], pull: Exception | None) -> None:
        self.there, self.met = there, pull

    def list(self, name: str) -> list[str]:
        return [name] if name in self.there else []

    def pull(self, name: str, tag: str) -> None:
        if self.met:
            raise self.met


@pytest.mark.parametrize(("there", "pull", "name", "said"), [
    ({public.PROMETHEUS}, None, public.PROMETHEUS, "is here already"),
    (set(), None, public.PROMETHEUS, "was pulled"),
    (set(), docker.errors.APIError("no route"), "mine:1", "Debian's package of prometheus stands in"),
])  # fmt: skip
def test_the_public_image_is_taken_where_it_can_be_had_and_said_where_not(there, pull, name, said, monkeypatch):
    made = []
    monkeypatch.setattr(public, "made", lambda client, stage, tag: made.append((stage, tag)))
    client = types.SimpleNamespace(images=Images(there, pull))
    found, sentence = public.image(client, public.PROMETHEUS, "mine:1")
    assert found == name and said in sentence
    assert made == ([("prometheus", "mine:1")] if name == "mine:1" else [])


def test_a_registry_that_has_no_such_image_is_believed(monkeypatch):
    monkeypatch.setattr(public, "made", lambda *_: pytest.fail("a stand-in hides the mistake"))
    client = types.SimpleNamespace(images=Images(set(), docker.errors.NotFound("no such tag")))
    with pytest.raises(docker.errors.NotFound):
        public.image(client, public.ALERTMANAGER, "mine:1")


def test_the_releases_are_those_of_the_files():
    assert f"ARG BASE_IMAGE={public.PROMETHEUS}\n" in (CHECKOUT / "docker/prometheus.Dockerfile").read_text()
    for name, stage in public.STAGES.items():
        assert f"image: {name}\n" in (monitoring.FOLDER / f"{stage}.yaml").read_text(encoding="utf-8")
