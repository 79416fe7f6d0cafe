"""Right answers to lesson 13b's exercises that differ from the solutions."""

import math
from itertools import accumulate
from statistics import NormalDist

import numpy as np
from scipy import special, stats


def _share(share, confidence):
    if share <= 0 or share >= 1 or confidence <= 0 or confidence >= 1:
        raise ValueError("share")


def by_scipy(share, confidence=0.99, margin=None):
    _share(share, confidence)
    margin = (1 - share) / 20 if margin is None else margin
    if margin <= 0:
        raise ValueError("margin")
    return int(np.ceil((stats.norm.ppf(0.5 + confidence / 2) / margin) ** 2 * (share - share**2)))


def by_the_error_function(share, confidence=0.99, margin=None):
    _share(share, confidence)
    if margin is not None and margin <= 0:
        raise ValueError("margin")
    z2 = 2 * special.erfinv(confidence) ** 2
    if margin is None:
        return math.ceil(400 * z2 * share / (1 - share))
    return math.ceil(z2 * share * (1 - share) / margin**2)


def by_bisection(share, confidence=0.99, margin=None):
    _share(share, confidence)
    margin = (1 - share) / 20 if margin is None else margin
    if margin <= 0:
        raise ValueError("margin")
    z, low, high = stats.norm.isf((1 - confidence) / 2), 0, 10**9
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if z * math.sqrt(share * (1 - share) / middle) <= margin else (middle, high)
    return high


def as_a_numpy_integer(share, confidence=0.99, margin=None):
    return np.int64(by_scipy(share, confidence, margin))


def in_three_steps(share, confidence=0.99, margin=None):
    if not min(share, confidence) > 0 or not max(share, confidence) < 1:
        raise ValueError("share")
    if margin is None:
        margin = 0.05 * (1 - share)
    elif not margin > 0:
        raise ValueError("margin")
    variance = share * (1 - share)
    wanted = (margin / NormalDist().inv_cdf(1 - (1 - confidence) / 2)) ** 2
    return int(-(-variance // wanted))


def _log(arrived, answered):
    if len(arrived) == 0 or len(arrived) != len(answered):
        raise ValueError("lengths")
    if not all(b >= a for a, b in zip(arrived, answered)):
        raise ValueError("times")


def by_search(arrived, answered):
    _log(arrived, answered)
    arrived, answered = np.asarray(arrived, np.float64), np.asarray(answered, np.float64)
    span = answered.max() - arrived.min()
    if span == 0:
        return 0.0, 0
    begun, ended = np.sort(arrived), np.sort(answered)
    inside = np.searchsorted(begun, begun, "right") - np.searchsorted(ended, begun, "right")
    return (answered - arrived).sum() / span, max(0, inside.max())


def by_events(arrived, answered):
    _log(arrived, answered)
    pairs = [(float(a), float(b)) for a, b in zip(arrived, answered)]
    span = max(b for _, b in pairs) - min(a for a, _ in pairs)
    if not span:
        return (0.0, 0)
    events = sorted([(a, 1) for a, b in pairs if b > a] + [(b, -1) for a, b in pairs if b > a])
    return math.fsum(b - a for a, b in pairs) / span, max(accumulate(step for _, step in events))


def by_pairs(arrived, answered):
    _log(arrived, answered)
    arrived, answered = arrived.astype(float), answered.astype(float)
    length = answered.max() - arrived.min()
    most = max(int(((arrived <= at) & (at < answered)).sum()) for at in arrived)
    return (float(np.sum(answered - arrived)) / length, most) if length > 0 else (0.0, 0)


def by_areas(arrived, answered):
    _log(arrived, answered)
    moments = np.unique(np.concatenate([arrived, answered]).astype(float))
    inside = [int(((arrived <= at) & (answered > at)).sum()) for at in moments]
    if len(moments) == 1:
        return 0.0, 0
    return float(np.dot(inside[:-1], np.diff(moments)) / (moments[-1] - moments[0])), max(inside)


def as_a_list(arrived, answered):
    return list(by_search(arrived, answered))


def _line(sizes, times_ms, rate_per_s):
    if len(sizes) != len(times_ms) or len(set(map(int, sizes))) < 2 or not rate_per_s > 0:
        raise ValueError("measurements")
    return np.asarray(sizes, float), np.asarray(times_ms, float)


def by_a_loop(sizes, times_ms, rate_per_s, deadline_ms):
    x, y = _line(sizes, times_ms, rate_per_s)
    beta = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    alpha, best = y.mean() - beta * x.mean(), None
    for b in range(1, int(x.max()) + 1):
        call = alpha + beta * b
        in_time = (b - 1) / rate_per_s * 1000 + call <= deadline_ms + 1e-9 * abs(deadline_ms)
        if in_time and 1000 * b / call >= rate_per_s * (1 - 1e-9):
            if best is None or b / call > best[0] * (1 + 1e-9):
                best = b / call, b
    return best[1] if best else None


def by_lstsq(sizes, times_ms, rate_per_s, deadline_ms):
    x, y = _line(sizes, times_ms, rate_per_s)
    alpha, beta = np.linalg.lstsq(np.stack([np.ones_like(x), x], 1), y, rcond=None)[0]
    b = np.arange(1, int(x.max()) + 1)
    call = alpha + beta * b
    allowed = ((b - 1) * (1000 / rate_per_s) + call < deadline_ms * (1 + 1e-9)) & (
        call * rate_per_s <= 1000 * b * (1 + 1e-9)
    )
    if not allowed.any():
        return None
    return max(b[allowed].tolist(), key=lambda n: (float(f"{n / (alpha + beta * n):.9g}"), -n))


def by_scipy_regression(sizes, times_ms, rate_per_s, deadline_ms):
    x, y = _line(sizes, times_ms, rate_per_s)
    line = stats.linregress(x, y)
    every = range(1, int(x.max()) + 1)
    takes = {b: line.intercept + line.slope * b for b in every}
    good = [
        b for b in every
        if 1000 * (b - 1) / rate_per_s + takes[b] <= deadline_ms * (1 + 1e-9) and takes[b] <= 1000 * b / rate_per_s * (1 + 1e-9)
    ]  # fmt: skip
    if not good:
        return None
    most = max(b / takes[b] for b in good)
    return next(b for b in good if b / takes[b] >= most * (1 - 1e-9))


def by_polynomial(sizes, times_ms, rate_per_s, deadline_ms):
    x, y = _line(sizes, times_ms, rate_per_s)
    alpha, beta = np.polynomial.Polynomial.fit(x, y, 1).convert().coef
    return by_a_loop(x, alpha + beta * x, rate_per_s, deadline_ms)


def by_inequalities(sizes, times_ms, rate_per_s, deadline_ms):
    x, y = _line(sizes, times_ms, rate_per_s)
    beta, alpha = np.polyfit(x, y, 1)
    gap, nearly = 1000 / rate_per_s, 1e-9
    most = min(math.floor((deadline_ms + gap - alpha) / (beta + gap) * (1 + nearly)), int(x.max()))
    if gap > beta:
        least = max(1, math.ceil(alpha / (gap - beta) * (1 - nearly)))
    elif alpha < 0 and -alpha >= beta - gap:
        least, most = 1, min(most, math.floor(alpha / (gap - beta))) if beta > gap else most
    else:
        return None
    if most < least:
        return None
    return most if alpha > 1e-7 * beta else least


RIGHT = {
    "13b.1": [by_scipy, by_the_error_function, by_bisection, as_a_numpy_integer, in_three_steps],
    "13b.2": [by_search, by_events, by_pairs, by_areas, as_a_list],
    "13b.3": [by_a_loop, by_lstsq, by_scipy_regression, by_polynomial, by_inequalities],
}
