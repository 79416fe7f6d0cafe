"""Lesson 19's canary on the cluster: a candidate beside the stable version, judged by the gateways' counters.

`Canary` deploys k8s/overlays/canary, and releases a version: copies of requests and a share of the clients go to it until
sequential tests say that it may stay or must go. Lesson 19 explains each order to the cluster, lesson 19b derives the tests.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from course_lib.ops.kubernetes import (
    KubectlFailed,
    apply,
    fresh_namespace,
    kubectl,
    pods,
    rendered,
    the,
    wait_for_rollout,
)
from course_lib.ops.traffic import traffic

ALPHA, BETA = 0.001, 0.01
"""Bounds of one test: how often it calls a good candidate bad, and a bad one fine."""

CANDIDATE, STABLE = ("predictor-1", "shadow-0"), ("predictor-0",)
"""The names under which the gateway counts the candidate (as clients met it, and as it got copies) and the stable version."""


def evidence(wrong: float, count: float, p0: float, p1: float) -> float:
    """The logarithm of how much likelier `wrong` of `count` is at a share of p1 than at p0, both inside 0 to 1."""
    return wrong * math.log(p1 / p0) + (count - wrong) * math.log((1 - p1) / (1 - p0))


def blame(candidate: tuple[float, float], stable: tuple[float, float], ratio: float) -> float:
    """As `evidence`, for "the candidate goes wrong `ratio` times as often as the stable version" against "as often".

    candidate, stable: (how many went wrong, of how many) in the same time. 0.0 where one of the two had no request.
    """
    (wrong, count), (others_wrong, others) = candidate, stable
    if not count or not others:
        return 0.0
    share = count / (count + others)
    return evidence(wrong, wrong + others_wrong, share, ratio * share / (ratio * share + 1 - share))


def judge(
    candidate: tuple[float, float], limits: tuple[float, float], stable: tuple[float, float] | None = None
) -> str:
    """One measure of the candidate: "fine", "bad" or "unknown".

    candidate, stable: (how many requests went wrong, of how many); None where there is nothing to compare with. limits: p0,
    the share that is fine, and p1, the share to be noticed; so is going wrong p1 / p0 times as often as the stable version.
    """
    p0, p1 = limits
    alone = evidence(*candidate, p0, p1)
    compared = blame(candidate, stable, p1 / p0) if stable and stable[1] else alone
    if min(alone, compared) <= math.log(BETA):
        return "fine"
    return "bad" if compared >= math.log(1 / ALPHA) else "unknown"


def decide(
    found: Mapping[str, tuple[float, float]],
    limits: Mapping[str, tuple[float, float]],
    beside: Mapping[str, tuple[float, float]] | None = None,
) -> str:
    """ "promote", "roll back", or "go on" as long as it is not known.

    found: {what: (how many went wrong, of how many)} of the candidate. limits: {what: (the share that is fine, the share to
    be seen)}, with the same keys. beside: what the stable version did at the same time, for what can be compared. Raises
    ValueError where the keys of found and limits differ.
    """
    if found.keys() != limits.keys() or not limits:
        raise ValueError(f"expected counts of {', '.join(limits) or 'something'}, got {', '.join(found) or 'none'}")
    judged = {judge(found[what], limits[what], (beside or {}).get(what)) for what in limits}
    return "roll back" if "bad" in judged else "go on" if "unknown" in judged else "promote"


def counted(texts: Iterable[str]) -> Counter:
    """Counters by name and labels' values, summed over the /metrics of several gateways."""
    from prometheus_client.parser import text_string_to_metric_families

    seen: Counter = Counter()
    for family in (each for text in texts for each in text_string_to_metric_families(text)):
        for sample in family.samples:
            seen[sample.name, *sample.labels.values()] += sample.value
    return seen


def of_candidate(seen: Counter) -> dict[str, tuple[float, float]]:
    """What the candidate did, from `counted`: {"failed", "slow" (above 0.5 s), "different": (how many, of how many)}."""
    same, different = (seen["gateway_shadow_total", each] for each in ("same", "different"))
    return {**_tries(seen, CANDIDATE), "different": (different, same + different)}


def of_stable(seen: Counter) -> dict[str, tuple[float, float]]:
    """What the stable version did in the same time: {"failed", "slow": (how many, of how many)}."""
    return _tries(seen, STABLE)


def _tries(seen: Counter, names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    tries: Counter = Counter()
    for (name, *labels), count in seen.items():
        if name == "gateway_tries_total" and labels[1] in names and labels[0] != "cancelled":
            tries[labels[0]] += count
    took = "gateway_try_duration_seconds"
    quick = sum(seen[took + "_bucket", "0.5", who] for who in names)
    timed = sum(seen[took + "_count", who] for who in names)
    return {"failed": (tries.total() - tries["200"], tries.total()), "slow": (timed - quick, timed)}


@dataclass(frozen=True)
class Canary:
    """A stable version, a candidate and two gateways in one namespace.

    namespace: this learner's own. gateway: the gateway's image. images: {version: its image}. model: its name in the image.
    """

    namespace: str
    gateway: str
    images: Mapping[int, str]
    model: str = "digits_cnn"

    def documents(self, version: int) -> list[dict]:
        """What `kubectl apply -k` sends for `version` as the stable one: no candidate yet, and the gateway asks the stable one."""
        documents = rendered("k8s/overlays/canary", image=self.images[version])
        inside = the("Deployment", documents, "digits-gateway")["spec"]["template"]["spec"]
        inside["containers"][0] |= {"image": self.gateway, "args": self._gateway_args(0, 0)}
        the("Deployment", documents, "digits-canary")["spec"]["replicas"] = 0
        return documents

    def deploy(self, version: int) -> list[str]:
        """The namespace anew, with these documents; returns what `kubectl apply` said.

        Raises KubectlFailed where it is not ready in time.
        """
        fresh_namespace(self.namespace)
        said = apply(self.documents(version), self.namespace)
        for name in ("digits", "digits-gateway"):
            wait_for_rollout(self.namespace, name)
        return said

    def release(
        self,
        version: int,
        bodies: Sequence[str],
        limits: Mapping[str, tuple[float, float]],
        *,
        percent: int = 20,
        shadow: float = 1,
        clients: int = 200,
        seconds: float = 60,
    ) -> dict:
        """Starts a version beside the stable one under traffic, judges it, and promotes it or takes it back.

        bodies: of the requests, JSON, in turn. limits: as for `decide`, of the three that `of_candidate` counts. percent:
        the candidate's share of the clients. shadow: the share of the stable version's requests, to 1, that it gets as
        copies. seconds: what is not known by then goes back.

        Returns {"verdict", "answered", "failed", "by_version", "version_by_half_second" (see `traffic`), "looks": a list of
        {"at", **found, "beside": the stable version's}, "events": [[seconds since the first request, what], …]}. Raises
        KubectlFailed.
        """
        looks: list[dict] = []
        events: list[list] = []

        def note(what: str) -> None:
            events.append([time.time(), what])

        inside = {"containers": [{"name": "service", "image": self.images[version]}]}
        self._patch("digits-canary", replicas=1, template={"spec": inside})
        asks = {"path": f"/v1/models/{self.model}:predict", "host": "digits-gateway", "clients": clients}
        with traffic(self.namespace, self.images[version], bodies, seconds=600, **asks) as sent:
            wait_for_rollout(self.namespace, "digits-canary")
            self._set_share(percent, shadow)
            note(f"{percent} %")
            verdict = self._judge(limits, looks, seconds)
            note(verdict)
            if verdict == "promote":
                self._patch("digits", template={"spec": inside})
                wait_for_rollout(self.namespace, "digits")
                note("promoted")
            self._remove_candidate()
            note("gone")
            time.sleep(1)  # who answers now?
            sent.stop()
            told = sent.result()
        kept = {name: told[name] for name in ("answered", "failed", "by_version", "version_by_half_second")}
        begun = told["begun_at"]
        return {
            "verdict": verdict,
            **kept,
            "looks": [{**look, "at": round(look["at"] - begun, 2)} for look in looks],
            "events": [[round(at - begun, 2), what] for at, what in events],
        }

    def _gateway_args(self, percent: int, shadow: float) -> list[str]:
        weights = [f"--predictor=http://digits={100 - percent}", f"--predictor=http://digits-canary={percent}"]
        copies = [f"--shadow=http://digits-canary={shadow}"] if shadow else []
        return ["--host=0.0.0.0", "--port=8080", "--timeout-ms=5000", *weights, *copies]

    def _patch(self, deployment: str, **spec: object) -> None:
        kubectl("patch", f"deployment/{deployment}", "-n", self.namespace, "-p", json.dumps({"spec": spec}))

    def _set_share(self, percent: int, shadow: float) -> None:
        container = {"name": "gateway", "args": self._gateway_args(percent, shadow)}
        self._patch("digits-gateway", template={"spec": {"containers": [container]}})
        wait_for_rollout(self.namespace, "digits-gateway")

    def _judge(self, limits: Mapping[str, tuple[float, float]], looks: list[dict], seconds: float) -> str:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                seen = self._counters()
            except KubectlFailed:  # a gateway could not be read this time: no look
                continue
            found, beside = of_candidate(seen), of_stable(seen)
            found = {what: found[what] for what in limits}
            looks.append({"at": time.time(), **found, "beside": beside})
            if (verdict := decide(found, limits, beside)) != "go on":
                return verdict
        return "roll back"

    def _counters(self) -> Counter:
        """Those of the gateways that stay: one that is leaving still holds counts of another share."""
        api = f"/api/v1/namespaces/{self.namespace}/pods"
        staying = [pod["name"] for pod in pods(self.namespace, "app=digits-gateway") if not pod["leaving"]]
        return counted(kubectl("get", "--raw", f"{api}/{name}:8080/proxy/metrics") for name in staying)

    def _remove_candidate(self) -> None:
        """First nobody asks it any more, then it goes."""
        self._set_share(0, 0)
        until, old = time.monotonic() + 60, "app in (digits, digits-gateway)"
        while any(pod["leaving"] and pod["ready"] for pod in pods(self.namespace, old)):
            if time.monotonic() > until:
                raise TimeoutError("expected the old pods to end within 60 s: `kubectl get pods` shows which have not")
            time.sleep(0.1)
        self._patch("digits-canary", replicas=0)
