"""Drill 2, solved by script for every fault, and what must not count as solved."""

import json
import shutil
import time

import numpy as np
import onnx
import pytest

from course_lib.drills import drill_2
from course_lib.ops.http import ask
from course_lib.pipeline import checksum
from tests.drills.conftest import examined, mended


def readings(drill) -> dict[str, dict]:
    """What an honest reader finds for each cause."""
    release = json.loads((drill.folder / "releases.json").read_text())["3"]
    file = drill.shelf / "3/model.onnx"
    scales = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(file).graph.initializer}
    different = float(np.mean(drill.answers(3) != drill.answers(1)))
    return {
        "calibration": {
            "calibrated_on": release["calibrated_on"],
            "represents": 255 * float(scales["pixels_scale"]),
            "largest": float(drill.pictures.max()),
        },
        "swapped_file": {"sha256": checksum(file), "released": release["sha256"]},
        "early_canary": {"requests": release["canary"]["requests"], "required": 1000, "different": different},
    }


def move(drill, version):
    (drill.shelf / "serving.json").write_text(json.dumps({"labels": {"production": version}}))
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            if ask(drill.model + "/labels/production")["model_version_status"][0]["version"] == str(version):
                return
        except RuntimeError:  # the version is not loaded yet
            pass
        time.sleep(0.1)
    raise AssertionError("the label did not move")


def hide(drill, fault) -> str:
    """A repair that takes the alert away and not its cause; what must be said of it."""
    if fault == "calibration":
        move(drill, 1)
        return "62,877 bytes"
    if fault == "swapped_file":
        move(drill, 2)
        return "still another file"
    releases = json.loads((drill.folder / "releases.json").read_text())
    releases["3"]["canary"] = {"requests": 1500, "different": 3}
    (drill.folder / "releases.json").write_text(json.dumps(releases))
    return "differently from the large model"


def repair(drill, fault):
    if fault == "calibration":
        drill.run("calibrate.py", "--pictures", "phone.npy", "--version", 4)
        assert (
            "there are calibration/phone.npy, calibration/scanner.npy" in drill.said and "Traceback" not in drill.said
        )
        before = checksum(drill.shelf / "3/model.onnx")
        drill.run("calibrate.py", "--pictures", "calibration/phone.npy", "--version", 3)
        assert "ended with 2" in drill.said and "a change is a new version" in drill.said
        assert checksum(drill.shelf / "3/model.onnx") == before
        drill.run("calibrate.py", "--pictures", "calibration/phone.npy", "--version", 4)
        assert "wrote version 4" in drill.said
        move(drill, 4)
    elif fault == "early_canary":
        move(drill, 2)
    else:
        released = json.loads((drill.folder / "releases.json").read_text())["3"]["sha256"]
        shutil.copy(drill.folder / f"released/{released[:12]}.onnx", drill.shelf / "3/model.onnx")
        drill.restart("model")
        move(drill, 3)


@pytest.mark.parametrize("fault", drill_2.TheDrill.faults)
def test_the_fault_is_found_by_its_evidence_and_repaired_at_its_cause(begin, fault):
    drill = begin(2, fault)
    honest = readings(drill)
    for cause, name, value in [
        ("calibration", "represents", 0.6), ("calibration", "calibrated_on", "calibration/none.npy"),
        ("swapped_file", "sha256", "0" * 64), ("early_canary", "different", 0.5), ("early_canary", "requests", 3),
    ]:  # fmt: skip
        drill.diagnose(cause, honest[cause] | {name: value})
        assert not drill.diagnosed and "is not shown" in drill.said
    drill.repaired()  # before the diagnosis it tells what users see, and not the cause
    assert "differently from the large model" in drill.said
    examined(drill, fault, honest)
    mended(drill, fault, hide, repair)


def test_after_a_roll_back_the_cause_can_be_shown_and_what_was_wrong_tonight_is_no_repair(begin):
    drill = begin(2, "early_canary")
    move(drill, 2)
    drill.diagnose("early_canary", readings(drill)["early_canary"])
    new = drill.shelf / "3/model.onnx"
    released = new.read_bytes()
    shutil.copy(drill.shelf / "2/model.onnx", new)
    drill.repaired()
    assert "Version 3 is still another file" in drill.said
    new.write_bytes(released)
    drill.run("calibrate.py", "--pictures", "calibration/phone.npy", "--version", 4)
    move(drill, 4)
    drill.repaired()
    assert "a canary of 0 requests" in drill.said
    move(drill, 2)
    drill.repaired()
    assert drill.solved, drill.said
