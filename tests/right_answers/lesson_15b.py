"""Right answers to lesson 15b's exercises that differ from the solutions."""

import base64
import hashlib
import io
import json
import pickle
import struct
import uuid

import numpy as np

# 15b.1


def by_match(status, deliveries, most):
    match status:
        case None | 408 | 429:
            passing = True
        case int() if 500 <= status < 600:
            passing = True
        case int() if 400 <= status < 500:
            return "dead"
        case int() if 200 <= status < 300:
            return "done"
        case _:
            raise ValueError(f"status {status}")
    return "dead" if passing and deliveries >= most else "again"


def by_hundreds(status, deliveries, most):
    kind = 5 if status in (None, 408, 429) else status // 100
    if kind not in (2, 4, 5):
        raise ValueError(status)
    return {2: "done", 4: "dead", 5: "again" if deliveries < most else "dead"}[kind]


def by_a_table(status, deliveries, most):
    table = {number: "done" for number in range(200, 300)} | {number: "dead" for number in range(400, 500)}
    table |= {number: "again" for number in (None, 408, 429, *range(500, 600))}
    if status not in table:
        raise ValueError("no such status")
    return "dead" if table[status] == "again" and most - deliveries <= 0 else table[status]


def by_early_errors(status, deliveries, most):
    if status is not None and not (200 <= status < 300 or 400 <= status < 600):
        raise ValueError
    if status and status < 300:
        return "done"
    again = not status or status >= 500 or status in {408, 429}
    return ("dead", "again")[again and deliveries < most]


def by_text(status, deliveries, most):
    first = "x" if status is None or status == 408 or status == 429 else str(status)[0] if 100 <= status < 600 else "?"
    if first == "2":
        return "done"
    if first == "4":
        return "dead"
    if first in "x5":
        return "dead" if deliveries >= most else "again"
    raise ValueError(status)


# 15b.2


def by_sorting_in_place(jobs, now_s, lease_s, most):
    found = None
    for job in sorted(jobs, key=lambda each: each["id"]):
        if job["state"] == "waiting" and not job["leased_until"] > now_s:
            if job["deliveries"] >= most:
                job["state"] = "dead"
            elif found is None:
                found = job
    if found is None:
        return None
    found["leased_until"], found["deliveries"] = now_s + lease_s, found["deliveries"] + 1
    return found["id"]


def by_indexes(jobs, now_s, lease_s, most):
    best = -1
    for i in range(len(jobs)):
        if jobs[i]["state"] != "waiting" or jobs[i]["leased_until"] > now_s:
            continue
        if jobs[i]["deliveries"] >= most:
            jobs[i]["state"] = "dead"
        elif best < 0 or jobs[i]["id"] < jobs[best]["id"]:
            best = i
    if best < 0:
        return None
    jobs[best] = jobs[best] | {"leased_until": now_s + lease_s, "deliveries": jobs[best]["deliveries"] + 1}
    return jobs[best]["id"]


def by_two_lists(jobs, now_s, lease_s, most):
    free = {job["id"]: job for job in jobs if job["state"] == "waiting" and job["leased_until"] <= now_s}
    for job in [each for each in free.values() if each["deliveries"] >= most]:
        job["state"] = "dead"
        del free[job["id"]]
    if not free:
        return None
    chosen = free[min(free)]
    chosen.update(leased_until=now_s + lease_s, deliveries=chosen["deliveries"] + 1)
    return chosen["id"]


def by_rebuilding(jobs, now_s, lease_s, most):
    def after(job):
        dies = job["state"] == "waiting" and job["leased_until"] <= now_s and job["deliveries"] >= most
        return {**job, "state": "dead"} if dies else dict(job)

    jobs[:] = [after(job) for job in jobs]
    able = sorted(job["id"] for job in jobs if job["state"] == "waiting" and job["leased_until"] <= now_s)
    for job in jobs:
        if able and job["id"] == able[0]:
            job["leased_until"] = now_s + lease_s
            job["deliveries"] += 1
    return able[0] if able else None


def by_sql(jobs, now_s, lease_s, most):
    import sqlite3

    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE jobs (id INTEGER, leased_until REAL, deliveries INTEGER, state TEXT)")
    base.executemany("INSERT INTO jobs VALUES (:id, :leased_until, :deliveries, :state)", jobs)
    free = "state = 'waiting' AND leased_until <= ?"
    base.execute(f"UPDATE jobs SET state = 'dead' WHERE {free} AND deliveries >= ?", (now_s, most))
    taken = base.execute(
        "UPDATE jobs SET leased_until = ?, deliveries = deliveries + 1 "
        f"WHERE id = (SELECT min(id) FROM jobs WHERE {free}) RETURNING id", (now_s + lease_s, now_s),
    ).fetchone()  # fmt: skip
    after = {row[0]: row for row in base.execute("SELECT * FROM jobs")}
    for job in jobs:
        _, job["leased_until"], job["deliveries"], job["state"] = after[job["id"]]
    return taken and taken[0]


# 15b.3


def by_repr(model, version, inputs):
    parts = [(name, array.dtype.str, array.shape, array.tobytes()) for name, array in sorted(inputs.items())]
    return hashlib.sha512(repr((model, version, parts)).encode()).hexdigest()


def by_lengths(model, version, inputs):
    digest = hashlib.blake2b(digest_size=20)
    parts = [model.encode(), str(version).encode()]
    for name in sorted(inputs):
        array = np.ascontiguousarray(inputs[name])
        parts += [name.encode(), array.dtype.str.encode(), str(np.shape(inputs[name])).encode(), array.tobytes()]
    for part in parts:
        digest.update(struct.pack("<Q", len(part)))
        digest.update(part)
    return digest.hexdigest()


def by_base64(model, version, inputs):
    text = str([model, version, [(n, str(a.dtype), a.shape, a.tobytes().hex()) for n, a in sorted(inputs.items())]])
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def by_digests_of_parts(model, version, inputs):
    def of(data):
        return hashlib.sha256(data).hexdigest()

    parts = [of(model.encode()), of(str(version).encode())]
    for name, array in sorted(inputs.items()):
        parts += [of(name.encode()), of(str(array.dtype).encode()), of(repr(array.shape).encode()), of(array.tobytes())]
    return "model-" + of("".join(parts).encode())


def by_pickle(model, version, inputs):
    parts = tuple((str(n), str(a.dtype), tuple(map(int, a.shape)), a.tobytes()) for n, a in sorted(inputs.items()))
    return hashlib.sha256(pickle.dumps(repr((model, version, parts)), protocol=4)).hexdigest()


def by_npy_files(model, version, inputs):
    digest = hashlib.blake2s()
    digest.update(json.dumps([model, version, sorted(inputs)]).encode())
    for _, array in sorted(inputs.items()):
        file = io.BytesIO()
        np.save(file, np.array(array, order="C"), allow_pickle=False)
        digest.update(len(file.getvalue()).to_bytes(8, "big") + file.getvalue())
    return digest.hexdigest()


def by_sha3_of_new(model, version, inputs):
    parts = [[name, a.dtype.str, list(a.shape), a.tobytes().hex()] for name, a in sorted(inputs.items())]
    return hashlib.new("sha3_256", json.dumps([model, version, parts]).encode()).hexdigest()


def by_uuid(model, version, inputs):
    parts = [
        (name, str(array.dtype), list(array.shape), array.tobytes().hex()) for name, array in sorted(inputs.items())
    ]
    return "digits:" + str(uuid.UUID(bytes=hashlib.sha256(repr([model, version, parts]).encode()).digest()[:16]))


RIGHT = {
    "15b.1": [by_match, by_hundreds, by_a_table, by_early_errors, by_text],
    "15b.2": [by_sorting_in_place, by_indexes, by_two_lists, by_rebuilding, by_sql],
    "15b.3": [by_repr, by_lengths, by_base64, by_digests_of_parts, by_pickle, by_uuid, by_npy_files, by_sha3_of_new],
}
