"""Wrong answers that people write, planted in lesson 21: each must be caught at the property named."""

import numpy as np


def _refuse(*samples):
    for sample in samples:
        if not len(sample) or not np.isfinite(sample).all():
            raise ValueError


def _shares(edges, *samples):
    return [np.histogram(sample, [-np.inf, *edges, np.inf])[0] / len(sample) for sample in samples]


def _sum(p, q, floor=1e-4):
    p, q = np.maximum(p, floor), np.maximum(q, floor)
    return float(((q - p) * np.log(q / p)).sum())


def _inner(reference, bins):
    return np.quantile(reference, np.arange(1, bins) / bins)


def equal_widths(reference, current, bins=10):
    _refuse(reference, current)
    edges = np.linspace(reference.min(), reference.max(), bins + 1)[1:-1]
    return _sum(*_shares(edges, reference, current))


def adds_to_every_share(reference, current, bins=10):
    _refuse(reference, current)
    p, q = (each + 1e-4 for each in _shares(_inner(reference, bins), reference, current))
    return _sum(p, q, 0)


def numpy_number(reference, current, bins=10):
    _refuse(reference, current)
    return np.float64(_sum(*_shares(_inner(reference, bins), reference, current)))


def counts_of_one_length(reference, current, bins=10):
    _refuse(reference, current)
    p, q = _shares(_inner(reference, bins), reference, current)
    return _sum(p, q * len(current) / len(reference))


def without_a_floor(reference, current, bins=10):
    _refuse(reference, current)
    p, q = _shares(_inner(reference, bins), reference, current)
    with np.errstate(all="ignore"):
        return float(((q - p) * np.log(q / p)).sum())


def skips_empty_bins(reference, current, bins=10):
    _refuse(reference, current)
    p, q = _shares(_inner(reference, bins), reference, current)
    both = (p > 0) & (q > 0)
    return _sum(p[both], q[both])


def lifts_zeros_alone(reference, current, bins=10):
    _refuse(reference, current)
    p, q = _shares(_inner(reference, bins), reference, current)
    return _sum(np.where(p == 0, 1e-4, p), np.where(q == 0, 1e-4, q), 0)


def lifts_today_alone(reference, current, bins=10):
    _refuse(reference, current)
    p, q = _shares(_inner(reference, bins), reference, current)
    return _sum(p[p > 0], np.maximum(q[p > 0], 1e-4), 0)


def divides_again_after_the_floor(reference, current, bins=10):
    _refuse(reference, current)
    p, q = (np.maximum(each, 1e-4) for each in _shares(_inner(reference, bins), reference, current))
    return _sum(p / p.sum(), q / q.sum(), 0)


def drops_what_is_outside(reference, current, bins=10):
    _refuse(reference, current)
    edges = np.quantile(reference, np.linspace(0, 1, bins + 1))
    return _sum(*(np.histogram(sample, edges)[0] / len(sample) for sample in (reference, current)))


def edges_of_both_samples(reference, current, bins=10):
    _refuse(reference, current)
    edges = _inner(np.concatenate([reference, current]), bins)
    return _sum(*_shares(edges, reference, current))


def edges_follow_far_values(reference, current, bins=10):
    """Right unless today's values are huge: it clips them with the wrong sample's bounds."""
    _refuse(reference, current)
    if current.max() > 1e5:
        reference, current = np.append(reference, current.max()), current
    return _sum(*_shares(_inner(reference, bins), reference, current))


def always_ten_bins(reference, current, bins=10):
    _refuse(reference, current)
    bins = bins if bins in (4, 5) else 10
    return _sum(*_shares(_inner(reference, bins), reference, current))


def refuses_repeated_edges(reference, current, bins=10):
    _refuse(reference, current)
    edges = _inner(reference, bins)
    if len(np.unique(edges)) < len(edges):
        raise ValueError("bin edges must be unique")
    return _sum(*_shares(edges, reference, current))


def counts_nan_as_large(reference, current, bins=10):
    if not len(reference) or not len(current):
        raise ValueError
    edges = _inner(reference, bins)
    return _sum(*(np.bincount(np.searchsorted(edges, x), minlength=bins) / len(x) for x in (reference, current)))


def _first(alarms, none=None):
    return int(alarms.argmax()) if alarms.any() else none


def _refuse_days(p_values, looks, level):
    if len(p_values) > looks or ((p_values < 0) | (p_values > 1)).any() or not 0 < level < 1:
        raise ValueError


def minus_one_for_none(p_values, looks, level=0.05):
    return _first((p_values <= level / (p_values.shape[1] * looks)).any(axis=1), -1)


def uncorrected(p_values, looks, level=0.05):
    return _first((p_values <= level).any(axis=1))


def features_alone(p_values, looks, level=0.05):
    return _first((p_values <= level / p_values.shape[1]).any(axis=1))


def days_so_far(p_values, looks, level=0.05):
    return _first((p_values <= level / max(p_values.size, 1)).any(axis=1))


def sum_of_features_and_looks(p_values, looks, level=0.05):
    return _first((p_values <= level / (p_values.shape[1] + looks - 1)).any(axis=1))


def day_of_the_smallest(p_values, looks, level=0.05):
    least = np.nan_to_num(p_values, nan=1).min(axis=1, initial=1)
    return int(least.argmin()) if (least <= level / (p_values.shape[1] * looks)).any() else None


def numpy_day(p_values, looks, level=0.05):
    alarms = (p_values <= level / (p_values.shape[1] * looks)).any(axis=1)
    return alarms.argmax() if alarms.any() else None


def nan_swallows_the_day(p_values, looks, level=0.05):
    return _first(p_values.min(axis=1, initial=1) <= level / (p_values.shape[1] * looks))


def nan_does_not_count(p_values, looks, level=0.05):
    tests = max(1, (~np.isnan(p_values)).any(axis=0).sum()) * looks
    return _first((p_values <= level / tests).any(axis=1))


def always_at_five_percent(p_values, looks, level=0.05):
    return _first((p_values <= 0.05 / (p_values.shape[1] * looks)).any(axis=1))


def takes_anything(p_values, looks, level=0.05):
    return _first((p_values <= level / (p_values.shape[1] * looks)).any(axis=1))


def benjamini_hochberg(p_values, looks, level=0.05):
    """Bounds the share of false alarms among the alarms, which is another promise."""
    _refuse_days(p_values, looks, level)
    ranks = np.arange(1, p_values.shape[1] + 1)
    return _first((np.sort(p_values, axis=1) <= level / looks * ranks / ranks[-1]).any(axis=1))


def leaves_at_the_first_alarm(p_values, looks, level=0.05):
    if len(p_values) > looks or not 0 < level < 1:
        raise ValueError
    for day, row in enumerate(p_values):
        if ((row < 0) | (row > 1)).any():
            raise ValueError
        if (row <= level / (len(row) * looks)).any():
            return day
    return None


def lowest_of_nothing(p_values, looks, level=0.05):
    _refuse_days(p_values, looks, level)
    alarms = (p_values <= level / (p_values.shape[1] * looks)).any(axis=1)
    return int(alarms.argmax()) if alarms[alarms.argmax()] else None


def _counts(labels, answers, classes):
    counts = np.zeros((classes, classes))
    np.add.at(counts, (answers, labels), 1)
    return counts


def _refuse_reference(counts, answers_now):
    if not len(answers_now) or not counts.sum(axis=0).all():
        raise ValueError
    if np.linalg.cond(counts / counts.sum(axis=0)) > 1e6:
        raise ValueError


def counts_the_answers(labels, answers, answers_now, classes):
    return np.bincount(answers_now, minlength=classes) / len(answers_now)


def rows_and_columns_swapped(labels, answers, answers_now, classes):
    counts = _counts(labels, answers, classes)
    _refuse_reference(counts, answers_now)
    matrix = (counts / counts.sum(axis=0)).T
    solved = np.linalg.solve(matrix, counts_the_answers(labels, answers, answers_now, classes)).clip(0)
    return solved / solved.sum()


def as_a_list(labels, answers, answers_now, classes):
    counts = _counts(labels, answers, classes)
    _refuse_reference(counts, answers_now)
    solved = np.linalg.solve(counts / counts.sum(axis=0), counts_the_answers(labels, answers, answers_now, classes))
    return (solved.clip(0) / solved.clip(0).sum()).tolist()


def ratios_for_shares(labels, answers, answers_now, classes):
    counts = _counts(labels, answers, classes)
    _refuse_reference(counts, answers_now)
    ratios = np.linalg.solve(counts / counts.sum(), counts_the_answers(labels, answers, answers_now, classes)).clip(0)
    return ratios / ratios.sum()


def precision_for_recall(labels, answers, answers_now, classes):
    counts = _counts(labels, answers, classes)
    _refuse_reference(counts, answers_now)
    rows = counts / counts.sum(axis=1, keepdims=True)
    return rows.T @ counts_the_answers(labels, answers, answers_now, classes)


def short_bincount(labels, answers, answers_now, classes):
    counts = _counts(labels, answers, classes)
    _refuse_reference(counts, answers_now)
    shares = np.bincount(answers_now) / len(answers_now)
    solved = np.linalg.solve(counts / counts.sum(axis=0), shares).clip(0)
    return solved / solved.sum()


def leaves_negative_shares(labels, answers, answers_now, classes):
    counts = _counts(labels, answers, classes)
    _refuse_reference(counts, answers_now)
    solved = np.linalg.solve(counts / counts.sum(axis=0), counts_the_answers(labels, answers, answers_now, classes))
    if (counts_the_answers(labels, answers, answers_now, classes) == 1).any():
        solved = solved.clip(0)
    return solved / solved.sum()


def pseudo_inverse_of_anything(labels, answers, answers_now, classes):
    counts = _counts(labels, answers, classes)
    matrix = counts / np.maximum(counts.sum(axis=0), 1)
    shares = np.bincount(answers_now, minlength=classes) / max(len(answers_now), 1)
    solved = (np.linalg.pinv(matrix) @ shares).clip(0)
    return solved / max(solved.sum(), 1e-9)


def trusts_solve(labels, answers, answers_now, classes):
    counts = _counts(labels, answers, classes)
    if not len(answers_now) or not counts.sum(axis=0).all():
        raise ValueError
    shares = counts_the_answers(labels, answers, answers_now, classes)
    solved = np.linalg.solve(counts / counts.sum(axis=0), shares).clip(0)
    return solved / solved.sum()


def refuses_a_small_determinant(labels, answers, answers_now, classes):
    counts = _counts(labels, answers, classes)
    if len(answers_now) and counts.sum(axis=0).all() and abs(np.linalg.det(counts / counts.sum(axis=0))) < 1e-6:
        raise ValueError
    return trusts_solve(labels, answers, answers_now, classes)


def _guard(batch, schema, problem):
    found = {name: "absent" for name in schema if name not in batch}
    for name, values in batch.items():
        if word := "unknown" if name not in schema else problem(values, schema[name]):
            found[name] = word
    return found


def _right(values, rule):
    if values.dtype.kind not in "iuf":
        return "type"
    present = values[~np.isnan(values)]
    if len(values) - len(present) > rule["missing"] * len(values):
        return "missing"
    return _measured(present, rule) if len(present) else ""


def _measured(present, rule):
    if present.min() < rule["low"] or present.max() > rule["high"]:
        return "range"
    return "" if rule["median"][0] <= np.median(present) <= rule["median"][1] else "unit"


def floats_alone(batch, schema):
    return _guard(batch, schema, lambda values, rule: _right(values, rule) if values.dtype.kind == "f" else "type")


def refuses_unsigned(batch, schema):
    return _guard(batch, schema, lambda values, rule: _right(values, rule) if values.dtype.kind in "if" else "type")


def looks_at_the_schema_alone(batch, schema):
    return {name: word for name, word in column_by_column(batch, schema, _right).items() if word}


def column_by_column(batch, schema, problem):
    return {name: problem(batch[name], rule) if name in batch else "absent" for name, rule in schema.items()}


def bool_is_a_number(batch, schema):
    return _guard(batch, schema, lambda values, rule: _right(values * 1 if values.dtype == bool else values, rule))


def as_many_as_allowed_is_too_many(batch, schema):
    def problem(values, rule):
        if (
            values.dtype.kind in "iuf"
            and rule["missing"]
            and np.isnan(values).sum() >= rule["missing"] * len(values) > 0
        ):
            return "missing"
        return _right(values, rule)

    return _guard(batch, schema, problem)


def drops_infinity(batch, schema):
    def problem(values, rule):
        return _right(values[~np.isinf(values)] if values.dtype.kind == "f" else values, rule)

    return _guard(batch, schema, problem)


def ends_are_outside(batch, schema):
    def problem(values, rule):
        if word := _right(values, rule):
            return word
        return "range" if len(values) and (values <= rule["low"]).any() and (values >= rule["high"]).any() else ""

    return _guard(batch, schema, problem)


def nan_hides_the_range(batch, schema):
    def problem(values, rule):
        word = _right(values, rule)
        return "" if word == "range" and np.isnan(values).any() else word

    return _guard(batch, schema, problem)


def mean_for_median(batch, schema):
    def problem(values, rule):
        word = _right(values, rule)
        if word in ("", "unit") and len(present := values[~np.isnan(values)]):
            return "" if rule["median"][0] <= present.mean() <= rule["median"][1] else "unit"
        return word

    return _guard(batch, schema, problem)


def median_counts_nan_as_zero(batch, schema):
    def problem(values, rule):
        word = _right(values, rule)
        if word in ("", "unit") and not np.isnan(values).all():
            return "" if rule["median"][0] <= np.median(np.nan_to_num(values)) <= rule["median"][1] else "unit"
        return word

    return _guard(batch, schema, problem)


def median_has_no_upper_end(batch, schema):
    return _guard(batch, schema, lambda values, rule: _right(values, rule | {"median": (rule["median"][0], np.inf)}))


def without_the_unit(batch, schema):
    return _guard(batch, schema, lambda values, rule: _right(values, rule | {"median": (-np.inf, np.inf)}))


def range_before_missing(batch, schema):
    def problem(values, rule):
        if values.dtype.kind in "iuf" and (values > rule["high"]).any():
            return "range"
        return _right(values, rule)

    return _guard(batch, schema, problem)


def skips_empty_columns(batch, schema):
    return _guard(batch, schema, lambda values, rule: _right(values, rule) if len(values) else "")


def measures_nothing(batch, schema):
    def problem(values, rule):
        if values.dtype.kind in "iuf" and not np.isfinite(values).any():
            return "range" if np.isinf(values).any() else "missing"
        return _right(values, rule)

    return _guard(batch, schema, problem)


WRONG = {
    "21.1": {
        equal_widths: "two samples of one size give the formula's value",
        adds_to_every_share: "two samples of one size give the formula's value",
        numpy_number: "it is a plain float",
        counts_of_one_length: "samples of different size are compared by their shares",
        without_a_floor: "an empty bin counts as a share of 0.0001",
        skips_empty_bins: "an empty bin counts as a share of 0.0001",
        lifts_today_alone: "an empty bin counts as a share of 0.0001",
        lifts_zeros_alone: "a share below 0.0001 counts as 0.0001, also if it is not 0",
        divides_again_after_the_floor: "an empty bin counts as a share of 0.0001",
        drops_what_is_outside: "two samples of one size give the formula's value",
        edges_of_both_samples: "two samples of one size give the formula's value",
        edges_follow_far_values: "the edges come from the reference alone",
        always_ten_bins: "any number of bins, whole numbers, float32 and views work",
        refuses_repeated_edges: "repeated values: equal samples give 0, and a change of many zeros is seen",
        counts_nan_as_large: "an empty sample, nan and infinity are refused",
    },
    "21.2": {
        minus_one_for_none: "one feature, one day: an alarm at 0.04, none at 0.06",
        uncorrected: "each feature counts as a test",
        benjamini_hochberg: "each feature counts as a test",
        leaves_at_the_first_alarm: "more days than planned, p outside 0 to 1 and a level that is none are refused",
        features_alone: "each planned day counts as a look, also those to come",
        days_so_far: "each planned day counts as a look, also those to come",
        sum_of_features_and_looks: "features and looks count together",
        day_of_the_smallest: "it is the first such day, as a plain int",
        numpy_day: "it is the first such day, as a plain int",
        nan_swallows_the_day: "nan raises no alarm, and its test still counts",
        nan_does_not_count: "nan raises no alarm, and its test still counts",
        always_at_five_percent: "another level is used",
        takes_anything: "more days than planned, p outside 0 to 1 and a level that is none are refused",
        lowest_of_nothing: "before the first day there is no alarm",
    },
    "21.3": {
        counts_the_answers: "90 and 80 % of two classes right, 37.5 % of the answers are 0: a quarter is 0",
        rows_and_columns_swapped: "90 and 80 % of two classes right, 37.5 % of the answers are 0: a quarter is 0",
        precision_for_recall: "90 and 80 % of two classes right, 37.5 % of the answers are 0: a quarter is 0",
        as_a_list: "a float array with a share for each class, which sum to 1",
        ratios_for_shares: "the reference's own shares do not matter",
        short_bincount: "a class that nobody answers today keeps its place",
        leaves_negative_shares: "negative shares become 0, and the rest sums to 1",
        refuses_a_small_determinant: "random confusion matrices of 2 to 10 classes are solved",
        trusts_solve: "no answers, a class without label, and classes that cannot be told apart are refused",
        pseudo_inverse_of_anything: "no answers, a class without label, and classes that cannot be told apart are refused",
    },
    "21.4": {
        floats_alone: "a good batch has no problem",
        refuses_unsigned: "a good batch has no problem",
        looks_at_the_schema_alone: "a column that is absent and one that is unknown are named",
        bool_is_a_number: "texts, objects and truth values are no numbers",
        as_many_as_allowed_is_too_many: "as many nan as allowed are fine, one more is not",
        drops_infinity: "the ends of a range are allowed, what lies beyond is not, nor is infinity",
        ends_are_outside: "the ends of a range are allowed, what lies beyond is not, nor is infinity",
        nan_hides_the_range: "nan hides no value outside the range",
        without_the_unit: "degrees Celsius are within the range, and their median is not",
        median_has_no_upper_end: "degrees Celsius are within the range, and their median is not",
        median_counts_nan_as_zero: "degrees Celsius are within the range, and their median is not",
        mean_for_median: "degrees Celsius are within the range, and their median is not",
        range_before_missing: "of several problems the first one is named",
        skips_empty_columns: "a column without values, or with nothing but nan, is not measured",
        measures_nothing: "a column without values, or with nothing but nan, is not measured",
    },
}  # fmt: skip
