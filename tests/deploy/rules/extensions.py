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
    """Gateway API: an HTTPRoute's weights are numbers, some above 0, and its Services are there."""
    for where, each, documents in known(tree):
        if each["kind"] != "HTTPRoute":
            continue
        if each["apiVersion"] != "gateway.networking.k8s.io/v1":
            yield f"{where}: today's HTTPRoute is in gateway.networking.k8s.io/v1, not {each['apiVersion']}"
        for rule in each["spec"].get("rules", []):
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
        canary = each["spec"].get("strategy", {}).get("canary", {})
        weights = [step["setWeight"] for step in canary.get("steps", []) if "setWeight" in step]
        if weights != sorted(set(weights)) or not all(0 <= weight <= 100 for weight in weights):
            yield f"{where}: weights of {weights} do not rise from 0 to 100"
        for key in ("stableService", "canaryService"):
            if key in canary and named(canary[key], "Service", documents) is None:
                yield f"{where}: there is no Service {canary[key]}"
        analyses = [step["analysis"] for step in canary.get("steps", []) if "analysis" in step]
        for one in (template for analysis in [*analyses, canary.get("analysis", {})]
                    for template in analysis.get("templates", [])):  # fmt: skip
            if named(one["templateName"], "AnalysisTemplate", documents) is None:
                yield f"{where}: there is no AnalysisTemplate {one['templateName']}"


RULES = [inference_services, routes, rollouts]
