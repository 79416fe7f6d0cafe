"""Right answers to lesson 19b's exercises that differ from the solutions."""

import itertools
import math

import numpy as np

# 19b.1


def by_adding_requests(p0, p1, alpha, power):
    if not 0 <= p0 < p1 < 1 or not 0 < alpha < 1 or not 0 < power < 1:
        raise ValueError
    chances = np.ones((2, 1))  # of 0 to n failures, under p0 and under p1
    p = np.array([[p0], [p1]])
    for n in itertools.count(1):
        chances = np.hstack([chances * (1 - p), [[0], [0]]]) + np.hstack([[[0], [0]], chances * p])
        above = 1 - chances.cumsum(axis=1)
        most = int(np.argmax(above[0] <= alpha))
        if above[1, most] >= power:
            return n, most


def by_scipy(p0, p1, alpha, power):
    from scipy.stats import binom

    if not (0 <= p0 < p1 < 1 and 0 < alpha < 1 and 0 < power < 1):
        raise ValueError
    n, most = 1, 0
    while True:
        while binom.sf(most, n, p0) > alpha:
            most += 1
        if binom.sf(most, n, p1) >= power:
            return [n, most]
        n += 1


def by_fractions(p0, p1, alpha, power):
    from fractions import Fraction

    if not (0 <= p0 < p1 < 1 and 0 < alpha < 1 and 0 < power < 1):
        raise ValueError
    if p0 == 0:  # the bound is 0
        n = 1
        while 1 - (1 - Fraction(p1)) ** n < power:
            n += 1
        return n, 0
    return by_adding_requests(p0, p1, alpha, power)


def by_logarithms(p0, p1, alpha, power):
    if not (0 <= p0 < p1 < 1 and 0 < alpha < 1 and 0 < power < 1):
        raise ValueError

    def above(most, n, p):
        if p == 0:
            return 0.0
        ways = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(most + 1))
        return 1 - math.fsum(math.exp(w + k * math.log(p) + (n - k) * math.log1p(-p)) for k, w in enumerate(ways))

    most = 0
    for n in itertools.count(1):
        while above(most, n, p0) > alpha:
            most += 1
        if above(most, n, p1) >= power:
            return n, most


def bound_anew_each_time(p0, p1, alpha, power):
    from scipy.stats import binom

    if not (0 <= p0 < p1 < 1 and 0 < alpha < 1 and 0 < power < 1):
        raise ValueError
    for n in itertools.count(1):
        tails = binom.sf(np.arange(n + 1), n, p0)
        most = int(np.flatnonzero(tails <= alpha)[0])
        if binom.sf(most, n, p1) >= power:
            return n, most


# 19b.2


def by_counting(outcomes, p0, p1, alpha, beta):
    if not 0 < p0 < p1 < 1 or not 0 < alpha < 1 or not 0 < beta < 1:
        raise ValueError
    wrong = read = 0
    for outcome in iter(outcomes):
        read += 1
        wrong += bool(outcome)
        known = wrong * math.log(p1 / p0) + (read - wrong) * math.log((1 - p1) / (1 - p0))
        if known >= math.log(1 / alpha):
            return "roll back", read
        if known <= math.log(beta):
            return "promote", read
    return ("go on", read)


def _asks(p0, p1, alpha, beta):
    if not 0 < p0 < p1 < 1 or not 0 < alpha < 1 or not 0 < beta < 1:
        raise ValueError


def by_accumulating(outcomes, p0, p1, alpha, beta):
    _asks(p0, p1, alpha, beta)
    steps = (math.log(p1 / p0) if each else math.log((1 - p1) / (1 - p0)) for each in outcomes)
    read = 0
    for read, known in enumerate(itertools.accumulate(steps), start=1):
        if known >= math.log(1 / alpha) or known <= math.log(beta):
            return ("roll back" if known > 0 else "promote"), read
    return "go on", read


def by_while_and_next(outcomes, p0, p1, alpha, beta):
    _asks(p0, p1, alpha, beta)
    stream, known, read = iter(outcomes), 0.0, 0
    while math.log(beta) < known < -math.log(alpha):
        try:
            wrong = next(stream)
        except StopIteration:
            return "go on", read
        read += 1
        known += math.log(p1) - math.log(p0) if wrong else math.log1p(-p1) - math.log1p(-p0)
    return "roll back" if known > 0 else "promote", read


def in_bits_as_a_list(outcomes, p0, p1, alpha, beta):
    _asks(p0, p1, alpha, beta)
    k = n = 0
    for each in outcomes:
        k, n = k + int(bool(each)), n + 1
        known = k * math.log2(p1 / p0) + (n - k) * math.log2((1 - p1) / (1 - p0))
        if known >= -math.log2(alpha):
            return ["roll back", n]
        if known <= math.log2(beta):
            return ["promote", n]
    return ["go on", n]


def with_numpy_numbers(outcomes, p0, p1, alpha, beta):
    _asks(p0, p1, alpha, beta)
    steps = np.log([(1 - p1) / (1 - p0), p1 / p0])
    known, read = np.float64(0), np.int64(0)
    for each in outcomes:
        known += steps[int(bool(each))]
        read += 1
        if known >= -np.log(alpha):
            return "roll back", read
        if known <= np.log(beta):
            return "promote", read
    return "go on", read


# 19b.3


def by_dictionary(p, n, p0, p1, alpha, beta):
    if not 0 <= p <= 1 or n < 0 or not 0 < p0 < p1 < 1 or not 0 < alpha < 1 or not 0 < beta < 1:
        raise ValueError
    alive, ended = {0: 1.0}, {"roll back": 0.0, "promote": 0.0}
    for seen in range(1, n + 1):
        new = {}
        for k, chance in alive.items():
            new[k] = new.get(k, 0) + chance * (1 - p)
            new[k + 1] = new.get(k + 1, 0) + chance * p
        alive = {}
        for k, chance in new.items():
            known = k * math.log(p1 / p0) + (seen - k) * math.log((1 - p1) / (1 - p0))
            if math.log(beta) < known < -math.log(alpha):
                alive[k] = chance
            else:
                ended["promote" if known < 0 else "roll back"] += chance
    return {"go on": sum(alive.values()), **ended}


def by_limits_of_k(p, n, p0, p1, alpha, beta):
    if not (0 <= p <= 1 and n >= 0 and 0 < p0 < p1 < 1 and 0 < alpha < 1 and 0 < beta < 1):
        raise ValueError
    up, down = np.log(p1 / p0), np.log((1 - p1) / (1 - p0))
    alive, promote, back = np.array([1.0]), 0.0, 0.0
    for seen in range(1, n + 1):
        alive = np.append(alive * (1 - p), 0) + np.append(0, alive * p)
        known = np.arange(seen + 1) * up + (seen - np.arange(seen + 1)) * down
        back += alive[known >= -np.log(alpha)].sum()
        promote += alive[known <= np.log(beta)].sum()
        alive = np.where((known < -np.log(alpha)) & (known > np.log(beta)), alive, 0)
    return {"promote": promote, "roll back": back, "go on": 1 - promote - back}


def by_bounds_of_k(p, n, p0, p1, alpha, beta):
    """What is alive after each request lies between two numbers of failures."""
    if not (0 <= p <= 1 and n >= 0 and 0 < p0 < p1 < 1 and 0 < alpha < 1 and 0 < beta < 1):
        raise ValueError
    up, down = math.log(p1 / p0), math.log((1 - p1) / (1 - p0))
    found = dict.fromkeys(("promote", "roll back", "go on"), 0.0)
    alive = [1.0]
    for seen in range(1, n + 1):
        alive = [a * (1 - p) + b * p for a, b in zip([*alive, 0.0], [0.0, *alive])]
        for k, chance in enumerate(alive):
            if chance and k * up + (seen - k) * down >= -math.log(alpha):
                found["roll back"], alive[k] = found["roll back"] + chance, 0.0
            elif chance and k * up + (seen - k) * down <= math.log(beta):
                found["promote"], alive[k] = found["promote"] + chance, 0.0
    found["go on"] = sum(alive)
    return found


def by_matrix(p, n, p0, p1, alpha, beta):
    if not (0 <= p <= 1 and n >= 0 and 0 < p0 < p1 < 1 and 0 < alpha < 1 and 0 < beta < 1):
        raise ValueError
    k = np.arange(n + 1)
    alive = (k == 0).astype(float)
    promote, back = [], []
    for seen in k[1:]:
        alive = np.convolve(alive, [1 - p, p])[: n + 1]
        known = k * np.log(p1 / p0) + (seen - k) * np.log((1 - p1) / (1 - p0))
        high, low = known >= np.log(1 / alpha), known <= np.log(beta)
        back.append(alive[high].sum())
        promote.append(alive[low].sum())
        alive = alive * ~(high | low)
    return {"roll back": np.float64(sum(back)), "promote": np.float64(sum(promote)), "go on": alive.sum()}


def in_single_precision(p, n, p0, p1, alpha, beta):
    if not (0 <= p <= 1 and n >= 0 and 0 < p0 < p1 < 1 and 0 < alpha < 1 and 0 < beta < 1):
        raise ValueError
    alive, k = np.zeros(n + 1, np.float32), np.arange(n + 1)
    alive[0], ended = 1, {"promote": np.float32(0), "roll back": np.float32(0)}
    for seen in range(1, n + 1):
        alive = (1 - p) * alive + p * np.append(np.float32(0), alive[:-1])
        known = k * math.log(p1 / p0) + (seen - k) * math.log((1 - p1) / (1 - p0))
        for name, over in (("roll back", known >= -math.log(alpha)), ("promote", known <= math.log(beta))):
            ended[name] += alive[over].sum()
            alive[over] = 0
    return {**ended, "go on": alive.sum()}


def over_a_recursion(p, n, p0, p1, alpha, beta):
    if not (0 <= p <= 1 and n >= 0 and 0 < p0 < p1 < 1 and 0 < alpha < 1 and 0 < beta < 1):
        raise ValueError
    return by_limits_of_k(p, n, p0, p1, alpha, beta) if n else {"promote": 0, "roll back": 0, "go on": 1}


RIGHT = {
    "19b.1": [by_adding_requests, by_scipy, by_fractions, by_logarithms, bound_anew_each_time],
    "19b.2": [by_counting, by_accumulating, by_while_and_next, in_bits_as_a_list, with_numpy_numbers],
    "19b.3": [by_dictionary, by_limits_of_k, by_bounds_of_k, by_matrix, over_a_recursion, in_single_precision],
}
