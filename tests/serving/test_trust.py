"""Only what is signed is served: `--trust`."""

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from course_lib.pipeline import checksum
from course_lib.serving.errors import ModelError
from course_lib.serving.keys import read_public_key
from course_lib.serving.models import Model
from course_lib.serving.store import Store
from tests.serving.conftest import KeptLog, save_digits, start, write
from tests.serving.test_process import refusal
from tests.serving.test_reload import versions


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def trusted(tmp_path, key) -> Path:
    return write(tmp_path / "key.pem", public(key))


@pytest.fixture
def folder(tmp_path, key) -> Path:
    save_digits(tmp_path / "models")
    return sign(tmp_path / "models", key)


def public(key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def sign(folder: Path, key: Ed25519PrivateKey) -> Path:
    files = sorted(folder.glob("*/*/*"))
    sums = "".join(f"{checksum(each)}  {each.relative_to(folder).as_posix()}\n" for each in files).encode()
    write(folder / "SHA256SUMS", sums)
    write(folder / "SHA256SUMS.sig", key.sign(sums))
    return folder


def another_model(folder: Path) -> None:
    write(folder / "digits/1/model.onnx", b"another one")


def another_model_and_its_sum(folder: Path) -> None:
    another_model(folder)
    sums = f"{checksum(folder / 'digits/1/model.onnx')}  digits/1/model.onnx\n"
    write(folder / "SHA256SUMS", sums.encode())


def signed_by_another(folder: Path) -> None:
    another_model(folder)
    sign(folder, Ed25519PrivateKey.generate())


def no_signature(folder: Path) -> None:
    (folder / "SHA256SUMS.sig").unlink()


def no_sums(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()


def neither(folder: Path) -> None:
    no_signature(folder)
    no_sums(folder)


def empty_signature(folder: Path) -> None:
    write(folder / "SHA256SUMS.sig", b"")


def a_folder_for_a_signature(folder: Path) -> None:
    no_signature(folder)
    (folder / "SHA256SUMS.sig").mkdir()


def hexadecimal(folder: Path) -> None:
    write(folder / "SHA256SUMS.sig", (folder / "SHA256SUMS.sig").read_bytes().hex().encode())


ATTACKS = {
    another_model: "SHA256SUMS says",
    another_model_and_its_sum: "is no signature of SHA256SUMS by the key of --trust",
    signed_by_another: "is no signature of SHA256SUMS by the key of --trust: it is another key's",
    no_signature: "is no signature of SHA256SUMS",
    no_sums: "is not there: with --trust only what it lists is served",
    neither: "is not there: with --trust only what it lists is served",
    empty_signature: "is no signature of SHA256SUMS",
    a_folder_for_a_signature: "is no regular file",
    hexadecimal: "is no signature of SHA256SUMS",
}


def open_trusting(folder: Path, trusted: Path) -> tuple[Store, KeptLog]:
    def load(name, version, path, sums):
        return Model(name, version, path, 1, sums)

    log = KeptLog()
    return Store(folder, load, 0, log, read_public_key(trusted).verify), log


def test_a_server_starts_on_what_is_signed(folder, trusted, tmp_path):
    server = start(tmp_path / "log", folder, "--trust", str(trusted))
    assert server.works() and server.stop() == 0


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_folder_that_is_not_ours_is_not_started_on(folder, trusted, attack):
    attack(folder)
    with pytest.raises(ModelError, match=ATTACKS[attack]) as refused:
        open_trusting(folder, trusted)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "attack", [each for each in ATTACKS if each is not another_model], ids=lambda each: each.__name__
)
def test_while_it_is_not_ours_nothing_new_is_loaded_and_what_is_loaded_goes_on(folder, trusted, key, attack):
    store, log = open_trusting(folder, trusted)
    shutil.copytree(folder / "digits/1", folder / "digits/2")
    sign(folder, key)
    attack(folder)
    for _ in range(3):
        store.scan()
    assert versions(store) == [1] and ATTACKS[attack] in log.told("checksums refused")[0]["reason"]
    shutil.copy(folder / "digits/2/model.onnx", folder / "digits/1/model.onnx")
    shutil.rmtree(folder / "SHA256SUMS.sig") if attack is a_folder_for_a_signature else None
    sign(folder, key)
    for _ in range(3):
        store.scan()
    assert versions(store) == [2, 1]


def test_a_version_that_is_not_listed_is_refused_though_the_list_is_signed(folder, trusted):
    store, _ = open_trusting(folder, trusted)
    save_digits(folder, 2)
    for _ in range(3):
        store.scan()
    assert versions(store) == [1] and "no line for digits/2/model.onnx" in store.models["digits"].refused[2]


@pytest.mark.parametrize("kind", ["nothing", "no key", "a private key", "another kind of key", "no file"])
def test_what_is_no_public_key_of_ed25519_is_refused_in_one_line(folder, tmp_path, key, kind):
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = {"nothing": b"", "no key": b"ssh-ed25519 AAAA", "a private key": private,
             "another kind of key": public(generate_private_key(SECP256R1()))}  # fmt: skip
    if kind in files:
        write(tmp_path / "key.pem", files[kind])
    message = refusal("--models", str(folder), "--trust", str(tmp_path / "key.pem"))
    assert "expected an Ed25519 public key in PEM" in message and message.count("\n") == 1
