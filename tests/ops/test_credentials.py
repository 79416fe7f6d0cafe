"""A build of public images needs no credentials, whatever Docker's config.json names."""

import base64
import io
import json
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from course_lib.ops.reach import docker_client
from tests.ops.stand_ins import posix, stand_in

HUB = "https://index.docker.io/v1/"


class Engine(BaseHTTPRequestHandler):
    """Says its version, builds and pulls nothing, and keeps what it is given to sign in with."""

    def do_GET(self) -> None:
        body = json.dumps({"ApiVersion": "1.45"} if self.path == "/version" else {"Id": "sha256:0123456789ab"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.given.append(self.headers.get("X-Registry-Config") or self.headers.get("X-Registry-Auth"))
        body = b'{"stream": "Successfully built 0123456789ab\\n"}\n'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def client(tmp_path, path, monkeypatch):
    """`client(config)`: one of an engine, under that config.json; and what the engine was given."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Engine) as server:
        server.given = []
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        made = []

        def make(config: dict):
            (tmp_path / "config.json").write_text(json.dumps(config))
            made.append(docker_client(5))
            return made[0], server.given

        yield make
        for each in made:
            each.close()
        server.shutdown()


def decoded(header: str | None) -> dict:
    return json.loads(base64.urlsafe_b64decode(header)) if header else {}


@posix
@pytest.mark.parametrize("helper", ["", "echo 'no session' >&2; exit 1"], ids=["missing", "failing"])
@pytest.mark.parametrize(
    "config",
    [
        {"credsStore": "desktop"},
        {"credsStore": "desktop", "auths": {HUB: {}}},
        {"credHelpers": {"registry.example.org": "desktop"}},
    ],
)
def test_a_helper_that_is_missing_or_fails_stops_no_build_and_no_pull(path, client, config, helper):
    if helper:
        stand_in(path, "docker-credential-desktop", helper)
    docker, given = client(config)
    with warnings.catch_warnings(action="error"):
        assert docker.images.build(fileobj=io.BytesIO(b"FROM scratch"), tag="t")[0].id == "sha256:0123456789ab"
        docker.images.pull("python", tag="3.11")
    assert not any(any(decoded(each).values()) for each in given) and len(given) == 2


@posix
def test_what_a_helper_or_the_file_holds_is_still_used(path, client):
    secret = json.dumps({"ServerURL": HUB, "Username": "me", "Secret": "hush"})
    stand_in(path, "docker-credential-desktop", f"[ $1 = list ] && echo '{{\"{HUB}\": \"me\"}}' || echo '{secret}'")
    docker, given = client({"credsStore": "desktop"})
    docker.images.build(fileobj=io.BytesIO(b"FROM scratch"))
    assert decoded(given[0])[HUB]["Password"] == "hush"


@posix
def test_without_the_helper_what_the_file_itself_holds_is_still_used(client):
    docker, given = client({"credsStore": "gone", "auths": {"r.example.org": {"auth": "bWU6aHVzaA=="}}})
    docker.images.build(fileobj=io.BytesIO(b"FROM scratch"))
    assert decoded(given[0])["r.example.org"]["password"] == "hush"
