"""The desks, their customers and the watcher, as drill 5 starts and asks them."""

import re
import time
from collections.abc import Callable
from typing import ClassVar
from urllib.parse import urlencode

import numpy as np

from course_lib import data, models
from course_lib.drills.evidence import NotShown, Unwell, agrees, number
from course_lib.drills.frame import Drill
from course_lib.ops.http import ask

DESKS = ("desk-0", "desk-1", "desk-2")
WHOLE = "rows = [0, 8]\ncolumns = [0, 8]\n"

SHARE = "sum by (desk) (rate({0}[{2}s])) / sum by (desk) (rate({1}[{2}s]))"
PARTS = {"DeskFails": ('desk_answers_total{code="500"}', "desk_answers_total"),
         "DeskWrong": ('desk_labels_total{right="no"}', "desk_labels_total"),
         "InkLost": ("desk_ink_total", "desk_pictures_total")}  # fmt: skip
GONE = {"DeskFails": ('desk_answers_total{code="503"}', "desk_requests_total"),
        "DeskWrong": ('desk_labels_total{right="false"}', "desk_feedback_total")}  # fmt: skip
"""What these parts were called before an update."""

SCANNER = {"DeskFails": {"cropped": True}, "DeskWrong": {"turned": True}, "InkLost": {"ink": 0.33}}
"""What a scanner does to the pictures when each alert has to ring."""
HARM = {"DeskFails": "{0} answered every customer with an error, and no page named it.",
        "DeskWrong": "{0} read nearly every picture wrong, and no page named it.",
        "InkLost": "the pictures of {0} had lost two thirds of their ink, and neither page nor ticket named it."}  # fmt: skip


class Desks(Drill):
    """Three desks, one process each. A subclass says what is broken."""

    second: ClassVar = 1.0  # how long a second of rules and examinations lasts; a test has less patience

    def start(self, rules: dict[str, tuple[str, int]], sensors: dict[str, str], world: dict) -> None:
        """Writes rules.yml and starts all. rules: name -> (expression, seconds of `for`). sensors: a desk's sensor.toml.
        world: what the scanners do, as `customers.py` takes it."""
        self.story, self.rules, self.logs["alerts"] = world, self.folder / "rules.yml", [self.folder / "alerts.log"]
        self.logs["alerts"][0].touch()
        text = "groups:\n  - name: desks\n    rules:\n"
        for name, (expr, held) in rules.items():
            waits = f"        for: {held}s\n" if held else ""
            text += f"      - alert: {name}\n        expr: {expr}\n{waits}        labels: {{severity: page}}\n"
        self.rules.write_text(text, encoding="utf-8")
        for name in DESKS:
            folder = self.folder / name
            folder.mkdir()
            told = f"# where in a picture the ink is measured: [from, to], the end not included\n{sensors.get(name, WHOLE)}"
            (folder / "sensor.toml").write_text(told, encoding="utf-8")
            options = ("--model", models.path("digits_cnn", 3), "--folder", folder)
            self.service(name, "course_lib.drills.programs.alarm.desk", *options)
        desks = [word for name in DESKS for word in ("--desk", f"{name}={self.services[name].url}")]
        paced = [] if self.second == 1 else ["--rate", 3 / self.second, "--label-delay-s", 2 * self.second]
        _, test = data.digits()
        drawn = self.folder / "digits.npz"
        np.savez(drawn, images=test.images, labels=test.labels)
        self.service("customers", "course_lib.drills.programs.alarm.customers", "--digits", drawn, *desks, *paced)
        self.play(self.story)
        files = ("--rules", self.rules, "--alerts", self.logs["alerts"][0])
        paced = [] if self.second == 1 else ["--second", self.second]
        self.service("watcher", "course_lib.drills.programs.alarm.watcher", *files, *desks, *paced)

    # What the learner has beside the frame

    def query(self, expression: str) -> dict[str, float]:
        """What an expression is now, by its labels, as the watcher computes it; {} where it finds nothing."""
        found = self._ask(expression, 1)[-1]
        return {", ".join(f"{name}={word}" for name, word in labels): value for labels, value in found.items()}

    def pictures(self, desk: str) -> np.ndarray:
        """The last pictures that a desk got, of one shape, (N, 8, 8), N up to 40."""
        found = [np.array(each) for each in ask(f"{self.services[desk].url}/pictures")["pictures"]]
        return np.array([each for each in found if each.shape == found[-1].shape])

    def restart(self, name: str) -> None:
        super().restart(name)
        if name == "customers" and "runs again" in self.said:
            self.play(self.story)  # they come with the pictures that they have

    # What the system says

    def play(self, world: dict) -> None:
        """Has the scanners do this to the pictures from now on."""
        ask(self.services["customers"].url + "/world", world)

    def on(self) -> list[dict]:
        """The alerts that are on: alert, severity, labels, seconds."""
        return ask(self.services["watcher"].url + "/alerts")

    def rings(self, alert: str) -> list[float | None]:
        """How long each ring of an alert lasted, in seconds, by alerts.log; None: it is still on."""
        lasted, began = [], {}
        for line in self.log("alerts", f'"{alert}"'):
            if line["event"] == "fires":
                began[line.get("desk")] = len(lasted), line["time"]
                lasted.append(None)
            elif line.get("desk") in began:
                at, since = began.pop(line.get("desk"))
                lasted[at] = line["time"] - since
        return lasted

    def until(self, condition: Callable[[], object], seconds: float, otherwise: str) -> None:
        """Waits until `condition()`. Raises Unwell(otherwise) after so many seconds."""
        end = time.monotonic() + seconds * self.second
        while not condition():
            if time.monotonic() > end:
                raise Unwell(otherwise)
            time.sleep(0.1 * self.second)

    def looks(self, expression: str, looks: int = 1200) -> list[dict]:
        """What a learner's expression was at each of the last looks: {labels: value}. Raises NotShown where it is none."""
        try:
            return self._ask(expression, looks)
        except RuntimeError as wrong:
            raise NotShown(f"This could not be examined: {str(wrong).partition(': ')[2]}") from None

    def often_true(self, count: int, matters: Callable[[dict], bool]) -> list[str]:
        """The rules whose comparison was true at a tenth or more of the last looks, over the desks that matter."""
        found = []
        for rule in self.all_rules():
            held = [sum(matters(dict(labels) | rule) for labels in look) for look in self.looks(rule["expr"], count)]
            found += [rule["alert"]] if np.mean(held) >= len(DESKS) / 10 else []
        return found

    def labels_were(self, desk: str, right: float, wrong: float) -> bool:
        """Whether a desk's labels were these at one of the last looks, or grew by as many between two of them."""
        counts = [{dict(labels)["right"]: value for labels, value in look.items() if ("desk", desk) in labels}
                  for look in self.looks("desk_labels_total")]  # fmt: skip
        kept = np.array([(0.0, 0.0), *((each["yes"], each["no"]) for each in counts if len(each) == 2)])
        grown = kept[:, None] - kept[None]
        return bool((np.abs(grown - (right, wrong)) <= (3, 1)).all(axis=2).any())  # it is read between two looks

    def at(self, desk: str, expression: str) -> float:
        """What an expression is at a desk now; nan where it is nothing."""
        return next(
            (value for labels, value in self._ask(expression, 1)[-1].items() if ("desk", desk) in labels), np.nan
        )

    def _ask(self, expression: str, looks: int) -> list[dict]:
        url = f"{self.services['watcher'].url}/query?{urlencode({'expr': expression, 'looks': looks})}"
        found = ask(url)["looks"] or [[]]
        return [{tuple(labels.items()): value for labels, value in look if value is not None} for look in found]

    # What a learner says

    def all_rules(self) -> list[dict]:
        """The rules as the watcher read them: alert, expr, severity."""
        return ask(self.services["watcher"].url + "/rules")

    def rule(self, alert: str) -> tuple[str, str, float]:
        """A rule as the watcher has it: its expression, what stands left of the comparison, and the number right of it."""
        exprs = {each["alert"]: each["expr"] for each in self.all_rules()}
        if not isinstance(alert, str) or alert not in exprs:
            raise NotShown(f"This could not be examined: the watcher has no rule {alert!r}; it has {', '.join(exprs)}.")
        if not (parts := re.fullmatch(r"(.*?)[<>]=?\s*([\d.]+)\s*", exprs[alert], flags=re.S)):
            raise NotShown(f"This could not be examined: the rule {alert} does not compare with a number at its end.")
        return exprs[alert], parts[1], float(parts[2])

    def was(self, what: str, said: object, expression: str, desk: str | None = None) -> float:
        """A learner's reading. Raises NotShown unless an expression had this value at one of the last looks."""
        said = number(what, said)
        found = [value for look in self.looks(expression) for labels, value in look.items()
                 if desk is None or ("desk", desk) in labels]  # fmt: skip
        if not found:
            raise NotShown(f"The system has no value for {what}.")
        agrees(what, said, min(found, key=lambda value: abs(value - said)))
        return said


def known(desk: object) -> str:
    """A desk's name. Raises NotShown for anything else."""
    if not isinstance(desk, str) or desk not in DESKS:
        raise NotShown(f"This could not be examined: a desk is one of {', '.join(DESKS)}.")
    return desk
