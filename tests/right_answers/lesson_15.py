"""Right answers to lesson 15's exercises that differ from the solutions."""

import copy
import functools
import itertools
import json
import math
import threading
from fractions import Fraction

import numpy as np

# 15.1


def by_match(graph):
    match graph:
        case ("series", parts):
            found = list(map(by_match, parts))
            availability = 1.0
            for each, _ in found:
                availability *= each
            return availability, float(sum(ms for _, ms in found))
        case ("any", parts):
            found, failing = list(map(by_match, parts)), 1.0
            for each, _ in found:
                failing *= 1 - each
            return 1 - failing, float(max([ms for _, ms in found], default=0))
        case ("retry", attempts, part):
            if attempts < 1:
                raise ValueError("no try")
            return by_match(("any", [part] * attempts))[0], attempts * by_match(part)[1]
        case (str(), *_):
            raise ValueError("no such kind")
        case (availability, ms) if 0 <= availability <= 1 and ms >= 0:
            return float(availability), float(ms)
    raise ValueError(graph)


def by_numpy(graph):
    kind = graph[0]
    if kind in ("series", "any"):
        found = np.array([by_numpy(each) for each in graph[1]], float).reshape(-1, 2)
        if kind == "series":
            return float(found[:, 0].prod()), float(found[:, 1].sum())
        return float(1 - (1 - found[:, 0]).prod()), float(found[:, 1].max(initial=0))
    if kind == "retry":
        if graph[1] < 1:
            raise ValueError
        a, ms = by_numpy(graph[2])
        return float(1 - (1 - a) ** graph[1]), float(graph[1] * ms)
    if isinstance(kind, str) or not 0 <= kind <= 1 or graph[1] < 0:
        raise ValueError
    return float(kind), float(graph[1])


def as_a_list(graph):
    return list(by_match(graph))


def by_fractions(graph):
    def inner(each):
        if each[0] == "series":
            parts = [inner(part) for part in each[1]]
            return functools.reduce(lambda x, y: (x[0] * y[0], x[1] + y[1]), parts, (Fraction(1), Fraction(0)))
        if each[0] == "any":
            parts = [inner(part) for part in each[1]]
            return functools.reduce(
                lambda x, y: (1 - (1 - x[0]) * (1 - y[0]), max(x[1], y[1])), parts, (Fraction(0), Fraction(0))
            )
        if each[0] == "retry":
            if each[1] < 1:
                raise ValueError
            a, ms = inner(each[2])
            return 1 - (1 - a) ** each[1], each[1] * ms
        if isinstance(each[0], str) or not 0 <= each[0] <= 1 or each[1] < 0:
            raise ValueError
        return Fraction(each[0]), Fraction(each[1])

    a, ms = inner(graph)
    return float(a), float(ms)


def retries_in_series(graph):
    if graph[0] == "retry":
        if graph[1] < 1:
            raise ValueError
        tries = [retries_in_series(graph[2])] * graph[1]
        return retries_in_series(("any", tries))[0], retries_in_series(("series", tries))[1]
    if graph[0] in ("series", "any"):
        found = [retries_in_series(each) for each in graph[1]]
        if graph[0] == "any":
            worst = functools.reduce(lambda left, each: left * (1 - each[0]), found, 1.0)
            return 1.0 - worst, max([0.0, *(ms for _, ms in found)])
        return functools.reduce(lambda left, each: left * each[0], found, 1.0), sum((ms for _, ms in found), 0.0)
    if type(graph[0]) is str or graph[0] > 1 or graph[0] < 0 or graph[1] < 0:
        raise ValueError("no part")
    return float(graph[0]), float(graph[1])


# 15.2


def _checked(base_s, cap_s, attempts, deadline_s):
    if attempts < 1 or base_s < 0 or cap_s < 0 or deadline_s < 0:
        raise ValueError


def by_recursion_of_times(base_s, cap_s, attempts, deadline_s, random):
    _checked(base_s, cap_s, attempts, deadline_s)
    waits, upper = [], min(base_s, cap_s)
    while len(waits) < attempts - 1:
        waits.append(random() * upper)
        if sum(waits) >= deadline_s:
            return waits[:-1]
        upper = min(2 * upper, cap_s)
    return waits


def by_whole_powers(base_s, cap_s, attempts, deadline_s, random):
    _checked(base_s, cap_s, attempts, deadline_s)
    waits, at = [], 0.0
    for k in range(attempts - 1):
        wait = random() * (min(cap_s, base_s * 2**k) if k < 1000 else cap_s if base_s else 0.0)
        at += wait
        if at >= deadline_s:
            break
        waits.append(wait)
    return waits


def by_a_try(base_s, cap_s, attempts, deadline_s, random):
    _checked(base_s, cap_s, attempts, deadline_s)
    waits, left = [], deadline_s
    for k in range(1, attempts):
        try:
            upper = min(cap_s, base_s * 2.0 ** (k - 1))
        except OverflowError:
            upper = cap_s if base_s else 0.0
        wait = upper * random()
        left -= wait
        if not left > 0:
            break
        waits += [wait]
    return waits


def by_uppers(base_s, cap_s, attempts, deadline_s, random):
    _checked(base_s, cap_s, attempts, deadline_s)
    uppers = itertools.accumulate(range(attempts - 2), lambda u, _: min(cap_s, 2 * u), initial=min(cap_s, base_s))
    waits, total = [], 0.0
    for upper in itertools.islice(uppers, attempts - 1):
        waits.append(upper * random())
        total += waits[-1]
        if total >= deadline_s:
            waits.pop()
            break
    return waits


def by_logarithms(base_s, cap_s, attempts, deadline_s, random):
    _checked(base_s, cap_s, attempts, deadline_s)
    waits, at = [], 0.0
    for k in range(attempts - 1):
        reached = base_s > 0 and (cap_s <= base_s or k >= math.log2(cap_s) - math.log2(base_s))
        wait = random() * (cap_s if reached else min(cap_s, math.ldexp(base_s, k)))
        at += wait
        if at >= deadline_s:
            break
        waits.append(wait)
    return waits


def by_a_generator(base_s, cap_s, attempts, deadline_s, random):
    _checked(base_s, cap_s, attempts, deadline_s)

    def waits():
        at, upper = 0.0, base_s
        for _ in range(attempts - 1):
            wait = random() * min(upper, cap_s)
            at += wait
            if at >= deadline_s:
                return
            yield float(wait)
            upper = min(upper * 2, max(cap_s, base_s))

    return list(waits())


# 15.3


class Breaker:
    """The form for production, driven by a trace."""

    def __init__(self, threshold, open_s):
        self.threshold, self.open_s, self.state, self.count, self.since, self.number = (
            threshold,
            open_s,
            "closed",
            0,
            0,
            0,
        )

    def allow(self, now):
        if self.state == "open" and now - self.since >= self.open_s:
            self.state = "half-open"
            return "trial"
        return self.number if self.state == "closed" else None

    def report(self, ticket, now, ok):
        if ticket == "trial":
            self.state, self.since = ("closed" if ok else "open"), now
            if ok:
                self.count, self.number = 0, self.number + 1
        elif self.state == "closed" and ticket == self.number:
            self.count = 0 if ok else self.count + 1
            if self.count >= self.threshold:
                self.state, self.since = "open", now


def by_a_class(events, threshold, open_s):
    breaker, tickets, answers = Breaker(threshold, open_s), {}, []
    for kind, now, name, *ok in events:
        if kind == "call":
            tickets[name] = breaker.allow(now)
            answers.append(tickets[name] is not None)
        else:
            breaker.report(tickets[name], now, ok[0])
    return answers


def by_forgetting_names(events, threshold, open_s):
    answers, known, count, opened, trial = [], set(), 0, None, None
    for event in events:
        now, name = event[1], event[2]
        if event[0] == "call":
            if opened is None:
                known.add(name)
                answers.append(True)
            elif trial is None and now >= opened + open_s:
                trial = name
                answers.append(True)
            else:
                answers.append(False)
        elif trial is not None and name == trial:
            trial, opened, count = None, (None if event[3] else now), 0
        elif opened is None and name in known:
            count = (count + 1) * (not event[3])
            if count == threshold:
                opened = now
                known.clear()
    return answers


def as_a_tuple(events, threshold, open_s):
    return tuple(by_a_class(events, threshold, open_s))


def as_an_array(events, threshold, open_s):
    return np.array(by_forgetting_names(events, threshold, open_s), bool)


def by_a_generator_of_states(events, threshold, open_s):
    """A coroutine that is sent events: locals hold the state."""

    def machine():
        event, passed = (yield), set()
        while True:  # closed
            bad = 0
            while bad < threshold:
                if event[0] == "call":
                    passed.add(event[2])
                    event = yield True
                else:
                    bad = bad if event[2] not in passed else 0 if event[3] else bad + 1
                    since = event[1]
                    event = yield None
            passed.clear()
            while True:  # open
                if event[0] == "end" or event[1] - since < open_s:
                    event = yield (False if event[0] == "call" else None)
                    continue
                tried = event[2]
                event = yield True
                while not (event[0] == "end" and event[2] == tried):
                    event = yield (False if event[0] == "call" else None)
                good, since = event[3], event[1]
                event = yield None
                if good:
                    break

    states = machine()
    next(states)
    return [found for found in [states.send(event) for event in events] if found is not None]


def by_deadline(events, threshold, open_s):
    ready, trial, bad, passed = None, [], [], {}
    answers = []
    for event in events:
        if event[0] == "call":
            let = ready is None or (not trial and event[1] >= ready)
            if let and ready is not None:
                trial.append(event[2])
            elif let:
                passed[event[2]] = bad
            answers.append(let)
        elif event[2] in trial:
            trial.clear()
            ready, bad = (None, []) if event[3] else (event[1] + open_s, bad)
        elif ready is None and passed.get(event[2]) is bad:
            bad.append(event[2])
            if event[3]:
                bad.clear()
            if len(bad) >= threshold:
                ready = event[1] + open_s
    return answers


# 15.4


def by_copies(kept, key, body, work):
    if key is None or key == "":
        return 400, None
    said = json.dumps(body, sort_keys=True)
    if key in kept:
        entry = kept[key]
        if entry["said"] != said:
            return 422, None
        return (200, copy.deepcopy(entry["result"])) if "result" in entry else (409, None)
    kept[key] = {"said": said}
    done = False
    try:
        result = work(body)
        done = True
    finally:
        if not done:
            kept.pop(key)
    kept[key]["result"] = copy.deepcopy(result)
    return 201, result


def by_two_entries(kept, key, body, work):
    if not key:
        return (400, None)
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    if ("body", key) in kept:
        if kept["body", key] != text:
            return (422, None)
        if ("result", key) not in kept:
            return (409, None)
        return (200, json.loads(kept["result", key]))
    kept["body", key] = text
    try:
        result = json.dumps(work(json.loads(text)))
    except:  # noqa: E722 - a cancellation too
        kept.pop(("body", key))
        raise
    kept["result", key] = result
    return (201, json.loads(result))


def as_a_list_of_two(kept, key, body, work):
    return list(by_copies(kept, key, body, work))


def by_marks(kept, key, body, work):
    if not key:
        return 400, None
    state, said, result = kept.get(key, ("new", None, None))
    text = json.dumps(body, sort_keys=True)
    if state == "new":
        kept[key] = "at work", text, None
        try:
            answer = work(body)
            kept[key] = "done", text, json.dumps(answer)
        finally:
            if kept[key][0] != "done":
                del kept[key]
        return 201, answer
    if said != text:
        return 422, None
    return (409, None) if state == "at work" else (200, json.loads(result))


def by_a_lock(kept, key, body, work):
    """As a server with threads has it: an entry holds a lock while the work goes on."""
    if not key:
        return 400, None

    def canonical(value):
        if isinstance(value, dict):
            return "{" + ",".join(f"{json.dumps(k)}:{canonical(value[k])}" for k in sorted(value)) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(canonical, value)) + "]"
        return json.dumps(value)

    entry = kept.setdefault(key, {"lock": threading.Lock(), "said": canonical(body)})
    if entry["said"] != canonical(body):
        return 422, None
    if "text" in entry:
        return 200, json.loads(entry["text"])
    if not entry["lock"].acquire(blocking=False):
        return 409, None
    try:
        entry["text"] = json.dumps(work(body))
    finally:
        entry["lock"].release()
        if "text" not in entry:
            del kept[key]
    return 201, json.loads(entry["text"])


def by_typed_comparison(kept, key, body, work):
    def same(one, other):
        if type(one) is not type(other):
            return False
        if isinstance(one, dict):
            return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
        if isinstance(one, list):
            return len(one) == len(other) and all(map(same, one, other))
        return one == other

    if not key:
        return 400, None
    if key in kept:
        before, results = kept[key]
        if not same(before, body):
            return 422, None
        return (200, copy.deepcopy(results[0])) if results else (409, None)
    kept[key] = copy.deepcopy(body), []
    try:
        result = work(body)
    except BaseException:
        del kept[key]
        raise
    kept[key][1].append(copy.deepcopy(result))
    return 201, result


RIGHT = {
    "15.1": [by_match, by_numpy, as_a_list, by_fractions, retries_in_series],
    "15.2": [by_recursion_of_times, by_whole_powers, by_a_try, by_uppers, by_a_generator, by_logarithms],
    "15.3": [by_a_class, by_forgetting_names, as_a_tuple, as_an_array, by_deadline, by_a_generator_of_states],
    "15.4": [by_copies, by_two_entries, as_a_list_of_two, by_marks, by_typed_comparison, by_a_lock],
}
