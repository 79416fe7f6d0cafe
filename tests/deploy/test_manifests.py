"""The Kubernetes files as kustomize renders them, and all that must agree with them: image, server, compose file, texts."""

import copy
import json

import pytest
import yaml

from course_lib.ops import kubernetes
from course_lib.places import CHECKOUT
from tests.deploy.rules import RULES, extensions, pods, schemas
from tests.deploy.tree import named, of

FILES = sorted((CHECKOUT / "k8s").rglob("*.yaml"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.__module__.rsplit('.')[-1]}-{rule.__name__}")
def test_what_is_deployed_agrees(rule, deployed):
    assert list(rule(deployed)) == []


def test_the_overlays_are_there(deployed):
    assert {"base", "local", "production", schemas.OLD, "canary", "kserve"} <= deployed.overlays.keys()
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
            for file in (*each.get("resources", []), *each.get("components", []), *patches):
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
    assert foreign <= {"InferenceService", "HTTPRoute", "Rollout", "AnalysisTemplate", "Gateway"}


def test_production_differs_from_base_only_where_it_says(deployed):
    base, production = (of("Deployment", deployed.overlays[each])[0]["spec"] for each in ("base", "production"))
    assert base["replicas"] == 2 and "replicas" not in production
    assert base["selector"] == production["selector"]
    assert (
        named("digits", "ConfigMap", deployed.overlays["base"])["data"]
        == (named("digits", "ConfigMap", deployed.overlays["production"])["data"])
    )
