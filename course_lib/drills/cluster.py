"""The cluster of drill 4: a real one, in a namespace of the learner's own, or what a real one said when it was recorded.

Both answer `said` (what `kubectl` prints), `users` (the users' log) and `facts` (what a diagnosis is compared with).
`python -m course_lib.drills.cluster` records every fault anew, on the cluster within reach.
"""

import json
import os
import re
import shlex
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from course_lib import show
from course_lib.idioms import lesson
from course_lib.idioms.live import NotLive, log_mode
from course_lib.ops import kubernetes, leash, names, reach
from course_lib.ops.kubernetes import KubectlFailed, kubectl

RECORDINGS = Path(__file__).parent / "recordings"
READS = ("get", "describe", "logs", "top", "events", "explain", "rollout status", "rollout history")
CHANGES = ("apply -f", "rollout restart")
ELSEWHERE = ("-n", "--namespace", "-A", "--all-namespaces", "-w", "--watch", "--follow", "--context", "--kubeconfig")
LONG = {"po": "pods", "pod": "pods", "deploy": "deployments", "deployment": "deployments", "rs": "replicasets",
        "replicaset": "replicasets", "svc": "services", "service": "services", "ep": "endpoints", "endpoint": "endpoints",
        "endpointslice": "endpointslices", "ev": "events", "event": "events", "quota": "resourcequotas",
        "resourcequota": "resourcequotas", "-p": "--previous"}  # fmt: skip
"""What kubectl takes for the name of a kind, and for an option."""
ONLY = {"services": "digits", "endpoints": "digits", "resourcequotas": "team-digits"}
"""There is one of each of these kinds, so a command means the same without its name."""


def words_of(line: str) -> list[str]:
    """The words of a command that the drill's `kubectl` runs. Raises ValueError for others: they are for a terminal."""
    words = shlex.split(line.strip().removeprefix("kubectl "))
    follows = "-f" in words and words[0] == "logs"
    if (
        not " ".join(words).startswith((*READS, *CHANGES))
        or follows
        or any(each.startswith(ELSEWHERE) for each in words)
    ):
        raise ValueError(f"expected one of {', '.join((*READS, *CHANGES))}, without a namespace, and without -w or -f "
                         f"to follow; got {line!r}. If you have a cluster, a terminal runs any other command.")  # fmt: skip
    return words


def patience_of(words: list[str]) -> list[str]:
    """The option that ends `rollout status`, which otherwise waits ten minutes for servers that never get ready."""
    waits = words[:2] == ["rollout", "status"] and not any(each.startswith("--timeout") for each in words)
    return ["--timeout=10s"] if waits else []


class Live:
    """A real cluster."""

    recorded = ""

    def __init__(self) -> None:
        self.namespace = lesson.own("digits-drill-4")
        self.engine = reach.probe("kubernetes").version
        self._janitor = leash.start(
            ["-m", "course_lib.drills.programs.janitor", self.namespace, names.owner()]
        )  # for a kernel that is killed
        kubernetes.fresh_namespace(self.namespace)
        self._forgotten = 0

    def said(self, line: str, folder: Path) -> str:
        """What kubectl says, its complaints included. A file after -f is one of the folder."""
        words = words_of(line)
        words = [str(folder / word) if before == "-f" else word for before, word in zip(["", *words], words)]
        try:
            return kubectl("-n", self.namespace, *words, *patience_of(words)).strip()
        except KubectlFailed as refused:
            return str(refused).partition(": ")[2].replace(f"{folder}{os.sep}", "")

    def users(self) -> list[str]:
        return kubectl("-n", self.namespace, "logs", "deployment/users", "--tail=-1").splitlines()[self._forgotten :]

    def place(self, *objects: dict) -> None:
        kubernetes.apply(list(objects), self.namespace)

    def forget(self) -> None:
        """What the users saw until now is no part of the story: the drill was being set up."""
        self._forgotten += len(self.users())

    def forget_events(self) -> None:
        """Nor are the events. A cluster keeps them for an hour, so servers that run for longer have none."""
        kubectl("-n", self.namespace, "delete", "events", "--all")

    def objects(self) -> list[dict]:
        """Deployments, Service and quota, as the API server has them."""
        return kubernetes.listed("deployments,services,resourcequotas", self.namespace)

    def facts(self) -> dict:
        """What can be read of pods, endpoints, Deployments and quota."""
        every = kubernetes.listed("pods,endpoints,deployments,resourcequotas", self.namespace)
        of = {kind: [each for each in every if each["kind"] == kind] for kind in
              ("Pod", "Endpoints", "Deployment", "ResourceQuota")}  # fmt: skip
        parts = [
            part
            for each in of["Endpoints"]
            if each["metadata"]["name"] == "digits"
            for part in each.get("subsets") or []
        ]
        status = of["ResourceQuota"][0].get("status", {}) if of["ResourceQuota"] else {}
        return {
            "pods": {each["metadata"]["name"]: pod(each) for each in of["Pod"]},
            "endpoints": {address["ip"]: part["ports"][0]["port"] for part in parts for address in part.get("addresses") or []},
            "deployments": {each["metadata"]["name"]: [each["spec"]["replicas"], each["status"].get("replicas", 0)]
                            for each in of["Deployment"]},
            "quota": [int(status.get(key, {}).get("pods", -1)) for key in ("used", "hard")],
        }  # fmt: skip

    def close(self) -> None:
        """Removes the namespace with all that is in it."""
        try:
            kubernetes.remove_namespace(self.namespace)
        finally:
            leash.end([self._janitor], 5)


class Recording:
    """What a cluster said when a fault was recorded."""

    def __init__(self, fault: str) -> None:
        kept = json.loads((RECORDINGS / f"drill_4_{fault}.json").read_text(encoding="utf-8"))
        self.recorded, self.engine, self.seed = kept["recorded"], kept["engine"], kept["seed"]
        self._said, self._users, self._facts = kept["said"], kept["users"], kept["facts"]
        users = next(name for name, each in self._facts["pods"].items() if each["of"] == "users")
        self._said |= dict.fromkeys([f"logs {users}", "logs deployments/users"], "\n".join(self._users))

    def said(self, line: str, folder: Path) -> str:
        words = words_of(line)
        if " ".join(words).startswith(CHANGES):
            return "(This is a recording. Nothing is applied: `drill.repaired()` reads the files.)"
        known = {plain(each.split()): text for each, text in self._said.items()}
        asked = plain(words)
        if asked in known:
            return known[asked]
        for name in asked:  # `get pods NAME` is a row of `get pods`; the warnings are rows of `get events`
            head, *rows = known.get(asked - {name}, "").splitlines() or [""]
            if found := [row for row in rows if name.removeprefix("type=") in row.split()[:2]]:
                return "\n".join([head, *found])
        why = ("(This recording does not have your command: nobody gave it on the day of the recording. It has those below. "
               "Short names such as `po` and `svc` work too, and so do `get` with one name and the events of `type=Warning`.")  # fmt: skip
        return "\n  ".join([why, *self._said]) + ")"

    def users(self) -> list[str]:
        return self._users

    def facts(self) -> dict:
        return self._facts

    def close(self) -> None:
        """Nothing was made."""


def plain(words: list[str]) -> frozenset[str]:
    """The same for commands that mean the same: `get po -owide`, `get pods -o wide`; `describe pod/NAME`; any order. The
    options that only sort or shorten count for nothing."""
    words = ["get", *words] if words[0] == "events" else words
    parts = [part for word in words for part in (word.split("/") if re.match(r"[\w.]+/\w", word) else [word])]
    parts = [re.sub(r"^(-o|--output|-l|--selector|--field-selector)=?|\.apps$", "", part) for part in parts]
    parts = [LONG.get(part, part) for part in parts]
    kept = (part for part in parts if not re.match(r"--(tail|sort-by|timeout)|[.\d]", part))
    return frozenset(kept) - {"", *(ONLY.get(part) for part in parts)}


def cluster(fault: str) -> Live | Recording:
    """The cluster within reach, else the recording, under a banner that says which. Raises NotLive where
    COURSE_REQUIRE_LIVE=1 and there is none."""
    found = reach.probe("kubernetes")
    if os.environ.get("COURSE_REPLAY") != "1" and found.there:
        there = Live()
        what = f"This runs for real, in the namespace {there.namespace}."
        show.put(show.card("▶", show.GREEN, what, f"On {there.engine}.", label="live"))
    elif os.environ.get("COURSE_REQUIRE_LIVE") == "1":
        raise NotLive(
            f"drill 4 must run live here (COURSE_REQUIRE_LIVE=1), but {found.reason or 'it is to be replayed'}"
        )
    else:
        there = Recording(fault)
        what = f"Not run here: this is what a cluster said on {there.recorded}."
        why = f"On {there.engine}. Why: {found.reason or 'COURSE_REPLAY=1 asks for the recording'}."
        show.put(show.card("◷", show.ORANGE, what, why, label="recording"))
    log_mode("drill", "replayed" if there.recorded else "live")
    return there


def waited(still: Callable[[], str], seconds: float) -> str:
    """Asks until `still` says "", or the time is over; what it said last. kubectl's refusals count as an answer."""
    until = time.monotonic() + seconds
    while True:
        try:
            said = still()
        except KubectlFailed as refused:  # a pod that is still being created has no log
            said = str(refused)
        if not said or time.monotonic() > until:
            return said
        time.sleep(0.5)


def pod(each: dict) -> dict:
    """What a diagnosis asks of a pod: its Deployment, address, restarts, why it ended, limit, and how it starts."""
    (container,), meta = each["spec"]["containers"], each["metadata"]
    (status,) = each.get("status", {}).get("containerStatuses") or [{}]
    ends = [state.get("terminated", {}) for state in (status.get("lastState", {}), status.get("state", {}))]
    owner = next((ref["name"] for ref in meta.get("ownerReferences", [])), "")
    return {
        "of": owner.rpartition("-")[0],
        "ip": each.get("status", {}).get("podIP", ""),
        "ready": kubernetes.pod_state(each)["ready"] and "deletionTimestamp" not in meta,
        "restarts": status.get("restartCount", 0),
        "reason": next((end["reason"] for end in ends if end.get("reason")), ""),
        **(start(container) if "livenessProbe" in container else {}),
    }


def start(container: dict) -> dict:
    """How a container starts. port, load_s: by its command. limit_mib: its memory limit. delay_s: before its liveness probe
    asks (a startup probe included); hang_s: how long the probe may then fail. None: not there."""
    options = dict(word[2:].split("=", 1) for word in container["command"] if word.startswith("--") and "=" in word)
    live, first = container.get("livenessProbe"), container.get("startupProbe")
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    return {
        "port": int(options.get("port", 0)),
        "load_s": int(options.get("load-s", 0)),
        "limit_mib": mib(limit) if limit else None,
        "delay_s": live and max(live.get("initialDelaySeconds", 0), first and sum(patience(first)) or 0),
        "hang_s": live and patience(live)[1],
        "period_s": live and live.get("periodSeconds", 10),
    }


def patience(probe: dict) -> tuple[int, int]:
    """How long a probe waits before it asks, and how long it may then fail."""
    return probe.get("initialDelaySeconds", 0), probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)


def mib(quantity: object) -> float:
    """A quantity of memory as Kubernetes writes it ("64Mi", "1Gi", "134217728"), in MiB. Raises ValueError."""
    number, unit = re.fullmatch(r"([\d.]+)([A-Za-z]*)", str(quantity)).groups()
    scale = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return float(number) * scale[unit] / 2**20


def record(begin: Callable[[str], object], faults: tuple[str, ...]) -> None:
    """Keeps what the cluster says of each fault, as much as a diagnosis wants. begin: starts the drill with a fault, live."""
    for fault in faults:
        drill = begin(fault)
        facts, (old, new) = drill.cluster.facts(), drill.servers
        pods = {
            name: [pod for pod in facts["pods"] if facts["pods"][pod]["of"] == name] for name in facts["deployments"]
        }
        shown = [*(pods[new] or pods[old][:1]), pods[drill.story["collector"]][0]]
        logs = [*pods[new], *(each[0] for name, each in pods.items() if name not in (new, "users"))]
        sets = re.findall(rf"^{new}-\w+", drill.cluster.said("get replicasets", drill.folder), flags=re.M)
        again = [pod for pod in pods[new] if facts["pods"][pod]["restarts"]]
        lines = ["get all", "get deployments", "get replicasets", "get pods", "get pods -o wide",
                 "get pods --show-labels", "get pods -l app=digits", "get services", "get services -o wide", "get endpoints",
                 "get endpointslices", "get resourcequotas", "get events --sort-by=.lastTimestamp",
                 "describe services", "describe endpoints", "describe resourcequotas", f"describe deployments {new}",
                 *(f"describe replicasets {each}" for each in sets if not pods[new]),
                 *(f"describe pods {pod}" for pod in shown), f"rollout status deployments {new}",
                 *(f"logs {pod}" for pod in logs), *(f"logs {pod} --previous" for pod in again),
                 *(f"logs deployments/{name}" for name, each in pods.items() if each and name != "users")]  # fmt: skip
        kept = {"drill": 4, "fault": fault, "seed": drill.seed, "recorded": date.today().isoformat(),
                "engine": drill.cluster.engine, "facts": facts, "users": drill.cluster.users()[-15:],
                "said": {line: _nameless(drill.cluster.said(line, drill.folder)) for line in lines}}  # fmt: skip
        drill.end(anyway=True)
        RECORDINGS.mkdir(exist_ok=True)
        said = ",\n".join(f"{json.dumps(line)}: {json.dumps(text)}" for line, text in kept.pop("said").items())
        rest = "".join(f"{json.dumps(name)}: {json.dumps(value)},\n" for name, value in kept.items())
        text = f'{{\n{rest}"said": {{\n{said}\n}}\n}}\n'
        (RECORDINGS / f"drill_4_{fault}.json").write_text(text, encoding="utf-8")


def _nameless(text: str) -> str:
    """Without the names and addresses of the nodes, and of who recorded."""
    for each in json.loads(kubectl("get", "nodes", "-o", "json"))["items"]:
        text = text.replace(f"{each['metadata']['name']}/", "node/")
        for address in (each["metadata"]["name"], *(one["address"] for one in each["status"]["addresses"])):
            text = re.sub(rf"(?<![\w.-]){re.escape(address)}(?![\w.-])", "node".ljust(len(address)), text)
    return re.sub(r" +$", "", text.replace(lesson.own("digits-drill-4"), "digits-drill-4"), flags=re.M)


if __name__ == "__main__":
    from course_lib.drills import begin_drill
    from course_lib.drills.drill_4 import TheDrill

    record(lambda fault: begin_drill(4, next(s for s in range(1000) if TheDrill.drawn(s) == fault)), TheDrill.faults)
