"""Certificates made on the spot, clients that show them, and somebody who listens in between.

Lesson 22c says what each is for. Keys live in memory, and end with the lesson.
"""

import contextlib
import hashlib
import re
import socket
import ssl
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Identity(NamedTuple):
    """A private key and the certificate that says whose it is."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def issue(name: str, authority: Identity | None = None, days: float = 1.0) -> Identity:
    """A new key (ECDSA, P-256) and a certificate for it, valid from 30 days before its end.

    name: its subject's CN, and the DNS name that a server with it answers to. authority: who signs; without one it signs
    itself, and may sign others. days: until it ends, below 0 for one that has ended. The extensions are those that
    Python's strict check asks for (RFC 5280, section 4.2).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name.from_rfc4514_string(f"CN={name}")
    signer, issuer = (authority.key, authority.certificate.subject) if authority else (key, subject)
    ends = datetime.now(UTC) + timedelta(days=days)
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign",
                           "encipher_only", "decipher_only"), False)  # fmt: skip
    usage |= {"digital_signature": authority is not None, "key_cert_sign": authority is None}
    extensions = [
        (x509.BasicConstraints(ca=authority is None, path_length=None), True),
        (x509.KeyUsage(**usage), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
        (x509.SubjectAlternativeName([x509.DNSName(name)]), False),
    ]
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(ends - timedelta(days=30)).not_valid_after(ends)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Identity(key, builder.sign(signer, hashes.SHA256()))


def pem(*things: x509.Certificate | ec.EllipticCurvePrivateKey) -> bytes:
    """Certificates and keys as the text that servers read, one after the other. Keys are not encrypted."""
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return b"".join(
        each.public_bytes(encoding)
        if isinstance(each, x509.Certificate)
        else each.private_bytes(encoding, kind, serialization.NoEncryption())
        for each in things
    )


def client(authorities: Sequence[Identity], identity: Identity | None = None, *, old: bool = False) -> ssl.SSLContext:
    """A client's settings, Python's defaults aside. authorities: whom it trusts. identity: what it shows, if asked.

    old: it speaks TLS 1.1 and nothing else, which OpenSSL 3 does at its lowest security level alone.
    """
    settings = ssl.create_default_context(cadata=pem(*(each.certificate for each in authorities)).decode())
    if identity:
        with tempfile.TemporaryDirectory() as folder:  # readable by this user alone; OpenSSL takes nothing but a file
            file = Path(folder) / "identity.pem"
            file.write_bytes(pem(*identity))
            settings.load_cert_chain(file)
    if old:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            settings.minimum_version = settings.maximum_version = ssl.TLSVersion.TLSv1_1
        settings.set_ciphers("ALL@SECLEVEL=0")
    return settings


def send(port: int, payload: bytes, settings: ssl.SSLContext | None = None, name: str = "digits.internal") -> dict:
    """Sends requests over one connection to this machine, and reads until the server closes it.

    payload: one request or more, the last with `Connection: close`. settings: None for plain HTTP. name: the server's,
    which the client asks for and compares. Returns {"statuses": [int], "refused": "" or why there is no answer,
    "certificate": the first digits of the server's certificate's SHA-256, "" without TLS}. Raises nothing where the
    connection fails.
    """
    seen = {"statuses": [], "refused": "", "certificate": ""}
    try:
        with contextlib.ExitStack() as ends:
            line = ends.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            if settings:
                line = ends.enter_context(settings.wrap_socket(line, server_hostname=name))
                seen["certificate"] = hashlib.sha256(line.getpeercert(True)).hexdigest()[:8]
            line.sendall(payload)
            answer = b"".join(iter(lambda: line.recv(65536), b""))
        seen["statuses"] = [int(each) for each in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]
    except OSError as wrong:  # those of TLS are of this kind
        seen["refused"] = getattr(wrong, "verify_message", "") or getattr(wrong, "reason", "") or str(wrong)
    if not seen["statuses"]:
        seen["refused"] = seen["refused"] or "closed without an answer"
    return seen


def outcome(seen: dict) -> int | str:
    """The first status of what `send` returned, or why there is none."""
    return seen["statuses"][0] if seen["statuses"] else seen["refused"]


@contextlib.contextmanager
def listener(port: int) -> Iterator[tuple[int, list[bytes]]]:
    """Somebody between client and server: passes one connection on to `port`, and keeps every byte of it.

    Gives (its own port, the pieces so far), those of both directions.
    """
    heard, door = [], socket.create_server(("127.0.0.1", 0))

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                heard.append(piece)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

    def listen() -> None:
        with contextlib.suppress(OSError), door, door.accept()[0] as near:
            with socket.create_connection(("127.0.0.1", port)) as far:
                back = threading.Thread(target=pass_on, args=(far, near), daemon=True)
                back.start()
                pass_on(near, far)
                back.join()

    door.settimeout(30)
    threading.Thread(target=listen, daemon=True).start()
    yield door.getsockname()[1], heard


@contextlib.contextmanager
def asking(port: int, payload: bytes, clients: list[ssl.SSLContext]) -> Iterator[list[list]]:
    """Clients ask until the block ends, each request over a new connection; 20 of them about once a second each.

    clients: looked up at each request, so the list may be filled anew meanwhile. Gives what came so far, [[seconds since
    the start, status or why there is none, the server's certificate as in `send`], …].
    """
    seen, ended, began, threads = [], threading.Event(), time.perf_counter(), 4

    def ask(number: int) -> None:
        while not ended.wait(0.15):
            at = time.perf_counter() - began
            answer = send(port, payload, clients[number % len(clients)])
            seen.append([round(at, 2), outcome(answer), answer["certificate"]])
            number += threads

    running = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(threads)]
    for each in running:
        each.start()
    try:
        yield seen
    finally:
        ended.set()
        for each in running:
            each.join()
