"""Drill 4, solved by script for every fault from its recording, for one on a cluster, and what must not count as solved."""

import math
import re

import pytest

from course_lib.drills import cluster, drill_4
from course_lib.ops import reach
from course_lib.ops.kubernetes import kubectl
from tests.deploy.tree import absent
from tests.drills.conftest import examined, mended

FAULTS = drill_4.TheDrill.faults


@pytest.fixture
def replay(begin, monkeypatch):
    monkeypatch.setenv("COURSE_REPLAY", "1")
    return lambda fault: begin(4, fault)


def table(text: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line) for line in text.splitlines()[1:]]


def described(drill, *deployments: str) -> tuple[str, str]:
    """A pod of the first of these Deployments that has one, and what `describe` says of it."""
    names = [row[0] for row in table(drill.kubectl("get pods"))]
    for deployment in deployments:
        for name in names:
            said = drill.kubectl(f"describe pod {name}")
            if name.startswith(deployment) and said.startswith("Name:"):
                return name, said
    raise AssertionError(f"no pod of {deployments} in {names}")


def sent(drill) -> dict[str, int]:
    """Address -> port, by the Service's endpoints."""
    found = {}
    for part in drill.kubectl("describe endpoints digits").split("  Addresses:")[1:]:
        addresses, (port,) = part.splitlines()[0].strip(), re.findall(r"http +(\d+)", part)
        found |= dict.fromkeys(addresses.split(","), int(port))
    return found


def readings(drill) -> dict[str, dict]:
    """What an honest reader finds for each cause, in what kubectl prints."""
    old, new = drill.servers
    addresses = {row[0]: row[5] for row in table(drill.kubectl("get pods -o wide"))}
    other = next(name for name in addresses if name.startswith(drill.story["collector"]))
    listening = next(
        name
        for of in (new, old)
        for name in addresses
        if name.startswith(of) and addresses[name] in sent(drill) and '"port"' in drill.kubectl(f"logs {name}")
    )
    name, said = described(drill, new, old)
    delay, period, failures = map(
        int, re.search(r"Liveness: .*delay=(\d+)s.*period=(\d+)s.*failure=(\d+)", said).groups()
    )
    end = re.search(r"(?:Last State|State): +Terminated\n +Reason: +(\w+)", said)
    counts = next(row for row in table(drill.kubectl("get deployments")) if row[0] == new)
    used, allowed = re.search(r"pods +(\d+) +(\d+)", drill.kubectl("describe quota")).groups()
    has = sum(each.startswith(new) for each in addresses)
    return {
        "label": {"pod": other, "address": addresses[other]},
        "port": {"pod": listening, "sent": sent(drill)[addresses[listening]],
                 "listens": int(re.search(r'"port": (\d+)', drill.kubectl(f"logs {listening}"))[1])},
        "probe": {"pod": name, "loads": int(re.search(r'"seconds": (\d+)', drill.kubectl(f"logs {name}"))[1]),
                  "waits": delay + period * failures},
        "memory": {"pod": name, "limit": int(re.search(r"memory: +(\d+)Mi", said)[1]), "reason": end[1] if end else ""},
        "quota": {"deployment": new, "wants": int(counts[1].partition("/")[2]), "has": has, "used": int(used),
                  "allowed": int(allowed)},
    }  # fmt: skip


def edit(drill, name, *pairs):
    file = drill.folder / name
    text = file.read_text(encoding="utf-8")
    for old, new in pairs:
        assert old in text, (name, old)
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")
    assert "rror" not in drill.kubectl(f"apply -f {name}")


def put_back(drill, name):
    (drill.folder / name).write_text(drill.written[name], encoding="utf-8")
    drill.kubectl(f"apply -f {name}")


LIVENESS = r"          livenessProbe:(.*\n){6}"
COSMETIC = {
    "label": lambda drill: (f"{drill.story['collector']}.yaml", ("replicas: 4", "replicas: 0"), "has to have 4 pods"),
    "port": lambda drill: ("server-new.yaml", ("replicas: 2", "replicas: 0"), "has to have 2 pods"),
    "probe": lambda drill: ("server-new.yaml", (re.search(LIVENESS, drill.written["server-new.yaml"])[0], ""),
                            "no livenessProbe asks the server"),
    "memory": lambda drill: ("server-new.yaml", ("limits: {memory: 64Mi}", "limits: {}"), "needs a memory limit"),
    "quota": lambda drill: ("quota.yaml", ("pods: 7", "pods: 999"), "14 at most"),
}  # fmt: skip


def hide(drill, fault) -> str:
    name, pair, says = COSMETIC[fault](drill)
    edit(drill, name, pair)
    return says


def repair(drill, fault):
    put_back(drill, COSMETIC[fault](drill)[0])
    if fault == "label":
        edit(drill, "service.yaml", ("selector: {app: digits}", "selector: {app: digits, part: server}"))
    elif fault == "port":
        edit(drill, "service.yaml", (f"targetPort: {drill.story['ports'][0]}", "targetPort: http"))
    elif fault == "probe":
        edit(drill, "server-new.yaml", ("initialDelaySeconds: 3", "initialDelaySeconds: 20"))
    elif fault == "memory":
        edit(drill, "server-new.yaml", ("limits: {memory: 64Mi}", "limits: {memory: 160Mi}"))
    else:
        edit(drill, "quota.yaml", ("pods: 7", "pods: 10"))
        drill.kubectl(f"rollout restart deployment {drill.servers[1]}")


def solved(drill, fault):
    drill.written = {each.name: each.read_text(encoding="utf-8") for each in drill.folder.glob("*.yaml")}
    drill.repaired()  # before the diagnosis it tells what users see, and not the cause
    assert "let requests fail" in drill.said or "requests failed" in drill.said, drill.said
    examined(drill, fault, readings(drill))
    mended(drill, fault, hide, repair)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_is_found_by_its_evidence_and_repaired_at_its_cause(replay, fault):
    solved(replay(fault), fault)


def test_on_a_cluster_it_is_the_same(begin):
    found = reach.probe("kubernetes")
    if not found.there:
        absent(found.reason)
    drill = begin(4, "label")
    namespace = drill.cluster.namespace
    solved(drill, "label")
    drill.end()
    assert not kubectl("get", "namespace", namespace, "--ignore-not-found")


OTHER_REPAIRS = {
    "port": lambda told: [("server-new.yaml", (f"--port={told['ports'][1]}", f"--port={told['ports'][0]}"),
                           (f"containerPort: {told['ports'][1]}", f"containerPort: {told['ports'][0]}"))],
    "probe": lambda told: [("server-new.yaml", ("          livenessProbe:", "          startupProbe:\n            httpGet: "
                            "{path: /live, port: http}\n            periodSeconds: 1\n            failureThreshold: 60\n"
                            "          livenessProbe:"))],
    "memory": lambda told: [("server-new.yaml", ("memory: 64Mi}", "memory: 0.25Gi}"))],
    "quota": lambda told: [("quota.yaml", ("pods: 7", 'pods: "14"'))],
    "label": lambda told: [("service.yaml", ("{app: digits}", "\n    app: digits\n    part: server"))],
}  # fmt: skip
OTHER_DISGUISES = {
    "label": [("service.yaml", "{app: digits}", "{part: server, version: 'x'}"), ("service.yaml", "{app: digits}", "{}"),
              ("users.yaml", "replicas: 1", "replicas: 0"), ("service.yaml", "spec:", "specification:")],
    "port": [("server-new.yaml", "image: python:3.13-slim-trixie", "image: old"), ("service.yaml", "targetPort: ", "nodePort: 3")],
    "probe": [("server-new.yaml", "failureThreshold: 3", "failureThreshold: 100000"),
              ("server-new.yaml", "initialDelaySeconds: 3", "initialDelaySeconds: 9999"),
              ("server-new.yaml", "failureThreshold: 3\n            timeoutSeconds: 2",
               "failureThreshold: 30\n            timeoutSeconds: 10"),  # long enough to load, and a hung one stays
              ("server-new.yaml", "--load-s=", "--load-s=0"), ("server-new.yaml", "initialDelaySeconds: 3", "initialDelaySeconds: 4")],
    "memory": [("server-new.yaml", "--model-mib=", "--model-mib=1"), ("server-new.yaml", "memory: 64Mi", "memory: 64Gi"),
               ("server-new.yaml", "memory: 64Mi", "memory: much"), ("server-new.yaml", "memory: 64Mi", "memory: 80Mi")],
    "quota": [("quota.yaml", "pods:", "secrets:"), ("quota.yaml", "pods: 7", "pods: 8"), ("quota.yaml", "kind: ResourceQuota", ""),
              ("server-new.yaml", "replicas: 2", "replicas: 0")],
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_other_repairs_are_accepted_and_other_disguises_refused(replay, fault):
    drill = replay(fault)
    drill.written = {each.name: each.read_text(encoding="utf-8") for each in drill.folder.glob("*.yaml")}
    drill.diagnose(fault, readings(drill)[fault])
    for name, old, new in OTHER_DISGUISES[fault]:
        edit(drill, name, (old, new))
        drill.repaired()
        assert "not repaired" in drill.said and "could not be examined" not in drill.said, (new, drill.said)
        put_back(drill, name)
    for name, *pairs in OTHER_REPAIRS[fault](drill.story):
        edit(drill, name, *pairs)
    drill.repaired()
    assert drill.solved, drill.said


STARTUP = """\
          startupProbe:
            httpGet: {path: /live, port: %s}
            periodSeconds: 1
            failureThreshold: %s
"""
AND_WRONG = {
    "another port of the Service": ("port", "service.yaml", r"port: 80, targetPort: \d+", "port: 8080, targetPort: http",
                                    "at port 80"),
    "a second port, and the first as it was": ("port", "service.yaml", r"(- .*)",
                                               r"\1\n    - {name: more, port: 81, targetPort: http}", "the Service asks another"),
    "a Deployment that is none": ("memory", "server-new.yaml", "kind: Deployment", "kind: Deploymnt",
                                  "There is no Deployment digits-"),
    "a startup probe at another port": ("probe", "server-new.yaml", "( +livenessProbe:)", STARTUP % (1, 60) + r"\1",
                                        "the startupProbe asks another"),
    "a startup probe that is too short": ("probe", "server-new.yaml", "( +livenessProbe:)", STARTUP % ("http", 7) + r"\1",
                                          "wait 7 s"),
}  # fmt: skip


@pytest.mark.parametrize("case", AND_WRONG)
def test_a_repair_that_breaks_something_else_is_refused_with_its_own_message(replay, case):
    fault, name, old, new, says = AND_WRONG[case]
    drill = replay(fault)
    drill.diagnose(fault, readings(drill)[fault])
    file = drill.folder / name
    text, edits = re.subn(old, new, file.read_text(encoding="utf-8"), count=1)
    assert edits
    file.write_text(text, encoding="utf-8")
    drill.repaired()
    assert "not repaired" in drill.said and says in drill.said, drill.said


def test_a_port_beside_the_right_one_is_no_evidence(replay):
    drill = replay("port")
    honest = readings(drill)["port"]
    assert abs(honest["sent"] - honest["listens"]) < 8, "the recording's ports are near each other"
    for wrong in ({"sent": honest["listens"]}, {"listens": honest["sent"]}):
        drill.diagnose("port", honest | wrong)
        assert not drill.diagnosed and "is not what you give" in drill.said, (wrong, drill.said)


def test_rollout_status_ends_by_itself_unless_the_learner_says_when():
    assert cluster.patience_of(["rollout", "status", "deployment", "x"]) == ["--timeout=10s"]
    assert cluster.patience_of(["rollout", "status", "deployment", "x", "--timeout=3s"]) == []
    assert cluster.patience_of(["get", "pods"]) == []


@pytest.mark.parametrize(
    "value", [None, True, "", "seven", math.nan, math.inf, -1, [], {}, "digits-x", 10**30], ids=repr
)
def test_evidence_that_was_not_read_is_refused_without_an_error(replay, value):
    drill = replay("memory")
    honest = readings(drill)
    for cause, evidence in honest.items():
        for name in evidence:
            drill.diagnose(cause, evidence | {name: value})
            assert not drill.diagnosed and "is not shown" in drill.said, (cause, name, drill.said)
            assert "Error" not in drill.said, drill.said


def test_what_reads_is_run_and_everything_else_is_left_to_a_terminal(replay):
    drill = replay("label")
    assert drill.kubectl("kubectl get po -o wide") == drill.kubectl("get pods -o wide")
    name = table(drill.kubectl("get pods"))[0][0]
    assert "does not have your command" in drill.kubectl("get nodes") and name
    assert "Nothing is applied" in drill.kubectl("apply -f service.yaml")
    for line in ("delete pods --all", "get pods -n kube-system", "get pods -A", "exec x -- sh", ""):
        with pytest.raises(ValueError, match="expected one of get, describe"):
            drill.kubectl(line)
    with pytest.raises(ValueError, match='expected "users"'):
        drill.log("gateway")


TYPED = (
    "get all", "get deploy", "get deploy {new}", "get deployment.apps/{new}", "get rs", "get svc digits", "get service -owide",
    "get ep", "get endpoints digits", "get endpointslices", "get po -l app=digits", "get pods --selector=app=digits", "get quota",
    "get pod {pod} --output=wide", "get pods {pod} --show-labels", "get events", "get ev --sort-by=.metadata.creationTimestamp",
    "get events --field-selector=type=Warning", "events", "describe svc", "describe service/digits", "describe ep digits",
    "describe quota team-digits", "describe deploy {new}", "describe pod/{pod}", "describe po {pod}",
    "rollout status deployment/{new} --timeout=5s", "logs {pod} --tail=5", "logs --tail 5 {pod}", "logs deploy/{old}", "logs {users}",
)  # fmt: skip
"""What operators type, in the ways they type it. pod: each new server's, or an old one's where there is no new one."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_recording_answers_what_an_operator_types_and_lists_its_commands_for_the_rest(replay, fault):
    drill = replay(fault)
    old, new = drill.servers
    names = [row[0] for row in table(drill.kubectl("get pods"))]
    (users,) = [name for name in names if name.startswith("users-")]
    for pod in [name for name in names if name.startswith(f"{new}-")] or [described(drill, old)[0]]:
        for line in TYPED:
            said = drill.kubectl(line.format(old=old, new=new, pod=pod, users=users))
            assert said and "does not have your command" not in said, line
        (row,) = table(drill.kubectl(f"get pod {pod} -o wide"))
        assert row[0] == pod and row[5] in drill.kubectl(f"describe pod {pod}")
    assert re.search(r"Endpoints: +\d", drill.kubectl("describe svc")), "recorded by a kubectl too new for the cluster"
    for line in ("get nodes", "describe pod nobody", "get pod nobody", "get pods digits", "logs", "get"):
        said = drill.kubectl(line)
        assert "does not have your command" in said and "\n  describe services\n" in said, line


def test_recordings_say_what_they_are_and_name_nobody():
    files = sorted(cluster.RECORDINGS.glob("drill_4_*.json"))
    assert [each.stem for each in files] == sorted(f"drill_4_{fault}" for fault in FAULTS)
    assert sum(each.stat().st_size for each in files) < 122_880
    for each in files:
        text = each.read_text(encoding="utf-8")
        assert re.search(r'"recorded": "20\d\d-\d\d-\d\d"', text) and '"engine": "Kubernetes' in text
        assert not re.search(r"/(home|work|Users|tmp|root)/|localhost|\.local\b|\.internal\b", text)
        assert not re.search(r"Node: +(?! |node)", text)
