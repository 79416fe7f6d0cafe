"""Certificates, clients and the listener, against a server of Python's own."""

import contextlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from course_lib.ops import tls

NAME = "digits.internal"
CA, OTHER = tls.issue("authority-1"), tls.issue("authority-x")
SERVER, CLIENT = tls.issue(NAME, CA), tls.issue("client-1", CA)
REQUEST = f"GET / HTTP/1.1\r\nHost: {NAME}\r\nX-API-Key: open-sesame\r\nConnection: close\r\n\r\n".encode()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"an answer")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(tmp_path, identity: tls.Identity | None) -> Iterator[int]:
    """A server with that certificate, which asks clients for one of CA; plain HTTP for None. Gives its port."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    if identity:
        settings = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cadata=tls.pem(CA.certificate, OTHER.certificate).decode()
        )
        settings.verify_mode = ssl.CERT_OPTIONAL
        (tmp_path / "identity.pem").write_bytes(tls.pem(*identity))
        settings.load_cert_chain(tmp_path / "identity.pem")
        server.socket = settings.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # a client that went away
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_who_trusts_the_authority_gets_an_answer(tmp_path):
    with served(tmp_path, SERVER) as port:
        seen = tls.send(port, REQUEST, tls.client([CA], CLIENT))
        assert tls.outcome(seen) == 200 and seen["refused"] == "" and len(seen["certificate"]) == 8
        assert tls.outcome(tls.send(port, REQUEST, tls.client([OTHER, CA]))) == 200


@pytest.mark.parametrize(("identity", "said"), [
    (tls.issue(NAME, OTHER), "certificate"),
    (tls.issue("printer.internal", CA), "Hostname mismatch"),
    (tls.issue(NAME, CA, days=-1), "expired"),
    (tls.issue(NAME), "self-signed"),
], ids=["another authority", "another name", "expired", "of its own making"])  # fmt: skip
def test_another_server_is_refused_with_its_reason(tmp_path, identity, said):
    with served(tmp_path, identity) as port:
        seen = tls.send(port, REQUEST, tls.client([CA]))
        assert seen["statuses"] == [] and said in tls.outcome(seen)


def test_an_old_client_is_refused_by_todays_server(tmp_path):
    with served(tmp_path, SERVER) as port:
        assert isinstance(tls.outcome(tls.send(port, REQUEST, tls.client([CA], old=True))), str)


def test_a_closed_door_is_told_and_not_raised():
    assert isinstance(tls.outcome(tls.send(1, REQUEST)), str)


def test_a_leaf_signs_nothing_and_python_checks_strictly():
    leaf = CLIENT.certificate.extensions
    assert not leaf.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not leaf.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert CA.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert isinstance(CLIENT.key.curve, ec.SECP256R1)


def test_a_strict_client_takes_our_certificates(tmp_path):
    settings = tls.client([CA])
    settings.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    with served(tmp_path, SERVER) as port:
        assert tls.outcome(tls.send(port, REQUEST, settings)) == 200


@pytest.mark.parametrize("encrypted", [False, True])
def test_the_listener_reads_what_is_not_encrypted(tmp_path, encrypted):
    with served(tmp_path, SERVER if encrypted else None) as port, tls.listener(port) as (tapped, heard):
        seen = tls.send(tapped, REQUEST, tls.client([CA]) if encrypted else None)
        assert tls.outcome(seen) == 200
        text = b"".join(heard)
    assert (b"open-sesame" in text, b"an answer" in text) == ((False, False) if encrypted else (True, True))
    assert NAME.encode() in text


def test_clients_ask_until_the_block_ends(tmp_path):
    with served(tmp_path, SERVER) as port:
        clients = [tls.client([CA])] * 3
        with tls.asking(port, REQUEST, clients) as seen:
            while len(seen) < 4:
                threading.Event().wait(0.02)
            clients[:] = [tls.client([OTHER])] * 3
            while all(status == 200 for _, status, _ in seen):
                threading.Event().wait(0.02)
        count = len(seen)
        threading.Event().wait(0.3)
        assert len(seen) == count and {seen[0][1], type(seen[-1][1])} == {200, str}
