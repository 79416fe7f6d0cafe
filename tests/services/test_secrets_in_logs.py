"""No key and no token reaches a log or an answer: those of who is let in, of who is not, and of requests that fail."""

import base64
import hashlib
import json
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.services.conftest import PIXELS, send
from tests.services.test_access import token
from tests.serving.conftest import start

PREDICT = "/v1/models/digits_cnn:predict"
KEY, SIGNER = secrets.token_urlsafe(32), Ed25519PrivateKey.generate()
UNKNOWN, PASSWORD = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
GOOD, BAD = token(SIGNER), token(Ed25519PrivateKey.generate())
BASIC = base64.b64encode(f"phone:{PASSWORD}".encode()).decode()
HIDDEN = (KEY, UNKNOWN, PASSWORD, BASIC, *GOOD.split("."), *BAD.split("."), hashlib.sha256(KEY.encode()).hexdigest())

HEADERS = [
    {"X_API_Key": KEY},
    {"X_API_Key": UNKNOWN},
    {"Authorization": f"Bearer {GOOD}"},
    {"Authorization": f"Bearer {BAD}"},
    {"Authorization": f"Basic {BASIC}"},
    {"Authorization": PASSWORD},
    {"X_API_Key": KEY, "Authorization": f"Bearer {GOOD}"},
]
CALLS = [
    ("POST", PREDICT, {"instances": []}),
    ("POST", "/digits", PIXELS),
    ("POST", "/digits", b"no JSON"),
    ("POST", "/digits", {"pixels": "no numbers"}),
    ("GET", "/nowhere", None),
    ("DELETE", "/digits", None),
    ("POST", "/feedback", {"request_id": "r", "label": 3}),
    ("GET", "/v2/health/ready", None),
]


def told(url: str) -> str:
    """All that a server answers to each call with each header, its headers included."""
    answers = [send(url, *call, **headers) for call in CALLS for headers in HEADERS]
    return json.dumps(answers)


def assert_nothing_of_them(text: str) -> None:
    for each in HIDDEN:
        assert each not in text, f"{each[:4]}… of {len(each)} characters"


@pytest.mark.parametrize("guarded", [True, False], ids=["with its door", "without"])
def test_the_gateway_tells_no_key(behind, run, tmp_path, guarded):
    (tmp_path / "keys").write_text(f"phone {hashlib.sha256(KEY.encode()).hexdigest()} predict,feedback\n")
    public = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(public)
    predictor = behind()
    door = [
        "--api-keys",
        str(tmp_path / "keys"),
        "--token-key",
        str(tmp_path / "key.pem"),
        "--token-audience",
        "digits",
    ]
    gateway = run("gateway", "--predictor", predictor.url, "--feedback", predictor.url, *(door if guarded else []))
    answers = told(gateway.url)
    predictor.plan += ["hang up"] * 4
    answers += json.dumps([send(gateway.url, "POST", PREDICT, {"instances": []}, **headers) for headers in HEADERS])
    gateway.stop()
    log = (tmp_path / "gateway-0.log").read_text()
    assert log.count('"request"') >= len(HEADERS), "the log was written"
    assert_nothing_of_them(log + answers)


@pytest.mark.parametrize("service", ["preprocess", "feedback"])
def test_the_services_around_it_tell_no_key(run, tmp_path, service):
    words = {"preprocess": [], "feedback": ["--file", str(tmp_path / "f.db")]}[service]
    running = run(service, *words)
    answers = told(running.url)
    running.stop()
    log = (tmp_path / f"{service}-0.log").read_text()
    assert log, "the log was written"
    assert_nothing_of_them(log + answers)


def test_the_model_server_tells_no_key(models, tmp_path):
    running = start(tmp_path / "log", models, "--threads", "1")
    answers = told(f"http://127.0.0.1:{running.port}")
    running.stop()
    assert "ready" in (tmp_path / "log").read_text(), "the log was written"
    assert_nothing_of_them((tmp_path / "log").read_text() + answers)
