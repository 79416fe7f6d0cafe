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

NOWHERE = "/there-is-no-such-folder"

ROUNDINGS = 4
"""By how many roundings a float may lie outside its range: ONNX Runtime's own Sigmoid returns 1.0000001."""

_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", **{f"tensor({name})": name for name in _INTEGERS}}
"""ONNX Runtime's name of a type -> NumPy's, for the numbers that a field may hold."""


class Refused(ValueError):
    """The caller's mistake, an input that breaks the contract: what was expected, what came, and what to do."""


class Broken(RuntimeError):
    """The service's own mistake: a file, a preparation or an output that is not what the contract says."""


@dataclass(frozen=True)
class Field:
    """One input or output. dtype: NumPy's name, or "str" for a list of texts. shape: a size for each axis, -k where any
    size from k is allowed; a first axis of that kind counts the examples, and all such fields of a call agree on it.
    meaning: what the numbers are, with unit and order of the axes. low, high: the numbers' range, both ends included;
    None where there is none (a float is still to be finite). most: how many numbers (for texts: characters) the whole
    field may hold; None for no limit, which leaves the caller to decide how much memory and time a call takes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    meaning: str
    low: float | None = None
    high: float | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ("str", *DTYPES.values()):
            raise ValueError(f"{self.name}: expected the dtype str, {', '.join(DTYPES.values())}, got {self.dtype!r}")

    def problem(self, value: object) -> str:
        """What is wrong with `value`, in a sentence; "" where nothing is."""
        if self.dtype == "str":
            if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
                return self._said(f"a list of texts, got {type(value).__name__}")
            if not _fits(self.shape, (len(value),)):
                return self._said(f"{self._axes()} texts, got {len(value)}")
            return self._too_many(sum(map(len, value)), "characters")
        if not isinstance(value, np.ndarray):
            return self._said(f"a NumPy array of {self.dtype}, got {type(value).__name__}")
        if value.dtype != self.dtype:
            return self._said(f"{self.dtype}, got {value.dtype}")
        if not _fits(self.shape, value.shape):
            return self._said(f"the shape ({self._axes()}), got {value.shape}")
        return self._too_many(value.size, "numbers") or self._outside(value)

    def _too_many(self, count: int, what: str) -> str:
        return (
            self._said(f"{self.most} {what} at most, got {count}")
            if self.most is not None and count > self.most
            else ""
        )

    def _outside(self, value: np.ndarray) -> str:
        floats = value.dtype.kind == "f"
        if floats and not (finite := np.isfinite(value)).all():
            return self._said(f"finite numbers, got {value[~finite][0]}")
        if self.low is None and self.high is None:
            return ""  # a large picture without a range is spared the comparisons
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        reach = max((abs(bound) for bound in (low, high) if np.isfinite(bound)), default=0)
        beyond = ROUNDINGS * np.finfo(value.dtype).eps * reach if floats else 0
        outside = value[(value < low - beyond) | (value > high + beyond)]
        return self._said(f"{low:g} to {high:g}, got {outside[0]}") if outside.size else ""

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
        """Reads what `to_json` wrote. Raises ValueError where it is something else."""
        try:
            raw = json.loads(text)
            for side in ("inputs", "outputs"):
                raw[side] = tuple(Field(**{**each, "shape": tuple(each["shape"])}) for each in raw[side])
            return cls(**{**raw, "labels": tuple(raw["labels"])})
        except (KeyError, TypeError, ValueError) as wrong:
            raise ValueError(
                f"expected a contract as `to_json` writes it, got {type(wrong).__name__}: {wrong}"
            ) from wrong

    def problems(self, side: str, values: Mapping[str, object]) -> list[str]:
        """What is wrong with the values for `side` ("inputs" or "outputs"), a sentence for each problem."""
        fields = getattr(self, side)
        names = [each.name for each in fields]
        problems = [f"{name}: missing" for name in names if name not in values]
        problems += [
            f"{name[:40]!r}: unknown, this contract has {', '.join(names)}" for name in values if name not in names
        ]
        problems += filter(None, (each.problem(values[each.name]) for each in fields if each.name in values))
        if not problems and len(rows := self.rows(side, values)) > 1:
            problems = [f"expected one number of rows in all of {', '.join(names)}, got {sorted(rows)}"]
        return problems

    def rows(self, side: str, values: Mapping[str, object]) -> set[int]:
        """How many examples the fields of `side` hold whose first axis counts them: one number where all agree."""
        return {len(values[each.name]) for each in getattr(self, side) if each.shape and each.shape[0] < 0}


class Pipeline:
    """A model's file, loaded, behind its contract: `pipeline(rgb=pictures)` checks, runs, checks, and answers by name.
    Several threads may call it at once, where `prepare` allows it."""

    def __init__(
        self,
        file: Path,
        contract: Contract,
        prepare: Callable[..., dict[str, np.ndarray]] | None = None,
        *,
        threads: int = 1,
    ) -> None:
        """file: an ONNX model with its weights inside; the attribute `session` is ONNX Runtime's, over it. prepare: what
        must happen to the inputs before the model takes them, where the graph cannot do it itself. threads: that ONNX
        Runtime may use.

        Raises Broken for a file with another checksum, a graph whose names and types are not the contract's, labels
        that no output has columns for, and an example that is not answered as the contract says.
        """
        raw = Path(file).read_bytes()
        found = hashlib.sha256(raw).hexdigest()
        if found != contract.sha256:
            raise Broken(
                f"expected the file of {contract.name} {contract.version}, sha256 {contract.sha256[:12]}…, got "
                f"{found[:12]}…: fetch the model again, or make a contract for the new one"
            )
        self.contract, self.session, self._prepare = contract, open_session(raw, threads), prepare
        self._compare_with_the_graph()
        if contract.example:
            self._test_itself()

    def __call__(self, /, **inputs: object) -> dict[str, np.ndarray]:
        """The outputs by name. Raises Refused for inputs that break the contract, Broken for outputs that do."""
        contract = self.contract
        if problems := contract.problems("inputs", inputs):
            raise Refused(f"{contract.name} {contract.version} refuses its inputs. " + "; ".join(problems))
        names = [each.name for each in contract.outputs]
        feeds = inputs if self._prepare is None else self._prepare(**inputs)
        outputs = dict(zip(names, self.session.run(names, feeds)))
        problems = contract.problems("outputs", outputs)
        asked, answered = contract.rows("inputs", inputs), contract.rows("outputs", outputs)
        if asked and answered and asked != answered:
            problems.append(f"expected an answer to each of {asked.pop()} examples, got {answered.pop()}")
        if problems:
            raise Broken(f"{contract.name} {contract.version} breaks its outputs. " + "; ".join(problems))
        return outputs

    def _compare_with_the_graph(self) -> None:
        contract = self.contract
        sides = [("outputs", self.session.get_outputs())]
        if self._prepare is None:
            sides.append(("inputs", self.session.get_inputs()))
        for side, tensors in sides:
            promised = {each.name: each.dtype for each in getattr(contract, side)}
            there = {tensor.name: DTYPES.get(tensor.type, tensor.type) for tensor in tensors}
            if there != promised:
                raise Broken(f"expected a graph with the {side} {promised}, got {there}: file and contract disagree")
        columns = {each.name: each.shape[-1] for each in contract.outputs if each.shape}
        if contract.labels and len(contract.labels) not in columns.values():
            raise Broken(f"expected an output with {len(contract.labels)} columns, one for each label, got {columns}")

    def _test_itself(self) -> None:
        name = f"{self.contract.name} {self.contract.version}"
        try:
            answers, expected = self._answers_to_the_example(), self.contract.example["outputs"]
            expected = {each: np.array(expected[each], np.float64) for each in answers}
        except (KeyError, ValueError, TypeError, OverflowError) as wrong:
            raise Broken(f"{name} cannot be asked its own example: {type(wrong).__name__}: {wrong}") from wrong
        for each, got in answers.items():
            promised = expected[each]
            if got.shape != promised.shape or not np.allclose(got, promised, rtol=CLOSE, atol=CLOSE):
                raise Broken(
                    f"{name} does not answer its own example as promised: expected {each} "
                    f"{promised.ravel()[:4].tolist()} …, got {got.ravel()[:4].tolist()} …; what prepares the input has "
                    "changed, or the contract belongs to another model"
                )

    def _answers_to_the_example(self) -> dict[str, np.ndarray]:
        dtypes = {each.name: each.dtype for each in self.contract.inputs}
        sent = self.contract.example["inputs"]
        return self(**{k: v if dtypes[k] == "str" else np.array(v, dtypes[k]) for k, v in sent.items()})


def open_session(raw: bytes, threads: int) -> onnxruntime.InferenceSession:
    """ONNX Runtime over a model's bytes, on the processor, with so many threads.

    Raises Broken for a model whose weights stand in a second file, and what ONNX Runtime raises.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # left alone, ONNX Runtime counts the host's cores, not the container's
    options.log_severity_level = 4  # what goes wrong is raised
    # The arena keeps what the largest call so far needed, for each session; without it memory stays flat, and calls are
    # no slower.
    options.enable_cpu_mem_arena = False
    # Threads that wait by spinning burn the CPU time that a container's limit grants.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights in a second file, which no checksum covers, are not to be found.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", NOWHERE)
    try:
        return onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class but this
        if NOWHERE not in str(error):
            raise
        second = str(error).split(f"{NOWHERE}/")[-1].split('"')[0]
        raise Broken(
            f"expected a model with its weights inside, got one whose weights are in {second}, which no checksum covers: "
            "export it with torch.onnx.export(…, external_data=False), or join the two with "
            'onnx.save(onnx.load("model.onnx"), "whole.onnx")'
        ) from None


def checksum(file: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _fits(wanted: tuple[int, ...], got: tuple[int, ...]) -> bool:
    return len(wanted) == len(got) and all(g == w if w >= 0 else g >= -w for w, g in zip(wanted, got))
