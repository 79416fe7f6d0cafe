"""Wrong answers that people write, planted in lesson 20: each must be caught at the property named."""

import numpy as np


def _grew(before, after):
    return {code: n if n < before.get(code, 0) else n - before.get(code, 0) for code, n in after.items()}


def since_the_start(before, after):
    return sum(n for code, n in after.items() if code == "429" or code >= "500") / (sum(after.values()) or 1)


def needs_a_code_that_failed(before, after):
    grew = _grew(before, after)
    failed = [n for code, n in grew.items() if code == "429" or code >= "500"]
    return sum(failed) / sum(grew.values()) if failed else None


def whole_number_zero(before, after):
    grew = _grew(before, after)
    failed = sum(n for code, n in grew.items() if code == "429" or code >= "500")
    return failed / sum(grew.values()) if failed else 0


def everything_but_200(before, after):
    grew = _grew(before, after)
    total = sum(grew.values())
    return float(sum(n for code, n in grew.items() if code != "200") / total) if total else None


def only_from_500(before, after):
    grew = _grew(before, after)
    total = sum(grew.values())
    return float(sum(n for code, n in grew.items() if code >= "500") / total) if total else None


def no_traffic_is_no_error(before, after):
    grew = _grew(before, after)
    return float(sum(n for code, n in grew.items() if code == "429" or code >= "500") / max(sum(grew.values()), 1))


def negative_after_a_restart(before, after):
    grew = {code: n - before.get(code, 0) for code, n in after.items()}
    total = sum(grew.values())
    return float(sum(n for code, n in grew.items() if code == "429" or code >= "500") / total) if total else None


def nothing_after_a_restart(before, after):
    grew = {code: max(0, n - before.get(code, 0)) for code, n in after.items()}
    total = sum(grew.values())
    return float(sum(n for code, n in grew.items() if code == "429" or code >= "500") / total) if total else None


def fills_up_what_is_missing(before, after):
    for code in after:
        before.setdefault(code, 0)
    grew = _grew(before, after)
    total = sum(grew.values())
    return float(sum(n for code, n in grew.items() if code == "429" or code >= "500") / total) if total else None


def _estimate(q, bounds, counts):
    rank = q * counts[-1]
    i = int(np.searchsorted(counts[:-1], rank))
    if i == len(bounds):
        return float(bounds[-1]), float(bounds[-1]), float("inf")
    low, below = (bounds[i - 1], counts[i - 1]) if i else (0.0, 0)
    return float(low + (bounds[i] - low) * (rank - below) / (counts[i] - below)), float(low), float(bounds[i])


def _increase(before, after):
    return after - np.where(after[:, -1:] < before[:, -1:], 0, before)


def upper_bound_of_the_bucket(q, bounds, before, after):
    counts = _increase(before, after).sum(axis=0)
    if not counts[-1]:
        return None
    _, low, high = _estimate(q, bounds, counts)
    return high, low, high


def all_since_the_start(q, bounds, before, after):
    return _estimate(q, bounds, after.sum(axis=0)) if after.sum() else None


def average_of_the_replicas(q, bounds, before, after):
    found = [_estimate(q, bounds, row) for row in _increase(before, after) if row[-1]]
    return tuple(np.mean(found, axis=0)) if found else None


def first_replica_alone(q, bounds, before, after):
    counts = _increase(before, after)
    return _estimate(q, bounds, counts[0]) if len(counts) and counts[0, -1] else None


def begins_at_the_first_bound(q, bounds, before, after):
    counts = _increase(before, after).sum(axis=0)
    if not counts[-1]:
        return None
    i = int(np.searchsorted(counts[:-1], q * counts[-1]))
    return (float(bounds[0]),) * 3 if i == 0 else _estimate(q, bounds, counts)


def last_bound_bounds_all(q, bounds, before, after):
    counts = _increase(before, after).sum(axis=0)
    if not counts[-1]:
        return None
    estimate, low, high = _estimate(q, bounds, counts)
    return estimate, low, min(high, float(bounds[-1]))


def knows_no_restart(q, bounds, before, after):
    counts = (after - before).sum(axis=0)
    return _estimate(q, bounds, counts) if counts[-1] else None


def restart_of_one_is_a_restart_of_all(q, bounds, before, after):
    again = len(after) and (after[:, -1] < before[:, -1]).any()
    counts = (after if again else after - before).sum(axis=0)
    return _estimate(q, bounds, counts) if counts[-1] else None


def restart_by_bucket(q, bounds, before, after):
    counts = np.where(after < before, after, after - before).sum(axis=0)
    return _estimate(q, bounds, counts) if counts[-1] else None


def nan_for_nothing(q, bounds, before, after):
    counts = _increase(before, after).sum(axis=0)
    return _estimate(q, bounds, counts) if counts[-1] else (float("nan"),) * 3


def subtracts_in_place(q, bounds, before, after):
    after -= np.where(after[:, -1:] < before[:, -1:], 0, before)
    counts = after.sum(axis=0)
    return _estimate(q, bounds, counts) if counts[-1] else None


def _alerts(objective, days, pairs, period_h=None, **changes):
    period_h = period_h or 24 * days
    rules = []
    for share, long_h in pairs:
        burn = share * period_h / long_h
        threshold = burn * (1 - objective)
        rule = {"burn": burn, "threshold": threshold, "short_h": long_h / 12, "lasts_h": period_h / burn}
        rules.append(rule | {"outage_s": 3600 * long_h * threshold} | {k: f(rule, long_h) for k, f in changes.items()})
    return rules


def _refused(objective, days, pairs):
    return not 0 < objective < 1 or any(s * 24 * days / w * (1 - objective) >= 1 for s, w in pairs)


def only_above_one_is_refused(objective, days, pairs):
    if not 0 < objective < 1 or any(s * 24 * days / w * (1 - objective) > 1 for s, w in pairs):
        raise ValueError
    return _alerts(objective, days, pairs)


def objective_of_nothing_is_a_promise(objective, days, pairs):
    if objective >= 1 or any(s * 24 * days / w * (1 - objective) >= 1 for s, w in pairs):
        raise ValueError
    return _alerts(objective, days, pairs)


def share_over_hours(objective, days, pairs):
    return _alerts(objective, days, pairs, burn=lambda rule, long_h: rule["burn"] / 24)


def always_thirty_days(objective, days, pairs):
    return _alerts(objective, days, pairs, period_h=720)


def threshold_of_the_promise(objective, days, pairs):
    return _alerts(objective, days, pairs, threshold=lambda rule, _: rule["burn"] * objective)


def always_five_minutes(objective, days, pairs):
    return _alerts(objective, days, pairs, short_h=lambda *_: 5 / 60)


def short_in_minutes(objective, days, pairs):
    return _alerts(objective, days, pairs, short_h=lambda _, long_h: 60 * long_h / 12)


def lasts_in_days(objective, days, pairs):
    return _alerts(objective, days, pairs, lasts_h=lambda rule, _: days / rule["burn"])


def outage_in_hours(objective, days, pairs):
    return _alerts(objective, days, pairs, outage_s=lambda rule, long_h: long_h * rule["threshold"])


def takes_any_promise(objective, days, pairs):
    return _alerts(objective, days, pairs)


def looks_at_the_first_pair_alone(objective, days, pairs):
    if _refused(objective, days, pairs[:1]):
        raise ValueError
    return _alerts(objective, days, pairs)


def only_no_promise_is_refused(objective, days, pairs):
    if not 0 < objective < 1:
        raise ValueError
    return _alerts(objective, days, pairs)


PAIRS = ((60, 5, 14.4), (360, 30, 6))


def _over(values, minutes):
    ends = np.concatenate([np.zeros(minutes), np.cumsum(np.asarray(values, float))])
    return ends[minutes:] - ends[:-minutes]


def _burns(requests, failures, objective, minutes, threshold):
    return _over(failures, minutes) > threshold * (1 - objective) * _over(requests, minutes)


def _rule(requests, failures, objective, least, pairs=PAIRS, join=np.logical_and, guard=None):
    calls = np.zeros(len(requests), bool)
    for long, short, threshold in pairs:
        one, other = (_burns(requests, failures, objective, m, threshold) for m in (long, short))
        calls |= join(one, other) & (_over(failures, guard or long) >= least)
    return calls


def above_the_objective(requests, failures, objective, least=10):
    return _burns(requests, failures, objective, 5, 1) & (_over(failures, 60) >= least)


def any_failure(requests, failures, objective, least=10):
    return np.asarray(failures) > 0


def either_window(requests, failures, objective, least=10):
    return _rule(requests, failures, objective, least, join=np.logical_or)


def long_windows_alone(requests, failures, objective, least=10):
    return _rule(requests, failures, objective, least, join=lambda one, _: one)


def windows_ahead(requests, failures, objective, least=10):
    return _rule(requests[::-1], failures[::-1], objective, least)[::-1]


def windows_of_two_pairs(requests, failures, objective, least=10):
    long, short = np.zeros((2, len(requests)), bool)
    for minutes, brief, threshold in PAIRS:
        long |= _burns(requests, failures, objective, minutes, threshold) & (_over(failures, minutes) >= least)
        short |= _burns(requests, failures, objective, brief, threshold)
    return long & short


def first_pair_alone(requests, failures, objective, least=10):
    return _rule(requests, failures, objective, least, pairs=PAIRS[:1])


def mean_of_shares(requests, failures, objective, least=10):
    shares = np.asarray(failures, float) / np.maximum(requests, 1)
    held = _over(np.ones(len(shares)), 60), _over(np.ones(len(shares)), 360)
    calls = np.zeros(len(shares), bool)
    for (long, short, threshold), many in zip(PAIRS, held):
        limit = threshold * (1 - objective)
        some = np.minimum(many, short)
        calls |= (_over(shares, long) / many > limit) & (_over(shares, short) / some > limit) & (
            _over(failures, long) >= least)  # fmt: skip
    return calls


def divides_by_zero(requests, failures, objective, least=10):
    calls = np.zeros(len(requests), bool)
    for long, short, threshold in PAIRS:
        with np.errstate(all="ignore"):
            rates = [_over(failures, m) / _over(requests, m) / (1 - objective) for m in (long, short)]
        calls |= ~(rates[0] <= threshold) & ~(rates[1] <= threshold) & (_over(failures, long) >= least)
    return calls


def without_a_guard(requests, failures, objective, least=10):
    return _rule(requests, failures, objective, 0)


def guard_over_an_hour(requests, failures, objective, least=10):
    return _rule(requests, failures, objective, least, guard=60)


def guard_of_ten(requests, failures, objective, least=10):
    return _rule(requests, failures, objective, 10)


def waits_for_full_windows(requests, failures, objective, least=10):
    calls = _rule(requests, failures, objective, least)
    calls[:59] = False
    return calls


def objective_of_the_lesson(requests, failures, objective, least=10):
    return _rule(requests, failures, 0.999, least)


def sums_in_the_type_that_came(requests, failures, objective, least=10):
    def over(values, minutes):
        return np.array(
            [values[max(0, i - minutes + 1) : i + 1].sum(dtype=values.dtype) for i in range(len(values))], float
        )

    calls = np.zeros(len(requests), bool)
    for long, short, threshold in PAIRS:
        burning = [over(failures, m) > threshold * (1 - objective) * over(requests, m) for m in (long, short)]
        calls |= burning[0] & burning[1] & (over(failures, long) >= least) if len(calls) else calls
    return calls


WRONG = {
    "20.1": {
        since_the_start: "80 answered, 20 failed: a share of 0.2",
        needs_a_code_that_failed: "where nothing failed it is 0, as a plain float",
        whole_number_zero: "where nothing failed it is 0, as a plain float",
        everything_but_200: "429 and 500 are failures, 400 and 404 are not",
        only_from_500: "429 and 500 are failures, 400 and 404 are not",
        no_traffic_is_no_error: "without a request in between it is None",
        negative_after_a_restart: "after a restart the new counts are what came",
        nothing_after_a_restart: "after a restart the new counts are what came",
        fills_up_what_is_missing: "both looks stay as they were",
    },
    "20.2": {
        upper_bound_of_the_bucket: "the median of 10, 20 and 10 requests lies in the middle of the second bucket",
        all_since_the_start: "only what came between the two looks counts",
        average_of_the_replicas: "replicas are added up before the percentile is looked for",
        first_replica_alone: "replicas are added up before the percentile is looked for",
        begins_at_the_first_bound: "the first bucket begins at 0, and empty buckets are passed over",
        last_bound_bounds_all: "above the last bound the estimate is that bound, and nothing bounds the value",
        knows_no_restart: "a replica that restarted brings all of its new counts, the others only what grew",
        restart_of_one_is_a_restart_of_all: "a replica that restarted brings all of its new counts, the others only what grew",
        restart_by_bucket: "a replica that restarted brings all of its new counts, the others only what grew",
        nan_for_nothing: "no request is None",
        subtracts_in_place: "any number of replicas and bounds, and the arguments stay as they were",
    },
    "20.3": {
        share_over_hours: "99.9 % over 30 days: burn rates of 14.4, 6 and 1",
        always_thirty_days: "another period, and other pairs",
        threshold_of_the_promise: "the threshold is the burn rate times the budget",
        always_five_minutes: "the short window is a twelfth of the long one",
        short_in_minutes: "the short window is a twelfth of the long one",
        lasts_in_days: "the budget lasts 50, 120 and 720 hours",
        outage_in_hours: "if everything fails, the long window calls after 52, 130 and 259 seconds",
        takes_any_promise: "an alert that could never fire is refused, and what is no promise too",
        looks_at_the_first_pair_alone: "an alert that could never fire is refused, and what is no promise too",
        only_no_promise_is_refused: "an alert that could never fire is refused, and what is no promise too",
        only_above_one_is_refused: "an alert that could never fire is refused, and what is no promise too",
        objective_of_nothing_is_a_promise: "an alert that could never fire is refused, and what is no promise too",
    },
    "20.4": {
        above_the_objective: "a service that is well wakes nobody",
        any_failure: "a service that is well wakes nobody",
        either_window: "an outage of 20 minutes calls soon, and not long after its end",
        long_windows_alone: "an outage of 20 minutes calls soon, and not long after its end",
        windows_ahead: "an outage of 20 minutes calls soon, and not long after its end",
        first_pair_alone: "an outage of 20 minutes calls soon, and not long after its end",
        windows_of_two_pairs: "the windows of one pair belong together",
        mean_of_shares: "a window's share is a ratio of sums, not a mean of shares",
        divides_by_zero: "without a request nobody is woken, and nothing is divided by zero",
        without_a_guard: "a pair calls only if `least` failed in its long window",
        guard_over_an_hour: "a pair calls only if `least` failed in its long window",
        guard_of_ten: "a pair calls only if `least` failed in its long window",
        waits_for_full_windows: "the first minutes, other objectives, other types and any length",
        objective_of_the_lesson: "the first minutes, other objectives, other types and any length",
        sums_in_the_type_that_came: "the first minutes, other objectives, other types and any length",
    },
}
