"""How a container gets its keys, and new ones."""

import io
import tarfile

import pytest

from course_lib.ops import proxy, tls

CA = tls.issue("authority-1")
FILES = proxy.files(tls.issue("digits.internal", CA), CA)


class Container:
    """An engine's container of nginx. stuck: its old worker stays."""

    def __init__(self, stuck: bool = False) -> None:
        self.stuck, self.given, self.signals, self.worker = stuck, {}, [], 7

    def put_archive(self, path: str, packed: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            for entry in archive:
                self.given[f"{path}/{entry.name}"] = (
                    entry.uid,
                    entry.gid,
                    oct(entry.mode),
                    archive.extractfile(entry).read(),
                )

    def top(self) -> dict:
        rows = [["10001", "1", "0", "nginx: master process"], ["10001", str(self.worker), "1", "nginx: worker process"]]
        return {"Titles": ["UID", "PID", "PPID", "CMD"], "Processes": rows}

    def kill(self, signal: str) -> None:
        self.signals.append(signal)
        self.worker += not self.stuck


def test_the_files_are_those_of_the_configuration_and_its_users_alone():
    container = Container()
    proxy.renew(container, FILES)
    assert set(container.given) == {
        f"/etc/nginx/keys/{name}" for name in ("server.pem", "server.key", "clients-ca.pem")
    }
    assert {each[:3] for each in container.given.values()} == {(10001, 10001, "0o400")}
    assert container.given["/etc/nginx/keys/clients-ca.pem"][3] == tls.pem(CA.certificate)
    assert container.signals == ["HUP"]


def test_a_worker_that_stays_is_told(monkeypatch):
    monkeypatch.setattr(
        proxy, "until", lambda condition, seconds: (_ for _ in ()).throw(TimeoutError) if not condition() else None
    )
    with pytest.raises(TimeoutError):
        proxy.renew(Container(stuck=True), FILES)
