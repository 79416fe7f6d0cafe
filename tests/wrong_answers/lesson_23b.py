"""Answers that people write to lesson 23b's exercises, each with the property at which the check must catch it."""

import math

import numpy as np

from course_lib.measure import wilson


def _report(truth, answers, groups, confidence, missed_of, empty=(0.0, 1.0)):
    truth, answers, groups = np.asarray(truth), np.asarray(answers), np.asarray(groups)
    if not len(truth) == len(answers) == len(groups):
        raise ValueError
    report = {}
    for group in np.unique(groups).tolist():
        missed, positives = missed_of(truth[groups == group], answers[groups == group])
        ends = wilson(missed, positives, confidence) if positives else empty
        report[group] = (missed, positives, *ends)
    return report


def divides_by_all(truth, answers, groups, confidence=0.95):
    return _report(truth, answers, groups, confidence, lambda t, a: (int((t & ~a).sum()), len(t)))


def counts_all_errors(truth, answers, groups, confidence=0.95):
    return _report(
        truth, answers, groups, confidence, lambda t, a: (int((t != a).sum()), int(max(t.sum(), (t != a).sum())))
    )


def leaves_empty_groups_out(truth, answers, groups, confidence=0.95):
    found = right_where_there_are_positives(truth, answers, groups, confidence)
    return {group: entry for group, entry in found.items() if entry[1]}


def right_where_there_are_positives(truth, answers, groups, confidence=0.95):
    truth, answers = np.asarray(truth, bool), np.asarray(answers, bool)
    return _report(truth, answers, groups, confidence, lambda t, a: (int((t & ~a).sum()), int(t.sum())))


def perfect_where_nobody_is_ill(truth, answers, groups, confidence=0.95):
    truth, answers = np.asarray(truth, bool), np.asarray(answers, bool)
    return _report(truth, answers, groups, confidence, lambda t, a: (int((t & ~a).sum()), int(t.sum())), (0.0, 0.0))


def always_95(truth, answers, groups, confidence=0.95):
    return right_where_there_are_positives(truth, answers, groups)


def inverts_whole_numbers(truth, answers, groups, confidence=0.95):
    return _report(truth, answers, groups, confidence, lambda t, a: (int(((t != 0) & (~a != 0)).sum()), int(t.sum())))


def stretches(truth, answers, groups, confidence=0.95):
    truth, answers, groups = np.broadcast_arrays(np.asarray(truth, bool), np.asarray(answers, bool), np.asarray(groups))
    return right_where_there_are_positives(truth, answers, groups, confidence)


def _chance(right, counts, draws, random, drawn, as_bad=np.less_equal, p=None):
    right, counts = np.asarray(right), np.asarray(counts)
    if right.shape != counts.shape or (counts < 1).any() or ((right < 0) | (right > counts)).any():
        raise ValueError
    random = random or np.random.default_rng(0)
    p = right.sum() / counts.sum() if p is None else p(right, counts)
    return float(as_bad(drawn(random, counts, p, draws), (right / counts).min()).mean())


def _lowest(random, counts, p, draws):
    return (random.binomial(counts, p, (draws, len(counts))) / counts).min(axis=1)


def first_group_alone(right, counts, draws=20_000, random=None):
    return _chance(right, counts, draws, random, lambda r, n, p, d: r.binomial(n[0], p, d) / n[0])


def strictly_worse(right, counts, draws=20_000, random=None):
    return _chance(right, counts, draws, random, _lowest, np.less)


def mean_count(right, counts, draws=20_000, random=None):
    def drawn(random, counts, p, draws):
        size = round(counts.mean())
        return (random.binomial(size, p, (draws, len(counts))) / size).min(axis=1)

    return _chance(right, counts, draws, random, drawn)


def lowest_count(right, counts, draws=20_000, random=None):
    right, counts = np.asarray(right), np.asarray(counts)
    if right.shape != counts.shape or (counts < 1).any() or ((right < 0) | (right > counts)).any():
        raise ValueError
    random = random or np.random.default_rng(0)
    worlds = random.binomial(counts, right.sum() / counts.sum(), (draws, len(counts)))
    return float((worlds.min(axis=1) <= right.min()).mean())


def mean_of_shares(right, counts, draws=20_000, random=None):
    return _chance(right, counts, draws, random, _lowest, p=lambda right, counts: (right / counts).mean())


def own_shares(right, counts, draws=20_000, random=None):
    return _chance(right, counts, draws, random, _lowest, p=lambda right, counts: right / counts)


def takes_any_counts(right, counts, draws=20_000, random=None):
    right, counts = np.asarray(right), np.asarray(counts)
    p = min(1, max(0, right.sum() / max(1, counts.sum())))
    worlds = (random or np.random.default_rng(0)).binomial(np.maximum(counts, 1), p, (draws, len(counts)))
    return float(((worlds / np.maximum(counts, 1)).min(axis=1) <= (right / np.maximum(counts, 1)).min()).mean())


def _greedy(x, weights, bias, low, high, fixed, target, order=lambda w: np.argsort(-np.abs(w))):
    z = np.asarray(x).astype(float)
    short = target - (weights @ z + bias)
    for j in order(weights):
        if short > 0 and not fixed[j] and weights[j]:
            room = (high[j] if weights[j] > 0 else low[j]) - z[j]
            step = room if weights[j] * room <= short else short / weights[j]
            z[j] += step
            short -= weights[j] * step
    return z if short <= 1e-9 else None


def along_the_gradient(x, weights, bias, low, high, fixed, target=0.0):
    short = max(0, target - (weights @ x + bias))
    return x + short * weights / (weights @ weights)


def largest_signed_weight_first(x, weights, bias, low, high, fixed, target=0.0):
    return _greedy(x, weights, bias, low, high, fixed, target, lambda w: np.argsort(-w))


def beyond_the_range(x, weights, bias, low, high, fixed, target=0.0):
    return _greedy(x, weights, bias, low - 1e9, high + 1e9, fixed, target)


def moves_what_is_fixed(x, weights, bias, low, high, fixed, target=0.0):
    return _greedy(x, weights, bias, low, high, np.zeros(len(x), bool), target)


def lowers_what_is_accepted(x, weights, bias, low, high, fixed, target=0.0):
    short = target - (weights @ x + bias)
    if short < 0:
        j = np.abs(weights).argmax()
        return x + np.eye(len(x))[j] * short / weights[j]
    return _greedy(x, weights, bias, low, high, fixed, target)


def nearly_accepted(x, weights, bias, low, high, fixed, target=0.0):
    z = _greedy(x, weights, bias, low, high, fixed, target)
    return np.where(fixed | (weights == 0), x, np.where(weights > 0, high, low)) if z is None else z


def writes_into_x(x, weights, bias, low, high, fixed, target=0.0):
    z = _greedy(x, weights, bias, low, high, fixed, target)
    if z is not None:
        x[:] = z
    return z


def _refused(printed, measured, agrees, names=None):
    names = printed.keys() | measured.keys() if names is None else names
    return sorted(name for name in names if not agrees(printed.get(name), measured.get(name)))


def _agrees(text, number):
    if text is None or number is None or not math.isfinite(number):
        return False
    digits = text.strip().replace(",", "")
    if digits.endswith("%"):
        digits, number = digits[:-1].strip(), 100 * number
    try:
        shown = float(digits)
    except ValueError:
        return False
    return abs(shown - number) <= 0.5 * 10 ** -len(digits.partition(".")[2]) * (1 + 1e-9)


def same_text(printed, measured):
    return _refused(printed, measured, lambda text, number: text is not None and text == f"{number}")


def within_a_percent(printed, measured):
    def agrees(text, number):
        digits = text.replace(",", "").replace("%", "")
        return abs(float(digits) / (100 if "%" in text else 1) - number) <= 0.01 * abs(number)

    return _refused(printed, measured, agrees)


def ignores_the_percent_sign(printed, measured):
    return _refused(printed, measured, lambda text, number: _agrees(text and text.replace("%", ""), number))


def keeps_the_commas(printed, measured):
    def agrees(text, number):
        return _agrees(None if text and "," in text else text, number)

    return _refused(printed, measured, agrees)


def only_what_is_measured(printed, measured):
    return _refused(printed, measured, _agrees, measured)


def only_what_is_printed(printed, measured):
    return _refused(printed, measured, _agrees, printed)


def raises_at_words(printed, measured):
    def agrees(text, number):
        if text is not None and number is not None:
            float(text.replace(",", "").replace("%", "").strip())
        return _agrees(text, number)

    return _refused(printed, measured, agrees)


def skips_nan(printed, measured):
    names = [name for name in printed.keys() | measured.keys() if math.isfinite(measured.get(name, 0))]
    return _refused(printed, measured, _agrees, names)


def a_set_of_names(printed, measured):
    return set(_refused(printed, measured, _agrees))


def unsorted_names(printed, measured):
    return sorted(_refused(printed, measured, _agrees), reverse=True)


def in_the_order_of_the_card(printed, measured):
    names = {**printed, **measured}
    return [name for name in names if not _agrees(printed.get(name), measured.get(name))]


def none_after_a_rounding_error(x, weights, bias, low, high, fixed, target=0.0):
    z = _greedy(x, weights, bias, low, high, fixed, target)
    return z if z is not None and weights @ z + bias >= target else None


WRONG = {
    "23b.1": {
        divides_by_all: "of 4 positive cases 1 is missed, of 2 both are",
        counts_all_errors: "a false alarm is no missed case",
        leaves_empty_groups_out: "a group without a positive case stays in the report, with the interval 0 to 1",
        perfect_where_nobody_is_ill: "a group without a positive case stays in the report, with the interval 0 to 1",
        always_95: "400 cases in 7 groups agree with a count by hand, at another confidence too",
        inverts_whole_numbers: "0 and 1 as whole numbers are truth values too",
        stretches: "arrays that differ in length are refused",
    },
    "23b.2": {
        own_shares: "two groups, 45 and 35 of 50: a worst of 35 is rare, a worst of 39 is not",
        first_group_alone: "two groups, 45 and 35 of 50: a worst of 35 is rare, a worst of 39 is not",
        strictly_worse: "two groups, 45 and 35 of 50: a worst of 35 is rare, a worst of 39 is not",
        lowest_count: "small and large groups keep their own counts",
        mean_count: "small and large groups keep their own counts",
        mean_of_shares: "small and large groups keep their own counts",
        takes_any_counts: "counts below 1, impossible numbers and shapes that differ are refused",
    },
    "23b.3": {
        along_the_gradient: "the feature with the larger weight moves, and alone",
        largest_signed_weight_first: "a feature with a negative weight moves downwards",
        beyond_the_range: "where its range ends, the next feature goes on",
        moves_what_is_fixed: "a feature that is fixed stays",
        lowers_what_is_accepted: "what is accepted already stays as it is, also exactly at the target",
        nearly_accepted: "None comes back if no allowed change is enough",
        none_after_a_rounding_error: "100 random models get an optimal answer",
        writes_into_x: "x is not changed, and float32 works",
    },
    "23b.4": {
        same_text: "a figure is compared at the decimals that the card prints",
        within_a_percent: "a figure is compared at the decimals that the card prints",
        ignores_the_percent_sign: "a percent sign means hundredths, with and without a space",
        keeps_the_commas: "commas separate thousands, and a minus is a sign",
        only_what_is_measured: "a figure is refused that only the card has, or only the measurement",
        only_what_is_printed: "a figure is refused that only the card has, or only the measurement",
        raises_at_words: "a text that is no number is refused",
        skips_nan: "nan and infinity are refused on both sides",
        a_set_of_names: "a figure is compared at the decimals that the card prints",
        in_the_order_of_the_card: "the names are sorted, and an empty card of nothing has no problem",
        unsorted_names: "a percent sign means hundredths, with and without a space",
    },
}  # fmt: skip
