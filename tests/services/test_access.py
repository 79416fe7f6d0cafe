"""Who the gateway lets in: by API key, by token, and nobody else."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from course_lib.services.gateway import parsed
from tests.services.conftest import PIXELS, send

PREDICT = "/v1/models/digits_cnn:predict"
TODAY = datetime.now(UTC).date()
PHONE, TABLET, OLD, TODAYS = (secrets.token_urlsafe(32) for _ in range(4))
KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def line(name: str, key: str, scopes: str, until: object = "") -> str:
    return f"{name} {hashlib.sha256(key.encode()).hexdigest()} {scopes} {until}\n"


def claims(**changes: object) -> dict:
    told = {"sub": "phone", "aud": "digits", "exp": time.time() + 300, "scope": "predict", **changes}
    return {name: value for name, value in told.items() if value is not None}


def token(key: object = KEY, algorithm: str = "EdDSA", **changes: object) -> str:
    return jwt.encode(claims(**changes), key, algorithm)


def by_hand(head: dict, sign) -> str:
    """A token that PyJWT would not make."""
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in (head, claims())]
    signature = base64.urlsafe_b64encode(sign(b".".join(parts))).rstrip(b"=")
    return b".".join([*parts, signature]).decode()


@pytest.fixture
def keys(tmp_path) -> Path:
    path = tmp_path / "keys"
    yesterday = TODAY - timedelta(days=1)
    path.write_text("# callers\n\n" + line("phone", PHONE, "predict,feedback", TODAY + timedelta(days=1))
                    + line("tablet", TABLET, "predict") + line("old", OLD, "predict", yesterday)
                    + line("todays", TODAYS, "predict", TODAY))  # fmt: skip
    return path


@pytest.fixture
def door(behind, run, keys, tmp_path):
    """A gateway with both kinds of door, and the stand-in behind it."""
    (tmp_path / "key.pem").write_bytes(PUBLIC)
    predictor = behind()
    words = ["--api-keys", str(keys), "--token-key", str(tmp_path / "key.pem"), "--token-audience", "digits"]
    return run("gateway", "--predictor", predictor.url, "--feedback", predictor.url, *words), predictor


def test_a_key_lets_in_and_goes_no_further(door, keys):
    gateway, predictor = door
    for key in (PHONE, TABLET, TODAYS):
        assert send(gateway.url, "POST", PREDICT, {"instances": []}, X_API_Key=key)[0] == 200
    assert send(gateway.url, "POST", "/digits", PIXELS, x_api_key=PHONE)[0] == 200
    assert send(gateway.url, "POST", "/digits", PIXELS, Authorization=f"Bearer {token()}")[0] == 200
    assert len(predictor.seen) == 5
    for _, headers, _ in predictor.seen:
        assert not {"x-api-key", "authorization"} & {name.lower() for name in headers}
    gateway.stop()
    text = (keys.parent / "gateway-0.log").read_text()
    assert [json.loads(each)["caller"] for each in text.splitlines() if '"request"' in each] == [
        "phone", "tablet", "todays", "phone", "phone"]  # fmt: skip
    assert not any(key in text for key in (PHONE, TABLET, TODAYS)) and "eyJ" not in text


NOT_LET_IN = {
    "nothing": {},
    "another key": {"X_API_Key": secrets.token_urlsafe(32)},
    "an empty key": {"X_API_Key": ""},
    "the hash in the key's place": {"X_API_Key": hashlib.sha256(PHONE.encode()).hexdigest()},
    "a key whose time is over": {"X_API_Key": OLD},
    "a key as a token": {"Authorization": f"Bearer {PHONE}"},
    "a key and a token": {"X_API_Key": PHONE, "Authorization": f"Bearer {token()}"},
    "a user and a password": {"Authorization": "Basic cGhvbmU6cGhvbmU="},
    "an empty token": {"Authorization": "Bearer "},
    "a token of another": {"Authorization": f"Bearer {token(OTHER)}"},
    "an expired token": {"Authorization": f"Bearer {token(exp=time.time() - 60)}"},
    "a token without an end": {"Authorization": f"Bearer {token(exp=None)}"},
    "a token for another service": {"Authorization": f"Bearer {token(aud='letters')}"},
    "a token for nobody in particular": {"Authorization": f"Bearer {token(aud=None)}"},
    "a token of nobody": {"Authorization": f"Bearer {token(sub=None)}"},
    "a token of somebody with a line's end": {"Authorization": f"Bearer {token(sub='phone' + chr(10))}"},
    "a token that is not valid yet": {"Authorization": f"Bearer {token(nbf=time.time() + 300)}"},
    "a scope that is no text": {"Authorization": f"Bearer {token(scope=['predict'])}"},
    "alg none": {"Authorization": f"Bearer {token(None, 'none')}"},
    "alg None": {"Authorization": "Bearer " + by_hand({"alg": "None"}, lambda text: b"")},
    "the public key as a secret": {
        "Authorization": "Bearer " + by_hand({"alg": "HS256"}, lambda text: hmac.digest(PUBLIC, text, "sha256"))
    },
    "a key that the token brings along": {
        "Authorization": "Bearer "
        + by_hand({"alg": "EdDSA", "jwk": json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(OTHER.public_key()))}, OTHER.sign)
    },
    "another algorithm": {"Authorization": f"Bearer {token(generate_private_key(65537, 2048), 'RS256')}"},
}  # fmt: skip


@pytest.mark.parametrize("attack", NOT_LET_IN)
def test_nobody_else_is_let_in(door, attack):
    gateway, predictor = door
    for method, path in (
        ("POST", PREDICT),
        ("POST", "/digits"),
        ("POST", "/feedback"),
        ("GET", "/v1/models/digits_cnn"),
    ):
        status, answer, headers = send(gateway.url, method, path, PIXELS, **NOT_LET_IN[attack])
        assert status == 401 and answer["error"] and headers["www-authenticate"].startswith("ApiKey"), (path, answer)
        assert "Bearer" in headers["www-authenticate"]
    assert not predictor.asked
    told = send(gateway.url, "GET", "/metrics")[1]["text"]
    assert "gateway_access_refused_total" in told


def test_a_token_that_was_changed_is_refused(door):
    gateway, _ = door
    head, body, signature = token().split(".")
    other = base64.urlsafe_b64encode(json.dumps(claims(sub="admin")).encode()).rstrip(b"=").decode()
    for changed in (
        f"{head}.{other}.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}.",
        f"{head}.{body}",
    ):
        assert send(gateway.url, "POST", PREDICT, PIXELS, Authorization=f"Bearer {changed}")[0] == 401


def test_who_is_known_does_only_what_it_may(door):
    gateway, predictor = door
    for headers in (
        {"X_API_Key": TABLET},
        {"Authorization": f"Bearer {token()}"},
        {"Authorization": f"Bearer {token(scope=None)}"},
    ):
        status, answer, told = send(gateway.url, "POST", "/feedback", {"label": 4}, **headers)
        assert status == 403 and "feedback" in answer["error"] and "insufficient_scope" in told["www-authenticate"]
    assert not predictor.asked
    both = token(scope="feedback predict other")
    for headers in ({"X_API_Key": PHONE}, {"Authorization": f"Bearer {both}"}, {"Authorization": f"bearer {both}"}):
        assert send(gateway.url, "POST", "/feedback", {"label": 4}, **headers)[0] == 200


def test_health_and_metrics_stay_open_and_what_is_not_there_is_not_there(door):
    gateway, _ = door
    for path in ("/v2/health/live", "/v2/health/ready", "/metrics"):
        assert send(gateway.url, "GET", path)[0] == 200
    assert send(gateway.url, "GET", "/v3/models")[0] == 404
    assert send(gateway.url, "GET", "/v2/health/ready/../../v1/models/digits_cnn")[0] == 401


def test_a_key_that_is_taken_out_opens_no_more_and_a_new_one_does(door, keys):
    gateway, _ = door
    assert send(gateway.url, "GET", "/v1/models/digits_cnn", X_API_Key=TABLET)[0] == 200
    new = secrets.token_urlsafe(32)
    (keys.parent / "new").write_text(line("tablet", new, "predict"))
    os.replace(keys.parent / "new", keys)
    assert send(gateway.url, "GET", "/v1/models/digits_cnn", X_API_Key=TABLET)[0] == 401
    assert send(gateway.url, "GET", "/v1/models/digits_cnn", X_API_Key=new)[0] == 200


@pytest.mark.parametrize("broken", [None, b"phone\n", b"\xff", f"phone {'0' * 63} predict\n".encode()])
def test_while_the_keys_cannot_be_read_nobody_is_let_in_by_key(door, keys, broken):
    gateway, predictor = door
    whole = keys.read_bytes()
    keys.unlink() if broken is None else keys.write_bytes(broken)
    for _ in range(3):
        status, answer, headers = send(gateway.url, "POST", PREDICT, PIXELS, X_API_Key=PHONE)
        assert status == 503 and headers["retry-after"] == "5" and str(keys) not in answer["error"]
    assert not predictor.asked
    assert send(gateway.url, "POST", PREDICT, PIXELS, Authorization=f"Bearer {token()}")[0] == 200
    keys.write_bytes(whole)
    assert send(gateway.url, "POST", PREDICT, PIXELS, X_API_Key=PHONE)[0] == 200
    gateway.stop()
    assert (keys.parent / "gateway-0.log").read_text().count("keys refused") == 1


def test_two_keys_in_one_request_are_refused(door):
    gateway, _ = door
    connection = http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=10)
    connection.putrequest("GET", "/v1/models/digits_cnn")
    for key in (PHONE, TABLET):
        connection.putheader("X-API-Key", key)
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_a_refused_body_is_not_taken_for_the_next_request(door):
    gateway, predictor = door
    connection = http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=10)
    for key, status in (("guessed", 401), (PHONE, 200)):
        connection.request("POST", PREDICT, b'{"instances": []}' * 1000, {"X-API-Key": key})
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()
    assert len(predictor.seen) == 1


@pytest.mark.parametrize("only", ["keys", "tokens"])
def test_one_kind_of_door_does_not_open_for_the_other(behind, run, keys, tmp_path, only):
    (tmp_path / "key.pem").write_bytes(PUBLIC)
    tokens = ["--token-key", str(tmp_path / "key.pem"), "--token-audience", "digits"]
    gateway = run("gateway", "--predictor", behind().url, *(["--api-keys", str(keys)] if only == "keys" else tokens))
    for headers, lets in (({"X_API_Key": PHONE}, "keys"), ({"Authorization": f"Bearer {token()}"}, "tokens")):
        status, _, told = send(gateway.url, "POST", PREDICT, PIXELS, **headers)
        assert status == (200 if lets == only else 401)
        assert status == 200 or told["www-authenticate"].split()[0] == ("ApiKey" if only == "keys" else "Bearer")


def test_an_open_gateway_passes_both_headers_on(behind, run):
    predictor = behind()
    gateway = run("gateway", "--predictor", predictor.url)
    assert send(gateway.url, "POST", PREDICT, PIXELS, X_API_Key="a", Authorization="Bearer b")[0] == 200
    ((_, headers, _),) = predictor.seen
    assert (headers["X-API-Key"], headers["Authorization"]) == ("a", "Bearer b")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--api-keys", "missing"], "nobody could be let in"),
        (["--api-keys", "broken"], "line 2: expected NAME"),
        (["--token-key", "key.pem"], "together"),
        (["--token-audience", "digits"], "together"),
        (["--token-key", "broken", "--token-audience", "digits"], "Ed25519 public key in PEM"),
    ],
)
def test_what_cannot_be_a_door_is_refused_at_the_start(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    Path("broken").write_text("# callers\nphone secret predict\n")
    Path("key.pem").write_bytes(PUBLIC)
    with pytest.raises(SystemExit) as ended:
        parsed(["--predictor", "http://127.0.0.1:9", "--port", "0", *words])
    assert ended.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize("last", ["phone HASH predict 31.1.2027", "phone HASH all", "phone HASH", "phone HASH predict 2027-01-31 x",
                                  "phone HASH predict\nphone2 HASH predict"])  # fmt: skip
def test_a_line_that_says_something_else_is_refused(tmp_path, last):
    from course_lib.services.access import read_keys

    path = tmp_path / "keys"
    path.write_text(last.replace("HASH", "0" * 64))
    with pytest.raises(ValueError, match="expected NAME, the key's SHA-256"):
        read_keys(path)
