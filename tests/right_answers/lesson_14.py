"""Right answers to lesson 14's exercises that differ from the solutions."""

import heapq
import json
import math

import numpy as np


def float32_tells_what_is_finite(body, size):
    try:
        rows = json.loads(str(body, "utf-8"))["instances"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise ValueError("expected JSON with the key instances") from None
    if type(rows) is not list or len(rows) == 0:
        raise ValueError("expected rows")
    array = np.empty((len(rows), size), np.float32)
    with np.errstate(over="ignore"):
        for i, row in enumerate(rows):
            if type(row) is not list or len(row) != size:
                raise ValueError(f"row {i} is no list of {size}")
            for j, each in enumerate(row):
                if isinstance(each, bool) or not isinstance(each, int | float):
                    raise ValueError(f"row {i}, entry {j} is no number")
                try:
                    array[i, j] = float(each)
                except OverflowError:
                    raise ValueError(f"row {i}, entry {j} is too large") from None
    if not np.isfinite(array).all():
        raise ValueError("a number is not finite in float32")
    return array


def without_constants_of_json(body, size):
    def no(constant):
        raise ValueError("not finite")

    try:
        request = json.loads(body.decode("utf-8"), parse_constant=no)
    except RecursionError:
        raise ValueError("too deep") from None
    except ValueError:
        raise ValueError("no JSON") from None
    if not isinstance(request, dict):
        raise ValueError("no object")
    rows = request.get("instances")
    right = isinstance(rows, list) and rows and all(isinstance(row, list) and len(row) == size for row in rows)
    if not right or {type(each) for row in rows for each in row} - {int, float}:
        raise ValueError("no rows of numbers")
    if any(abs(each) >= 2**128 - 2**103 for row in rows for each in row):
        raise ValueError("too large")
    return np.array([[float(each) for each in row] for row in rows], dtype="float32")


def by_events(arrived_ms, rows, shapes, most, wait_ms):
    times, count = [float(each) for each in arrived_ms], [int(each) for each in rows]
    if len(times) != len(count) or len(times) != len(shapes) or sorted(times) != times:
        raise ValueError("lengths or times")
    if most < 1 or wait_ms < 0 or any(each < 1 for each in count):
        raise ValueError("too small")
    # At one moment requests come before timers: who arrives at that very moment still gets in.
    events = [(at, 0, i) for i, at in enumerate(times)]
    heapq.heapify(events)
    batches, closed = {}, []

    def close(shape, at):
        batch = batches.pop(shape)
        closed.append((at, batch[0], batch))

    while events:
        at, timer, i = heapq.heappop(events)
        shape = tuple(shapes[i])
        if timer:
            if batches.get(shape, [None])[0] == i:
                close(shape, at)
            continue
        if shape in batches and sum(count[k] for k in batches[shape]) + count[i] > most:
            close(shape, at)
        if shape not in batches:
            batches[shape] = []
            heapq.heappush(events, (at + wait_ms, 1, i))
        batches[shape].append(i)
        if sum(count[k] for k in batches[shape]) >= most:
            close(shape, at)
    return [[batch, at] for at, _, batch in sorted(closed)]


def a_shape_at_a_time(arrived_ms, rows, shapes, most, wait_ms):
    arrived, rows = np.asarray(arrived_ms, dtype=float), np.asarray(rows)
    if not (len(arrived) == len(rows) == len(shapes)) or most < 1 or wait_ms < 0:
        raise ValueError("arguments")
    if len(rows) and (rows.min() < 1 or np.any(arrived[1:] < arrived[:-1])):
        raise ValueError("arguments")
    found = []
    for shape in set(map(tuple, shapes)):
        batch, total = [], 0
        for i in [i for i, each in enumerate(shapes) if tuple(each) == shape]:
            if batch and arrived[i] > arrived[batch[0]] + wait_ms:
                found.append((batch, arrived[batch[0]] + wait_ms))
                batch, total = [], 0
            if batch and total + rows[i] > most:
                found.append((batch, arrived[i]))
                batch, total = [], 0
            batch, total = [*batch, i], total + rows[i]
            if total >= most:
                found.append((batch, arrived[i]))
                batch, total = [], 0
        if batch:
            found.append((batch, arrived[batch[0]] + wait_ms))
    return sorted(found, key=lambda each: (each[1], each[0][0]))


def call_by_call(waiting_rows, own_rows, deadline_ms, most, alpha_ms, beta_ms, busy_ms=0.0):
    if own_rows < 1 or most < 1:
        raise ValueError("rows")
    if any(each < 0 for each in (waiting_rows, deadline_ms, alpha_ms, beta_ms, busy_ms)):
        raise ValueError("negative")

    def ends(queue, now):
        while queue:
            now += alpha_ms + beta_ms * min(queue, most)
            queue -= min(queue, most)
        return now

    if ends(own_rows, 0) > deadline_ms:
        return None
    late = ends(waiting_rows + own_rows, busy_ms) - deadline_ms
    return 0 if late <= 0 else int(math.ceil(late / 1000))


def with_numpy(waiting_rows, own_rows, deadline_ms, most, alpha_ms, beta_ms, busy_ms=0.0):
    if min(own_rows, most) < 1 or min(waiting_rows, deadline_ms, alpha_ms, beta_ms, busy_ms) < 0:
        raise ValueError("arguments")
    counts = np.array([own_rows, waiting_rows + own_rows])
    alone, behind = np.ceil(counts / most) * alpha_ms + counts * beta_ms
    if alone > deadline_ms:
        return None
    return np.int64(max(0, np.ceil((busy_ms + behind - deadline_ms) / 1000)))


RIGHT = {
    "14.1": [float32_tells_what_is_finite, without_constants_of_json],
    "14.2": [by_events, a_shape_at_a_time],
    "14.3": [call_by_call, with_numpy],
}
