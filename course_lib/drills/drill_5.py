"""Drill 5: an alarm for nothing, and one that stayed silent. Words: `words/drill_5.md`; what runs: `programs/alarm/`."""

import re
import time
from typing import ClassVar

import numpy as np

from course_lib.drills.evidence import NotShown, Unwell, agrees, number
from course_lib.drills.programs.alarm.system import DESKS, GONE, HARM, PARTS, SCANNER, SHARE, Desks, known


class TheDrill(Desks):
    number = 5
    title = "The alarm that cried wolf, and the one that stayed silent"
    faults: ClassVar = ("aggregation", "empty", "harmless", "sensor", "hasty")
    settle_s, quiet_s, patience_s = 6, 10, 20

    def build(self, fault: str) -> None:
        pick = self.random.choice
        self.sick, self.silent = pick(DESKS), pick(["DeskFails", "DeskWrong"])
        windows = {"DeskFails": pick([4, 5, 6]), "DeskWrong": 8, "InkLost": pick([4, 5, 6])}
        self.shares = {name: SHARE.format(*PARTS[name], windows[name]) for name in PARTS}
        rules = {name: (f"{self.shares[name]} > 0.5", 2) for name in ("DeskFails", "DeskWrong")}
        rules["InkLost"] = f"{self.shares['InkLost']} < {pick([0.19, 0.2, 0.21])}", 2
        self.usual = {self.sick: {"ink": pick([0.45, 0.48, 0.5])}} if fault == "harmless" else {}
        sensors, world = {}, self.usual
        if fault in ("aggregation", "empty"):
            share, world = self.shares[self.silent], {self.sick: SCANNER[self.silent]}
            if fault == "aggregation":
                share = pick([f"avg({share})", share.replace("sum by (desk)", "sum")])
            else:
                old, new = GONE[self.silent], PARTS[self.silent]
                share = SHARE.format(*pick([(old[0], new[1]), (new[0], old[1])]), windows[self.silent])
            rules[self.silent] = f"{share} > 0.5", 2
        elif fault == "sensor":
            sensors[self.sick] = pick(["rows = [8, 16]\ncolumns = [0, 8]\n", "rows = [0, 4]\ncolumns = [0, 8]\n"])
        elif fault == "hasty":
            rules["InkLost"] = f"{SHARE.format(*PARTS['InkLost'], 1)} < {pick([0.29, 0.292, 0.295])}", 0
        self.start(rules, sensors, world)
        self.until(lambda: len(self.looks("desk_pictures_total")) > 26 and (
            len(self.rings("InkLost")) >= (8 if fault == "hasty" else 1) if world == self.usual
            else self.at(self.sick, self.shares[self.silent]) > 0.8
        ), 90 / self.second, "The drill did not begin.")  # fmt: skip

    def alert(self) -> str:
        if self.story == self.usual:
            return "The pager has rung since 02:40. No desk has had a complaint."
        seen = {"DeskFails": "an error instead of an answer", "DeskWrong": "wrong digits"}[self.silent]
        return f"Customers at {self.sick} have got {seen} since 02:40. A colleague looks after the desk. But no alert came."

    # The evidence

    def proves_aggregation(self, alert: str, desk: str, rule: float, at_desk: float) -> None:
        """
        alert: the name of the rule that should have rung
        desk: where it should have rung
        rule: the value of the rule's expression, without its comparison
        at_desk: the same share over the same window, of this desk alone
        """
        _, left, limit = self.rule(alert)
        values, desk = self.looks(left), known(desk)
        if not any(values):
            raise NotShown(f"The expression of {alert} has no value at all. It adds nothing up.")
        if any(labels for look in values for labels in look):
            raise NotShown(f"The expression of {alert} has a value for each desk. It hides none behind the others.")
        rule = self.was(f"the value of {alert}", rule, left)
        at_desk = self.was("the share of the desk", at_desk, self.shares.get(alert, left), desk)
        if not rule <= limit < at_desk:
            raise NotShown(f"Both readings lie on the same side of {limit}, with which the rule compares.")

    def proves_empty(self, alert: str, selector: str, instead: str) -> None:
        """
        alert: the name of the rule that should have rung
        selector: the part of its expression that finds no series: a metric with its labels, without the window
        instead: what has to stand there
        """
        expr, _, _ = self.rule(alert)
        for each in (selector, instead):
            if not isinstance(each, str) or not re.fullmatch(r"\s*\w+\s*(\{[^{}]*\}\s*)?", each) or "desk=" in each:
                raise NotShown("This could not be examined: a selector is a metric, with or without labels in braces: "
                               '`name{label="value"}`.')  # fmt: skip
        part = r"\b" + r"\s*".join(re.escape(each) for each in "".join(selector.split())) + r"(?=\s*\[)"
        if not re.search(part, expr):
            raise NotShown(f"The rule {alert} has no part “{selector}” with a window behind it.")
        if any(self.looks(selector)):
            raise NotShown("This part finds series. The rule has something to compute with.")
        rings = self.looks(re.sub(part, lambda _: instead, expr, count=1), 1)[-1]
        if max(rings.values(), default=0) > 1.2:
            raise NotShown("With the other part, the rule's value is larger than 1. A share cannot be.")
        if {dict(labels).get("desk") for labels in rings} != {self.sick}:
            raise NotShown("With the other part, the rule does not ring now where the customers complain, and only "
                           "there.")  # fmt: skip

    def proves_harmless(self, desk: str, ink: float, right: int, wrong: int) -> None:
        """
        desk: where the alert rings
        ink: the value there that the rule compares
        right: how many labels of this desk say that the answer was right
        wrong: how many say that it was wrong, read at the same moment
        """
        on = [each for each in self.on() if each["labels"].get("desk") == known(desk) and each["alert"] == "InkLost"]
        if not on or on[0]["seconds"] < 4 * self.second:
            raise NotShown(
                f"No alert about the pictures of {desk} rings and stays on. Nothing has moved there for good."
            )
        ink = self.was("what the rule compares", ink, self.shares["InkLost"], desk)
        right, wrong = number("the number of right answers", right), number("the number of wrong answers", wrong)
        share = wrong / max(right + wrong, 1)
        if min(right, wrong) < 0 or right + wrong < 20 or not self.labels_were(desk, right, wrong):
            raise NotShown("The two numbers of labels do not agree with the system. Read both at the same moment, and wait "
                           "for 20 labels.")  # fmt: skip
        if abs(self.pictures(desk).mean() - ink) > 0.03:
            raise NotShown(
                "The pictures that the desk got have another ink. Then this reading says nothing about them."
            )
        if share > 0.25:
            raise NotShown("So many wrong answers are harm.")

    def proves_sensor(self, desk: str, counted: float, pictures: float) -> None:
        """
        desk: whose measurement is broken
        counted: the ink of a picture, by the counters of the desk, over the rule's window
        pictures: the mean ink of the pictures that it got
        """
        counted = self.was("the ink by the counters", counted, self.shares["InkLost"], known(desk))
        kept, pictures = float(self.pictures(desk).mean()), number("the ink of the pictures", pictures)
        agrees("the ink of the pictures", pictures, pictures if abs(pictures - kept) < 0.03 else kept)  # they change
        if abs(counted - pictures) < 0.06:
            raise NotShown("Counters and pictures say the same. The sensor measures what comes in.")

    def proves_hasty(self, alert: str, rang: int, seconds: float) -> None:
        """
        alert: the name of the rule that rings
        rang: how often it has begun to ring, at all desks together
        seconds: how long it stayed on: the median of the rings that ended, 0 if none has
        """
        self.rule(alert)
        rang, rings = number("how often it rang", rang), self.rings(alert)
        seconds = number("how long it stayed on", seconds)
        if rang != int(rang) or not len(rings) / 2 <= rang <= len(rings):
            raise NotShown(f"alerts.log does not say that {alert} rang so often.")
        ended = [each for each in rings[: int(rang)] if each is not None]
        median = float(np.median(ended)) if ended else 0.0
        agrees("how long it stayed on", seconds, seconds if abs(seconds - median) <= 0.3 + 0.1 * median else median)
        if rang < 4 or median > 4 * self.second:
            raise NotShown(f"{alert} does not come and go, again and again.")

    # The repair

    def examine(self) -> None:
        for name, service in self.services.items():
            if service.process.poll() is not None:
                raise Unwell(f"{name} does not run. An alarm that hears nothing is no repair.")
        try:
            self.play(self.usual)
            time.sleep(self.settle_s * self.second)
            self._rings_no_more()
            before = len(self.log("alerts"))
            time.sleep(self.quiet_s * self.second)
            for line in self.log("alerts")[before:]:
                if line["event"] == "fires" and self._matters(line):
                    raise Unwell(f"{line['alert']} rang at a time when nothing happened.")
            for name in self.often_true(int(2 * self.quiet_s), self._matters):  # a long `for` only hides this
                raise Unwell(f"{name} did not ring. But its comparison was often true at a time when nothing happened. Some "
                             "night it will stay true for long enough.")  # fmt: skip
            for desk in DESKS if self.diagnosed else ():  # before, it would tell the cause
                if not abs(self.pictures(desk).mean() - self.at(desk, self.shares["InkLost"])) < 0.06:
                    raise Unwell(f"{desk} still counts another ink than its pictures have.")
            self._incidents()
            self.play(self.usual)
            self._rings_no_more()
        finally:
            self.play(self.story)

    def _rings_no_more(self) -> None:
        self.until(lambda: not any(self._matters(each | each["labels"]) for each in self.on()), self.patience_s,
                   f"All customers have been served well for {self.patience_s} s, and it still rings.")  # fmt: skip

    def _matters(self, alert: dict) -> bool:
        """Whether an alert must not be on in a quiet time: a ticket may, where something did change."""
        return alert["severity"] == "page" or alert.get("desk") not in self.usual

    def _incidents(self) -> None:
        """Plays the three incidents at once, each at a desk of its own: each has to be told, with the desk's name."""
        first = self.silent if self.story != self.usual else "InkLost"
        others = self.random.sample([desk for desk in DESKS if desk != self.sick], 2)
        at = {first: self.sick} | dict(zip([name for name in PARTS if name != first], others))
        self.play({desk: SCANNER[name] for name, desk in at.items()})

        def missed() -> list[str]:
            told = {(each["labels"].get("desk"), each["severity"]) for each in self.on()}
            return [name for name, desk in at.items()
                    if (desk, "page") not in told and not (name == "InkLost" and (desk, "ticket") in told)]  # fmt: skip

        try:
            self.until(lambda: not missed(), self.patience_s, "")
        except Unwell:
            name = next(iter(missed()), first)
            raise Unwell(f"We let it happen: for {self.patience_s} s {HARM[name].format(at[name])}") from None
