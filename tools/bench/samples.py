"""The digits that the benches send, in each server's own form, and what its answer must say."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from course_lib import data
from tools.bench.wrk import Request

JSON = {"Content-Type": "application/json"}
NAME = "digits_cnn"


def images(count: int = 1) -> np.ndarray:
    """The first test images, float32 (count, 1, 8, 8)."""
    return np.ascontiguousarray(data.digits()[1].images[:count].reshape(-1, 1, 8, 8), np.float32)


def labels(count: int = 1) -> list[int]:
    """What they show; every form of the course's model gets them right."""
    return data.digits()[1].labels[:count].tolist()


def classes(logits: Any) -> list[int]:
    """The largest of each row of logits. Raises ValueError where it is no table of ten columns."""
    rows = np.asarray(logits, np.float32).reshape(-1, 10)
    return rows.argmax(axis=1).tolist()


def rows(count: int = 1, path: str = f"/v1/models/{NAME}:predict") -> Request:
    """TensorFlow Serving's row form."""
    return Request(path, json.dumps({"instances": images(count).tolist()}).encode(), JSON)


def rows_answer(body: bytes) -> list[int]:
    return classes(json.loads(body)["predictions"])


def v2(count: int = 1, path: str = f"/v2/models/{NAME}/infer") -> Request:
    """The Open Inference Protocol's JSON, its data flat."""
    tensor = {"name": "pixels", "shape": [count, 1, 8, 8], "datatype": "FP32", "data": images(count).ravel().tolist()}
    return Request(path, json.dumps({"inputs": [tensor]}).encode(), JSON)


def v2_answer(body: bytes) -> list[int]:
    return classes(json.loads(body)["outputs"][0]["data"])


def v2_binary(count: int = 1, path: str = f"/v2/models/{NAME}/infer") -> Request:
    """The same with its binary extension, asking for a binary answer: little-endian bytes after the JSON."""
    raw = images(count).astype("<f4").tobytes()
    tensor = {"name": "pixels", "shape": [count, 1, 8, 8], "datatype": "FP32"}
    tensor["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [tensor], "outputs": [{"name": "logits", "parameters": {"binary_data": True}}]})
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Request(path, head.encode() + raw, headers)


def v2_binary_answer(body: bytes) -> list[int]:
    """The answer's one output is its last bytes; how many, its JSON says."""
    head, _ = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    size = head["outputs"][0]["parameters"]["binary_data_size"]
    return classes(np.frombuffer(body[-size:], "<f4"))


def own(key: str, wrapped: bool, path: str = "/predict") -> Request:
    """A peer's own path: one image under `key`, within a list where `wrapped`."""
    image = images().tolist()
    return Request(path, json.dumps({key: image if wrapped else image[0]}).encode(), JSON)


def own_answer(body: bytes) -> list[int]:
    """Bare rows, or one row under "logits"."""
    answer = json.loads(body)
    return classes(answer["logits"] if isinstance(answer, dict) else answer)


Answer = Callable[[bytes], list[int]]
"""Turns an answer's body into the classes that it tells."""
