"""The files for a cluster agree with each other: limits, names, rights, pins."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from packaging.utils import canonicalize_name

from course_lib.places import CHECKOUT
from tools import environments
from tools.hub import capacity, learners, settings

HUB = CHECKOUT / "teaching/hub"
VALUES = yaml.safe_load((HUB / "kubernetes/values.yaml").read_text(encoding="utf-8"))
CONFIG = (HUB / "kubernetes_config.py").read_text(encoding="utf-8")
ROOM = settings.Room(("ana", "ben"), ("eva",))


def test_the_charts_values_are_those_of_the_configuration():
    user, cluster = VALUES["singleuser"], settings.Cluster(image="i", hub="h")
    assert user["memory"] == {"guarantee": f"{cluster.guarantee_mib}M", "limit": f"{ROOM.memory_mib}M"}
    assert user["cpu"]["limit"] == cluster.cores and user["storage"]["capacity"] == cluster.storage
    assert VALUES["hub"]["config"]["KubeSpawner"]["pvc_name_template"] == user["storage"]["dynamic"]["pvcNameTemplate"]
    for name in ("pod_name_template", "pvc_name_template", "service_account"):
        assert f'c.KubeSpawner.{name} = "{VALUES["hub"]["config"]["KubeSpawner"][name]}"' in CONFIG
    (first,) = user["initContainers"]
    assert (
        first["command"][2]
        == "[ -e /kept/course ] || (cp -r /home/learner/course /kept/half; mv /kept/half /kept/course)"
    )
    assert first["command"][2].replace("/home/learner/course", "{COURSE}") in CONFIG
    assert first["image"] == f"{user['image']['name']}:{user['image']['tag']}"


def test_a_pods_guarantee_holds_a_lesson_of_median_memory_and_its_limit_the_heaviest():
    typical, heaviest = capacity.learner_mib()
    assert settings.Cluster(image="i", hub="h").guarantee_mib >= typical and ROOM.memory_mib >= heaviest


def test_the_hub_may_start_pods_and_make_volumes_and_nothing_else():
    objects = list(yaml.safe_load_all((HUB / "kubernetes/hub.yaml").read_text(encoding="utf-8")))
    (role,) = [each for each in objects if each["kind"] == "Role"]
    assert {each["kind"] for each in objects} == {"Namespace", "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy"}
    assert {word for rule in role["rules"] for word in rule["resources"]} == {
        "pods",
        "persistentvolumeclaims",
        "events",
    }
    assert "*" not in json.dumps(role)


def test_every_name_gets_a_namespace_with_rights_there_alone():
    items = learners.everyone(ROOM)["items"]
    spaces = [each["metadata"]["name"] for each in items if each["kind"] == "Namespace"]
    assert spaces == ["course-eva", "course-ana", "course-ben"]
    assert not [each for each in items if each["kind"].startswith("Cluster")]
    for binding in (each for each in items if each["kind"] == "RoleBinding"):
        (subject,) = binding["subjects"]
        name = binding["metadata"]["namespace"].removeprefix("course-")
        assert subject == {"kind": "ServiceAccount", "name": f"learner-{name}", "namespace": "course-hub"}
        assert binding["roleRef"]["name"] == "edit"


def test_the_command_says_what_it_expected(tmp_path):
    for words, told in (([], "expected the folder that holds hub.toml"), ([str(tmp_path)], "cannot be read")):
        done = subprocess.run(
            [sys.executable, "-m", "tools.hub.learners", *words], cwd=CHECKOUT, capture_output=True, text=True
        )
        assert done.returncode == 1 and told in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[cluster]\nimage = 'i'", "is a table with image and hub"),
        ("[cluster]\nimage = 'i'\nhub = 4", "hub is a text, got 4"),
        ("[cluster]\nimage = 'i'\nhub = 'h'\nstore = '1Gi'", "got store"),
        ("cluster = true", "is a table with image and hub, got True"),
    ],
)
def test_a_table_that_is_wrong_is_told(tmp_path, text, told):
    (tmp_path / "hub.toml").write_text(f"learners = ['ana']\ninstructors = ['eva']\n{text}\n")
    with pytest.raises(settings.Wrong, match=re.escape(told)):
        settings.read(tmp_path)


def test_the_image_holds_the_hubs_versions_by_hash_and_ends_without_root():
    text = (HUB / "kubernetes/image-requirements.txt").read_text(encoding="utf-8")
    pinned = environments.pins(HUB / "jupyterhub.txt")
    found = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", text, re.MULTILINE))
    assert found and found == {name: pinned[canonicalize_name(name)] for name in found} and "jupyterhub" in found
    assert text.count("--hash=sha256:") >= len(found)
    recipe = (HUB / "kubernetes/Dockerfile").read_text(encoding="utf-8")
    assert "--require-hashes" in recipe and "pip check" in recipe
    assert re.findall(r"^USER (.+)$", recipe, re.MULTILINE)[-1] == "10001:10001"
