"""What a predictor's answer says: the digits of a user's pictures and how sure it is of them, whether two predictors say
the same, and the last answers, kept."""

from collections import OrderedDict
from http import HTTPStatus

import numpy as np
import orjson

from course_lib.services.process import Refused
from course_lib.services.upstream import Reply

FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}


class Memory:
    """The last answers, in this process: the one that was used longest ago goes first."""

    def __init__(self, entries: int) -> None:
        self.entries, self.kept = entries, OrderedDict()

    async def get(self, key: str) -> bytes | None:
        if key in self.kept:
            self.kept.move_to_end(key)
        return self.kept.get(key)

    async def set(self, key: str, value: bytes, ex: int) -> None:
        self.kept[key] = value
        self.kept.move_to_end(key)
        if len(self.kept) > self.entries:
            self.kept.popitem(last=False)


def digits(content: bytes) -> tuple[list[int], list[float]]:
    """The classes of a predictor's answer, and the probability of each. Raises Refused (502) where it is no answer that a
    user should get.

    The ten numbers of a picture are taken as probabilities where they are such, else as logits, which softmax turns into
    probabilities.
    """
    try:
        rows = _ten_each(orjson.loads(content)["predictions"])
    except (ValueError, KeyError, TypeError):
        rows = None
    if rows is None:
        raise Refused(502, "the predictor's answer is no list of ten finite numbers for each picture")
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    are_probabilities = (rows >= 0).all(axis=1) & (abs(rows.sum(axis=1) - 1) < 1e-3)
    sure = np.where(are_probabilities, rows.max(axis=1), 1 / powers.sum(axis=1))
    return rows.argmax(axis=1).tolist(), sure.tolist()


def same(one: Reply, other: Reply) -> bool:
    """Whether two answers to one question agree: in their status and outputs, where these are ten numbers for each
    picture in the digit alone. Ids, versions and parameters may differ."""
    if one.status != other.status:
        return False
    return one.status != HTTPStatus.OK or _outputs(one) == _outputs(other)


def _ten_each(rows: object) -> np.ndarray | None:
    """Rows of ten finite numbers, float64 (N, 10); None for anything else."""
    try:
        rows = np.array(rows, np.float64)
    except (ValueError, TypeError):
        return None
    return rows if rows.ndim == 2 and rows.shape[1] == 10 and np.isfinite(rows).all() else None


def _outputs(reply: Reply) -> object:
    """What an answer says, in a form that `==` compares; its bytes where it is of neither protocol."""
    try:
        length = int(reply.header(b"inference-header-content-length") or len(reply.content))
        told, binary = orjson.loads(reply.content[:length]), reply.content[length:]
        if "model_name" not in told:  # v1: predictions, or outputs
            return {name: _digits_or_all(value) for name, value in told.items()}
        found = {}
        for each in told["outputs"]:
            data, size = each.get("data"), each.get("parameters", {}).get("binary_data_size")
            if size is not None:
                data, binary = binary[:size], binary[size:]
                if each["datatype"] in FLOATS:
                    data = np.frombuffer(data, FLOATS[each["datatype"]]).tolist()
            rows = np.reshape(data, each["shape"]).tolist() if isinstance(data, list) else data
            found[each["name"]] = each["datatype"], each["shape"], _digits_or_all(rows)
        return found
    except (ValueError, KeyError, TypeError, AttributeError):
        return reply.content


def _digits_or_all(rows: object) -> object:
    found = _ten_each(rows)
    return rows if found is None else ("digits", found.argmax(axis=1).tolist())
