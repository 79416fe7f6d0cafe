"""One version of one model: its file checked and loaded, and run on one request or on several at once."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime

from course_lib.pipeline import Broken, Contract, Pipeline, open_session
from course_lib.serving.checksums import listed_as, read_checked
from course_lib.serving.errors import ModelError, Refused, one_line
from course_lib.serving.keys import read_file
from course_lib.serving.tensors import DTYPES, Tensor

Feeds = dict[str, np.ndarray]
"""Arrays by name: a model's inputs or its outputs."""


class Model:
    """One version of one model, loaded. `run` may be called from several threads at once.

    inputs, outputs: name -> Tensor. batches: whether the requests of several clients may be joined into one call: the
    first axis of all inputs and outputs counts the samples (the contract says so, or without one the file gives it one
    and the same name everywhere), and no activation is quantized by the range of all that stands in the call.
    """

    def __init__(
        self, name: str, version: int, path: Path, threads: int, checksums: dict[str, str] | None = None
    ) -> None:
        """path: the ONNX file; a `contract.json` beside it is held to. threads: what one call may compute with.
        checksums: those that the files must have, by NAME/VERSION/FILE; None: any. Raises ModelError for a file that
        cannot be served."""
        self.name, self.version = name, version
        try:
            raw = read_checked(path, checksums)
            promise = path.with_name("contract.json")
            # A link to nowhere, or a sum without its file, is a broken promise, not none.
            promised = os.path.lexists(promise) or listed_as(promise) in (checksums or {})
            self.contract = Contract.from_json(read_checked(promise, checksums).decode()) if promised else None
            unranked = unranked_inputs(raw)
            self._session = (
                Pipeline(path, self.contract, threads=threads).session if self.contract else open_session(raw, threads)
            )
            self.inputs = {
                tensor.name: tensor
                for tensor in (_tensor(each, each.name in unranked) for each in self._session.get_inputs())
            }
            self.outputs = {
                tensor.name: tensor
                for tensor in (_tensor(each, each.name in unranked) for each in self._session.get_outputs())
            }
        except Exception as error:  # ONNX Runtime's errors share no base class but this
            raise ModelError(f"{path} is not a model that this server can serve: {one_line(error)}") from error
        # The names of operators stand in the file as they are: DynamicQuantizeLinear, DynamicQuantizeMatMul, …
        self.batches = b"DynamicQuantize" not in raw and (
            self._counts_by_contract() if self.contract else self._counts_by_name()
        )

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

    def _counts_by_contract(self) -> bool:
        return all(field.shape and field.shape[0] < 0 for field in (*self.contract.inputs, *self.contract.outputs))

    def _counts_by_name(self) -> bool:
        arguments = [*self._session.get_inputs(), *self._session.get_outputs()]
        axes = {argument.shape[0] if argument.shape else None for argument in arguments}
        return len(axes) == 1 and isinstance(axes.pop(), str)

    def check(self, feeds: Feeds) -> int:
        """How many samples `feeds` holds. Raises Refused where they break the contract, or differ in that number."""
        if self.contract and (problems := self.contract.problems("inputs", feeds)):
            raise Refused(400, f"model '{self.name}' refuses its inputs. {'; '.join(problems)}")
        counts = {len(array) if array.shape else 1 for array in feeds.values()}
        if self.batches and len(counts) > 1:
            raise Refused(400, f"expected one number of samples in all inputs, got {sorted(counts)}.")
        return max(counts, default=1)

    def run(self, feeds: Feeds) -> Feeds:
        """Runs the model on one request: input name -> array of the input's dtype and shape.

        Raises Refused where the model refuses the values, such as an index outside its table, and Broken where its
        outputs are not what its contract promises.
        """
        try:
            outputs = dict(zip(self.outputs, self._session.run(list(self.outputs), feeds), strict=True))
        except Exception as error:
            # Dtype and shape were right, so that what remains depends on the values that were sent.
            raise Refused(400, f"model '{self.name}' cannot compute this input: {one_line(error)}") from error
        if self.contract and (problems := self.contract.problems("outputs", outputs)):
            raise Broken(f"{self} breaks its outputs. {'; '.join(problems)}")
        return outputs

    def run_together(self, requests: list[Feeds]) -> list[Feeds | Exception]:
        """Runs several requests in one call; what one of them gets does not depend on the others.

        Where the joint call fails, each is run alone, so that one with a bad value spoils no other.
        """
        if len(requests) > 1:
            try:
                return self._split(
                    self.run({name: np.concatenate([r[name] for r in requests]) for name in self.inputs}), requests
                )
            except Exception:  # found again below, with its own request
                pass
        answers: list[Feeds | Exception] = []
        for feeds in requests:
            try:
                answers.append(self.run(feeds))
            except Exception as error:
                answers.append(error)
        return answers

    def _split(self, joint: Feeds, requests: list[Feeds]) -> list[Feeds | Exception]:
        first = next(iter(self.inputs))
        ends = np.cumsum([len(feeds[first]) for feeds in requests]).tolist()
        if any(len(array) != ends[-1] for array in joint.values()):
            raise Broken(f"{self} answered {ends[-1]} samples with another number of rows")
        return [{name: array[begin:end] for name, array in joint.items()} for begin, end in zip([0, *ends], ends)]


def read_settings(folder: Path) -> dict:
    """A model's own `serving.json`: `{"labels": {"stable": 3}, "max_batch_size": 8}`; {} where there is none.

    Raises ModelError where it holds anything else.
    """
    path = folder / "serving.json"
    try:
        settings = json.loads(read_file(path).decode())
        labels, largest = settings.get("labels", {}), settings.get("max_batch_size", 1)
        right = all(
            type(version) is int and label.isprintable() and not {*label} & {*"/:"} for label, version in labels.items()
        )
        if not right or type(largest) is not int or largest < 1 or settings.keys() - {"labels", "max_batch_size"}:
            raise ValueError(f"got {json.dumps(settings)[:200]}")
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, OSError) as error:
        raise ModelError(
            f'{path}: expected {{"labels": {{"stable": 1}}, "max_batch_size": 8}}, each of them optional; {one_line(error)}'
        ) from error
    return settings


def unranked_inputs(raw: bytes) -> set[str]:
    """The inputs and outputs of an ONNX file of which it does not say how many axes they have.

    ONNX Runtime tells of them what it tells of scalars: no axes. So they are looked up in the file, a message of
    protobuf: ModelProto.graph (7), GraphProto.input (11) and .output (12), ValueInfoProto.name (1) and .type (2),
    TypeProto.tensor_type (1), Tensor.shape (2).
    """
    unranked = set()
    for number, graph in _fields(memoryview(raw)):
        for side, value in _fields(graph) if number == 7 else ():
            if side in (11, 12):
                told = dict(_fields(value))
                tensor = dict(_fields(told.get(2, b""))).get(1)
                if tensor is not None and 2 not in dict(_fields(tensor)):
                    unranked.add(str(told[1], "utf-8"))
    return unranked


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field of a protobuf message that has a length; the others are passed over."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind in (1, 5):
            at += 8 if kind == 1 else 4
            continue
        size, at = _varint(message, at)
        if kind == 2:
            yield key >> 3, message[at : at + size]
            at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number, seven bits in each byte, and where the next one begins."""
    value = shift = 0
    while at < len(message):
        byte, at = message[at], at + 1
        value, shift = value | (byte & 127) << shift, shift + 7
        if byte < 128:
            break
    return value, at


def _tensor(argument: onnxruntime.NodeArg, unranked: bool) -> Tensor:
    if argument.type not in DTYPES:
        raise TypeError(f"'{argument.name}' is a {argument.type}; this server takes {', '.join(DTYPES)}")
    numpy_name, tf_dtype, v2_datatype = DTYPES[argument.type]
    shape = tuple(size if isinstance(size, int) else -1 for size in argument.shape)  # a name or None: any size
    return Tensor(argument.name, np.dtype(numpy_name), tf_dtype, v2_datatype, None if unranked else shape)
