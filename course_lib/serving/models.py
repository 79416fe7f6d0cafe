"""The models: found in a folder, loaded by ONNX Runtime, looked up by name and version."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

# ONNX Runtime's name of a type -> NumPy's, TensorFlow Serving's, the Open Inference Protocol's.
DTYPES: dict[str, tuple[str, str, str]] = {
    "tensor(float)": ("float32", "DT_FLOAT", "FP32"),
    "tensor(double)": ("float64", "DT_DOUBLE", "FP64"),
    "tensor(float16)": ("float16", "DT_HALF", "FP16"),
    "tensor(int8)": ("int8", "DT_INT8", "INT8"),
    "tensor(int16)": ("int16", "DT_INT16", "INT16"),
    "tensor(int32)": ("int32", "DT_INT32", "INT32"),
    "tensor(int64)": ("int64", "DT_INT64", "INT64"),
    "tensor(uint8)": ("uint8", "DT_UINT8", "UINT8"),
    "tensor(uint16)": ("uint16", "DT_UINT16", "UINT16"),
    "tensor(uint32)": ("uint32", "DT_UINT32", "UINT32"),
    "tensor(uint64)": ("uint64", "DT_UINT64", "UINT64"),
    "tensor(bool)": ("bool", "DT_BOOL", "BOOL"),
}


class ModelError(Exception):
    """A folder or a model file that cannot be served; the message is one line, for whoever starts the server."""


class InputError(Exception):
    """What the model itself refuses at run time, although dtype and shape are right."""


@dataclass(frozen=True)
class Tensor:
    """One input or output of a model; in `shape`, -1 stands for any size, and the batch comes first."""

    name: str
    dtype: np.dtype
    tf_dtype: str
    v2_datatype: str
    shape: tuple[int, ...]


class Model:
    """One version of one model, loaded. `run` may be called from several threads at once."""

    def __init__(self, name: str, version: int, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads  # left alone, ONNX Runtime counts the host's cores, not the container's
        options.log_severity_level = 4  # what goes wrong is raised, and logged by us
        # Threads that wait by spinning burn the CPU time that a container's limit grants.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            self.inputs = {tensor.name: tensor for tensor in map(_tensor, self._session.get_inputs())}
            self.outputs = {tensor.name: tensor for tensor in map(_tensor, self._session.get_outputs())}
        except Exception as error:  # ONNX Runtime's errors share no base class but this
            raise ModelError(f"{path} is not a model that this server can serve: {_one_line(error)}") from error
        self.name, self.version = name, version

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the model on `feeds` (input name -> array of the input's dtype and shape); returns its outputs by name.

        Raises InputError where the model refuses the values, such as an index outside its table.
        """
        try:
            return dict(zip(self.outputs, self._session.run(list(self.outputs), feeds), strict=True))
        except Exception as error:
            raise InputError(_one_line(error)) from error


class Models:
    """All models of a folder: `models.find("digits_cnn")` is the latest version, `find("digits_cnn", 1)` that one."""

    def __init__(self, loaded: dict[str, dict[int, Model]]) -> None:
        self._loaded = loaded

    @classmethod
    def load(cls, folder: Path, threads: int) -> "Models":
        """Loads every `folder/NAME/VERSION/model.onnx`. Raises ModelError where there is none, or where one is broken."""
        if not folder.is_dir():
            raise ModelError(f"--models {folder} is not a folder; expected one that holds NAME/VERSION/model.onnx")
        loaded: dict[str, dict[int, Model]] = {}
        for path in sorted(folder.glob("*/*/model.onnx")):
            name, version = path.parts[-3:-1]
            # Other things may lie beside the versions; a name with a colon cannot stand in the protocols' addresses.
            if re.fullmatch("[1-9][0-9]{0,17}", version) and ":" not in name:
                loaded.setdefault(name, {})[int(version)] = Model(name, int(version), path, threads)
        if not loaded:
            raise ModelError(f"--models {folder} holds no NAME/VERSION/model.onnx with VERSION a positive whole number")
        return cls(loaded)

    def find(self, name: str, version: int | None = None) -> Model | None:
        """The version asked for, or the latest; None where there is no such thing."""
        versions = self._loaded.get(name, {})
        return versions.get(version if version is not None else max(versions, default=0))

    def versions(self) -> dict[str, list[int]]:
        """Name -> version numbers, the latest first."""
        return {name: sorted(versions, reverse=True) for name, versions in self._loaded.items()}


def cpu_limit(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many whole CPUs this process may use: the container's limit (control groups v2, then v1), else the machine's.

    A limit of 1.5 CPUs counts as 1: a second thread would spend half of its time throttled.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            if quota not in ("max", "-1"):
                return max(1, min(available, int(quota) // int(period)))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return available


def _tensor(argument: onnxruntime.NodeArg) -> Tensor:
    if argument.type not in DTYPES:
        raise TypeError(f"'{argument.name}' is a {argument.type}; this server takes {', '.join(DTYPES)}")
    numpy_name, tf_dtype, v2_datatype = DTYPES[argument.type]
    shape = tuple(size if isinstance(size, int) else -1 for size in argument.shape)  # a name or None: any size
    return Tensor(argument.name, np.dtype(numpy_name), tf_dtype, v2_datatype, shape)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
