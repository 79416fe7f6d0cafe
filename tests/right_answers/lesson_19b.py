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


RIGHT = {
    "19b.1": [by_adding_requests, by_scipy],
    "19b.2": [by_counting],
    "19b.3": [by_dictionary, by_limits_of_k],
}
