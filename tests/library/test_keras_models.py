"""The Keras twin; its tests run in a process of their own, so that no test process holds two frameworks."""

import json
import subprocess
import sys
import zipfile

import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from course_lib import data, models
from course_lib.places import CHECKOUT


def in_python(code):
    """Runs code in a fresh Python; returns what it printed on stdout and on stderr."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT)
    if "No module named 'tensorflow'" in done.stderr or "No module named 'keras'" in done.stderr:
        pytest.skip("TensorFlow is not installed here; the PyTorch lessons and the service do without it")
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


def test_the_twin_has_the_torch_networks_weights_takes_channels_last_and_starts_silently():
    said, warned = in_python(
        "from course_lib.keras_models import digits_cnn; import numpy as np; "
        "model = digits_cnn(); print(model.count_params(), model(np.zeros((2, 8, 8, 1), np.float32)).shape[1], "
        "model.inputs[0].name, model.layers[-1].name)"
    )
    assert said == ["15270", "10", "pixels", "logits"]
    assert warned == ""


def test_a_dropout_that_is_no_share_is_refused():
    said, _ = in_python(
        "from course_lib.keras_models import digits_cnn\n"
        "for wrong in (-0.1, 1.0):\n"
        "    try: digits_cnn(wrong)\n"
        "    except ValueError as error: print('expected' in str(error))"
    )
    assert said == ["True", "True"]


def test_the_twin_that_ships_answers_as_its_ledger_row_says():
    said, _ = in_python(
        "from course_lib import data, keras_models, models\n"
        "import keras\n"
        "_, test = data.digits()\n"
        "file = models.path('digits_keras', 1, 'model.keras')\n"
        "logits = keras.models.load_model(file)(test.images[..., None]).numpy()\n"
        "print((logits.argmax(axis=1) == test.labels).mean(), file.stat().st_size)"
    )
    rows = json.loads((CHECKOUT / "source/recordings/ledger.json").read_text(encoding="utf-8"))
    row = next(row for row in rows if row["model"] == "digits_keras" and row["form"] == "keras")
    assert abs(float(said[0]) - row["accuracy"]) <= 0.005  # kernels differ by processor
    assert int(said[1]) == row["bytes"] < 200_000


def test_the_twin_that_ships_has_no_setting_that_is_null_which_an_older_keras_might_not_know():
    def seen(settings):
        assert None not in settings.values(), settings
        return settings

    with zipfile.ZipFile(models.path("digits_keras", 1, "model.keras")) as archive:
        assert json.loads(archive.read("config.json"), object_hook=seen)["class_name"] == "Sequential"


def test_a_file_without_its_null_settings_gives_the_same_answers(tmp_path):
    said, warned = in_python(
        "from course_lib.keras_models import digits_cnn, remove_nulls\n"
        "import keras, numpy as np, pathlib\n"
        "model, x = digits_cnn(), np.random.default_rng(0).random((3, 8, 8, 1), np.float32)\n"
        f"file = pathlib.Path({str(tmp_path)!r}, 'model.keras')\n"
        "model.save(file); before = file.stat().st_size; remove_nulls(file)\n"
        "print((keras.models.load_model(file)(x).numpy() == model(x).numpy()).all(), file.stat().st_size < before)"
    )
    assert said == ["True", "True"] and warned == ""


def test_the_twins_converted_files_that_ship_answer_as_their_ledger_rows_say():
    _, test = data.digits()
    pixels = test.images[..., None].copy()
    onnx_file, lite_file = models.path("digits_keras", 1), models.path("digits_keras", 1, "model.tflite")
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    runner = Interpreter(model_path=str(lite_file)).get_signature_runner()
    answers = {"onnx": session.run(["logits"], {"pixels": pixels})[0], "tflite": runner(pixels=pixels)["output_0"]}
    rows = json.loads((CHECKOUT / "source/recordings/ledger.json").read_text(encoding="utf-8"))
    for form, file in (("onnx", onnx_file), ("tflite", lite_file)):
        row = next(row for row in rows if row["model"] == "digits_keras" and row["form"] == form)
        assert abs((answers[form].argmax(axis=1) == test.labels).mean() - row["accuracy"]) <= 0.005
        assert file.stat().st_size == row["bytes"] < 200_000
    assert abs(answers["onnx"] - answers["tflite"]).max() < 1e-3


def test_the_large_twins_answer_as_the_torch_networks_whose_weights_they_have(tmp_path):
    torch_side = (
        "import sys, numpy as np, torch; from course_lib import torch_models; torch.manual_seed(0); torch.set_num_threads(1)\n"
        "x = torch.rand(3, 1, 32, 32)\n"
        "for make in (torch_models.wide, torch_models.small_resnet):\n"
        "    network = make(); network(x); network.eval()\n"  # a call in training mode moves the stored averages
        "    state = {name: each.numpy() for name, each in network.state_dict().items()}\n"
        "    answers = network(x).detach().numpy()\n"
        "    np.savez(f'{sys.argv[1]}/{make.__name__}.npz', x=x[:, 0, :, :, None], answers=answers, **state)\n"
    )
    made = subprocess.run(
        [sys.executable, "-c", torch_side, str(tmp_path)], capture_output=True, text=True, cwd=CHECKOUT
    )
    if "No module named 'torch'" in made.stderr:
        pytest.skip("PyTorch is not installed here")
    assert made.returncode == 0, made.stderr
    said, _ = in_python(
        "import numpy as np; from course_lib import keras_models\n"
        "for make in (keras_models.wide, keras_models.small_resnet):\n"
        f"    kept = np.load(f'{tmp_path.as_posix()}/{{make.__name__}}.npz')\n"
        "    print(float(np.abs(make(kept)(kept['x']) - kept['answers']).max()))"
    )
    assert len(said) == 2 and all(float(difference) < 1e-4 for difference in said)
