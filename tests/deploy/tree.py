"""What is deployed, read: Dockerfiles, the compose file, rendered manifests, and what lesson 01 calls things."""

import io
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser

import course_lib
from course_lib.ops import kubernetes
from course_lib.places import CHECKOUT

REQUIRED = os.environ.get("COURSE_REQUIRE_LIVE") == "1"
"""Whether what is absent is a failure. Read here, since each test runs without the variable."""

KUSTOMIZATIONS = [
    CHECKOUT / "k8s/base",
    *sorted(path.parent for path in CHECKOUT.glob("k8s/overlays/*/kustomization.yaml")),
]
"""What is applied by itself, and the base; not the parts of an overlay."""

TEXTS = (
    "README.md",
    "TROUBLESHOOTING.md",
    "course_lib/serving/README.md",
    "docker/README.md",
    "docker/service.Dockerfile",
    "k8s/README.md",
    "k8s/components/monitoring/runbooks.md",
    "k8s/overlays/argo-rollouts/README.md",
)


@dataclass
class Pod:
    """A pod as some object asks for it. `owner`: that object; `labels`: the pod's."""

    owner: dict
    labels: dict[str, str]
    spec: dict

    def __str__(self) -> str:
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"


@dataclass
class Image:
    """A reference to an image, taken apart; "" for what it lacks."""

    registry: str
    name: str
    tag: str
    digest: str


@dataclass
class Tree:
    """overlays: {"production": objects}; "base" among them. dockerfiles: {"service": [(word, rest), …]}. compose,
    prometheus: {} where the file is not there. texts: what people read and copy. image, namespace: lesson 01's,
    before it makes them the learner's own. requirements: {"service": the text of docker/service-requirements.txt}.
    """

    overlays: dict[str, list[dict]]
    dockerfiles: dict[str, list[tuple[str, str]]]
    compose: dict
    prometheus: dict
    dockerignore: list[str]
    texts: dict[str, str]
    image: str
    namespace: str
    requirements: dict[str, str]
    version: str = course_lib.__version__


def read() -> Tree:
    """The tree as it stands. Skips the test where kubectl, which renders the overlays, is not installed."""
    lessons = sorted(path.relative_to(CHECKOUT).as_posix() for path in CHECKOUT.glob("source/*/[0-9]*.py"))
    lesson = (CHECKOUT / "source/notebooks/01_grand_tour.py").read_text(encoding="utf-8")
    image, namespace = (
        re.search(rf'^{name} = own\("(.+?)"\)', lesson, re.MULTILINE)[1] for name in ("IMAGE", "NAMESPACE")
    )
    return Tree(
        {folder.name: rendered(folder) for folder in KUSTOMIZATIONS},
        {path.name.removesuffix(".Dockerfile"): instructions(path.read_text(encoding="utf-8"))
         for path in sorted((CHECKOUT / "docker").glob("*.Dockerfile"))},
        _yaml("docker/compose.yaml"), _yaml("docker/prometheus.yml"),
        (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines(),
        {name: (CHECKOUT / name).read_text(encoding="utf-8") for name in (*TEXTS, *lessons)}, image, namespace,
        {path.name.removesuffix("-requirements.txt"): path.read_text(encoding="utf-8")
         for path in sorted((CHECKOUT / "docker").glob("*-requirements.txt"))},
    )  # fmt: skip


def rendered(folder: Path) -> list[dict]:
    """What `kubectl apply -k` would send. Skips the test where kubectl is not installed."""
    if not shutil.which("kubectl"):
        absent("kubectl is not installed, and kustomize comes with it")
    return kubernetes.rendered(folder.relative_to(CHECKOUT).as_posix())


def absent(what: str) -> None:
    """Skips the test for want of this; where COURSE_REQUIRE_LIVE asks for everything, fails it."""
    if REQUIRED:
        pytest.fail(f"{what}, and COURSE_REQUIRE_LIVE=1 asks for it")
    pytest.skip(what)


def _yaml(name: str) -> dict:
    path = CHECKOUT / name
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}


def instructions(text: str) -> list[tuple[str, str]]:
    """(word, rest) of each instruction of a Dockerfile, without comments."""
    parsed = DockerfileParser(fileobj=io.BytesIO(text.encode())).structure
    return [(each["instruction"], each["value"]) for each in parsed if each["instruction"] != "COMMENT"]


def last_stage(dockerfile: list[tuple[str, str]]) -> dict[str, str]:
    """The instructions of what a container starts from, by word; of those that are repeated the last."""
    return dict(dockerfile[max(index for index, (word, _) in enumerate(dockerfile) if word == "FROM") :])


def taken_apart(image: str) -> Image:
    """`registry:5000/digits-service:0.1.0@sha256:…` in its parts."""
    name, _, digest = image.partition("@")
    registry, slash, last = name.rpartition("/")
    name, _, tag = last.partition(":")
    return Image(registry if slash else "", name, tag, digest)


def pods(documents: list[dict]) -> Iterator[Pod]:
    """Every pod that these objects ask for: of a Deployment and its like, of KServe's InferenceService, or itself."""
    for each in documents:
        spec = each.get("spec") or {}
        if each["kind"] == "InferenceService":
            yield Pod(each, each["metadata"].get("labels", {}), spec["predictor"])
        elif each["kind"] == "Pod":
            yield Pod(each, each["metadata"].get("labels", {}), spec)
        elif "template" in spec:
            yield Pod(each, spec["template"].get("metadata", {}).get("labels", {}), spec["template"]["spec"])


def of(kind: str, documents: list[dict]) -> list[dict]:
    return [each for each in documents if each["kind"] == kind]


def named(name: str, kind: str, documents: list[dict]) -> dict | None:
    return next((each for each in of(kind, documents) if each["metadata"]["name"] == name), None)


def selects(selector: dict | None, labels: dict[str, str]) -> bool:
    """Whether a label selector matches: {"matchLabels": …}, {} for all, or a Service's own bare labels."""
    if selector is None:
        return False
    wanted = (
        selector.get("matchLabels", {}) if "matchLabels" in selector or "matchExpressions" in selector else selector
    )
    if not wanted.items() <= labels.items():
        return False
    for one in selector.get("matchExpressions", []):
        there, among = one["key"] in labels, labels.get(one["key"]) in one.get("values", [])
        if not {"In": among, "NotIn": not among, "Exists": there, "DoesNotExist": not there}[one["operator"]]:
            return False
    return True


UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def quantity(text: str | int | float) -> float:
    """Kubernetes' "100m", "256Mi" or 2 as a number of CPUs or bytes."""
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", str(text)).groups()
    return float(number) * UNITS[unit]


def seconds(text: str) -> float:
    """Docker's "30s" or "1m30s"."""
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1, "ms": 1e-3}[unit]
               for number, unit in re.findall(r"([\d.]+)(ms|h|m|s)", text))  # fmt: skip
