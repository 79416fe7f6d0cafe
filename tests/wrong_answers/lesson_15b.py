"""Answers to the exercises of lesson 15b that people write, each with the property at which its check must catch it."""

import hashlib
import json
import uuid
import zlib

import numpy as np

# 15b.1


def _verdict(status, deliveries, most, *, passing=(None, 408, 429), **how):
    if how.get("count_first") and deliveries >= most and status not in (400, 404, 413, 422, 499):
        return "dead"
    if status is not None and (status == 200 if how.get("exact") else 200 <= status <= 299):
        return "done"
    if status in passing or (status is not None and 500 <= status <= 599):
        last = deliveries > most if how.get("one_more") else deliveries >= most
        return "dead" if last and not how.get("for_ever") else "again"
    if status is not None and 400 <= status <= 499:
        return "again" if how.get("client_again") else "dead"
    if how.get("lenient"):
        return "dead"
    raise ValueError(status)


def only_200_is_done(*given):
    return _verdict(*given, exact=True)


def compares_none(status, deliveries, most):
    if status >= 500:
        return "again" if deliveries < most else "dead"
    return _verdict(status, deliveries, most)


def every_error_again(*given):
    return _verdict(*given, client_again=True)


def every_4xx_is_dead(*given):
    return _verdict(*given, passing=(None,))


def one_delivery_too_many(*given):
    return _verdict(*given, one_more=True)


def comes_again_for_ever(*given):
    return _verdict(*given, for_ever=True)


def counts_before_it_looks(*given):
    return _verdict(*given, count_first=True)


def dead_at_501(status, deliveries, most):
    return "dead" if status == 501 else by_the_first_digit(status, deliveries, most)


def by_the_first_digit(status, deliveries, most):
    first = str(status)[0]
    if first == "2":
        return "done"
    if status in (None, 408, 429) or first == "5":
        return "again" if deliveries < most else "dead"
    if first == "4":
        return "dead"
    raise ValueError(status)


def anything_else_is_dead(*given):
    return _verdict(*given, lenient=True)


# 15b.2


def _take(jobs, now_s, lease_s, most, **how):
    def free(job):
        over = job["leased_until"] < now_s if how.get("strict") else job["leased_until"] <= now_s
        return job["state"] == "waiting" and (over or how.get("no_lease", False))

    dying = jobs if how.get("also_done") else [job for job in jobs if free(job) or how.get("at_once")]
    for job in dying if not how.get("no_maximum") else []:
        waits = job["state"] == "waiting" or how.get("also_done")
        if (
            waits
            and job["deliveries"] >= most + how.get("more", 0)
            and (free(job) or how.get("at_once") or how.get("also_done"))
        ):
            job["state"] = "dead"
    able = [job for job in jobs if free(job)]
    if not able:
        return None
    chosen = able[0] if how.get("as_listed") else min(able, key=lambda job: job["id"])
    chosen["leased_until"] = now_s + lease_s
    chosen["deliveries"] += 0 if how.get("uncounted") else 1
    return chosen["id"]


def first_in_the_list(*given):
    return _take(*given, as_listed=True)


def forgets_to_count(*given):
    return _take(*given, uncounted=True)


def min_of_nothing(jobs, now_s, lease_s, most):
    if not [job for job in jobs if job["state"] == "waiting" and job["leased_until"] <= now_s]:
        return min([])["id"]
    return _take(jobs, now_s, lease_s, most)


def zero_is_false(*given):
    return _take(*given) or None


def blind_to_leases(*given):
    return _take(*given, no_lease=True)


def lease_ends_after(*given):
    return _take(*given, strict=True)


def no_maximum(*given):
    return _take(*given, no_maximum=True)


def one_delivery_more(*given):
    return _take(*given, more=1)


def dies_while_it_is_read(*given):
    return _take(*given, at_once=True)


def buries_what_is_done(jobs, now_s, lease_s, most):
    for job in jobs:
        if job["leased_until"] <= now_s and job["deliveries"] >= most:
            job["state"] = "dead"
    return _take(jobs, now_s, lease_s, most)


def stops_at_the_first(jobs, now_s, lease_s, most):
    for job in sorted(jobs, key=lambda each: each["id"]):
        if job["state"] == "waiting" and job["leased_until"] <= now_s:
            if job["deliveries"] >= most:
                job["state"] = "dead"
                continue
            job.update(leased_until=now_s + lease_s, deliveries=job["deliveries"] + 1)
            return job["id"]
    return None


# 15b.3


def _key(model, version, inputs, *, head=None, bytes_of=None, order=sorted):
    described = [[name, str(inputs[name].dtype), list(inputs[name].shape)] for name in order(inputs)]
    digest = hashlib.sha256((head or (lambda *parts: json.dumps(parts)))(model, version, described).encode())
    for name in order(inputs):
        digest.update((bytes_of or (lambda array: array.tobytes()))(inputs[name]))
    return digest.hexdigest()


def the_text_itself(model, version, inputs):
    return f"{model} {version} { ({k: v.tolist() for k, v in sorted(inputs.items())}) }"


def by_identity(model, version, inputs):
    return _key(model, version, inputs, bytes_of=lambda array: str(id(array)).encode())


def salted(model, version, inputs):
    return str(hash((model, version, *((k, str(v.dtype), v.shape, v.tobytes()) for k, v in sorted(inputs.items())))))


def name_runs_into_dtype(model, version, inputs):
    def head(m, v, d):
        return json.dumps([m, v]) + "".join(f"{name}{dtype}{shape}" for name, dtype, shape in d)

    return _key(model, version, inputs, head=head)


def without_the_version(model, version, inputs):
    return _key(model, 0, inputs)


def printed(model, version, inputs):
    return _key(model, version, inputs, bytes_of=lambda array: str(array).encode())


def bytes_alone(model, version, inputs):
    return _key(model, version, inputs, head=lambda m, v, d: json.dumps([m, v, [each[0] for each in d]]))


def memory_as_it_lies(model, version, inputs):
    return _key(model, version, inputs, bytes_of=lambda array: array.tobytes(order="A"))


def as_the_dict_comes(model, version, inputs):
    return _key(model, version, inputs, order=list)


def names_left_out(model, version, inputs):
    return _key(model, version, inputs, head=lambda m, v, d: json.dumps([m, v, [each[1:] for each in d]]))


def run_together(model, version, inputs):
    return _key(model, version, inputs, head=lambda m, v, d: f"{m}{v}{d}")


def joined_by_commas(model, version, inputs):
    def head(m, v, d):
        return f"{m}|{v}|" + ",".join(each[0] for each in d) + str([each[1:] for each in d][:1])

    return _key(model, version, inputs, head=head, bytes_of=lambda array: np.ascontiguousarray(array).tobytes())


def cut_short(model, version, inputs):
    return _key(model, version, inputs)[:8]


def checksum(model, version, inputs):
    said = json.dumps([model, version, [[n, str(a.dtype), a.shape] for n, a in sorted(inputs.items())]]).encode()
    return f"{zlib.crc32(said + b''.join(a.tobytes() for _, a in sorted(inputs.items()))):08x}"


def by_md5(model, version, inputs):
    parts = [(name, str(array.dtype), array.shape, array.tobytes()) for name, array in sorted(inputs.items())]
    return hashlib.md5(repr((model, version, parts)).encode()).hexdigest()


def by_sha1_of_new(model, version, inputs):
    parts = [(name, str(array.dtype), array.shape, array.tobytes()) for name, array in sorted(inputs.items())]
    return hashlib.new("SHA-1", repr((model, version, parts)).encode()).hexdigest()


def by_uuid5(model, version, inputs):
    parts = [(name, str(array.dtype), array.shape, array.tobytes()) for name, array in sorted(inputs.items())]
    return str(uuid.uuid5(uuid.NAMESPACE_URL, repr((model, version, parts))))


def shape_after_ascontiguousarray(model, version, inputs):
    return _key(model, version, {name: np.ascontiguousarray(array) for name, array in inputs.items()})


def name_of_the_dtype(model, version, inputs):
    parts = [(name, array.dtype.name, array.shape, array.tobytes()) for name, array in sorted(inputs.items())]
    return hashlib.sha256(repr((model, version, parts)).encode()).hexdigest()


def values_not_bits(model, version, inputs):
    return _key(model, version, inputs, bytes_of=lambda array: json.dumps((array + 0).tolist()).encode())


def joined_by_bars(model, version, inputs):
    def head(m, v, d):
        return f"{m}|{v}|" + "|".join(name for name, _, _ in d) + json.dumps([each[1:] for each in d])

    return _key(model, version, inputs, head=head, bytes_of=lambda array: np.ascontiguousarray(array).tobytes())


WRONG = {
    "15b.1": {
        only_200_is_done: "statuses from 200 to 299 are done",
        compares_none: "no answer, and a service that failed, are tried again",
        dead_at_501: "no answer, and a service that failed, are tried again",
        every_error_again: "a wrong request is dead at once",
        every_4xx_is_dead: "408 and 429 are tried again",
        one_delivery_too_many: "what could be tried again is dead after `most` deliveries",
        comes_again_for_ever: "what could be tried again is dead after `most` deliveries",
        counts_before_it_looks: "the last delivery may succeed",
        anything_else_is_dead: "any other status is refused",
        by_the_first_digit: "any other status is refused",
    },
    "15b.2": {
        first_in_the_list: "the free job with the smallest id is leased, and its deliveries rise by one",
        forgets_to_count: "the free job with the smallest id is leased, and its deliveries rise by one",
        min_of_nothing: "where no job is free, None comes back",
        zero_is_false: "a job with the id 0 is a job",
        blind_to_leases: "leased, done and dead jobs are not given out",
        lease_ends_after: "a lease is over at its last moment",
        no_maximum: "after `most` deliveries a job is dead, and the next one is given out",
        one_delivery_more: "after `most` deliveries a job is dead, and the next one is given out",
        dies_while_it_is_read: "while its last lease runs, it is not dead",
        buries_what_is_done: "done jobs stay done, however often they were delivered",
        stops_at_the_first: "all such jobs become dead in one call, also those after the one that is given out",
    },
    "15b.3": {
        the_text_itself: "a string of at most 200 characters, for a large input too",
        by_identity: "the same question has the same key",
        salted: "in another process too",
        cut_short: "it has room for 128 bits, so that two keys do not collide by chance",
        checksum: "it has room for 128 bits, so that two keys do not collide by chance",
        by_md5: "its hash is not broken",
        by_sha1_of_new: "its hash is not broken",
        by_uuid5: "its hash is not broken",
        shape_after_ascontiguousarray: "a single number is not an array of one, and the order of bytes belongs to the dtype",
        name_of_the_dtype: "a single number is not an array of one, and the order of bytes belongs to the dtype",
        without_the_version: "another model or version has another key",
        printed: "one number in the middle of a large array, a little different, has another key",
        bytes_alone: "shape and dtype count",
        values_not_bits: "numbers count bit for bit",
        memory_as_it_lies: "an array's layout in memory does not matter",
        as_the_dict_comes: "the order of the dict does not matter; the names do",
        names_left_out: "the order of the dict does not matter; the names do",
        run_together: "neighbouring parts do not run together",
        name_runs_into_dtype: "neighbouring parts do not run together",
        joined_by_commas: "neighbouring parts do not run together",
        joined_by_bars: "nor do they if a name holds the separator",
    },
}
