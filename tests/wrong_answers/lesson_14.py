"""Wrong answers that people write, planted in lesson 14: each must be caught at the property named."""

import json
import math

import numpy as np

# --- 14.1


def believes(body, size):
    return np.array(json.loads(body)["instances"])


def believes_in_float32(body, size):
    return np.array(json.loads(body)["instances"], np.float32)


def _read(body):
    request = json.loads(body.decode())
    rows = request.get("instances") if isinstance(request, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ValueError("expected rows")
    return rows


def guesses_the_encoding(body, size):
    request = json.loads(body)
    rows = request.get("instances") if isinstance(request, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ValueError("expected rows")
    return np.array(rows, np.float32)


def measures_anything(body, size):
    rows = _read(body)
    if any(len(row) != size for row in rows if hasattr(row, "__len__")):
        raise ValueError("expected other rows")
    return np.array(rows, np.float32)


def _sized(body, size):
    rows = _read(body)
    if not all(isinstance(row, list) and len(row) == size for row in rows):
        raise ValueError("expected other rows")
    return rows


def by_isinstance(body, size):
    rows = _sized(body, size)
    if not all(isinstance(each, int | float) for row in rows for each in row):
        raise ValueError("expected numbers")
    return np.array(rows, np.float32)


def takes_nan(body, size):
    rows = _sized(body, size)
    if any(type(each) not in (int, float) or abs(each) > 3.4028235e38 for row in rows for each in row):
        raise ValueError("expected numbers")
    return np.array(rows, np.float32)


def up_to_the_largest_as_a_double(body, size):
    rows = _sized(body, size)
    most = float(np.finfo(np.float32).max)  # 3.4028235e38 lies above it, and rounds to it
    if any(type(each) not in (int, float) or not abs(each) <= most for row in rows for each in row):
        raise ValueError("expected numbers")
    return np.array(rows, np.float32)


def finite_in_python(body, size):
    rows = _sized(body, size)
    if any(type(each) not in (int, float) or not math.isfinite(each) for row in rows for each in row):
        raise ValueError("expected numbers")
    with np.errstate(over="ignore"):
        return np.array(rows, np.float32)


def finite_afterwards(body, size):
    rows = _sized(body, size)
    if any(type(each) not in (int, float) for row in rows for each in row):
        raise ValueError("expected numbers")
    with np.errstate(over="ignore"):
        array = np.array(rows, np.float32)  # OverflowError for 10**400
    if not np.isfinite(array).all():
        raise ValueError("expected finite numbers")
    return array


def tells_the_row(body, size):
    try:
        rows = _read(body)
    except RecursionError:
        raise ValueError("too deep") from None
    for row in rows:
        fine = isinstance(row, list) and len(row) == size
        if not fine or not all(type(each) in (int, float) and abs(each) < 2**128 - 2**103 for each in row):
            raise ValueError(f"bad row {row!r:.200}")
    return np.array(rows, np.float32)


def tells_how_the_value_begins(body, size):
    try:
        return tells_the_row(body, size)
    except ValueError:
        raise ValueError(f"bad rows {body[:40].decode(errors='replace').strip('{} ')[:19]}") from None


# --- 14.2


def _form(arrived, rows, shapes, most, wait, *, mixed=False, late=">", timer=True, count=None, order=True):
    if (
        not len(arrived) == len(rows) == len(shapes)
        or (np.diff(arrived) < 0).any()
        or (rows < 1).any()
        or most < 1
        or wait < 0
    ):
        raise ValueError("expected other arguments")
    return _unchecked(arrived, rows, shapes, most, wait, mixed=mixed, late=late, timer=timer, count=count, order=order)


def _unchecked(arrived, rows, shapes, most, wait, *, mixed=False, late=">", timer=True, count=None, order=True):
    count = count or (lambda batch: sum(int(rows[i]) for i in batch))
    batches, closed = {}, []
    for i, at in enumerate(arrived.tolist()):
        shape = None if mixed else tuple(shapes[i])
        if shape in batches:
            until = arrived[batches[shape][0]] + wait
            if at > until if late == ">" else at >= until:
                closed.append((batches.pop(shape), float(until) if timer else at))
            elif count([*batches[shape], i]) > most:
                closed.append((batches.pop(shape), at))
        batches.setdefault(shape, []).append(i)
        if count(batches[shape]) >= most:
            closed.append((batches.pop(shape), at))
    closed += [(batch, float(arrived[batch[0]] + wait)) for batch in batches.values()]
    return sorted(closed, key=lambda each: (each[1], each[0][0])) if order else closed


def keeps_the_full_one_open(arrived_ms, rows, shapes, most, wait_ms):
    batches = []
    for i in range(len(arrived_ms)):
        if batches and sum(rows[batches[-1]]) + rows[i] <= most:
            batches[-1].append(i)
        else:
            batches.append([i])
    return [(batch, float(arrived_ms[batch[0]] + wait_ms)) for batch in batches]


def closed_by_the_next(arrived_ms, rows, shapes, most, wait_ms):
    return _form(arrived_ms, rows, shapes, most, wait_ms, timer=False)


def counts_requests(arrived_ms, rows, shapes, most, wait_ms):
    return _form(arrived_ms, rows, shapes, most, wait_ms, count=len)


def shuts_the_door(arrived_ms, rows, shapes, most, wait_ms):
    return _form(arrived_ms, rows, shapes, most, wait_ms, late=">=")


def splits_the_large(arrived_ms, rows, shapes, most, wait_ms):
    def count(batch):
        sizes = [int(rows[i]) for i in batch]
        return sum(sizes) if max(sizes) <= most else most - 1

    return _form(arrived_ms, rows, shapes, most, wait_ms, count=count)


def mixes_shapes(arrived_ms, rows, shapes, most, wait_ms):
    return _form(arrived_ms, rows, shapes, most, wait_ms, mixed=True)


def in_order_of_discovery(arrived_ms, rows, shapes, most, wait_ms):
    return _form(arrived_ms, rows, shapes, most, wait_ms, order=False)


def trusts_the_log(arrived_ms, rows, shapes, most, wait_ms):
    return _unchecked(arrived_ms, rows, shapes, most, wait_ms)


# --- 14.3


def says_true(waiting_rows, own_rows, deadline_ms, most, alpha_ms, beta_ms, busy_ms=0.0):
    return alpha_ms + beta_ms * own_rows <= deadline_ms


def ignores_the_queue(waiting_rows, own_rows, deadline_ms, most, alpha_ms, beta_ms, busy_ms=0.0):
    return max(0, math.ceil((alpha_ms + beta_ms * own_rows - deadline_ms) / 1000))


def _seconds(late_ms):
    return max(0, math.ceil(late_ms / 1000))


def packs_apart(waiting_rows, own_rows, deadline_ms, most, alpha_ms, beta_ms, busy_ms=0.0):
    calls = math.ceil(waiting_rows / most) + math.ceil(own_rows / most)
    return _seconds(busy_ms + calls * alpha_ms + (waiting_rows + own_rows) * beta_ms - deadline_ms)


def full_calls_only(waiting_rows, own_rows, deadline_ms, most, alpha_ms, beta_ms, busy_ms=0.0):
    calls = math.ceil((waiting_rows + own_rows) / most)
    return _seconds(busy_ms + calls * (alpha_ms + most * beta_ms) - deadline_ms)


def forgets_the_call_under_way(waiting_rows, own_rows, deadline_ms, most, alpha_ms, beta_ms, busy_ms=0.0):
    calls = math.ceil((waiting_rows + own_rows) / most)
    return _seconds(calls * alpha_ms + (waiting_rows + own_rows) * beta_ms - deadline_ms)


def rounds_down(waiting_rows, own_rows, deadline_ms, most, alpha_ms, beta_ms, busy_ms=0.0):
    calls = math.ceil((waiting_rows + own_rows) / most)
    late = busy_ms + calls * alpha_ms + (waiting_rows + own_rows) * beta_ms - deadline_ms
    return max(1, int(late // 1000)) if late > 0 else 0


def comes_back_for_ever(waiting_rows, own_rows, deadline_ms, most, alpha_ms, beta_ms, busy_ms=0.0):
    calls = math.ceil((waiting_rows + own_rows) / most)
    return _seconds(busy_ms + calls * alpha_ms + (waiting_rows + own_rows) * beta_ms - deadline_ms)


def takes_any_number(waiting_rows, own_rows, deadline_ms, most, alpha_ms, beta_ms, busy_ms=0.0):
    def takes(count):
        return (-(-count // most) if most else 0) * alpha_ms + count * beta_ms

    return None if takes(own_rows) > deadline_ms else _seconds(busy_ms + takes(waiting_rows + own_rows) - deadline_ms)


WRONG = {
    "14.1": {
        believes: "rows come back as float32 (N, size)",
        believes_in_float32: "a body that is not JSON, or not an object with rows, is a ValueError",
        guesses_the_encoding: "a body that is not JSON, or not an object with rows, is a ValueError",
        measures_anything: "each row is a list of `size` entries",
        by_isinstance: "texts, true, false and null are no numbers",
        takes_nan: "every number is finite in float32",
        up_to_the_largest_as_a_double: "every number is finite in float32",
        finite_in_python: "every number is finite in float32",
        finite_afterwards: "nothing but ValueError is raised, whatever comes",
        tells_the_row: "no message repeats what was sent",
        tells_how_the_value_begins: "no message repeats what was sent",
    },
    "14.2": {
        keeps_the_full_one_open: "a batch that is full is closed at the arrival that fills it",
        closed_by_the_next: "a batch is closed when its first request has waited, not when the next one comes",
        counts_requests: "rows are counted, not requests",
        shuts_the_door: "a request that arrives at the very moment still gets in",
        splits_the_large: "a request larger than the largest batch goes alone, at once",
        mixes_shapes: "shapes do not mix, and each has a batch of its own open",
        in_order_of_discovery: "sorted by closing time, then by the first request; any mixture, and no request at all",
        trusts_the_log: "unequal lengths, falling times, no rows, no batch and a negative wait are refused",
    },
    "14.3": {
        says_true: "an idle server lets in what it can answer in time",
        ignores_the_queue: "the rows that wait are served first, `most` at a time",
        packs_apart: "the last call need not be full, and may hold waiting rows too",
        full_calls_only: "the last call need not be full, and may hold waiting rows too",
        forgets_the_call_under_way: "the call under way is waited for",
        rounds_down: "just in time counts, and late is rounded up to whole seconds",
        comes_back_for_ever: "None where an idle server would be too late as well, busy or not",
        takes_any_number: "no own rows, a batch of 0 and negative numbers are refused",
    },
}
