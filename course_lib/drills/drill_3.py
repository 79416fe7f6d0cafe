"""Drill 3: everything is slow, and more replicas make it worse. Its words stand in `words/drill_3.md`."""

import json
import time
import tomllib
from collections import Counter
from typing import ClassVar

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from course_lib.drills.evidence import NotShown, Unwell, get
from course_lib.drills.frame import Drill
from course_lib.measure import load

PREDICTORS = ("predictor-0", "predictor-1")
PATIENCE_S, SLOW_MS = 1.0, 300
RATE = 20
PICTURE = {"instances": [[[[0.0] * 8] * 8]]}


class TheDrill(Drill):
    number = 3
    title = "Everything is slow, and more replicas make it worse"
    faults: ClassVar = ("batch_wait", "retry_storm", "queue", "neighbour")
    begun: ClassVar = 4 * RATE  # answers before the learner is paged: the counters have to tell something
    watched: ClassVar = (3 * RATE, 3 * RATE)  # answers that `examine` lets pass, being under way, and those it looks at
    drain_s: ClassVar = 12.0  # for the predictors to recover from a burst

    def build(self, fault: str) -> None:
        predictor = {"work-ms": 25, "sample-ms": 3, "batch-size": 8, "batch-wait-ms": 0, "max-queue": 16,
                     "keep-late": "no"}  # fmt: skip
        gateway = {"timeout-ms": 2000, "try-ms": 1000, "attempts": 3, "retry-share": 0.1, "breaker-failures": 10}
        report = {"rate_per_s": 0.5, "workers": 1, "pictures": 20}
        if fault == "batch_wait":
            predictor |= {"batch-wait-ms": self.random.choice([1500, 2000])}
        elif fault == "retry_storm":
            gateway |= {"try-ms": 20, "attempts": 6, "retry-share": 10, "breaker-failures": 1_000_000}
        elif fault == "queue":
            predictor |= {"work-ms": 45, "batch-size": 1, "max-queue": 10_000, "keep-late": "yes"}
        else:
            report |= {"rate_per_s": 1000, "workers": 6, "pictures": self.random.choice([70, 80])}
        self.price = {name: predictor[name] for name in ("work-ms", "sample-ms")}
        for name in PREDICTORS:
            self.service(name, "course_lib.drills.programs.predictor", *_options(predictor))
        behind = [word for name in PREDICTORS for word in ("--predictor", self.services[name].url)]
        self.url = self.service("gateway", "course_lib.services.gateway", *behind, *_options(gateway)).url
        self.users({"url": self.url, "path": "/v1/models/digits:predict", "timeout_s": 60,
                    "headers": {"User-Agent": "report"}, **report,
                    "requests": [{"body": {"instances": PICTURE["instances"] * report["pictures"]}}]}, "report")  # fmt: skip
        self.users({"url": self.url, "path": "/v1/models/digits:predict", "rate_per_s": RATE, "workers": 80, "tries": 3,
                    "headers": {"User-Agent": "app", "X-Request-Timeout-Ms": str(int(1000 * PATIENCE_S))},
                    "timeout_s": 3, "requests": [{"body": PICTURE}]})  # fmt: skip
        if fault == "queue":
            self._burst(300)  # what came at 02:40
        self.wait_for_users(self.begun)

    def alert(self) -> str:
        median, failed = self._recent(3 * RATE)
        return (f"The median user waits {median:.0f} ms, usual is 40; {failed:.0%} of the users give up after three tries of "
                f"{PATIENCE_S:.0f} s. It began at 02:40. A second replica, at 02:45, did not help.")  # fmt: skip

    # What the learner has beside the frame

    def metric(self, service: str, name: str) -> dict[str, float]:
        """A metric of a service by its labels, as `curl URL/metrics | grep NAME` shows it."""
        families = list(text_string_to_metric_families(get(self.services[service].url + "/metrics")))
        samples = [each for family in families for each in family.samples if each.name == name]
        known = {f"{each.name}_total" if each.type == "counter" else each.name for each in families}
        if not samples and name not in known:
            own = sorted(each for each in known if each.startswith(("service_", "gateway_", "predictor_")))
            raise ValueError(f"{service} has no metric {name!r}; it has {', '.join(own)}")
        return {", ".join(f"{k}={v}" for k, v in each.labels.items()): each.value for each in samples}

    # The evidence: two counters that have grown together

    def proves_batch_wait(self, filling: float, busy: float) -> None:
        """
        filling: seconds that a predictor waited for a batch to fill
        busy: seconds that it computed
        """
        now = self._sum("predictor_state_seconds_total")
        self._pair(filling, busy, now["state=filling"], now["state=busy"])
        if filling < busy:
            raise NotShown(f"The predictors computed for {busy:.1f} s and waited {filling:.1f} s for batches to fill: that "
                           "wait is not where the time goes.")  # fmt: skip

    def proves_retry_storm(self, requests: float, tries: float) -> None:
        """
        requests: how many requests for its models the gateway has answered, with whatever code
        tries: how many requests it has sent to predictors, with whatever outcome
        """
        answered = sum(v for k, v in self.metric("gateway", "service_requests_total").items() if "route=models" in k)
        self._pair(requests, tries, answered, sum(self.metric("gateway", "gateway_tries_total").values()))
        if tries < 2 * requests:
            raise NotShown(f"The gateway made {tries / max(requests, 1):.1f} tries for each request. That is no storm: the "
                           "predictors get about what the users send.")  # fmt: skip

    def proves_queue(self, computed: float, late: float) -> None:
        """
        computed: how many requests a predictor computed in time
        late: how many it computed though nobody waited any more
        """
        now = self._sum("predictor_computed_total")
        self._pair(computed, late, now["late=no"], now["late=yes"])
        if late < computed / 3:
            raise NotShown(f"Of {computed + late:.0f} requests, {late:.0f} were computed for nobody. The queue does not keep "
                           "the predictors at work that nobody waits for.")  # fmt: skip

    def proves_neighbour(self, report: float, app: float) -> None:
        """
        report: seconds that a predictor computed for the client “report”
        app: seconds that it computed for the client “app”
        """
        now = self._sum("predictor_client_seconds_total")
        self._pair(report, app, now["client=report"], now["client=app"])
        if report < 2 * app:
            raise NotShown(f"It computed for {report:.1f} s for the report and for {app:.1f} s for the app: the report does "
                           "not crowd it out.")  # fmt: skip

    def _of(self, service: str, name: str) -> Counter:
        return Counter(self.metric(service, name))

    def _sum(self, name: str) -> Counter:
        return self._of(PREDICTORS[0], name) + self._of(PREDICTORS[1], name)

    def _pair(self, one: float, other: float, now_one: float, now_other: float) -> None:
        """Raises NotShown unless the two counters have been about here: no further than now, and in about this ratio."""
        if not all(isinstance(each, (int, float, np.number)) for each in (one, other)):
            raise NotShown("This could not be examined: both readings have to be numbers.")
        share, now = (a / max(a + b, 1e-9) for a, b in ((one, other), (now_one, now_other)))
        if one + other <= 0 or one > now_one + 1 or other > now_other + 1 or abs(share - now) > 0.15:
            raise NotShown("The readings do not agree with the system: its two counters are not in this ratio, or have not "
                           "got so far. Take both at the same moment, and after the last restart.")  # fmt: skip

    # The repair

    def examine(self) -> None:
        missing = [name for name in ("gateway", *PREDICTORS) if self.services[name].process.poll() is not None]
        if missing:
            raise Unwell(f"{' and '.join(missing)} does not run. The next one that fails takes the service along.")
        if self.services["report"].process.poll() is not None:
            raise Unwell("The report does not run. The shop needs it at six: slow it down, do not stop it.")
        self._nothing_is_pretended()
        self.wait_for_users(self.watched[0])
        for _ in range(3):  # a service that was started again a moment ago may need some seconds
            before = self._asked_of()
            self.wait_for_users(self.watched[1])
            median, failed = self._recent(self.watched[1])
            asked = {name: count - before[name] for name, count in self._asked_of().items()}
            idle = [name for name, count in asked.items() if count < 0.15 * sum(asked.values())]
            if failed <= 0.05 and median <= SLOW_MS and not idle:
                break
        if failed > 0.05:
            raise Unwell(f"{failed:.0%} of the users' last requests got no answer.")
        if median > SLOW_MS:
            raise Unwell(f"The median answer still takes {median:.0f} ms.")
        if idle:
            raise Unwell(f"The gateway asks {' and '.join(idle)} hardly or not at all. One replica less hides what two "
                         "make visible, until the other one fails.")  # fmt: skip
        if all(line["status"] != 200 for line in self.log("report")[-3:]):
            raise Unwell("The report gets no answers.")
        self._burst(200)
        until = time.monotonic() + self.drain_s
        while max(sum(self._of(name, "predictor_waiting").values()) for name in PREDICTORS) > 4:
            if time.monotonic() > until:
                raise Unwell("It is fast as long as nothing happens. After a burst of 200 requests the predictors still work "
                             "for clients who left long ago.")  # fmt: skip
            time.sleep(0.1)

    def _nothing_is_pretended(self) -> None:
        """Raises Unwell where the files have fewer users, or a faster model, than there are."""
        rate = json.loads((self.folder / "users.json").read_text(encoding="utf-8"))["rate_per_s"]
        if rate < RATE:
            raise Unwell(
                f"users.json has {rate} requests a second, and {RATE} come. We cannot choose our users' number."
            )
        services = tomllib.loads((self.folder / "services.toml").read_text(encoding="utf-8"))
        for option in _options(self.price):
            if changed := [name for name in PREDICTORS if option not in services[name]["options"]]:
                raise Unwell(f"{' and '.join(changed)}: `{option}` is gone. The model takes that long, and no option makes "
                             "it faster.")  # fmt: skip

    def _asked_of(self) -> Counter:
        return Counter({name: sum(self._of(name, "predictor_computed_total").values()) for name in PREDICTORS})

    def _recent(self, count: int) -> tuple[float, float]:
        """The median time to an answer, or to giving up, in ms, and the share that failed, of the users' last requests."""
        last = self.log("users")[-count:]
        return float(np.median([line["ms"] for line in last])), float(np.mean([line["status"] != 200 for line in last]))

    def _burst(self, count: int) -> None:
        """Requests by impatient clients, straight to the predictors: they leave at once."""
        wires = [load.Wires(self.services[name].url, timeout_s=0.3) for name in PREDICTORS]
        headers, body = {"User-Agent": "app", "X-Request-Timeout-Ms": "300"}, b'{"instances": [[[[0.0]]]]}'
        load.closed_loop(lambda i: wires[i % 2].ask("/v1/models/digits:predict", body, headers), count, workers=60)
        for each in wires:
            each.close()


def _options(table: dict) -> list[str]:
    return [f"--{name}={value}" for name, value in table.items()]
