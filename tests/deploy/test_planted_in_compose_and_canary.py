"""The same for what stands beside the overlays: a compose file, a gateway in front of two versions, objects of extensions.

Each is a small sound one of these tests' own, so that its mistakes do not depend on how the course's are written.
"""

import copy
from collections.abc import Callable

import pytest

from course_lib import __version__ as VERSION
from tests.deploy.rules import wrong
from tests.deploy.test_planted_mistakes import setting
from tests.deploy.tree import Tree, instructions, of

LOGGING = {"driver": "json-file", "options": {"mode": "non-blocking"}}
COMPOSE = {
    "services": {
        "service": {
            "image": f"digits-service:{VERSION}",
            "build": {"context": "..", "dockerfile": "docker/service.Dockerfile"},
            "ports": ["127.0.0.1:8501:8501"],
            "stop_grace_period": "15s",
            "healthcheck": {"test": ["CMD", "ask", "http://127.0.0.1:8501/v2/health/ready"]},
            "read_only": True,
            "cap_drop": ["ALL"],
            "mem_limit": "256m",
            "logging": LOGGING,
        },
        "prometheus": {
            "image": "prom/prometheus:v3.13.2",
            "depends_on": ["service"],
            "read_only": True,
            "cap_drop": ["ALL"],
            "deploy": {"resources": {"limits": {"memory": "256M"}}},
            "logging": LOGGING,
            "healthcheck": {"test": ["CMD", "wget", "-Y", "off", "-q", "http://127.0.0.1:9090/-/ready"]},
        },
    }
}
PROMETHEUS = {"scrape_configs": [{"job_name": "digits", "static_configs": [{"targets": ["service:8501"]}]}]}
GATEWAY_DOCKERFILE = f"""\
FROM python:3.13-slim-trixie AS packages
COPY docker/gateway-requirements.txt /tmp/requirements.txt
RUN pip install --no-deps --require-hashes -r /tmp/requirements.txt
FROM python:3.13-slim-trixie AS course
COPY models /srv/models
RUN chmod -R u=rwX,go=rX /srv
FROM python:3.13-slim-trixie
LABEL org.opencontainers.image.version="{VERSION}"
COPY --from=packages /opt/gateway /opt/gateway
COPY --from=course /srv/models models
COPY --chown=10001:10001 models also
USER 10001:10001
EXPOSE 8080
HEALTHCHECK CMD ["python", "-c", "build_opener(ProxyHandler({{}})).open('http://127.0.0.1:8080/v2/health/ready') # urllib"]
CMD ["python", "-m", "course_lib.services.gateway", "--predictor", "http://digits", "--host", "0.0.0.0", "--port", "8080"]
"""
PIN = f"orjson==3.13.0 \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{'1' * 64}\n"
ARGS = ["--host=0.0.0.0", "--port=8080", "--predictor=http://digits=95", "--predictor=http://digits-canary=5"]
ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "digits", "namespace": "digits"},
    "spec": {"parentRefs": [{"name": "public", "namespace": "gateways"}],
             "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/v2"}}],
                        "backendRefs": [{"name": "digits", "port": 80, "weight": 95},
                                        {"name": "digits-canary", "port": 80, "weight": 5}]}]},
}  # fmt: skip
ANALYSIS = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "AnalysisTemplate",
    "metadata": {"name": "answers", "namespace": "digits"},
    "spec": {"metrics": []},
}
CANARY = {
    "stableService": "digits",
    "canaryService": "digits-canary",
    "steps": [{"setWeight": 5}, {"analysis": {"templates": [{"templateName": "answers"}]}}, {"setWeight": 50}],
}


@pytest.fixture(scope="module")
def whole(deployed: Tree) -> Tree:
    """The tree with a compose file, and with a second version behind a gateway in the production overlay."""
    tree = copy.deepcopy(deployed)
    tree.compose, tree.prometheus = copy.deepcopy(COMPOSE), copy.deepcopy(PROMETHEUS)
    tree.dockerfiles["gateway"] = instructions(GATEWAY_DOCKERFILE)
    tree.requirements["gateway"] = PIN
    documents = tree.overlays["production"]
    for kind in ("ResourceQuota", "NetworkPolicy"):  # which know one version
        documents.remove(of(kind, documents)[0])
    for kind in ("Deployment", "Service"):
        (stable,) = of(kind, documents)
        for name in ("digits-canary", "digits-gateway"):
            other = copy.deepcopy(stable)
            other["metadata"]["name"] = name
            if kind == "Service":
                other["spec"]["selector"] = {"app": name}
            else:
                other["spec"]["selector"]["matchLabels"] = {"app": name}
                other["spec"]["template"]["metadata"]["labels"] = {"app": name}
                del other["spec"]["template"]["spec"]["topologySpreadConstraints"]
            documents.append(other)
    (container,) = documents[-3]["spec"]["template"]["spec"]["containers"]
    container.update(image=f"registry.example.com/digits-gateway:{VERSION}", args=list(ARGS), env=[],
                     command=["python", "-m", "course_lib.services.gateway"])  # fmt: skip
    container["ports"][0]["containerPort"] = 8080
    rollout = copy.deepcopy(documents[-4])
    rollout |= {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}
    rollout["metadata"]["name"] = "digits-rollout"
    rollout["spec"]["selector"]["matchLabels"] = {"app": "digits-rollout"}
    rollout["spec"]["template"]["metadata"]["labels"] = {"app": "digits-rollout"}
    rollout["spec"]["strategy"] = {"canary": copy.deepcopy(CANARY)}
    documents += [copy.deepcopy(ROUTE), copy.deepcopy(ANALYSIS), rollout]
    return tree


def compose(tree: Tree) -> dict:
    return tree.compose["services"]


def prometheus(tree: Tree) -> dict:
    return tree.prometheus["scrape_configs"][0]


def of_production(kind: str, name: str) -> Callable[[Tree], dict]:
    return lambda tree: next(
        each for each in of(kind, tree.overlays["production"]) if each["metadata"]["name"] == name
    )["spec"]


def gateway(tree: Tree) -> dict:
    return of_production("Deployment", "digits-gateway")(tree)["template"]["spec"]["containers"][0]


def rewritten(old: str, new: str) -> Callable[[Tree], None]:
    """Plants another line in the gateway's Dockerfile."""
    assert old in GATEWAY_DOCKERFILE, old

    def plant(tree: Tree) -> None:
        tree.dockerfiles["gateway"] = instructions(GATEWAY_DOCKERFILE.replace(old, new))

    return plant


def required(text: str) -> Callable[[Tree], None]:
    return lambda tree: tree.requirements.update(gateway=text)


def probe(command: list[str]) -> Callable[[Tree], None]:
    """Plants a probe that runs a program in the gateway's container."""
    return lambda tree: gateway(tree)["livenessProbe"].update(exec={"command": command})


def canary(tree: Tree) -> dict:
    return of_production("Rollout", "digits-rollout")(tree)["strategy"]["canary"]


BACKENDS = of_production("HTTPRoute", "digits")

MISTAKES = {
    # compose
    "a service without a version": (setting(compose, "prometheus/image", "prom/prometheus"), "one day to the next"),
    "the tag latest": (setting(compose, "prometheus/image", "prom/prometheus:latest"), "one day to the next"),
    "an old version": (setting(compose, "service/image", "digits-service:0.0.9"), "not of version"),
    "another Dockerfile": (setting(compose, "service/build/dockerfile", "docker/gateway.Dockerfile"), "is built from"),
    "another port inside": (setting(compose, "service/ports/0", "127.0.0.1:8501:8500"), "publishes 8500"),
    "another port in the command": (
        setting(compose, "service/command", ["--models=models", "--port=8500"]), "listens on 8500"),
    "a command that the server refuses": (setting(compose, "service/command", ["--port=8501"]), "would not start"),
    "a health check of another port": (
        setting(compose, "service/healthcheck/test/2", "http://127.0.0.1:8500/v2/health/ready"), "health check"),
    "the default's grace": (setting(compose, "service/stop_grace_period", ...), "is killed after 10 s, and may take 10"),
    "another user": (setting(compose, "service/user", "1000:1000"), "the image's user is 10001:10001"),
    "a root file system to write to": (setting(compose, "prometheus/read_only", ...), "may write to its file system"),
    "privileges": (setting(compose, "service/cap_drop", ["NET_RAW"]), "has privileges"),
    "no limit of memory": (setting(compose, "service/mem_limit", ...), "has no memory limit"),
    "a wait for nobody": (setting(compose, "prometheus/depends_on", ["digits"]), "waits for digits"),
    "a log that blocks": (setting(compose, "prometheus/logging/options/mode", "blocking"), "its log is not read"),
    "a log of the engine's own choice": (setting(compose, "service/logging", ...), "its log is not read"),
    # proxies
    "wget by a proxy": (
        setting(compose, "prometheus/healthcheck/test", ["CMD", "wget", "-q", "http://127.0.0.1:9090/"]), "no -Y off"),
    "curl by a proxy": (
        setting(compose, "prometheus/healthcheck/test", "curl -f http://127.0.0.1:9090/"), "no --noproxy"),
    "urlopen by a proxy": (rewritten("build_opener(ProxyHandler({})).open", "urlopen"), "gateway.Dockerfile: the health check"),
    "requests by a proxy": (
        rewritten("build_opener(ProxyHandler({})).open", "import requests; requests.get"), "no trust_env = False"),
    "a probe by a proxy": (
        probe(["python", "-c", "import httpx; httpx.get('http://127.0.0.1:8080/')"]), "livenessProbe: the health check"),
    # rights
    "a copy that keeps the checkout's rights": (
        rewritten("COPY --chown=10001:10001 models also", "COPY models also"), "COPY models also: the image's user"),
    "a copy for another user": (rewritten("--chown=10001:10001", "--chown=0:0"), "the image's user may not read it"),
    "a stage that opens nothing": (rewritten("RUN chmod -R u=rwX,go=rX /srv\n", ""), "no chmod -R in that stage"),
    "a stage that opens another folder": (rewritten("go=rX /srv", "go=rX /opt"), "no chmod -R in that stage"),
    "a stage that opens before it copies": (
        rewritten("COPY models /srv/models\nRUN chmod -R u=rwX,go=rX /srv", "RUN chmod -R u=rwX,go=rX /srv\nCOPY models /srv/models"),
        "no chmod -R in that stage"),
    # hashes
    "packages without hashes": (rewritten("--require-hashes ", ""), "no --require-hashes"),
    "packages of whatever needs them": (rewritten("--no-deps ", ""), "no --require-hashes"),
    "a package without its hash": (required(PIN + "redis==8.1.0\n"), "redis==8.1.0 has no version and hash"),
    "a package without its version": (required(PIN.replace("==3.13.0", ">=3")), "orjson>=3 has no version and hash"),
    "half a hash": (required(PIN.replace("0" * 64, "0" * 40)), "orjson==3.13.0 has no version and hash"),
    # prometheus
    "another port to measure": (
        setting(prometheus, "static_configs/0/targets/0", "service:8500"), "asks service:8500/metrics"),
    "another path to measure": (setting(prometheus, "metrics_path", "/stats"), "asks service:8501/stats"),
    "nobody to measure": (setting(prometheus, "static_configs/0/targets/0", "digits:8501"), "has no digits"),
    # the gateway
    "a gateway that hears only itself": (setting(gateway, "args/0", "--host=127.0.0.1"), "nobody outside the pod"),
    "a gateway without predictors": (setting(gateway, "args", ARGS[:2]), "would not start"),
    "a weight that is none": (setting(gateway, "args/2", "--predictor=http://digits=most"), "would not start"),
    "a predictor that is not there": (
        setting(gateway, "args/3", "--predictor=http://digits-next=5"), "asks digits-next:80, and no Service has it"),
    "a predictor's port that nobody has": (
        setting(gateway, "args/3", "--predictor=http://digits-canary:8501=5"), "asks digits-canary:8501"),
    "another port of the gateway": (setting(gateway, "args/1", "--port=8501"), "listens on 8501, declares [8080]"),
    "the service's command in the gateway's image": (
        setting(gateway, "command/2", "course_lib.serving"), "would not start"),
    "the service's image behind the gateway's command": (
        setting(gateway, "image", f"registry.example.com/digits-service:{VERSION}"), "runs course_lib.services.gateway, the image is for"),
    # extensions
    "an old Gateway API": (
        lambda tree: of("HTTPRoute", tree.overlays["production"])[0].update(
            apiVersion="gateway.networking.k8s.io/v1alpha2"), "not gateway.networking.k8s.io/v1alpha2"),
    "a route to a Service that is not there": (
        setting(BACKENDS, "rules/0/backendRefs/1/name", "digits-next"), "sends requests to digits-next:80"),
    "a route to a port that nobody has": (
        setting(BACKENDS, "rules/0/backendRefs/1/port", 8501), "sends requests to digits-canary:8501"),
    "a route to nobody": (
        setting(BACKENDS, "rules/0/backendRefs", [{"name": "digits", "port": 80, "weight": 0}]), "nowhere"),
    "weights that fall": (setting(canary, "steps/2/setWeight", 1), "do not rise"),
    "a weight beyond all": (setting(canary, "steps/2/setWeight", 150), "from 0 to 100"),
    "a rollout without its Service": (setting(canary, "canaryService", "digits-next"), "no Service digits-next"),
    "an analysis that is not there": (
        setting(canary, "steps/1/analysis/templates/0/templateName", "x"), "no AnalysisTemplate x"),
    "a version of Argo's that is none": (
        lambda tree: of("Rollout", tree.overlays["production"])[0].update(apiVersion="argoproj.io/v1"), "has no Rollout"),
    "a Rollout of a Deployment that is not there": (
        setting(of_production("Rollout", "digits-rollout"), "workloadRef", {"kind": "Deployment", "name": "x"}),
        "which is not there or selects others"),
    "a Rollout with privileges": (
        setting(of_production("Rollout", "digits-rollout"), "template/spec/hostPID", True), "shares hostPID"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_caught(mistake, whole):
    plant, said = MISTAKES[mistake]
    changed = copy.deepcopy(whole)
    plant(changed)
    found = wrong(changed)
    assert any(said in each for each in found), found


def test_without_a_mistake_nothing_is_said(whole):
    assert wrong(whole) == []
