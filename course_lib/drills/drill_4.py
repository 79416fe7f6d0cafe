"""Drill 4: half of the requests fail since the update. Its words stand in `words/drill_4.md`."""

import random
from collections.abc import Callable
from typing import ClassVar

import yaml

from course_lib.drills import cluster, manifests
from course_lib.drills.evidence import NotShown, Unwell, agrees, as_json
from course_lib.drills.frame import Drill

NEW = "server-new.yaml"
START_S = 150
WELL = 0.05  # the share of failed requests up to which all is well


class TheDrill(Drill):
    number = 4
    title = "Half of the requests fail since the update"
    faults: ClassVar = ("label", "port", "probe", "memory", "quota")
    cluster = None
    recovers_s: ClassVar = 60  # how long new pods may take to load, and the others to work off what waits
    watched: ClassVar = 60  # the users' requests that `examine` looks at

    def build(self, fault: str) -> None:
        self.cluster = cluster.cluster(fault)
        seed = self.cluster.seed if self.cluster.recorded else self.seed  # a recording has the story that was recorded
        self.story = manifests.story(random.Random(seed), fault)
        texts = manifests.files(self.story)
        self.plan = {name: list(yaml.safe_load_all(text)) for name, text in texts.items()}
        for name, text in texts.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        if not self.cluster.recorded:
            first = [each for name in texts if name != NEW for each in self.plan[name]]
            self.cluster.place(manifests.program(), *first)
            self._wait(lambda: self._unsettled(new=False), "the drill's pods do not run")
            self.cluster.forget_events()
            self.cluster.place(*self.plan[NEW])
            self._wait(self._unsettled, "the new version's pods are not as they should be")
            self.cluster.forget()
            self._wait(lambda: "few requests" * (len(self.log("users")) < 2 * self.watched), "the users send nothing")

    def alert(self) -> str:
        seen = self.log("users")[-self.watched :]
        return (f"{sum(each['status'] != 200 for each in seen)} of the users' last {len(seen)} requests failed; usual is "
                f"none. It began at 02:40, when half of the servers moved from version {self.story['old']} to "
                f"{self.story['new']}. The deployment pipeline is green.")  # fmt: skip

    # What the learner has beside the frame

    def kubectl(self, line: str) -> str:
        """What `kubectl` says in the drill's namespace to a command that reads, to `apply -f FILE` and `rollout restart`."""
        return self.cluster.said(line, self.folder)

    def log(self, name: str, containing: str = "") -> list[dict]:
        """The users' log, the oldest first, as dictionaries. The pods have `drill.kubectl("logs POD")`."""
        if name != "users":
            raise ValueError(f'expected "users", got {name!r}: a pod\'s log is `drill.kubectl("logs POD")`')
        return [line for each in self.cluster.users() if containing in each and "status" in (line := as_json(each))]

    # The evidence

    def proves_label(self, pod: str, address: str) -> None:
        """
        pod: the name of a pod that gets requests and should not
        address: its address, as the Service knows it
        """
        facts, one = self._pod(pod)
        if not isinstance(address, str) or address.strip() != one["ip"]:
            raise NotShown("The reading does not agree with the system: this pod has another address.")
        if one["ip"] not in facts["endpoints"]:
            raise NotShown("The Service sends nothing to this address.")
        if one["of"] in self.servers:
            raise NotShown(f"This pod belongs to {one['of']}: it is a server, and the Service should send it requests.")

    def proves_port(self, pod: str, sent: int, listens: int) -> None:
        """
        pod: the name of a server's pod
        sent: the port to which the Service sends this pod's requests
        listens: the port on which it listens
        """
        facts, one = self._pod(pod, server=True)
        if one["ip"] not in facts["endpoints"]:
            raise NotShown("The Service sends nothing to this pod, so to no wrong port either.")
        agrees("the port of the Service's requests", sent, facts["endpoints"][one["ip"]])
        agrees("the port on which it listens", listens, one["port"])
        if facts["endpoints"][one["ip"]] == one["port"]:
            raise NotShown("The Service sends to the port on which this pod listens.")

    def proves_probe(self, pod: str, loads: float, waits: float) -> None:
        """
        pod: the name of a server's pod
        loads: seconds that it takes to load its model
        waits: seconds from its start until the kubelet kills it, if it does not answer by then
        """
        _, one = self._pod(pod, server=True)
        agrees("the time to load the model", loads, one["load_s"])
        if one["delay_s"] is None:
            raise NotShown("No probe could have killed this pod.")
        until = one["delay_s"] + one["hang_s"]
        if not isinstance(waits, (int, float)) or not until - one["period_s"] - 0.5 <= waits <= until + 0.5:
            raise NotShown("The reading does not agree with the system: this pod's probes wait another time.")
        if until > one["load_s"]:
            raise NotShown("This pod has the time that it needs to load.")
        if not one["restarts"]:
            raise NotShown("This pod was never restarted.")

    def proves_memory(self, pod: str, limit: float, reason: str) -> None:
        """
        pod: the name of a server's pod
        limit: the memory that it may use, in Mi
        reason: the reason for which its container was last terminated, as `describe` writes it; "" if it never was
        """
        _, one = self._pod(pod, server=True)
        agrees("the limit", limit, one["limit_mib"])
        if not isinstance(reason, str) or reason.strip() != one["reason"]:
            raise NotShown("The reading does not agree with the system: the cluster gives another reason.")
        if one["reason"] != "OOMKilled":
            raise NotShown("This container never ended." if not one["reason"] else
                           "The kernel did not end this container for its memory: the cluster would say so.")  # fmt: skip

    def proves_quota(self, deployment: str, wants: int, has: int, used: int, allowed: int) -> None:
        """
        deployment: its name
        wants: how many pods it wants
        has: how many of them exist, ready or not
        used: how many pods the namespace has, by its quota
        allowed: how many pods the quota allows
        """
        facts = self.cluster.facts()
        if not isinstance(deployment, str) or deployment not in facts["deployments"]:
            raise NotShown("This could not be examined: there is no Deployment of this name.")
        now_wants, now_has = facts["deployments"][deployment]
        pairs = ((wants, now_wants), (has, now_has), (used, facts["quota"][0]), (allowed, facts["quota"][1]))
        for name, (said, found) in zip(("wants", "has", "used", "allowed"), pairs):
            agrees(f"`{name}`", said, found)
        if now_has >= now_wants:
            raise NotShown("This Deployment has all the pods that it wants, whatever they do.")
        if facts["quota"][0] < facts["quota"][1]:
            raise NotShown("The quota leaves room for another pod.")

    def _pod(self, name: str, server: bool = False) -> tuple[dict, dict]:
        facts = self.cluster.facts()
        if not isinstance(name, str) or name not in facts["pods"]:
            raise NotShown("This could not be examined: there is no pod of this name. `get pods` has the names.")
        if server and facts["pods"][name]["of"] not in self.servers:
            raise NotShown("This pod is no server.")
        return facts, facts["pods"][name]

    # The repair

    @property
    def servers(self) -> tuple[str, str]:
        return manifests.servers(self.story)

    def examine(self) -> None:
        objects = manifests.read(self.folder, self.plan) if self.cluster.recorded else self.cluster.objects()
        try:
            manifests.nothing_is_pretended(objects, self.plan)
            wrong = manifests.wrong(objects, self.story)
        except (KeyError, TypeError, ValueError, AttributeError, LookupError) as odd:
            raise Unwell(f"A cluster refuses this: something is missing, or in the wrong place ({odd}).") from None
        recorded = self.cluster.recorded
        why = "" if recorded else cluster.waited(self._unanswered, 0 if wrong else self.recovers_s)
        if wrong and self.diagnosed:
            why = f"{why} {wrong}".strip()
        elif wrong and not why:
            why = ("Read as a cluster reads them, these files let requests fail." if recorded else
                   "It answers now, and the cause is still there.")  # fmt: skip
        if why:
            raise Unwell(why)

    def _unanswered(self) -> str:
        """ "" once the users get answers from every server, else what is still wrong."""
        facts, seen = self.cluster.facts(), self.log("users")[-self.watched :]
        ready = {name: each["of"] for name, each in facts["pods"].items() if each["ready"]}
        ours = {name: of for name, of in ready.items() if of in self.servers}
        if (failed := sum(each["status"] != 200 for each in seen)) > WELL * self.watched:
            return f"{failed} of the users' last {len(seen)} requests failed."
        answered = {ours.get(each.get("pod"), "") for each in seen}
        if missing := set(self.servers) - answered:
            return f"None of the users' last {len(seen)} answers came from {' or '.join(sorted(missing))}."
        return "" if len(ours) == 4 else f"{len(ours)} of four servers are ready."

    def _unsettled(self, new: bool = True) -> str:
        """ "" once all pods but the new servers are ready, and, if these are there, the fault shows in them."""
        pods = self.cluster.facts()["pods"].values()
        ours = [each for each in pods if each["of"] == self.servers[1]]
        shows = {"probe": "restarts", "memory": "reason"}.get(self._fault, "ready")
        done = all(each[shows if each in ours else "ready"] for each in pods)
        expected = 3 + manifests.COLLECTORS + 2 * (new and self._fault != "quota")
        return "" if done and len(pods) == expected else f"{len(pods)} of {expected} are there"

    def _wait(self, still: Callable[[], str], why: str) -> None:
        if said := cluster.waited(still, START_S):
            raise RuntimeError(f"{why} ({said}). COURSE_REPLAY=1 replays the recording")

    def end(self, anyway: bool = False) -> None:
        if (self.solved or anyway) and self.cluster:
            if not self.solved:
                self._keep()
            self.cluster.close()
            self.cluster = None
        super().end(anyway)
