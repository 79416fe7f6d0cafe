"""The Kubernetes files as kustomize renders them, and all that must agree with them: image, server, compose file, texts."""

import copy
import dataclasses
import json

import pytest
import yaml

from course_lib.ops import kubernetes
from course_lib.places import CHECKOUT
from tests.deploy import tree
from tests.deploy.rules import RULES, extensions, pods, schemas
from tests.deploy.tree import named, of

FILES = sorted(path for path in (CHECKOUT / "k8s").rglob("*.y*ml"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.__module__.rsplit('.')[-1]}-{rule.__name__}")
def test_what_is_deployed_agrees(rule, deployed):
    assert list(rule(deployed)) == []


def test_the_overlays_are_there(deployed):
    assert deployed.overlays.keys() == {"base", "local", "production", schemas.OLD, "canary", "production-canary",
                                        "monitoring", "gateway-api", "argo-rollouts", "kserve"}  # fmt: skip
    kinds = {each["kind"] for each in deployed.overlays["production"]}
    assert kinds == {"Namespace", "ServiceAccount", "ConfigMap", "Service", "Deployment", "HorizontalPodAutoscaler",
                     "PodDisruptionBudget", "NetworkPolicy", "ResourceQuota"}  # fmt: skip


def test_kustomizations_name_files_that_are_there_and_leave_none_out():
    named = set()
    for path in FILES:
        if path.name != "kustomization.yaml":
            continue
        for each in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            patches = [patch["path"] for patch in each.get("patches", []) if "path" in patch]
            made = [file for one in each.get("configMapGenerator", []) for file in one["files"]]
            for file in (*each.get("resources", []), *each.get("components", []), *patches, *made):
                assert (path.parent / file).exists(), f"{path}: {file}"
                named.add((path.parent / file).resolve())
    assert {path for path in FILES if path.name != "kustomization.yaml"} <= named


def test_the_pod_that_a_lesson_starts_beside_the_service_is_restricted_too(monkeypatch):
    given = []
    monkeypatch.setattr(kubernetes, "kubectl", lambda *words, stdin=None: given.append(stdin) or "")
    kubernetes.run_pod("digits-local", "load", "digits-service:local", ["true"])
    assert list(pods.restricted(json.loads(given[-1])["spec"], "10001:10001")) == []


# Schemas: those of the last five Kubernetes versions


@pytest.mark.parametrize("version", schemas.RECENT)
def test_every_object_keeps_to_the_strict_schema(version, deployed):
    for overlay, documents in deployed.overlays.items():
        if overlay != schemas.OLD:
            assert dict(schemas.refusals(documents, version)) == {}, overlay


def test_five_versions_are_tried_and_the_newest_is_the_packages_own():
    minors = [int(version.split(".")[1]) for version in schemas.RECENT]
    assert minors == list(range(minors[0], minors[0] + 5))
    assert schemas.RECENT[-1] == schemas.kubernetes_validate.latest_version()


@pytest.mark.parametrize("version", schemas.RECENT)
def test_two_objects_of_the_overlay_for_old_clusters_are_refused_today(version, deployed):
    refused = dict(schemas.refusals(deployed.overlays[schemas.OLD], version))
    assert refused.keys() == {"HorizontalPodAutoscaler/digits", "PodDisruptionBudget/digits"}
    assert all(f"Kubernetes {version} has no" in why for why in refused.values())


def test_the_overlay_for_old_clusters_is_production_but_for_api_versions(deployed):
    old, new = (copy.deepcopy(deployed.overlays[each]) for each in (schemas.OLD, "production"))
    versions = [{each["kind"]: each.pop("apiVersion") for each in documents} for documents in (old, new)]
    assert old == new
    assert {kind: version for kind, version in versions[0].items() if versions[1][kind] != version} == {
        "HorizontalPodAutoscaler": "autoscaling/v2beta2",
        "PodDisruptionBudget": "policy/v1beta1",
    }


def test_objects_without_a_schema_are_those_of_extensions_whose_rules_are_here(deployed):
    foreign = {each["kind"] for _, each, _ in extensions.known(deployed)}
    assert "InferenceService" in foreign
    assert foreign == {"InferenceService", "HTTPRoute", "Rollout", "AnalysisTemplate", "ServiceMonitor"}


def test_production_differs_from_base_only_where_it_says(deployed):
    base, production = (of("Deployment", deployed.overlays[each])[0]["spec"] for each in ("base", "production"))
    assert base["replicas"] == 2 and "replicas" not in production
    assert base["selector"] == production["selector"]
    assert (
        named("digits", "ConfigMap", deployed.overlays["base"])["data"]
        == (named("digits", "ConfigMap", deployed.overlays["production"])["data"])
    )


# What is put together of parts


def test_a_canary_in_production_is_production_and_the_parts_of_a_canary_without_copies(deployed):
    """All that production has is in it, but for a larger quota; what is new is the candidate, the gateway, their rules."""
    by_name = {
        overlay: {(each["kind"], each["metadata"]["name"]): each for each in deployed.overlays[overlay]}
        for overlay in ("production", "canary", "production-canary")
    }
    both, production = by_name["production-canary"], by_name["production"]
    assert {key for key, each in production.items() if both[key] != each} == {("ResourceQuota", "digits")}
    new = both.keys() - production.keys()
    assert new >= by_name["canary"].keys() - production.keys()
    assert {kind for kind, _ in new - by_name["canary"].keys()} == {"NetworkPolicy"}


def test_what_makes_pods_fit_for_production_is_given_to_every_kind_of_pod(deployed):
    for overlay in ("production", "production-canary", schemas.OLD):
        for pod in tree.pods(deployed.overlays[overlay]):
            (container,) = pod.spec["containers"]
            assert tree.taken_apart(container["image"]).registry == "registry.example.com", pod
            assert container["imagePullPolicy"] == "Always", pod
            assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "10"], pod
            assert pod.spec["terminationGracePeriodSeconds"] == 30, pod


def test_argos_route_is_made_once_apart_from_what_each_release_applies(deployed):
    argo, once = deployed.overlays["argo-rollouts"], tree.rendered(CHECKOUT / "k8s/overlays/argo-rollouts/route")
    assert of("HTTPRoute", argo) == [] and [each["kind"] for each in once] == ["HTTPRoute"]
    (rollout,) = of("Rollout", argo)
    plugin = rollout["spec"]["strategy"]["canary"]["trafficRouting"]["plugins"]["argoproj-labs/gatewayAPI"]
    assert once[0]["metadata"]["name"] == plugin["httpRoute"]
    weights = {each["name"]: each["weight"] for each in once[0]["spec"]["rules"][0]["backendRefs"]}
    assert weights == {"digits": 100, "digits-canary": 0}
    together = dataclasses.replace(deployed, overlays={"argo": [*argo, *once]})
    assert [each for each in extensions.routes(together)] == []


def test_a_team_names_its_registry_in_one_place():
    names = [path for path in FILES if "registry.example.com" in path.read_text(encoding="utf-8")]
    assert [path.relative_to(CHECKOUT).as_posix() for path in names] == ["k8s/components/production/kustomization.yaml"]


def test_the_readme_names_every_overlay_and_which_versions_are_tried(deployed):
    text = (CHECKOUT / "k8s/README.md").read_text(encoding="utf-8")
    for overlay in deployed.overlays.keys() - {"base"}:
        assert f"`{overlay}`" in text, overlay
    assert "the last five versions" in text and len(schemas.RECENT) == 5
