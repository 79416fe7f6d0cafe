"""The watcher of drill 5: it reads the desks' /metrics twice a second, evaluates rules.yml, and writes alerts.log.

The rules have Prometheus' form; `expressions.py` says which expressions it knows. As Prometheus does, it gives each series
a label for where it was read, `desk`, keeps a desk that does not answer out, and waits `for` so long before an alert fires.

GET /query?expr=…&looks=1 -> {"looks": [the expression's series at each of the last looks]}
GET /alerts, GET /rules   -> what is on now; the rules as they were read
"""

import asyncio
import contextlib
import json
import re
import sys
import time
from pathlib import Path

import aiohttp
import yaml
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from course_lib.drills.programs.alarm.expressions import Look, View, compiled
from course_lib.services import process

SAMPLE = re.compile(r"^(desk_\w+)(?:\{(.*)\})? (\S+)$", re.M)
KEPT_S, EVERY_S = 600, 0.5
KEYS = {"alert", "expr", "for", "labels", "annotations"}


def rules_of(text: str) -> list[dict]:
    """The rules of rules.yml. Raises ValueError with a sentence that names what is wrong."""
    try:
        rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"] or []]
    except (yaml.YAMLError, TypeError, KeyError) as wrong:
        raise ValueError(f"rules.yml is not YAML with groups and rules: {wrong}") from None
    for rule in rules:
        if not {"alert", "expr"} <= set(rule) <= KEYS:
            raise ValueError(f"a rule has alert and expr, and may have for, labels, annotations; got {', '.join(rule)}")
        if not (held := re.fullmatch(r"(\d+(?:\.\d+)?)(s|m)", str(rule.get("for", "0s")))):
            raise ValueError(f"{rule['alert']}: expected `for` in seconds, as 2s, got {rule['for']}")
        if (severity := (rule.get("labels") or {}).get("severity")) not in ("page", "ticket"):
            raise ValueError(f"{rule['alert']}: expected the label severity to be page or ticket, got {severity}")
        rule["for_s"], rule["severity"] = float(held[1]) * {"s": 1, "m": 60}[held[2]], severity
        rule["holds"] = compiled(str(rule["expr"]))
    return rules


class Watcher:
    def __init__(self, asked, rules: list[dict]) -> None:
        self.asked, self.rules = asked, rules
        self.desks = dict(each.split("=", 1) for each in asked.desk)
        self.looks: list[Look] = []
        self.since, self.on = {}, {}  # (name, labels) -> since when its expression holds; since when it fires

    async def watch(self) -> None:
        due = time.monotonic()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as wire:
            while True:
                read = await asyncio.gather(*(self.read(wire, *each) for each in self.desks.items()))
                self.looks.append(Look(time.monotonic(), {key: value for each in read for key, value in each.items()}))
                self.looks = self.looks[-int(KEPT_S / EVERY_S) :]
                self.evaluate()
                due = max(due, time.monotonic() - 1) + EVERY_S * self.asked.second
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def read(self, wire: aiohttp.ClientSession, desk: str, url: str) -> dict:
        try:
            async with wire.get(url + "/metrics") as found:
                text = await found.text()
        except (aiohttp.ClientError, TimeoutError):
            return {}
        pairs = ((name, re.findall(r'(\w+)="([^"]*)"', labels), value) for name, labels, value in SAMPLE.findall(text))
        return {(name, tuple(sorted([*labels, ("desk", desk)]))): float(value) for name, labels, value in pairs
                if not name.endswith("_created")}  # fmt: skip

    def evaluate(self) -> None:
        now, holds = self.looks[-1].time, {}
        for rule in self.rules:
            try:
                found = rule["holds"](View(self.looks, len(self.looks) - 1, self.asked.second))
                holds |= {(rule["alert"], labels): (rule, value) for labels, value in found.items()}
            except (ValueError, AttributeError) as wrong:
                print(json.dumps({"event": "not evaluated", "alert": rule["alert"], "error": str(wrong)}), flush=True)
        for key in [*self.on, *holds]:
            if key not in holds:
                self.write("ends", self.on.pop(key)[1], key, None)
                continue
            rule, value = holds[key]
            began = self.since.setdefault(key, now)
            if key not in self.on and now - began >= rule["for_s"] * self.asked.second:
                self.on[key] = now, rule
                self.write("fires", rule, key, value)
        self.since = {key: began for key, began in self.since.items() if key in holds}

    def write(self, event: str, rule: dict, key: tuple, value: float | None) -> None:
        line = {"time": round(time.time(), 2), "event": event, "alert": rule["alert"], "severity": rule["severity"]}
        line |= dict(key[1]) | ({} if value is None else {"value": round(value, 3)})
        with self.asked.alerts.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    async def query(self, request: Request) -> Response:
        text, count = request.query_params.get("expr", ""), int(request.query_params.get("looks", 1))
        try:
            expression, found = compiled(text), []
            for at in range(max(0, len(self.looks) - count), len(self.looks)):
                value = expression(View(self.looks, at, self.asked.second))
                found.append(list(value.items()) if isinstance(value, dict) else [[(), value]])
        except ValueError as wrong:
            raise process.Refused(400, str(wrong)) from None
        return process.answer({"looks": [[[dict(labels), value] for labels, value in look] for look in found]})

    async def alerts(self, request: Request) -> Response:
        now = time.monotonic()
        return process.answer([{"alert": name, "severity": rule["severity"], "labels": dict(labels), "seconds": now - at}
                               for (name, labels), (at, rule) in self.on.items()])  # fmt: skip

    async def told(self, request: Request) -> Response:
        return process.answer([{key: rule[key] for key in ("alert", "expr", "severity")} for rule in self.rules])


def main() -> int:
    parser = process.options("watcher", "Evaluates rules and writes alerts.")
    parser.add_argument("--rules", type=Path, required=True)
    parser.add_argument("--alerts", type=Path, required=True, help="the file to which it writes")
    parser.add_argument("--desk", action="append", required=True, help="NAME=URL")
    parser.add_argument("--second", type=float, default=1, help="how long a second of the rules lasts")
    asked = parser.parse_args()
    try:
        watcher = Watcher(asked, rules_of(asked.rules.read_text(encoding="utf-8")))
    except ValueError as wrong:
        print(wrong, file=sys.stderr)
        return 2

    @contextlib.asynccontextmanager
    async def lifespan(app):
        task = asyncio.create_task(watcher.watch())
        yield
        task.cancel()

    async def query(request: Request) -> Response:
        return await watcher.query(request)

    async def alerts(request: Request) -> Response:
        return await watcher.alerts(request)

    async def rules(request: Request) -> Response:
        return await watcher.told(request)

    routes = [Route("/query", query), Route("/alerts", alerts), Route("/rules", rules)]
    return process.serve(process.application(routes, lifespan), asked)


if __name__ == "__main__":
    sys.exit(main())
