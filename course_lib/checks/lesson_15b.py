"""Checks of lesson 15b."""

import contextlib
import copy
import hashlib
import math
import random as randomness
from collections.abc import Callable, Iterator
from itertools import zip_longest
from unittest import mock

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("15b.1", "What does this error mean?")
def verdicts(answer: Callable) -> Iterator[Property]:
    """answer(status, deliveries, most) -> "done", "again" or "dead"."""

    def gives(wanted: str, statuses: tuple, deliveries: int = 1, most: int = 3) -> bool:
        return all(answer(status, deliveries, most) == wanted for status in statuses)

    yield ("statuses from 200 to 299 are done", lambda: gives("done", (200, 201, 204, 299)), [
        "201 and 204 are successes too.",
        "A range, not one number.",
        'if status is not None and 200 <= status <= 299: return "done"',
    ])  # fmt: skip
    yield ("no answer, and a service that failed, are tried again", lambda: gives("again", (None, 500, 501, 502, 503, 504, 599)), [
        "The gateway was restarted: 503, or a broken connection.",
        "None is not a number: ask for it before you compare.",
        'status is None or 500 <= status <= 599',
    ])  # fmt: skip
    yield ("a wrong request is dead at once", lambda: gives("dead", (400, 404, 413, 422, 499)), [
        "The picture has the wrong shape. Will it have another one tomorrow?",
        "400 to 499, but for two.",
        'if 400 <= status <= 499: return "dead"',
    ])  # fmt: skip
    yield ("408 and 429 are tried again", lambda: gives("again", (408, 429)), [
        "429 says: too many requests, later.",
        "Ask for these two before you ask for 400 to 499.",
        "status in (None, 408, 429) or 500 <= status <= 599",
    ])  # fmt: skip
    yield ("what could be tried again is dead after `most` deliveries", lambda: all(
        gives("again", (None, 408, 429, 500, 503), n, most) for n, most in ((1, 2), (2, 3), (4, 5)))
        and all(gives("dead", (None, 408, 429, 500, 503), n, most) for n, most in ((1, 1), (3, 3), (4, 3))), [
        "With most = 3 the third delivery is the last.",
        "deliveries counts this try already.",
        '"again" if deliveries < most else "dead"',
    ])  # fmt: skip
    yield ("the last delivery may succeed", lambda: gives("done", (200, 204), 3, 3) and gives("done", (200,), 7, 3), [
        "The third try of three is answered with 200.",
        "Look at the status before you look at the count.",
        'The line that returns "done" comes first.',
    ])  # fmt: skip
    yield ("any other status is refused", lambda: all(raises(ValueError, answer, status, n, 3)
           for status in (0, 20, 100, 101, 199, 301, 304, 399, 600, 4040) for n in (1, 3)), [
        "301 is a redirection, 20 is no status at all. What should the worker make of them?",
        "Refuse every status that fits none of your cases.",
        "raise ValueError(…) at the end",
    ])  # fmt: skip


def _taken(jobs: list[dict], now_s: float, lease_s: float, most: int) -> int | None:
    """The second way: one walk in the order of ids."""
    chosen = None
    for job in sorted(jobs, key=lambda each: each["id"]):
        if job["state"] != "waiting" or job["leased_until"] > now_s:
            continue
        if job["deliveries"] >= most:
            job["state"] = "dead"
        elif chosen is None:
            chosen = job["id"]
            job.update(leased_until=now_s + lease_s, deliveries=job["deliveries"] + 1)
    return chosen


def _job(number: int, leased_until: float = 0.0, deliveries: int = 0, state: str = "waiting") -> dict:
    return {"id": number, "leased_until": leased_until, "deliveries": deliveries, "state": state}


@EXERCISES.add("15b.2", "Take, with a maximum of deliveries", may_change=(0,))
def take_with_a_maximum(answer: Callable) -> Iterator[Property]:
    """answer(jobs, now_s, lease_s, most) -> the id of a job, or None."""

    def gives(jobs: list[dict], wanted: int | None, after: list[dict], now_s: float = 10.0, most: int = 3) -> bool:
        return answer(jobs, now_s, 5.0, most) == wanted and jobs == after

    yield ("the free job with the smallest id is leased, and its deliveries rise by one", lambda: gives(
        [_job(7), _job(2, deliveries=1), _job(5)], 2, [_job(7), _job(2, 15.0, 2), _job(5)]), [
        "The list is in no order.",
        "Choose by id; change leased_until and deliveries of this job, in place.",
        "min(free, key=lambda job: job['id'])",
    ])  # fmt: skip
    yield ("where no job is free, None comes back", lambda: gives([], None, []) and gives([_job(1, state="done")], None, [_job(1, state="done")]), [
        "Try an empty list.",
        "min() of nothing raises, unless it is told what to give.",
        "min(…, default=None)",
    ])  # fmt: skip
    yield ("a job with the id 0 is a job", lambda: gives([_job(3), _job(0)], 0, [_job(3), _job(0, 15.0, 1)]), [
        "`if chosen:` is false for 0.",
        "Compare with None.",
        "if chosen is None: return None",
    ])  # fmt: skip
    yield ("leased, done and dead jobs are not given out", lambda: gives(
        [_job(1, 10.1), _job(2, state="done"), _job(3, state="dead"), _job(4)], 4,
        [_job(1, 10.1), _job(2, state="done"), _job(3, state="dead"), _job(4, 15.0, 1)]), [
        "It is 10 s. Job 1 is leased until 10.1 s.",
        "Free is: waiting, and leased_until <= now_s.",
        'job["state"] == "waiting" and job["leased_until"] <= now_s',
    ])  # fmt: skip
    yield ("a lease is over at its last moment", lambda: gives([_job(1, 10.0, 1)], 1, [_job(1, 15.0, 2)]), [
        "leased_until is 10.0, and it is 10.0.",
        "<=, not <",
        'job["leased_until"] <= now_s',
    ])  # fmt: skip
    yield ("after `most` deliveries a job is dead, and the next one is given out", lambda: gives(
        [_job(1, 9.0, 3), _job(2, 0.0, 2)], 2, [_job(1, 9.0, 3, "dead"), _job(2, 15.0, 3)])
        and gives([_job(1, 9.0, 1)], None, [_job(1, 9.0, 1, "dead")], most=1), [
        "Job 1 was delivered three times, job 2 twice.",
        "The third delivery is allowed, a fourth is not.",
        'if job["deliveries"] >= most: job["state"] = "dead"',
    ])  # fmt: skip
    yield ("while its last lease runs, it is not dead", lambda: gives(
        [_job(1, 10.5, 3), _job(2)], 2, [_job(1, 10.5, 3), _job(2, 15.0, 1)])
        and gives([_job(1, 10.5, 3)], None, [_job(1, 10.5, 3)]), [
        "A worker still holds job 1, for the third time. It may finish.",
        "Only a free job can die.",
        "Choose the free jobs first, then mark the dead among them.",
    ])  # fmt: skip
    yield ("done jobs stay done, however often they were delivered", lambda: gives(
        [_job(1, 9.0, 5, "done")], None, [_job(1, 9.0, 5, "done")]), [
        "Job 1 was done at its fifth delivery.",
        "Only a waiting job can die.",
        'job["state"] == "waiting" and …',
    ])  # fmt: skip
    yield ("all such jobs become dead in one call, also those after the one that is given out", lambda: gives(
        [_job(1, 9.0, 4), _job(2), _job(3, 9.0, 3), _job(4, 0.0, 9)], 2,
        [_job(1, 9.0, 4, "dead"), _job(2, 15.0, 1), _job(3, 9.0, 3, "dead"), _job(4, 0.0, 9, "dead")]), [
        "Jobs 3 and 4 stand behind job 2, which is given out.",
        "A `return` inside the loop ends it too early.",
        "First mark all dead jobs, then choose.",
    ])  # fmt: skip

    def lives() -> bool:
        for seed in range(40):
            drawn = randomness.Random(seed)
            jobs, most, now_s = [_job(n) for n in drawn.sample(range(50), 8)], drawn.choice([1, 2, 3]), 0.0
            other = copy.deepcopy(jobs)
            for _ in range(40):
                now_s += drawn.choice([0.0, 0.5, 1.0, 3.0])
                if answer(jobs, now_s, 2.0, most) != _taken(other, now_s, 2.0, most) or jobs != other:
                    return False
                if drawn.random() < 0.3:
                    done = drawn.randrange(8)
                    jobs[done]["state"] = other[done]["state"] = "done"
        return True

    yield ("forty random queues", lives, [
        "Several calls come at the same moment.",
        "Jobs are finished between two calls.",
        "Compare with the docstring, sentence by sentence.",
    ])  # fmt: skip


@EXERCISES.add("15b.3", "What the key must hold")
def keys(answer: Callable) -> Iterator[Property]:
    """answer(model, version, inputs) -> str."""
    picture = np.arange(64, dtype=np.float32).reshape(1, 8, 8) / 64

    def key(model: str = "digits", version: int = 3, **inputs: np.ndarray) -> str:
        return answer(model, version, inputs or {"pixels": picture})

    yield ("a string of at most 200 characters, for a large input too", lambda: all(
        isinstance(each, str) and 0 < len(each) <= 200 for each in (key(), key(x=np.zeros((300, 300))), key(**{"n" * 500: picture}))), [
        "What is the length of your key for 300 × 300 numbers?",
        "A digest has one length, whatever went in.",
        "hashlib.sha256(…).hexdigest()",
    ])  # fmt: skip
    yield ("the same question has the same key", lambda: key() == key() == key(pixels=picture.copy()), [
        "An equal array, elsewhere in memory, is the same question.",
        "id() and the object's own hash know where it lies.",
        "Take the numbers: array.tobytes()",
    ])  # fmt: skip

    def elsewhere() -> str:
        with mock.patch("builtins.hash", lambda thing, here=hash: here(thing) ^ 15):  # salted as another process has it
            return key()

    yield ("in another process too", lambda: key() == elsewhere(), [
        "Two gateways share one cache. Do they write the same key?",
        "Python salts hash() of text and bytes anew in each process.",
        "hashlib.sha256(…).hexdigest() knows no salt.",
    ])  # fmt: skip

    def bits() -> float:
        told = [key(x=np.full(3, i, np.float32)) for i in range(500)]
        return sum(math.log2(len(set(letters))) for letters in zip_longest(*told))

    yield ("it has room for 128 bits, so that two keys do not collide by chance", lambda: bits() >= 100, [
        "How many different keys can there be? Eight hexadecimal digits have 32 bits.",
        "Of 100,000 keys of 32 bits, two meet with a probability of two thirds. Python's hash, CRC-32 and a cut digest are too short.",
        "hashlib.sha256(…).hexdigest(), in full",
    ])  # fmt: skip
    yield ("another model or version has another key", lambda: len({key(), key("letters"), key(version=4), key(version=2)}) == 4, [
        "A new version answers otherwise.",
        "Which of the three arguments does your key use?",
        "json.dumps([model, version, …])",
    ])  # fmt: skip

    def unbroken() -> bool:
        """Whether the key is made without a hash for which collisions are known."""
        broken, used = ("md5", "sha1"), []

        def noted(name: str, make: Callable) -> Callable:
            def instead(*given: object, **named: object) -> object:
                used.append(
                    name if name != "new" else str(given[0] if given else named.get("name")).lower().replace("-", "")
                )
                return make(*given, **named)

            return instead

        with contextlib.ExitStack() as patches:
            for name in (*broken, "new"):
                patches.enter_context(mock.patch.object(hashlib, name, noted(name, getattr(hashlib, name))))
            key()
        return not {*used} & {*broken}

    yield ("its hash is not broken", unbroken, [
        "MD5 and SHA-1 are long enough. But two inputs with the same digest can be constructed.",
        "uuid3 uses MD5, uuid5 uses SHA-1.",
        "hashlib.sha256(…).hexdigest()",
    ])  # fmt: skip

    def one_number() -> bool:
        large = np.zeros((100, 100), np.float32)
        changed = large.copy()
        changed[50, 50] = 1e-7
        return key(x=large) != key(x=changed) and key(x=picture) != key(x=picture + np.float32(1e-6))

    yield ("one number in the middle of a large array, a little different, has another key", one_number, [
        "print(np.zeros((100, 100))): what stands in the middle?",
        "Text of an array is shortened and rounded.",
        "array.tobytes(), not str(array)",
    ])  # fmt: skip
    flat = np.arange(6, dtype=np.float32)
    yield ("shape and dtype count", lambda: len({key(x=each) for each in (
        flat, flat.reshape(2, 3), flat.reshape(3, 2), flat.reshape(1, 6), flat.view(np.int32), flat.astype(np.float64), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))}) == 8, [
        "2 × 3 and 3 × 2 have the same bytes.",
        "So have a float32 and the int32 of its bits; and empty arrays have none.",
        "str(array.dtype) and list(array.shape) go into it too.",
    ])  # fmt: skip
    zeros = np.zeros(2, np.float32)
    yield ("a single number is not an array of one, and the order of bytes belongs to the dtype", lambda:
           key(x=np.float32(3).reshape(())) != key(x=np.full(1, 3, np.float32)) and key(x=zeros) != key(x=zeros.astype(">f4")), [
        "np.zeros(()) has the shape (), and np.zeros(1) has (1,). The dtypes '>f4' and '<f4' are both named float32.",
        "np.ascontiguousarray makes shape (1,) of shape (); dtype.name leaves out the order of bytes.",
        "inputs[name].shape and str(inputs[name].dtype), before anything is converted.",
    ])  # fmt: skip
    yield ("numbers count bit for bit", lambda: key(x=zeros) != key(x=-zeros) and key(x=flat) != key(x=flat[::-1])
           and key(x=np.array([0.1 + 0.2])) != key(x=np.array([0.3])) and key(x=flat) != key(x=flat.astype(">f4")), [
        "0.0 == -0.0, but their bits differ; 0.1 + 0.2 is not 0.3.",
        "Sums, rounded text and sets of numbers lose something.",
        "array.tobytes(), and the dtype as text: '>f4' is not 'float32'",
    ])  # fmt: skip
    wide = np.arange(24, dtype=np.float32).reshape(4, 6)
    yield ("an array's layout in memory does not matter", lambda: key(x=wide) == key(x=np.asfortranarray(wide))
           and key(x=wide[:, ::2]) == key(x=wide[:, ::2].copy()) and key(x=wide.T) == key(x=wide.T.copy()) != key(x=wide), [
        "Try np.asfortranarray(x), and every second column.",
        "array.data gives the memory as it lies; what does tobytes() give?",
        "np.ascontiguousarray(array).tobytes()",
    ])  # fmt: skip
    yield ("the order of the dict does not matter; the names do", lambda: key(a=picture, b=flat) == key(b=flat, a=picture)
           and len({key(a=picture, b=flat), key(a=flat, b=picture), key(a=picture), key(b=picture), key(c=picture, b=flat)}) == 5, [
        "Two inputs, in two orders.",
        "And what if their arrays are exchanged?",
        "for name in sorted(inputs): …, and the name goes into it.",
    ])  # fmt: skip

    def borders() -> bool:
        for sign in ("", "|", ",", ":", ";", "/", "-", "_", ".", " ", "=", "\n", "\t", "\0"):
            if key(f"a{sign}1", 2, x=flat) == key("a", 1, **{f"2{sign}x": flat}) or \
                    key(**{f"a{sign}b": flat, "c": flat}) == key(**{"a": flat, f"b{sign}c": flat}):  # fmt: skip
                return False
        return key("a", 1, **{"2x": flat}) != key("a", 12, x=flat)

    byte = {text: np.frombuffer(text.encode(), np.uint8) for text in ("x", "xx", "xxx")}
    yield ("neighbouring parts do not run together", lambda: key("a", 12) != key("a1", 2)
           and key(a=byte["x"], b=byte["xxx"]) != key(a=byte["xx"], b=byte["xx"])
           and key(**{"a,b": flat, "c": picture}) != key(**{"a": flat, "b,c": picture})
           and key(au=byte["x"].view(np.int8)) != key(a=byte["x"])
           and len({key(**{'a", "b': picture}), key(**{"a,b": picture}), key(**{"a": picture, "b": picture}), key("dig\nits"), key("dig", 3), key("é"), key("e")}) == 7, [
        "Model a in version 12, and model a1 in version 2.",
        "If nothing stands between two parts, or a sign that a name may hold, they run together.",
        "json.dumps of a list keeps the borders; shapes before the bytes say where each array ends.",
    ])  # fmt: skip
    yield ("nor do they if a name holds the separator", borders, [
        "Model 'a|1' in version 2, and model 'a' in version 1 with an input '2|x'.",
        "Any sign may stand in a name, also a zero byte.",
        "json.dumps([model, version, …]) puts quotes around each part, and escapes those inside.",
    ])  # fmt: skip
