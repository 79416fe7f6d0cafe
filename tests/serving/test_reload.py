"""Versions that come, go, break and change while the server runs."""

import gc
import json
import os
import shutil
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from course_lib.serving.models import Model
from tests.serving.conftest import DIGITS, IMAGE, Local, logits, open_store, save, save_digits, start, until, write

STATUS = "/v1/models/digits"


def versions(store) -> list[int]:
    return list(store.models["digits"].versions)


def label(folder: Path, **labels: int) -> None:
    write(folder / "digits/serving.json", json.dumps({"labels": labels}).encode())


def test_a_new_version_is_served_once_two_looks_found_it_unchanged(tmp_path):
    save_digits(tmp_path)
    store, log = open_store(tmp_path)
    new = save_digits(tmp_path, 2)
    store.scan()
    assert versions(store) == [1]
    store.scan()
    assert versions(store) == [2, 1] and log.told("version loaded")[-1]["version"] == 2
    assert new.exists()


def test_a_file_that_is_still_written_is_left_alone_until_it_rests(tmp_path):
    save_digits(tmp_path)
    whole = save_digits(tmp_path, 2).read_bytes()
    shutil.rmtree(tmp_path / "digits/2")
    store, log = open_store(tmp_path)
    for share in (0.2, 0.5, 1):
        write(tmp_path / "digits/2/model.onnx", whole[: int(len(whole) * share)])
        store.scan()
        assert versions(store) == [1]
    store.scan()
    assert versions(store) == [2, 1] and not log.told("version refused")


def test_a_new_model_is_served_once_it_rests_and_unknown_until_then(tmp_path):
    save_digits(tmp_path)
    with Local(tmp_path) as local:
        save(tmp_path, "lookup")
        for expected in (404, 200):
            local.store.scan()
            assert local.ask("POST", "/v1/models/lookup:predict", {"instances": [1]}).status == expected
            assert local.ask("GET", "/v2/models/lookup/ready").status == expected


def test_a_broken_version_is_refused_and_told_while_the_last_good_one_goes_on(tmp_path):
    save_digits(tmp_path)
    with Local(tmp_path) as local:
        broken = write(tmp_path / "digits/2/model.onnx", b"not a model")
        for _ in range(4):
            local.store.scan()
        assert local.ask("POST", DIGITS, {"instances": [IMAGE]}).headers["x-model-version"] == "1"
        new, old = local.ask("GET", STATUS).json["model_version_status"]
        assert (new["version"], new["state"], new["status"]["error_code"]) == ("2", "END", "FAILED_PRECONDITION")
        assert "is not a model that this server can serve" in new["status"]["error_message"]
        assert (old["version"], old["state"]) == ("1", "AVAILABLE")
        assert local.ask("GET", f"{STATUS}/versions/2").json["model_version_status"] == [new]
        assert local.ask("POST", "/v1/models/digits/versions/2:predict", {"instances": [IMAGE]}).status == 404
        (line,) = local.log.told("version refused")
        assert line["version"] == 2 and line["reason"] == new["status"]["error_message"]
        broken.write_bytes((tmp_path / "digits/1/model.onnx").read_bytes())
        local.store.scan()
        local.store.scan()
        assert versions(local.store) == [2, 1]


def test_a_model_of_which_nothing_can_be_served_is_told_and_never_an_error_of_ours(tmp_path):
    save_digits(tmp_path)
    with Local(tmp_path) as local:
        write(tmp_path / "other/1/model.onnx", b"not a model")
        for _ in range(3):
            local.store.scan()
        assert local.ask("GET", "/v1/models/other").json["model_version_status"][0]["state"] == "END"
        for path in ("/v1/models/other:predict", "/v2/models/other/infer"):
            assert local.ask("POST", path, {"instances": [1]}).status == 404
        assert local.ask("GET", "/v2/models/other/ready").status == 404
        assert local.ask("GET", "/metrics").status == 200


def test_a_version_that_is_gone_is_let_go_when_its_last_request_is(tmp_path):
    save_digits(tmp_path, 1)
    save_digits(tmp_path, 2, scale=2)
    store, log = open_store(tmp_path)
    computing = store.models["digits"].find(2)
    shutil.rmtree(tmp_path / "digits/2")
    store.scan()
    assert versions(store) == [1] and not log.told("version unloaded")
    pixels = np.array([IMAGE], np.float32)
    np.testing.assert_allclose(computing.run({"pixels": pixels})["logits"], logits([IMAGE], 2), rtol=1e-5, atol=1e-4)
    del computing
    gc.collect()
    assert [line["version"] for line in log.told("version unloaded")] == [2]


def test_labels_are_moved_while_it_runs(tmp_path):
    save_digits(tmp_path, 1)
    save_digits(tmp_path, 2)
    label(tmp_path, stable=1)
    with Local(tmp_path) as local:
        label(tmp_path, stable=2, canary=1)
        local.store.scan()
        for name, version in (("stable", "2"), ("canary", "1")):
            answer = local.ask("POST", f"/v1/models/digits/labels/{name}:predict", {"instances": [IMAGE]})
            assert answer.headers["x-model-version"] == version
        assert local.log.told("labels set")[-1]["labels"] == {"stable": 2, "canary": 1}
        (tmp_path / "digits/serving.json").unlink()
        local.store.scan()
        answer = local.ask("POST", "/v1/models/digits/labels/stable:predict", {"instances": [IMAGE]})
        assert answer.status == 400 and "Unrecognized servable version label" in answer.error


@pytest.mark.parametrize("latest", [0, 1])
def test_a_label_to_a_missing_version_is_refused_and_stays_where_it_was(tmp_path, latest):
    for version in (1, 2, 3):
        save_digits(tmp_path, version)
    label(tmp_path, stable=1)
    store, log = open_store(tmp_path, latest)
    label(tmp_path, stable=9, fresh=8)
    for _ in range(3):
        store.scan()
    assert store.models["digits"].labels == {"stable": 1} and store.models["digits"].find(1)
    assert {line["reason"] for line in log.told("label refused")} == {
        "digits has no version 9 for the label stable",
        "digits has no version 8 for the label fresh",
    }
    assert len(log.told("label refused")) == 2, "told once, however often the folder is looked at"
    save_digits(tmp_path, 9)
    store.scan()
    store.scan()
    assert store.models["digits"].labels == {"stable": 9}


def test_a_label_that_is_a_number_does_not_hide_that_version(tmp_path):
    save_digits(tmp_path, 1)
    save_digits(tmp_path, 2)
    label(tmp_path, **{"1": 2})
    with Local(tmp_path) as local:
        assert local.ask("GET", "/v2/models/digits/versions/1").status == 200
        request = {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [IMAGE]}]}
        assert local.ask("POST", "/v2/models/digits/versions/1/infer", request).json["model_version"] == "1"


@pytest.mark.parametrize(
    "settings",
    [b"{", b"[]", b'{"labels": {"a": "1"}}', b'{"max_batch_size": 0}', b'{"more": 1}', b'{"labels": {"\\ud800": 1}}'],
)
def test_settings_that_make_no_sense_are_refused_and_the_old_ones_kept(tmp_path, settings):
    save_digits(tmp_path)
    label(tmp_path, stable=1)
    store, log = open_store(tmp_path)
    write(tmp_path / "digits/serving.json", settings)
    store.scan()
    store.scan()
    (line,) = log.told("settings refused")
    assert "expected" in line["reason"] and store.models["digits"].labels == {"stable": 1}


def test_the_latest_versions_are_served_and_those_that_labels_name(tmp_path):
    for version in (1, 2, 3):
        save_digits(tmp_path, version)
    label(tmp_path, stable=1)
    store, _ = open_store(tmp_path, latest=1)
    assert versions(store) == [3, 1]
    write(tmp_path / "digits/5/model.onnx", b"not a model")
    save_digits(tmp_path, 4)
    store.scan()
    assert versions(store) == [3, 1]
    store.scan()
    assert versions(store) == [4, 1] and list(store.models["digits"].refused) == [5]


def test_a_version_that_changes_on_disk_goes_on_as_it_was_loaded(tmp_path):
    path = save_digits(tmp_path)
    store, log = open_store(tmp_path)
    model = store.models["digits"].find(1)
    path.write_bytes(b"not a model")
    for _ in range(3):
        store.scan()
    assert store.models["digits"].find(1) is model
    assert [line["reason"] for line in log.told("version changed")] == ["digits/1"]


def test_a_folder_that_is_gone_leaves_what_was_loaded(tmp_path):
    folder = tmp_path / "models"
    save_digits(folder)
    store, log = open_store(folder)
    folder.rename(tmp_path / "away")
    for _ in range(3):
        store.scan()
    assert versions(store) == [1] and len(log.told("models not found")) == 1
    (tmp_path / "away").rename(folder)
    store.scan()
    folder.rename(tmp_path / "away")
    store.scan()
    assert len(log.told("models not found")) == 2


def test_a_model_that_is_gone_while_others_stay_is_unknown(tmp_path):
    save_digits(tmp_path)
    save(tmp_path, "lookup")
    with Local(tmp_path) as local:
        shutil.rmtree(tmp_path / "lookup")
        local.store.scan()
        assert local.ask("POST", "/v1/models/lookup:predict", {"instances": [1]}).status == 404
        assert [line["model"] for line in local.log.told("model removed")] == ["lookup"]


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines"])
def test_a_folder_whose_name_is_no_text_is_passed_over(tmp_path, name):
    save_digits(tmp_path)
    shutil.copytree(tmp_path / "digits", tmp_path / os.fsdecode(name))
    with Local(tmp_path) as local:
        assert list(local.store.models) == ["digits"]
        assert [local.ask("GET", path).status for path in ("/", "/metrics", "/v1/models/none")] == [200, 200, 404]


def test_two_hundred_versions_one_after_the_other_leave_one_model(tmp_path):
    save(tmp_path, "lookup")
    save_digits(tmp_path)
    with Local(tmp_path) as local:
        seen: weakref.WeakSet[Model] = weakref.WeakSet()
        for version in range(2, 202):
            save(tmp_path, "lookup", version)
            shutil.rmtree(tmp_path / f"lookup/{version - 1}")
            local.store.scan()
            local.store.scan()
            seen.add(local.store.models["lookup"].find(None))
            assert local.ask("POST", "/v1/models/lookup:predict", {"instances": [1]}).json == {"predictions": [2.0]}
        gc.collect()
        assert len(seen) == 1 and [model.version for model in seen] == [201]
        assert len(local.log.told("version unloaded")) == 200
        first, second = (local.ask("GET", "/metrics").body.decode() for _ in range(2))
        assert 'version="150"' in first, "what a version counted is told once more after it is gone"
        assert 'version="150"' not in second and 'version="201"' in second


def test_versions_are_replaced_under_load_without_a_failed_request(tmp_path):
    folder = tmp_path / "models"
    save_digits(folder, 1, scale=1)
    server = start(tmp_path / "log", folder, "--reload-seconds", "0.05", "--threads", "1")
    wrong, done, seen = [], threading.Event(), set()

    def load() -> None:
        while not done.is_set():
            answer = server.ask("POST", DIGITS, {"instances": [IMAGE]})
            version = int(answer.headers["x-model-version"])
            seen.add(version)
            if not np.allclose(answer.json.get("predictions"), logits([IMAGE], version), rtol=1e-4, atol=1e-3):
                wrong.append(answer)

    clients = [threading.Thread(target=load) for _ in range(3)]
    for client in clients:
        client.start()
    for version in range(2, 6):
        save_digits(folder, version, scale=version)
        until(lambda version=version: version in seen)
        shutil.rmtree(folder / f"digits/{version - 1}")
    done.set()
    for client in clients:
        client.join()
    until(lambda: len(server.lines("version unloaded")) == 4)
    assert not wrong and {1, 2, 3, 4, 5} <= seen
    assert server.stop() == 0
