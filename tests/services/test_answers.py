"""What a shadow's answer is compared by: its outputs, not what stands around them."""

import json

import numpy as np
import pytest

from course_lib.services.answers import same
from course_lib.services.upstream import Reply

LOGITS = np.eye(10, dtype=np.float32)[[7, 2]]


def v2(
    version: str, rows: np.ndarray, name: str = "logits", binary: bool = False, status: int = 200, **more: object
) -> Reply:
    tensor = {"name": name, "shape": list(rows.shape), "datatype": "FP32"}
    tensor |= {"parameters": {"binary_data_size": rows.nbytes}} if binary else {"data": rows.ravel().tolist()}
    head = json.dumps({"model_name": "m", "model_version": version, **more, "outputs": [tensor]}).encode()
    length = [(b"Inference-Header-Content-Length", str(len(head)).encode())] * binary
    return Reply(status, length, head + rows.tobytes() * binary)


def v1(rows: object, status: int = 200) -> Reply:
    return Reply(status, [], json.dumps({"predictions": rows}).encode())


OTHER = LOGITS[[1, 0]]
CASES = {
    "another version and id": (v2("1", LOGITS), v2("3", LOGITS, id="seven"), True),
    "in binary, another version": (v2("1", LOGITS, binary=True), v2("3", LOGITS, binary=True), True),
    "in binary and as JSON": (v2("1", LOGITS, binary=True), v2("3", LOGITS), True),
    "other logits, the same digits": (v2("1", LOGITS), v2("3", LOGITS * 2), True),
    "other digits": (v2("1", LOGITS), v2("3", OTHER), False),
    "other digits in binary": (v2("1", LOGITS, binary=True), v2("1", OTHER, binary=True), False),
    "another output": (v2("1", LOGITS), v2("1", LOGITS, name="scores"), False),
    "no digits, and the same": (v2("1", LOGITS[:, :3]), v2("3", LOGITS[:, :3]), True),
    "no digits, and others": (v2("1", LOGITS[:, :3]), v2("3", LOGITS[:, :3] + 1), False),
    "v1, other logits": (v1(LOGITS.tolist()), v1((LOGITS * 3).tolist()), True),
    "v1, other digits": (v1(LOGITS.tolist()), v1(OTHER.tolist()), False),
    "v1, no digits": (v1([1, 2]), v1([1, 3]), False),
    "another status": (v1([1]), v1([1], 404), False),
    "the same refusal": (v1([1], 404), v1([2], 404), True),
    "no JSON": (Reply(200, [], b"a"), Reply(200, [], b"b"), False),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_compared_and_nothing_else(case):
    one, other, expected = CASES[case]
    assert same(one, other) == same(other, one) == expected
