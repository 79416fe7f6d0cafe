"""A model behind a contract: what goes in, what comes out, which file it is, and an example that shows that it still
works. Lesson 08 builds and explains each piece; later lessons serve, watch and attack what it makes."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime

CLOSE = 1e-3
"""How far, relatively and absolutely, the example's answer may lie from the contract's: processors round differently."""

DTYPES = {"tensor(uint8)": "uint8", "tensor(int64)": "int64", "tensor(float)": "float32", "tensor(double)": "float64"}


class Refused(ValueError):
    """An input, a file or an answer that breaks the contract; says what was expected, what came, and what to do."""


@dataclass(frozen=True)
class Field:
    """One input or output. dtype: NumPy's name, or "str" for a list of texts. shape: a size for each axis, -k where any
    size from k is allowed. meaning: what the numbers are, with unit and order of the axes. low, high: the numbers'
    range, both ends included; None where there is none (a float is still to be finite)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    meaning: str
    low: float | None = None
    high: float | None = None

    def problem(self, value: object) -> str:
        """What is wrong with `value`, in a sentence; "" where nothing is."""
        if self.dtype == "str":
            if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
                return self._said(f"a list of texts, got {type(value).__name__}")
            return "" if _fits(self.shape, (len(value),)) else self._said(f"{self._axes()} texts, got {len(value)}")
        if not isinstance(value, np.ndarray):
            return self._said(f"a NumPy array of {self.dtype}, got {type(value).__name__}")
        if value.dtype != self.dtype:
            return self._said(f"{self.dtype}, got {value.dtype}")
        if not _fits(self.shape, value.shape):
            return self._said(f"the shape ({self._axes()}), got {value.shape}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return self._said(f"finite numbers, got {value[~np.isfinite(value)][0]}")
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        outside = value[(value < low) | (value > high)]
        return self._said(f"{low:g} to {high:g}, got {outside[0]:g}") if outside.size else ""

    def _said(self, what: str) -> str:
        return f"{self.name}: expected {what}. Send {self.meaning}"

    def _axes(self) -> str:
        return ", ".join(str(size) if size >= 0 else f"{-size} or more" for size in self.shape)


@dataclass(frozen=True)
class Contract:
    """What a pipeline promises. sha256: of the model's file, in hexadecimal. labels: what the classes mean, in the order
    of the output's columns. example: {"inputs": …, "outputs": …}, nested lists by name, computed when it was made."""

    name: str
    version: int
    sha256: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    labels: tuple[str, ...] = ()
    example: dict = field(default_factory=dict)

    def to_json(self) -> str:
        """The contract as JSON, one line for each entry."""
        lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in asdict(self).items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> "Contract":
        """Reads what `to_json` wrote. Raises ValueError or TypeError where it is something else."""
        raw = json.loads(text)
        for side in ("inputs", "outputs"):
            raw[side] = tuple(Field(**{**each, "shape": tuple(each["shape"])}) for each in raw[side])
        return cls(**{**raw, "labels": tuple(raw["labels"])})

    def check(self, side: str, values: Mapping[str, object]) -> None:
        """Holds values to the fields of `side` ("inputs" or "outputs"). Raises Refused, naming every problem."""
        fields = getattr(self, side)
        names = [each.name for each in fields]
        problems = [f"{name}: missing" for name in names if name not in values]
        problems += [f"{name}: unknown, this contract has {', '.join(names)}" for name in values if name not in names]
        problems += filter(None, (each.problem(values[each.name]) for each in fields if each.name in values))
        if not problems and len(rows := {len(values[each.name]) for each in fields if each.shape[0] < 0}) > 1:
            problems = [f"expected one number of rows in all of {', '.join(names)}, got {sorted(rows)}"]
        if problems:
            raise Refused(f"{self.name} {self.version} refuses its {side}. " + "; ".join(problems))


class Pipeline:
    """A model's file, loaded, behind its contract: `pipeline(rgb=pictures)` checks, runs, checks, and answers by name."""

    def __init__(
        self,
        file: Path,
        contract: Contract,
        prepare: Callable[..., dict[str, np.ndarray]] | None = None,
        *,
        threads: int = 1,
    ) -> None:
        """file: an ONNX model. prepare: what must happen to the inputs before the model takes them, where the graph
        cannot do it itself. threads: that ONNX Runtime may use.

        Raises Refused for a file with another checksum, a graph whose names and types are not the contract's, and an
        example that is not answered as the contract says.
        """
        raw = Path(file).read_bytes()
        found = hashlib.sha256(raw).hexdigest()
        if found != contract.sha256:
            raise Refused(
                f"expected the file of {contract.name} {contract.version}, sha256 {contract.sha256[:12]}…, got "
                f"{found[:12]}…: fetch the model again, or make a contract for the new one"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what goes wrong is raised
        self.contract, self._prepare = contract, prepare
        self._session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        sides = [("outputs", self._session.get_outputs())]
        if prepare is None:
            sides.append(("inputs", self._session.get_inputs()))
        for side, tensors in sides:
            promised = {each.name: each.dtype for each in getattr(contract, side)}
            there = {tensor.name: DTYPES.get(tensor.type, tensor.type) for tensor in tensors}
            if there != promised:
                raise Refused(f"expected a graph with the {side} {promised}, got {there}: file and contract disagree")
        if contract.example:
            self._test_itself()

    def __call__(self, **inputs: object) -> dict[str, np.ndarray]:
        """The outputs by name. Raises Refused for inputs or outputs that break the contract."""
        self.contract.check("inputs", inputs)
        names = [each.name for each in self.contract.outputs]
        feeds = inputs if self._prepare is None else self._prepare(**inputs)
        outputs = dict(zip(names, self._session.run(names, feeds)))
        self.contract.check("outputs", outputs)
        return outputs

    def _test_itself(self) -> None:
        dtypes = {each.name: each.dtype for each in self.contract.inputs}
        inputs = {
            name: value if dtypes[name] == "str" else np.array(value, dtypes[name])
            for name, value in self.contract.example["inputs"].items()
        }
        for name, got in self(**inputs).items():
            expected = np.array(self.contract.example["outputs"][name])
            if got.shape != expected.shape or not np.allclose(got, expected, rtol=CLOSE, atol=CLOSE):
                raise Refused(
                    f"{self.contract.name} {self.contract.version} does not answer its own example as promised: expected "
                    f"{name} {expected.ravel()[:4].tolist()} …, got {got.ravel()[:4].tolist()} …; what prepares the "
                    "input has changed, or the contract belongs to another model"
                )


def checksum(file: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _fits(wanted: tuple[int, ...], got: tuple[int, ...]) -> bool:
    return len(wanted) == len(got) and all(g == w if w >= 0 else g >= -w for w, g in zip(wanted, got))
