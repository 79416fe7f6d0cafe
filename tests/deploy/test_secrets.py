"""No secret is in what is committed: texts, notebooks with their outputs, recordings, Dockerfiles, rendered manifests.

Each rule yields a sentence for each thing that it finds, and has planted ones. These are made when the test runs, or they
would be found here.
"""

import base64
import fnmatch
import json
import math
import re
import secrets
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from course_lib.places import CHECKOUT
from tests.deploy import tree
from tests.deploy.rules.containers import kept

KNOWN = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:\\[nr]|[^-A-Za-z0-9+/]|[A-Z][\w-]+: [^\n\\]*)*[A-Za-z0-9+/=]{24}",
    "a signed token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}",
    "a cloud's key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{35}\b",
    "a forge's token": r"\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_\w{22}|\bglpat-[\w-]{20}|\bpypi-[\w-]{50}|\bhf_[A-Za-z0-9]{30}",
    "a chat's or a model's key": r"\bxox[abprs]-[\w-]{10}|\bsk-[\w-]{20}",
    "a password in an address": r"\b[a-z][a-z+]+://[^/\s:@'\"<>{}$]+:[^/\s:@'\"<>{}$]+@[\w.]",
    "credentials in a header": r"(?i)\b(?:basic|bearer) [A-Za-z0-9+/_=-]{24,}",
}
"""What a secret looks like by itself."""

NAMES = r"password|passwd|secret|api[_-]?key|access[_-]?key|token|private[_-]?key|client[_-]?key|\bkek\b"
GIVEN = re.compile(rf"(?i)(?:{NAMES})[\w-]{{0,40}}\\?[\"']?\s*[:=]\s*\\?[\"']?([\w+/=.~-]{{16,}})")
"""A name that says what its value is, and the value."""

EXCUSED = {
    (
        "source/notebooks/16_containers.py",
        "token-for-lesson-16",
    ): "lesson 16 looks for this very text in the layers of an image",
}
"""(file or its built form, value): why it is none."""


def bits(text: str) -> float:
    """Shannon's entropy of a text's characters, in bits a character: 3.5 and more where it was drawn at random."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def random_looking(value: str) -> bool:
    """Whether a value was rather drawn than written: letters and digits, in no order. A path or a call is written."""
    mixed = re.search(r"\d", value) and re.search(r"[A-Za-z]", value)
    return bool(mixed) and bits(value) > 3.3 and not re.fullmatch(r"[\w-]+(?:[./][\w-]+)+", value)


def found_in(text: str) -> Iterator[tuple[str, str]]:
    """(what it is, the text of it) for each secret in a text."""
    for what, pattern in KNOWN.items():
        yield from ((what, match[0]) for match in re.finditer(pattern, text))
    for match in GIVEN.finditer(text):
        if random_looking(match[1]):
            yield "a value beside a secret's name", match[0]


def committed() -> list[str]:
    """The names of the files that are committed or about to be. Skips the test where git or its folder is missing."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as failed:
        tree.absent(f"git lists no files: {failed}")
    return [name for name in done.stdout.split("\0") if name and (CHECKOUT / name).is_file()]


FILES = committed() if (CHECKOUT / ".git").exists() else []
READ = [
    name for name in FILES if not name.endswith((".npz", ".onnx", ".tflite", ".keras", ".gz", ".png", ".pdf", ".pt"))
]


@pytest.fixture(autouse=True)
def _a_checkout() -> None:
    if not FILES:
        tree.absent("this is no clone of the repository, so nobody can say what is committed")


def excused(name: str, text: str) -> bool:
    stem = Path(name).stem
    return any(Path(file).stem == stem and value in text for file, value in EXCUSED)


def test_no_file_holds_a_secret():
    found = [
        f"{name}: {what}: {text[:40]}…"
        for name in READ
        for what, text in found_in((CHECKOUT / name).read_text(encoding="utf-8", errors="replace"))
        if not excused(name, text)
    ]
    assert found == []


def test_notebooks_with_outputs_and_recordings_are_among_the_files():
    for pattern in (
        "notebooks/*.ipynb",
        "solutions/*.ipynb",
        "source/recordings/*/*.json",
        "docker/*",
        "k8s/*.yaml",
        "tests/*.py",
    ):
        assert fnmatch.filter(READ, pattern), pattern
    executed = json.loads((CHECKOUT / fnmatch.filter(READ, "notebooks/*.ipynb")[0]).read_text(encoding="utf-8"))
    assert any(cell.get("outputs") for cell in executed["cells"])


KEYS = ("*.key", "*.pem", "*.p12", "*.pfx", "*.jks", "id_rsa*", "id_ed25519*", ".env", ".env.*", ".netrc", ".pypirc", "kubeconfig*",
        "credentials*")  # fmt: skip
PUBLIC_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+-----END PUBLIC KEY-----\n")


def named_as_a_key(name: str, content: bytes) -> bool:
    """Whether a file has the name of a key, and may be one: a `.pem` that is a public key and nothing else is meant to be read."""
    last = name.rpartition("/")[2]
    named = last != "credentials.py" and any(fnmatch.fnmatch(last, each) for each in KEYS)
    return named and not (last.endswith(".pem") and PUBLIC_KEY.fullmatch(content))


def test_no_file_bears_the_name_of_a_key():
    assert [name for name in FILES if named_as_a_key(name, (CHECKOUT / name).read_bytes())] == []


def test_a_public_key_may_be_committed_and_nothing_beside_it():
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert not named_as_a_key("capstone/reference/trust.pem", public)
    for name, content in (
        ("trust.pem", public + private),
        ("trust.pem", private),
        ("trust.pem", b""),
        ("server.key", public),
        ("docker/.env", b""),
        ("k8s/kubeconfig.yaml", b""),
    ):
        assert named_as_a_key(name, content), name


def test_no_excuse_outlives_its_finding():
    for file, value in EXCUSED:
        assert value in (CHECKOUT / file).read_text(encoding="utf-8")


def private_keys() -> Iterator[str]:
    ours, theirs = ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
    for key, kind in (
        (ours, PrivateFormat.PKCS8),
        (ours, PrivateFormat.OpenSSH),
        (theirs, PrivateFormat.TraditionalOpenSSL),
    ):
        yield key.private_bytes(Encoding.PEM, kind, NoEncryption()).decode()
    yield theirs.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"w")).decode()


def planted() -> Iterator[tuple[str, str]]:
    """(what it is, a text that holds one) of all kinds, as people leave them behind."""
    for number, key in enumerate(private_keys()):
        yield f"private key {number}", key
        yield (
            f"private key {number} in a notebook's output",
            json.dumps({"outputs": [{"text": key.splitlines(keepends=True)}]}),
        )
        yield f"private key {number} in a string", f"KEY = {key!r}"
        yield f"private key {number} in YAML", "data: |\n" + "".join(f"    {line}\n" for line in key.splitlines())
    drawn = secrets.token_urlsafe(32)
    token = jwt.encode({"sub": "phone", "aud": "digits"}, drawn * 2, "HS512")
    yield "token", f"curl -H 'Authorization: Bearer {token}' https://digits.example.com"
    yield "token in JSON", json.dumps({"answer": token})
    yield "API key in a header", f"curl -H 'X-API-Key: {drawn}' http://127.0.0.1:8080"
    yield "API key in Python", f'API_KEY = "{drawn}"'
    yield "API key in a dict", f'headers = {{"x-api-key": "{drawn}"}}'
    yield "API key in a notebook", json.dumps({"source": [f'API_KEY = "{drawn}"\n']})
    yield "password in YAML", f"db_password: {drawn}"
    yield "password in an environment file", f"POSTGRES_PASSWORD={drawn}"
    yield "password in an address", "".join(("redis", "://default:", secrets.token_hex(6), "@redis:6379"))
    yield "KEK", f'kek = "{secrets.token_hex(32)}"'
    yield "basic credentials", "Authorization: Basic " + base64.b64encode(f"phone:{drawn}".encode()).decode()
    yield "a forge's token", "gh" + "p_" + "".join(secrets.choice("abcXYZ0189") for _ in range(36))
    yield "a cloud's key", "AK" + "IA" + "".join(secrets.choice("ABCXYZ0189") for _ in range(16))
    yield "a model's key", "sk" + "-proj-" + secrets.token_hex(20)


@pytest.mark.parametrize("text", [pytest.param(text, id=what) for what, text in planted()])
def test_a_planted_secret_is_found(text):
    assert list(found_in(text))


@pytest.mark.parametrize("text", [
    "API_KEY = secrets.token_urlsafe(24)",
    'head = f"X-API-Key: {API_KEY}"',
    "--api-keys FILE: lines `NAME SHA256HEX SCOPES [UNTIL]`",
    "ssl_certificate_key /etc/nginx/keys/server.key;",
    'token = os.environ["JUPYTER_TOKEN"]',
    "-e JUPYTER_TOKEN=choose-one",
    'secretKeyRef: {name: door, key: key}',
    "-----BEGIN " + "PRIVATE KEY-----",
    "automountServiceAccountToken: false",
])  # fmt: skip
def test_what_only_speaks_of_secrets_is_none(text):
    assert list(found_in(text)) == []


# images

FROM_OUTSIDE = re.compile(rf"(?i)({NAMES}|credential)")
KEY_FILES = ("server.key", "server.pem", "ca.pem", ".env", "id_ed25519", "kubeconfig", "keys", "docker/server.key", "docker/.env",
             "docker/keys/server.key", "course_lib/server.key", ".git/config", ".course/names/owner")  # fmt: skip


def in_image(name: str, steps: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What a Dockerfile leaves in the image's layers or settings."""
    for word, rest in steps:
        if word in ("ARG", "ENV") and FROM_OUTSIDE.search(rest):
            yield f"{name}.Dockerfile: {word} {rest}: everybody who pulls the image reads it in its history"
        if word in ("COPY", "ADD") and re.search(
            r"\.(key|pem|p12|env)\b|id_rsa|id_ed25519|(^|[\s/])keys?(?=[\s/]|$)", rest
        ):
            yield f"{name}.Dockerfile: {word} {rest}: a key in a layer stays in the image, deleted or not"
        if word == "RUN" and next(found_in(rest), None):
            yield f"{name}.Dockerfile: {word}: holds a secret"


def sent(ignore: list[str]) -> Iterator[str]:
    """Files of keys that would reach the engine, if somebody had them lying here."""
    for path in KEY_FILES:
        if kept(path, ignore):
            yield f"{path} would be sent to the engine with every build"


def test_images_hold_no_secret(deployed):
    assert [each for name, steps in deployed.dockerfiles.items() for each in in_image(name, steps)] == []


@pytest.mark.parametrize("line", [
    "ARG API_KEY", "ENV DB_PASSWORD=x", "ENV A=1 HF_TOKEN=x", "COPY server.key /etc/nginx/keys/", "ADD .env /srv/", "COPY keys /keys",
    "COPY --chown=1:1 id_ed25519 /root/.ssh/", "ARG aws_secret_access_key",
    "RUN curl -H 'Authorization: Bearer " + secrets.token_hex(24) + "' https://example.com/model",
])  # fmt: skip
def test_a_secret_planted_in_a_dockerfile_is_found(line):
    assert list(in_image("planted", tree.instructions(f"FROM scratch\n{line}\n")))


def test_keys_that_lie_in_the_checkout_do_not_reach_the_engine(deployed):
    assert list(sent(deployed.dockerignore)) == []


@pytest.mark.parametrize("line", ["!docker", "!docker/*", "!*", "!**/*.key", "!course_lib/*"])
def test_a_dockerignore_that_lets_keys_through_is_found(deployed, line):
    assert list(sent([*deployed.dockerignore, line]))


# manifests


def in_manifests(name: str, documents: list[dict]) -> Iterator[str]:
    """Secrets with their values, and values of secrets in the environment of a pod."""
    for each in tree.of("Secret", documents):
        if each.get("data") or each.get("stringData"):
            yield f"{name}: Secret/{each['metadata']['name']} holds its values: base64 hides nothing"
    for each in tree.of("ConfigMap", documents):
        for key, text in (each.get("data") or {}).items():
            if next(found_in(f"{key}: {text}"), None):
                yield f"{name}: ConfigMap/{each['metadata']['name']}: {key} holds a secret"
    for pod in tree.pods(documents):
        for container in [*pod.spec["containers"], *pod.spec.get("initContainers", [])]:
            for variable in container.get("env", []):
                if FROM_OUTSIDE.search(variable["name"]) and variable.get("value"):
                    yield f"{name}: {pod}: {variable['name']} stands there in plain text"
            if next(found_in(" ".join([*container.get("command", []), *container.get("args", [])])), None):
                yield f"{name}: {pod}: a secret among the arguments, which every process list shows"


def test_manifests_and_compose_file_hold_no_secret(deployed):
    assert [each for name, documents in deployed.overlays.items() for each in in_manifests(name, documents)] == []
    for name, service in deployed.compose["services"].items():
        assert not any(FROM_OUTSIDE.search(str(each)) for each in service.get("environment", [])), name


def with_container(**fields: object) -> dict:
    meta, container = {"name": "planted"}, {"name": "c", "image": "i:1", **fields}
    return {"kind": "Pod", "metadata": meta, "spec": {"containers": [container]}}


@pytest.mark.parametrize("planted", [
    {"kind": "Secret", "metadata": {"name": "door"}, "data": {"key": "aGVsbG8="}},
    {"kind": "Secret", "metadata": {"name": "door"}, "stringData": {"key": "hello"}},
    {"kind": "ConfigMap", "metadata": {"name": "door"}, "data": {"api-key": secrets.token_urlsafe(32)}},
    with_container(env=[{"name": "API_KEY", "value": "x"}]),
    with_container(args=["--api-key=" + secrets.token_urlsafe(32)]),
], ids=["data", "stringData", "ConfigMap", "environment", "argument"])  # fmt: skip
def test_a_secret_planted_in_a_manifest_is_found(planted):
    assert list(in_manifests("planted", [planted]))


def test_a_secret_that_is_named_and_not_told_is_fine():
    source = {"secretKeyRef": {"name": "door", "key": "key"}}
    named = with_container(env=[{"name": "API_KEY", "valueFrom": source}])
    assert list(in_manifests("fine", [named, {"kind": "Secret", "metadata": {"name": "door"}}])) == []
