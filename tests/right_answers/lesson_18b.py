"""Right answers to lesson 18b's exercises that differ from the solutions."""

import math
from decimal import Decimal

import numpy as np


def without_a_loop(rate_per_s, service_s, objective_s, share, nodes):
    most = 1 / service_s + math.log1p(-share) / objective_s
    if most <= 0:
        raise ValueError("even an idle pod is too slow")
    left = math.ceil(rate_per_s / most - 1e-9)
    return math.ceil(left * nodes / (nodes - 1) - 1e-9)


def as_a_whole_number_of_numpy(rate_per_s, service_s, objective_s, share, nodes):
    return np.int64(without_a_loop(rate_per_s, service_s, objective_s, share, nodes))


def with_arrays(rates, pods, step_s, each_per_s, objective_s):
    rates, pods = np.asarray(rates, float), np.asarray(pods, float)
    if rates.shape != pods.shape:
        raise ValueError("two lengths")
    queue, late = 0.0, np.zeros(len(rates), bool)
    for i in range(len(rates)):
        able = pods[i] * each_per_s
        late[i] = able == 0 or queue > objective_s * able
        queue = max(queue + (rates[i] - able) * step_s, 0)
    share = rates[late].sum() / rates.sum() if rates.sum() else 0
    return np.float64(pods.sum() * step_s / 3600), np.float64(share)


def as_a_list(rates, pods, step_s, each_per_s, objective_s):
    return list(with_arrays(rates, pods, step_s, each_per_s, objective_s))


def with_decimals(price_per_pod_hour, each_per_s, utilisation):
    price, rate, share = (Decimal(str(x)) for x in (price_per_pod_hour, each_per_s, utilisation))
    if any(x.is_nan() for x in (price, rate, share)) or price < 0 or rate <= 0 or not 0 < share <= 1:
        raise ValueError("no price")
    return float(price * 1_000_000 / (rate * share * 3600))


def seconds_first(price_per_pod_hour, each_per_s, utilisation):
    if any(math.isnan(x) for x in (price_per_pod_hour, each_per_s, utilisation)):
        raise ValueError("NaN")
    if price_per_pod_hour < 0 or each_per_s <= 0 or utilisation <= 0 or utilisation > 1:
        raise ValueError("no price")
    pod_seconds = 1_000_000 / each_per_s / utilisation
    return pod_seconds * (price_per_pod_hour / 3600)


RIGHT = {
    "18b.1": [without_a_loop, as_a_whole_number_of_numpy],
    "18b.2": [with_arrays, as_a_list],
    "18b.3": [with_decimals, seconds_first],
}
