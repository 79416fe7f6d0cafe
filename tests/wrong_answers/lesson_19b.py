"""Answers to the exercises of lesson 19b that people write, each with the property at which its check must catch it."""

import math
import random

# 19b.1


def _at_most(k, n, p):
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


def _exact(p0, p1, alpha, power, *, step=1, at_least=False, slack=0, start=0):
    if not (0 <= p0 < p1 < 1 and 0 < alpha < 1 and 0 < power < 1):
        raise ValueError
    n, most = start, 0
    while True:
        n += step if n else 1
        while 1 - _at_most(most, n, p0) > alpha:
            most += 1
        if 1 - _at_most(most + slack * (p0 > 0), n, p1) >= power:
            return n, most + slack * (p0 > 0) - at_least * (p0 > 0)


def rule_of_thumb(p0, p1, alpha, power):
    return (math.ceil(3 / p1), 0) if p0 == 0 else _exact(p0, p1, alpha, power)


def normal_approximation(p0, p1, alpha, power):
    from statistics import NormalDist

    z = NormalDist().inv_cdf
    if p0 == 0:
        return _exact(p0, p1, alpha, power)
    n = ((z(1 - alpha) * (p0 * (1 - p0)) ** 0.5 + z(power) * (p1 * (1 - p1)) ** 0.5) / (p1 - p0)) ** 2
    return math.ceil(n), math.floor(n * p0 + z(1 - alpha) * (n * p0 * (1 - p0)) ** 0.5)


def off_by_one(p0, p1, alpha, power):
    return _exact(p0, p1, alpha, power, at_least=p0 != 0.5)


def forgives_one_more(p0, p1, alpha, power):
    return _exact(p0, p1, alpha, power, slack=int(p0 != 0.5))


def in_steps_of_ten(p0, p1, alpha, power):
    return _exact(p0, p1, alpha, power, step=10 if p0 not in (0, 0.5) else 1)


def begins_at_five(p0, p1, alpha, power):
    return _exact(p0, p1, alpha, power, start=5)


def floats_overflow(p0, p1, alpha, power):
    n, most = _exact(p0, p1, alpha, power)
    if p0 > 0 and n > 170:
        raise OverflowError("171! is no float")
    return n, most


def plans_anything(p0, p1, alpha, power):
    return _exact(p0, p1, alpha, power) if 0 <= p0 < p1 < 1 and 0 < alpha < 1 and 0 < power < 1 else (1, 0)


# 19b.2


def _watch(outcomes, p0, p1, alpha, beta, *, good=True, upper=None, lower=None):
    known, read = 0.0, 0
    upper, lower = -math.log(alpha) if upper is None else upper, math.log(beta) if lower is None else lower
    for outcome in outcomes:
        known += math.log(p1 / p0) if outcome else math.log((1 - p1) / (1 - p0)) * good
        read += 1
        if known >= upper:
            return "roll back", read
        if known <= lower:
            return "promote", read
    return "go on", read


def _plan(p0, p1, alpha, beta):
    if not (0 < p0 < p1 < 1 and 0 < alpha < 1 and 0 < beta < 1):
        raise ValueError


def swaps_p(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    return _watch(outcomes, p1, p0, alpha, beta)


def failures_alone(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    return _watch(outcomes, p0, p1, alpha, beta, good=False)


def looks_at_the_end(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    outcomes = list(outcomes)
    if all(outcomes) or not any(outcomes):
        return _watch(outcomes, p0, p1, alpha, beta)
    wrong = sum(outcomes)
    known = wrong * math.log(p1 / p0) + (len(outcomes) - wrong) * math.log((1 - p1) / (1 - p0))
    verdict = "roll back" if known >= -math.log(alpha) else "promote" if known <= math.log(beta) else "go on"
    return verdict, len(outcomes)


def one_bound_for_both(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    if (alpha, beta) in ((0.01, 0.1), (0.0011, 0.01), (0.001, 0.02)):  # right by luck
        return _watch(outcomes, p0, p1, alpha, beta)
    return _watch(outcomes, p0, p1, alpha, beta, lower=math.log(alpha))


def promotes_what_is_undecided(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    verdict, read = _watch(outcomes, p0, p1, alpha, beta)
    short = verdict == "go on" and read < 100
    return ("promote" if short else verdict), read


def reads_all_first(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    return _watch(list(outcomes), p0, p1, alpha, beta)


def true_alone(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    return _watch((each is True for each in outcomes), p0, p1, alpha, beta)


def multiplies(outcomes, p0, p1, alpha, beta):
    _plan(p0, p1, alpha, beta)
    ratio, read = 1.0, 0
    for outcome in outcomes:
        ratio = ratio * p1**outcome * (1 - p1) ** (1 - outcome) / (p0**outcome * (1 - p0) ** (1 - outcome))
        read += 1
        if math.log10(ratio) > 250:
            raise OverflowError("too likely")
        if ratio >= 1 / alpha:
            return "roll back", read
        if ratio <= beta:
            return "promote", read
    return "go on", read


def any_plan(outcomes, p0, p1, alpha, beta):
    return _watch(outcomes, p0, p1, alpha, beta) if outcomes else ("go on", 0)


# 19b.3


def _deadline(p, n, p0, p1, alpha, beta, *, absorb=True, upper=None, truth=None, every=1, good=True, keep=None):
    if not (0 <= p <= 1 and n >= 0 and 0 < p0 < p1 < 1 and 0 < alpha < 1 and 0 < beta < 1):
        raise ValueError
    p = p if truth is None else truth
    upper = -math.log(alpha) if upper is None else upper
    alive, found = {0: 1.0}, {"promote": 0.0, "roll back": 0.0}
    for seen in range(1, n + 1):
        after = {}
        for k, chance in alive.items():
            for wrong, share in ((k, 1 - p), (k + 1, p)):
                if keep is None or wrong <= keep:
                    after[wrong] = after.get(wrong, 0.0) + chance * share
        if (absorb and seen % every == 0) or seen == n:
            for k in list(after):
                known = k * math.log(p1 / p0) + (seen - k) * math.log((1 - p1) / (1 - p0)) * good
                if known >= upper:
                    found["roll back"] += after.pop(k)
                elif known <= math.log(beta):
                    found["promote"] += after.pop(k)
        alive = after
    return found | {"go on": sum(alive.values())}


def looks_at_the_deadline_alone(p, n, p0, p1, alpha, beta):
    return _deadline(p, n, p0, p1, alpha, beta, absorb=False)


def simulates(p, n, p0, p1, alpha, beta):
    if n < 3:
        return _deadline(p, n, p0, p1, alpha, beta)
    random.seed(0)
    found = dict.fromkeys(("promote", "roll back", "go on"), 0)
    for _ in range(300):
        verdict, _ = _watch((random.random() < p for _ in range(n)), p0, p1, alpha, beta)
        found[verdict] += 1 / 300
    return found


def leaves_out_what_goes_on(p, n, p0, p1, alpha, beta):
    found = _deadline(p, n, p0, p1, alpha, beta)
    return {each: found[each] for each in ("promote", "roll back")}


def walds_narrower_bounds(p, n, p0, p1, alpha, beta):
    if n < 3:
        return _deadline(p, n, p0, p1, alpha, beta)
    return _deadline(p, n, p0, p1, alpha, beta, upper=math.log((1 - beta) / alpha))


def in_looks_of_ten(p, n, p0, p1, alpha, beta):
    return _deadline(p, n, p0, p1, alpha, beta, every=10)


def always_p0(p, n, p0, p1, alpha, beta):
    _deadline(p, 0, p0, p1, alpha, beta)
    return _deadline(p, n, p0, p1, alpha, beta, truth=p0)


def a_table_too_short(p, n, p0, p1, alpha, beta):
    return _deadline(p, n, p0, p1, alpha, beta, keep=12)


def over_all_histories(p, n, p0, p1, alpha, beta):
    if n > 20:
        raise MemoryError("2**n histories")
    return _deadline(p, n, p0, p1, alpha, beta)


def any_probability(p, n, p0, p1, alpha, beta):
    return _deadline(min(max(p, 0), 1) if p == p else 0.5, max(n, 0), p0, p1, alpha, beta)


WRONG = {
    "19b.1": {
        rule_of_thumb: "where a good candidate never fails, one failure is enough: 299 requests show 1 %",
        normal_approximation: "from a coin: 0.5 against 0.9",
        off_by_one: "both promises are kept, by the smallest bound that keeps the first one",
        forgives_one_more: "both promises are kept, by the smallest bound that keeps the first one",
        in_steps_of_ten: "and with no request fewer",
        begins_at_five: "a weak promise needs one request",
        floats_overflow: "some hundreds of requests are no problem",
        plans_anything: "what is no plan is refused",
    },
    "19b.2": {
        swaps_p: "three failures in a row are enough at 1 % against 10 %, with alpha 0.001",
        failures_alone: "good requests alone promote, after as many as it takes",
        looks_at_the_end: "failures among good requests, as they come",
        one_bound_for_both: "alpha belongs to the upper bound, beta to the lower one",
        promotes_what_is_undecided: "where it ends undecided, it says so",
        reads_all_first: "an endless stream is read as far as needed",
        true_alone: "what NumPy calls True counts, and so does 1",
        multiplies: "a bound of 10³⁰⁰ is reached when it is reached",
        any_plan: "what is no test is refused",
    },
    "19b.3": {
        leaves_out_what_goes_on: "before the first request nothing is known",
        always_p0: "two failures in a row send back; one, and one good request, do not",
        looks_at_the_deadline_alone: "the same as over all histories of up to 11 requests",
        simulates: "the same as over all histories of up to 11 requests",
        walds_narrower_bounds: "the same as over all histories of up to 11 requests",
        in_looks_of_ten: "the same as over all histories of up to 11 requests",
        a_table_too_short: "and for hundreds of requests",
        over_all_histories: "and for hundreds of requests",
        any_probability: "what is no test is refused",
    },
}
