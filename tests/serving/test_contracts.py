"""Versions held to what is promised of them: a checksum, a contract."""

import shutil
from pathlib import Path

import pytest

from course_lib.pipeline import Contract, Field, checksum
from tests.serving.conftest import DIGITS, IMAGE, Local, open_store, save_digits, write
from tests.serving.test_reload import versions


@pytest.mark.parametrize("form", ["{} *{}\n", "{}  {}\n", "{}  ./{}\n"])
def test_a_file_that_is_not_what_its_checksum_says_is_refused_until_it_is(tmp_path, form):
    path = save_digits(tmp_path)
    store, _ = open_store(tmp_path)
    name = "digits/2/model.onnx"
    write(tmp_path / "SHA256SUMS", form.format("0" * 64, name).encode())
    shutil.copytree(path.parent, tmp_path / "digits/2")
    store.scan()
    store.scan()
    assert versions(store) == [1] and "SHA256SUMS says 000000000000" in store.models["digits"].refused[2]
    right = checksum(path)
    write(tmp_path / "SHA256SUMS", form.format(right, name).encode())
    store.scan()
    assert versions(store) == [2, 1]


@pytest.mark.parametrize(
    "listed",
    ["models/digits/2/model.onnx", "/digits/2/model.onnx", "digits\\2\\model.onnx", "digits/1/model.onnx", None],
)
def test_a_version_without_a_checksum_where_there_are_some_is_refused_and_told(tmp_path, listed):
    path = save_digits(tmp_path)
    store, log = open_store(tmp_path)
    write(tmp_path / "SHA256SUMS", f"{checksum(path)}  {listed}\n".encode() if listed else b"")
    shutil.copytree(path.parent, tmp_path / "digits/2")
    for _ in range(3):
        store.scan()
    assert versions(store) == [1] and "no line for digits/2/model.onnx" in store.models["digits"].refused[2]
    assert len(log.told("version refused")) == 1
    named = [line["reason"] for line in log.told("checksum of nothing")]
    assert named == (
        [] if listed in (None, "digits/1/model.onnx") else [f"SHA256SUMS lists {listed}, which is not there"]
    )


def test_a_contract_needs_its_checksum_too_and_a_checksum_its_contract(tmp_path):
    save_digits(tmp_path)
    store, _ = open_store(tmp_path)
    two, three = save_digits(tmp_path, 2), save_digits(tmp_path, 3)
    contract(two)
    lines = [f"{checksum(path)}  digits/{path.parent.name}/model.onnx\n" for path in (two, three)]
    lines.append(f"{'0' * 64}  digits/3/contract.json\n")
    write(tmp_path / "SHA256SUMS", "".join(lines).encode())
    store.scan()
    store.scan()
    refused = store.models["digits"].refused
    assert "no line for digits/2/contract.json" in refused[2] and "contract.json" in refused[3]
    assert versions(store) == [1]


def test_two_checksums_for_one_file_are_refused(tmp_path):
    save_digits(tmp_path)
    store, log = open_store(tmp_path)
    write(tmp_path / "SHA256SUMS", "".join(f"{digit * 64}  digits/1/model.onnx\n" for digit in "01").encode())
    store.scan()
    assert "two for digits/1/model.onnx" in log.told("checksums refused")[0]["reason"]


@pytest.mark.parametrize("unread", [b"\xff\xfe", b"digits/2/model.onnx\n", b"abc  digits/2/model.onnx\n"])
def test_while_checksums_cannot_be_read_nothing_new_is_loaded_and_it_is_told_once(tmp_path, unread):
    save_digits(tmp_path)
    store, log = open_store(tmp_path)
    sums = write(tmp_path / "SHA256SUMS", unread)
    save_digits(tmp_path, 2)
    for _ in range(3):
        store.scan()
    assert versions(store) == [1] and len(log.told("checksums refused")) == 1
    sums.unlink()
    store.scan()
    store.scan()
    assert versions(store) == [2, 1]


def contract(path: Path, **changes: object) -> None:
    pixels = Field("pixels", "float32", (-1, 1, 8, 8), "grey values", low=0, high=1)
    scores = Field("logits", "float32", (-1, 10), "a score for each digit")
    promise = {"name": "digits", "version": 1, "sha256": checksum(path), "inputs": (pixels,), "outputs": (scores,)}
    write(path.with_name("contract.json"), Contract(**promise | changes).to_json().encode())


def test_inputs_are_held_to_the_contract(tmp_path):
    contract(save_digits(tmp_path))
    with Local(tmp_path) as local:
        assert local.ask("POST", DIGITS, {"instances": [IMAGE]}).status == 200
        for value, said in (("2", "pixels: expected 0 to 1, got 2"), ("NaN", "expected finite numbers, got nan")):
            row = [[[float(value)] * 8] * 8]
            answer = local.ask("POST", DIGITS, {"instances": [row]})
            assert answer.status == 400 and said in answer.error


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": "0" * 64}, "expected the file of digits 1, sha256 000000000000"),
        ({"inputs": (Field("x", "float32", (-1,), ""),)}, "file and contract disagree"),
        ({"example": {"inputs": {"pixels": [IMAGE]}, "outputs": {"logits": [[0] * 10]}}}, "its own example"),
    ],
)
def test_a_version_that_breaks_its_contract_is_refused(tmp_path, changes, reason):
    save_digits(tmp_path)
    store, _ = open_store(tmp_path)
    contract(save_digits(tmp_path, 2), **changes)
    store.scan()
    store.scan()
    assert versions(store) == [1] and reason in store.models["digits"].refused[2]


def test_what_the_contract_keeps_apart_is_not_joined_whatever_the_axes_are_called(tmp_path):
    one = {
        "inputs": (Field("pixels", "float32", (1, 1, 8, 8), "one picture"),),
        "outputs": (Field("logits", "float32", (1, 10), "its scores"),),
    }
    contract(save_digits(tmp_path), **one)
    store, _ = open_store(tmp_path)
    assert not store.models["digits"].find(1).batches
    contract(save_digits(tmp_path, 2))
    store, _ = open_store(tmp_path)
    assert store.models["digits"].find(2).batches


@pytest.mark.parametrize("target", ["nowhere", "contract.json"])
def test_a_contract_that_cannot_be_read_refuses_its_version_and_no_other(tmp_path, target):
    save_digits(tmp_path)
    (save_digits(tmp_path, 2).with_name("contract.json")).symlink_to(target)
    store, _ = open_store(tmp_path)
    assert versions(store) == [1] and "contract.json" in store.models["digits"].refused[2]
