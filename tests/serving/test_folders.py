"""Folders that hold more, less or other than models: what can be served is served, and the rest is named."""

import os
import shutil
import threading
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from course_lib.serving import store as store_module
from course_lib.serving.errors import ModelError
from tests.serving.conftest import DIGITS, IMAGE, Local, open_store, save, save_digits, write
from tests.serving.test_reload import versions
from tests.serving.test_telemetry import sample


def test_the_server_starts_with_what_loads_and_tells_what_does_not(tmp_path):
    save_digits(tmp_path)
    write(tmp_path / "other/3/model.onnx", b"not a model")
    with Local(tmp_path) as local:
        assert local.ask("POST", DIGITS, {"instances": [IMAGE]}).status == 200
        assert local.ask("GET", "/v2/health/ready").json == {"ready": True, "refused": {"other": [3]}}
        assert sample(local, "model_server_model_refused", model="other", version="3") == 1
        assert [line["model"] for line in local.log.told("version refused")] == ["other"]


def test_a_folder_of_which_nothing_loads_is_refused_with_a_reason(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / f"{name}/1/model.onnx", b"not a model")
    with pytest.raises(ModelError, match="no version of one can be served: .* is not a model"):
        open_store(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "contract.json", "serving.json"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_is_refused_and_stops_no_other(tmp_path, name, kind):
    save_digits(tmp_path)
    store, log = open_store(tmp_path)
    model = save(tmp_path, "lookup")
    odd = model.with_name(name) if name != "serving.json" else model.parent.parent / name
    odd.unlink(missing_ok=True)
    os.mkfifo(odd) if kind == "pipe" else odd.symlink_to("/dev/zero")
    save_digits(tmp_path, 2)
    for _ in range(3):
        store.scan()
    assert versions(store) == [2, 1]
    told = log.told("settings refused") if name == "serving.json" else log.told("version refused")
    assert [("no regular file" in line["reason"]) for line in told] == [True]


def test_a_folder_that_hangs_stops_no_other_and_is_looked_at_again_when_it_answers(tmp_path, monkeypatch):
    save_digits(tmp_path)
    save(tmp_path, "lookup")
    with Local(tmp_path) as local:
        answers, folders = threading.Event(), store_module._folders
        monkeypatch.setattr(store_module, "LOOK_SECONDS", 0.5)

        def hang(path):
            if path.name == "lookup":
                answers.wait(60)
            return folders(path)

        monkeypatch.setattr(store_module, "_folders", hang)
        before = local.store.looked_at
        save_digits(tmp_path, 2)
        while versions(local.store) != [2, 1]:
            local.store.scan()
        assert local.ask("POST", "/v1/models/lookup:predict", {"instances": [1]}).status == 200
        assert sample(local, "model_server_last_look_timestamp_seconds") == before
        (line,) = local.log.told("model not looked at")
        assert line["reason"].startswith("lookup: its folder hangs")
        answers.set()
        monkeypatch.setattr(store_module, "LOOK_SECONDS", 60)
        time.sleep(0.01)
        while local.store.looked_at == before:
            local.store.scan()
        assert sample(local, "model_server_last_look_timestamp_seconds") > before


def test_folders_that_are_passed_over_are_named_once(tmp_path):
    save_digits(tmp_path)
    for name in ("digits/v2", "digits/02", "digits/3", "empty", ".uploading/1", "a:b/1"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copytree(tmp_path / "digits/1", tmp_path / ".hidden/1")
    store, log = open_store(tmp_path)
    for _ in range(3):
        store.scan()
    assert list(store.models) == ["digits"]
    named = [line["reason"].split(" ")[0] for line in log.told("folder skipped")]
    assert sorted(named) == [".hidden", ".uploading", "a:b", "digits/02", "digits/3", "digits/v2", "empty"]


def test_a_model_whose_versions_are_all_gone_goes_on_while_its_folder_stays(tmp_path):
    path = save_digits(tmp_path)
    store, log = open_store(tmp_path)
    path.unlink()
    for _ in range(3):
        store.scan()
    assert versions(store) == [1] and len(log.told("model not found")) == 1


@pytest.mark.parametrize("location", ["model.onnx.data", "weights.bin"])
def test_weights_in_a_second_file_are_refused_with_what_to_do(tmp_path, location):
    save_digits(tmp_path)
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", value[:1], value[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    (tmp_path / "apart/1").mkdir(parents=True)
    onnx.save(model, tmp_path / "apart/1/model.onnx", save_as_external_data=True, location=location)
    store, _ = open_store(tmp_path)
    reason = store.models["apart"].refused[1]
    assert location in reason and "external_data=False" in reason and "no-such-folder" not in reason
