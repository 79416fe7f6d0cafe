"""Objects that extensions of Kubernetes define, held by what their documentation asks: no schema for them is at hand."""

from collections.abc import Iterator

from tests.deploy.rules.schemas import FOREIGN, group
from tests.deploy.tree import Tree, named


def known(tree: Tree) -> Iterator[tuple[str, dict, list[dict]]]:
    for overlay, documents in tree.overlays.items():
        for each in documents:
            if group(each) in FOREIGN:
                yield f"{overlay}: {each['kind']}/{each['metadata']['name']}", each, documents


def inference_services(tree: Tree) -> Iterator[str]:
    for where, each, _ in known(tree):
        if each["kind"] != "InferenceService":
            continue
        predictor = each["spec"]["predictor"]
        if each["apiVersion"] != "serving.kserve.io/v1beta1":
            yield f"{where}: KServe has no InferenceService in {each['apiVersion']}"
        if [container["name"] for container in predictor["containers"]] != ["kserve-container"]:
            yield f"{where}: KServe sends requests to the container kserve-container, and there is none"
        if len(predictor["containers"][0].get("ports", [])) != 1:
            yield f"{where}: KServe takes one port"
        if not 1 <= predictor.get("minReplicas", 1) <= predictor.get("maxReplicas", 1):
            yield f"{where}: from {predictor.get('minReplicas', 1)} to {predictor.get('maxReplicas', 1)} replicas"


def routes(tree: Tree) -> Iterator[str]:
    """Gateway API: an HTTPRoute names its Gateway and where that is; its weights are numbers, some above 0, its Services are
    there, and what it lets in is the protocols, not the counters on the same port.
    """
    for where, each, documents in known(tree):
        if each["kind"] != "HTTPRoute":
            continue
        if each["apiVersion"] != "gateway.networking.k8s.io/v1":
            yield f"{where}: today's HTTPRoute is in gateway.networking.k8s.io/v1, not {each['apiVersion']}"
        parents = each["spec"].get("parentRefs", [])
        if not parents or not all("namespace" in parent for parent in parents):
            yield f"{where}: its Gateway is somebody else's, and no namespace says where"
        for rule in each["spec"].get("rules", []):
            paths = [match.get("path", {}).get("value", "/") for match in rule.get("matches", [{}])]
            if any("/metrics".startswith(path) for path in paths):
                yield f"{where}: lets everybody read /metrics"
            backends = rule.get("backendRefs", [])
            if not any(backend.get("weight", 1) > 0 for backend in backends):
                yield f"{where}: a rule sends its requests nowhere"
            for backend in backends:
                service = named(backend["name"], "Service", documents)
                if service is None or backend.get("port") not in [port["port"] for port in service["spec"]["ports"]]:
                    yield f"{where}: sends requests to {backend['name']}:{backend.get('port')}, and no Service has it"


def rollouts(tree: Tree) -> Iterator[str]:
    """Argo Rollouts: weights rise, and the Services and analyses that it names are there."""
    for where, each, documents in known(tree):
        if each["kind"] != "Rollout":
            continue
        if each["apiVersion"] != "argoproj.io/v1alpha1":
            yield f"{where}: Argo has no Rollout in {each['apiVersion']}"
        if "workloadRef" in each["spec"]:
            of = named(each["spec"]["workloadRef"]["name"], each["spec"]["workloadRef"]["kind"], documents)
            if of is None or of["spec"]["selector"] != each["spec"].get("selector"):
                yield f"{where}: runs the pods of {each['spec']['workloadRef']}, which is not there or selects others"
            elif "replicas" in of["spec"]:
                yield f"{where}: the Deployment whose pods it runs names its replicas, which each apply brings back"
            if each["spec"]["workloadRef"].get("scaleDown") not in ("onsuccess", "progressively"):
                yield f"{where}: nothing says that the Deployment's pods go when the Rollout's are there, and not before"
        canary = each["spec"].get("strategy", {}).get("canary", {})
        weights = [step["setWeight"] for step in canary.get("steps", []) if "setWeight" in step]
        if weights != sorted(set(weights)) or not all(0 <= weight <= 100 for weight in weights):
            yield f"{where}: weights of {weights} do not rise from 0 to 100"
        for key in ("stableService", "canaryService"):
            if key in canary and named(canary[key], "Service", documents) is None:
                yield f"{where}: there is no Service {canary[key]}"
        if named("digits", "HTTPRoute", documents) and "trafficRouting" in canary:
            yield f"{where}: each apply of the HTTPRoute beside it takes back the weights that Argo has set"
        analyses = [step["analysis"] for step in canary.get("steps", []) if "analysis" in step]
        for one in (template for analysis in [*analyses, canary.get("analysis", {})]
                    for template in analysis.get("templates", [])):  # fmt: skip
            if named(one["templateName"], "AnalysisTemplate", documents) is None:
                yield f"{where}: there is no AnalysisTemplate {one['templateName']}"


def analyses(tree: Tree) -> Iterator[str]:
    """Argo Rollouts: an analysis passes whoever makes no mistakes, and waits for requests, but not for ever."""
    for where, each, _ in known(tree):
        if each["kind"] != "AnalysisTemplate":
            continue
        for metric in each["spec"]["metrics"]:
            good, bad = metric.get("successCondition", ""), metric.get("failureCondition", "")
            query = metric["provider"]["prometheus"]["query"]
            if "or vector(0)" not in query:
                yield f"{where}: {metric['name']}: without a failure there is no series, and no result"
            if ">=" not in query or not all(text.startswith("len(result) > 0 && ") for text in (good, bad)):
                yield f"{where}: {metric['name']}: decides without having counted requests"
            if "count" in metric or not metric.get("consecutiveSuccessLimit") or not metric.get("inconclusiveLimit"):
                yield f"{where}: {metric['name']}: looks that found too few requests count as good, or stop it at once"


RULES = [inference_services, routes, rollouts, analyses]
