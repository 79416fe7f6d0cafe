"""Right answers to lesson 12's exercises that differ from the solutions."""

import math
from itertools import product

import numpy as np
from scipy import special


def softmax_of_the_logarithms(probabilities, temperature):
    if not 0 < temperature < math.inf:
        raise ValueError("a temperature above 0")
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities.astype(np.float64))
    return special.softmax(logs / temperature, axis=1).astype(probabilities.dtype)


def powers_of_the_ratio_to_the_largest(probabilities, temperature):
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError("a temperature above 0")
    powers = (probabilities / probabilities.max(axis=1, keepdims=True)) ** (1 / temperature)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(probabilities.dtype)


def in_float32_throughout(probabilities, temperature):
    if not 0 < temperature < np.inf:
        raise ValueError("a temperature above 0")
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities) / probabilities.dtype.type(temperature)
    powers = np.exp(logs - logs.max(axis=1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=1, keepdims=True)


def powers_of_two(probabilities, temperature):
    if not 0 < temperature < math.inf:
        raise ValueError("a temperature above 0")
    with np.errstate(divide="ignore"):
        logs = np.log2(probabilities) / temperature
    powers = np.exp2(logs - np.max(logs, axis=1, keepdims=True, initial=-np.inf))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(probabilities.dtype)


def by_autograd(student_logits, teacher_logits, labels, temperature, weight):
    import torch
    from torch.nn import functional as F

    if len(student_logits) == 0 or not temperature > 0 or not 0 <= weight <= 1:
        raise ValueError("examples, a temperature above 0 and a weight from 0 to 1")
    z = torch.tensor(np.array(student_logits, np.float64), requires_grad=True)
    v, k = torch.tensor(np.array(teacher_logits, np.float64)), torch.tensor(np.array(labels))
    taught = F.cross_entropy(z / temperature, torch.softmax(v / temperature, 1))
    loss = (1 - weight) * F.cross_entropy(z, k) + weight * temperature**2 * taught
    loss.backward()
    return loss.item(), z.grad.numpy().astype(student_logits.dtype)


def row_by_row(student_logits, teacher_logits, labels, temperature, weight):
    if len(student_logits) < 1 or not temperature > 0 or not 0 <= weight <= 1:
        raise ValueError("examples, a temperature above 0 and a weight from 0 to 1")

    def logs(row, divisor):
        warm = [float(each) / divisor for each in row]
        largest = max(warm)
        total = largest + math.log(sum(math.exp(each - largest) for each in warm))
        return [each - total for each in warm]

    loss, slope = 0.0, np.zeros(student_logits.shape)
    for i, k in enumerate(labels):
        plain, log_p = logs(student_logits[i], 1), logs(student_logits[i], temperature)
        q = [math.exp(each) for each in logs(teacher_logits[i], temperature)]
        loss -= (1 - weight) * plain[k] + weight * temperature**2 * sum(a * b for a, b in zip(q, log_p))
        for j in range(len(q)):
            slope[i, j] = (1 - weight) * (math.exp(plain[j]) - (j == k))
            slope[i, j] += weight * temperature * (math.exp(log_p[j]) - q[j])
    return loss / len(labels), (slope / len(labels)).astype(student_logits.dtype)


def in_the_students_own_dtype(student_logits, teacher_logits, labels, temperature, weight):
    if len(student_logits) == 0 or not temperature > 0 or not 0 <= weight <= 1:
        raise ValueError("examples, a temperature above 0 and a weight from 0 to 1")
    own, one_hot = student_logits.dtype.type, np.eye(student_logits.shape[1], dtype=student_logits.dtype)[labels]
    plain = special.log_softmax(student_logits, axis=1)
    warm = special.log_softmax(student_logits / own(temperature), axis=1)
    target = special.softmax(teacher_logits / own(temperature), axis=1)
    loss = (1 - weight) * -(one_hot * plain).sum(axis=1) + weight * temperature**2 * -(target * warm).sum(axis=1)
    slope = own(1 - weight) * (np.exp(plain) - one_hot) + own(weight * temperature) * (np.exp(warm) - target)
    return loss.mean().item(), (slope / own(len(labels))).astype(student_logits.dtype)


def _refuse(d):
    if not 1 <= d.size <= 20 or not np.isfinite(d).all():
        raise ValueError("1 to 20 finite differences")


def half_of_the_ways(differences):
    d = np.asarray(differences, np.float64)
    _refuse(d)
    sums = d[:1]  # the first sign is fixed: the other half has the same absolute sums
    for each in d[1:]:
        sums = np.r_[sums + each, sums - each]
    return float((np.abs(sums) + 1e-6 * np.abs(d).sum() >= abs(d.sum())).mean())


def sums_of_subsets(differences):
    d = np.asarray(differences, np.float64)
    _refuse(d)
    flipped = np.zeros(1)
    for each in d:
        flipped = np.concatenate([flipped, flipped + each])
    return float((np.abs(d.sum() - 2 * flipped) >= abs(d.sum()) - 1e-6 * np.abs(d).sum()).mean())


def signs_as_a_matrix(differences):
    d = np.asarray(differences, np.float64)
    _refuse(d)
    plus = np.arange(2**d.size)[:, None] >> np.arange(d.size) & 1
    return float(np.mean(np.abs((2 * plus - 1) @ d) >= abs(d.sum()) - 1e-6 * np.abs(d).sum()))


def exactly_added(differences):
    d = np.asarray(differences, np.float64)
    _refuse(d)
    if d.size > 12:
        return half_of_the_ways(d)
    least = abs(math.fsum(d)) - 1e-6 * math.fsum(abs(d))
    ways = [abs(math.fsum(sign * each for sign, each in zip(signs, d))) for signs in product((1, -1), repeat=d.size)]
    return sum(way >= least for way in ways) / len(ways)


def _needed(logits, missing):
    rest = np.delete(logits.astype(np.float64), missing, axis=1)
    answered = np.delete(np.arange(logits.shape[1]), missing)[rest.argmax(axis=1)]
    single = (rest == rest.max(axis=1, keepdims=True)).sum(axis=1) == 1
    return rest.max(axis=1) - logits[:, missing], np.where(single, answered, -1)


def by_running_sums(logits, labels, missing):
    if len(logits) == 0 or missing not in range(logits.shape[1]):
        raise ValueError("examples, and one of the classes")
    needed, otherwise = _needed(logits, missing)
    order = np.argsort(needed)
    ends, right = needed[order], int((otherwise == labels).sum())
    steps = ((labels == missing).astype(int) - (otherwise == labels))[order]
    at_zero = int(((needed < 0) & (labels == missing)).sum() + ((needed > 0) & (otherwise == labels)).sum())
    best, found = ends[0] - 1, right
    for i, step in enumerate(steps):
        right += step
        last = i + 1 == len(ends)
        if right > found and (last or ends[i + 1] > ends[i]):
            best, found = ends[i] + 1 if last else (ends[i] + ends[i + 1]) / 2, right
    return float(best) if found > at_zero else 0.0


def the_best_range_nearest_to_zero(logits, labels, missing):
    if len(logits) == 0 or not 0 <= missing < logits.shape[1]:
        raise ValueError("examples, and one of the classes")
    needed, otherwise = _needed(logits, missing)
    ends = sorted(set(needed.tolist()))
    tries = [0.0, ends[0] - 1, *((a + b) / 2 for a, b in zip(ends, ends[1:])), ends[-1] + 1]

    def right(bias):
        return int(((bias > needed) & (labels == missing)).sum() + ((bias < needed) & (otherwise == labels)).sum())

    return float(max(sorted(tries, key=abs), key=right))


def the_middle_of_gaps_that_are_equally_good(logits, labels, missing):
    if len(logits) == 0 or not 0 <= missing < logits.shape[1]:
        raise ValueError("examples, and one of the classes")
    ends = np.unique(_needed(logits, missing)[0]).tolist()

    def right(bias):
        z = logits.astype(np.float64)
        z[:, missing] += bias
        own = z[np.arange(len(labels)), labels].copy()
        z[np.arange(len(labels)), labels] = -np.inf
        return int((own > z.max(axis=1)).sum())

    gaps = [-math.inf, *ends, math.inf]
    found = [right(b) for b in (ends[0] - 1, *((a + b) / 2 for a, b in zip(ends, ends[1:])), ends[-1] + 1)]
    if right(0.0) == max(found):
        return 0.0
    first = last = found.index(max(found))
    while last + 1 < len(found) and found[last + 1] == found[first] == right(ends[last]):
        last += 1
    low, high = gaps[first], gaps[last + 1]
    return float(high - 1 if low == -math.inf else low + 1 if high == math.inf else (low + high) / 2)


RIGHT = {
    "12.1": [softmax_of_the_logarithms, powers_of_the_ratio_to_the_largest, in_float32_throughout, powers_of_two],
    "12.2": [by_autograd, row_by_row, in_the_students_own_dtype],
    "12.3": [half_of_the_ways, sums_of_subsets, signs_as_a_matrix, exactly_added],
    "12.4": [by_running_sums, the_best_range_nearest_to_zero, the_middle_of_gaps_that_are_equally_good],
}
