"""Wrong answers that people write, planted in lesson 23: each must be caught at the property named."""

import math
import warnings

import numpy as np
from scipy.stats import spearmanr


def _patches(shape, size):
    return [
        (slice(top, top + size), slice(left, left + size))
        for top in range(0, shape[0], size)
        for left in range(0, shape[1], size)
    ]


def _falls(shape, patches, scores, named):
    found = np.zeros(shape)
    for patch, covered in zip(patches, scores[1:]):
        found[patch] = scores[0, named] - covered[named]
    return found


def _covered(image, patches, fill):
    pictures = np.repeat(image[None].astype(float), 1 + len(patches), axis=0)
    for picture, patch in zip(pictures[1:], patches):
        picture[patch] = fill
    return pictures


def rise_for_fall(predict, image, size, fill=0.0):
    patches = _patches(image.shape, size)
    scores = predict(_covered(image, patches, fill))
    return -_falls(image.shape, patches, scores, scores[0].argmax())


def its_size_alone(predict, image, size, fill=0.0):
    patches = _patches(image.shape, size)
    scores = predict(_covered(image, patches, fill))
    return np.abs(_falls(image.shape, patches, scores, scores[0].argmax()))


def largest_score_of_each(predict, image, size, fill=0.0):
    patches = _patches(image.shape, size)
    scores = predict(_covered(image, patches, fill)).max(axis=1, keepdims=True)
    return _falls(image.shape, patches, scores, 0)


def clipped_at_zero(predict, image, size, fill=0.0):
    patches = _patches(image.shape, size)
    scores = predict(_covered(image, patches, fill))
    found = _falls(image.shape, patches, scores, scores[0].argmax())
    return found.clip(0) if (found < 0).all() else found


def pixel_by_pixel(predict, image, size, fill=0.0):
    single = _patches(image.shape, 1)
    scores = predict(_covered(image, single, fill))
    falls = _falls(image.shape, single, scores, scores[0].argmax())
    for patch in _patches(image.shape, size):
        falls[patch] = falls[patch].sum()
    return falls


def whole_patches_alone(predict, image, size, fill=0.0):
    height, width = (side // size * size for side in image.shape)
    patches = _patches((height, width), size)
    scores = predict(_covered(image, patches, fill))
    return _falls(image.shape, patches, scores, scores[0].argmax())


def always_zero(predict, image, size, fill=0.0):
    patches = _patches(image.shape, size)
    scores = predict(_covered(image, patches, 0.0))
    return _falls(image.shape, patches, scores, scores[0].argmax())


def in_the_image_s_own_type(predict, image, size, fill=0.0):
    patches = _patches(image.shape, size)
    scores = predict(_covered(image, patches, fill).astype(image.dtype))
    return _falls(image.shape, patches, scores, scores[0].argmax())


def a_call_for_each_patch(predict, image, size, fill=0.0):
    patches = _patches(image.shape, size)
    scores = np.concatenate([predict(each[None]) for each in _covered(image, patches, fill)])
    return _falls(image.shape, patches, scores, scores[0].argmax())


def writes_into_the_image(predict, image, size, fill=0.0):
    patches = _patches(image.shape, size)
    pictures = _covered(image, patches, fill)
    scores = predict(pictures)
    found = _falls(image.shape, patches, scores, scores[0].argmax())
    if image.flags.writeable and image.dtype == float:
        image[patches[0]] = fill
    return found


def _refuse(x, baseline, steps):
    if x.shape != baseline.shape or steps < 1:
        raise ValueError


def _gap(f, x, baseline, parts):
    return float(f(x[None])[0] - f(baseline[None])[0] - parts.sum())


def _along(gradient, x, baseline, t):
    return gradient(baseline + t.reshape(-1, *[1] * x.ndim) * (x - baseline))


def without_the_difference(f, gradient, x, baseline, steps=32):
    _refuse(x, baseline, steps)
    parts = _along(gradient, x, baseline, (np.arange(steps) + 0.5) / steps).mean(axis=0)
    return parts, _gap(f, x, baseline, parts)


def sum_for_mean(f, gradient, x, baseline, steps=32):
    _refuse(x, baseline, steps)
    parts = (x - baseline) * _along(gradient, x, baseline, (np.arange(steps) + 0.5) / steps).sum(axis=0)
    return parts, _gap(f, x, baseline, parts)


def times_x(f, gradient, x, baseline, steps=32):
    _refuse(x, baseline, steps)
    parts = x * _along(gradient, x, baseline, (np.arange(steps) + 0.5) / steps).mean(axis=0)
    return parts, _gap(f, x, baseline, parts)


def right_ends(f, gradient, x, baseline, steps=32):
    _refuse(x, baseline, steps)
    parts = (x - baseline) * _along(gradient, x, baseline, (np.arange(steps) + 1) / steps).mean(axis=0)
    return parts, _gap(f, x, baseline, parts)


def linspace_with_both_ends(f, gradient, x, baseline, steps=32):
    _refuse(x, baseline, steps)
    t = np.linspace(0, 1, steps) if steps > 1 else np.array([0.5])
    parts = (x - baseline) * _along(gradient, x, baseline, t).mean(axis=0)
    return parts, _gap(f, x, baseline, parts)


def gap_without_the_baseline(f, gradient, x, baseline, steps=32):
    _refuse(x, baseline, steps)
    parts = (x - baseline) * _along(gradient, x, baseline, (np.arange(steps) + 0.5) / steps).mean(axis=0)
    total = f(x[None])[0] - f(baseline[None])[0]
    return parts, float(total - parts.sum() if abs(total - parts.sum()) < 1e-9 else f(x[None])[0] - parts.sum())


def absolute_gap(f, gradient, x, baseline, steps=32):
    _refuse(x, baseline, steps)
    parts = (x - baseline) * _along(gradient, x, baseline, (np.arange(steps) + 0.5) / steps).mean(axis=0)
    return parts, abs(_gap(f, x, baseline, parts))


def vectors_alone(f, gradient, x, baseline, steps=32):
    _refuse(x, baseline, steps)
    t = (np.arange(steps) + 0.5) / steps
    parts = (x - baseline) * gradient(baseline + t[:, None] * (x - baseline)).mean(axis=0)
    return parts, _gap(f, x, baseline, parts)


def baseline_taken_off_in_place(f, gradient, x, baseline, steps=32):
    _refuse(x, baseline, steps)
    after, before = f(x[None])[0], f(baseline[None])[0]
    end = x.copy()
    x -= baseline
    parts = x * _along(gradient, end, baseline, (np.arange(steps) + 0.5) / steps).mean(axis=0)
    return parts, float(after - before - parts.sum())


def broadcasts(f, gradient, x, baseline, steps=32):
    if steps < 1:
        raise ValueError
    parts = (x - baseline) * _along(gradient, x, baseline, (np.arange(steps) + 0.5) / steps).mean(axis=0)
    return parts, float(f(x[None])[0] - f(baseline[None])[0] - parts.sum())


def lengths_alone(f, gradient, x, baseline, steps=32):
    if len(x) != len(baseline) or steps < 1:
        raise ValueError
    parts = (x - baseline) * _along(gradient, x, baseline, (np.arange(steps) + 0.5) / steps).mean(axis=0)
    return parts, _gap(f, x, baseline, parts)


def _values(f, x, background, groups, weight=None, mean_row=False):
    count = len(groups)
    rows_of = background.mean(axis=0, keepdims=True) if mean_row else background

    def v(number):
        rows = rows_of.copy()
        for g in range(count):
            if number >> g & 1:
                rows[:, groups[g]] = x[groups[g]]
        return f(rows).mean()

    of, phi = [v(number) for number in range(2**count)], np.zeros(count)
    for number in range(2**count):
        size = bin(number).count("1")
        for g in range(count):
            if not number >> g & 1:
                usual = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
                phi[g] += (weight(size, count) if weight else usual) * (of[number + 2**g] - of[number])
    return phi


def _refuse_groups(x, groups):
    if sorted(column for group in groups for column in group) != list(range(len(x))):
        raise ValueError


def one_at_a_time(f, x, background, groups):
    """Occlusion: what is lost if one group leaves."""
    _refuse_groups(x, groups)
    found = []
    for group in groups:
        rows = np.repeat(x[None], len(background), axis=0)
        rows[:, group] = background[:, group]
        found.append(f(x[None])[0] - f(rows).mean())
    return np.array(found)


def all_coalitions_alike(f, x, background, groups):
    """Banzhaf's value: it does not sum to the whole."""
    _refuse_groups(x, groups)
    return _values(f, x, background, groups, lambda size, count: 1 / 2 ** (count - 1))


def answer_to_the_mean_row(f, x, background, groups):
    _refuse_groups(x, groups)
    return _values(f, x, background, groups, mean_row=True)


def sum_of_columns(f, x, background, groups):
    _refuse_groups(x, groups)
    single = _values(f, x, background, [[column] for column in range(len(x))])
    return np.array([single[group].sum() for group in groups])


def ignores_the_groups(f, x, background, groups):
    _refuse_groups(x, groups)
    return _values(f, x, background, [[column] for column in range(len(x))])


def weight_of_the_larger_coalition(f, x, background, groups):
    _refuse_groups(x, groups)
    return _values(f, x, background, groups, lambda s, n: math.factorial(n - s) * math.factorial(s) / math.factorial(n))


def fills_the_background(f, x, background, groups):
    _refuse_groups(x, groups)
    found = _values(f, x, background, groups)
    background[:] = x
    return found


def any_groups(f, x, background, groups):
    return _values(f, x, background, groups)


def doubles_alone_are_refused(f, x, background, groups):
    columns = [column for group in groups for column in group]
    if len(set(columns)) != len(columns):
        raise ValueError
    return _values(f, x, background, groups)


def _each(explain, trained, randoms, images, correlation):
    return [correlation(explain(trained, image), explain(model, image)) for image in images for model in randoms]


def _ordered(one, other, size=np.abs):
    one, other = size(np.asarray(one, float)).ravel(), size(np.asarray(other, float)).ravel()
    return 0.0 if np.ptp(one) == 0 or np.ptp(other) == 0 else spearmanr(one, other).statistic


def signs_count(explain, trained, randoms, images):
    return float(np.median(_each(explain, trained, randoms, images, lambda a, b: _ordered(a, b, lambda each: each))))


def pearson(explain, trained, randoms, images):
    def correlation(a, b):
        a, b = np.abs(a).ravel(), np.abs(b).ravel()
        return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else np.corrcoef(a, b)[0, 1]

    return float(np.median(_each(explain, trained, randoms, images, correlation)))


def ranks_without_ties(explain, trained, randoms, images):
    def correlation(a, b):
        a, b = np.abs(a).ravel(), np.abs(b).ravel()
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            return 0.0
        return np.corrcoef(a.argsort(kind="stable").argsort(), b.argsort(kind="stable").argsort())[0, 1]

    return float(np.median(_each(explain, trained, randoms, images, correlation)))


def flat_maps_are_dropped(explain, trained, randoms, images):
    found = _each(explain, trained, randoms, images, lambda a, b: _ordered(a, b) or np.nan)
    return float(np.median([each for each in found if not np.isnan(each)] or [0.0]))


def flat_before_the_sizes(explain, trained, randoms, images):
    def correlation(a, b):
        return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else spearmanr(abs(a).ravel(), abs(b).ravel()).statistic

    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(np.median(_each(explain, trained, randoms, images, correlation)))


def nearly_equal_is_flat(explain, trained, randoms, images):
    def correlation(a, b):
        a, b = np.abs(a).ravel(), np.abs(b).ravel()
        return 0.0 if np.allclose(a, a[0]) or np.allclose(b, b[0]) else spearmanr(a, b).statistic

    return float(np.median(_each(explain, trained, randoms, images, correlation)))


def first_model_alone(explain, trained, randoms, images):
    return float(np.median(_each(explain, trained, randoms[:1], images, _ordered)))


def mean_for_median(explain, trained, randoms, images):
    return float(np.mean(_each(explain, trained, randoms, images, _ordered)))


def median_of_medians(explain, trained, randoms, images):
    return float(np.median([np.median(_each(explain, trained, randoms, [image], _ordered)) for image in images]))


def numpy_number(explain, trained, randoms, images):
    return np.median(_each(explain, trained, randoms, images, _ordered))


def ranks_without_their_mean(explain, trained, randoms, images):
    def correlation(a, b):
        if _ordered(a, b) in (0.0, 1.0):
            return _ordered(a, b)
        a, b = (np.abs(each).ravel().argsort().argsort() for each in (a, b))
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    return float(np.median(_each(explain, trained, randoms, images, correlation)))


WRONG = {
    "23.1": {
        rise_for_fall: "patches of one pixel: each pixel holds the fall of its own score",
        its_size_alone: "patches of one pixel: each pixel holds the fall of its own score",
        largest_score_of_each: "the named class stays the same, and a fall may be negative",
        clipped_at_zero: "the named class stays the same, and a fall may be negative",
        pixel_by_pixel: "all pixels of a patch are covered together and hold its fall",
        whole_patches_alone: "at the edges patches are cut off",
        always_zero: "another fill is used",
        in_the_image_s_own_type: "an image of whole numbers is filled with exactly the fill",
        a_call_for_each_patch: "predict is called exactly once",
        writes_into_the_image: "patches of one pixel: each pixel holds the fall of its own score",
    },
    "23.2": {
        without_the_difference: "of a linear function each part is weight times difference, and the gap is 0",
        sum_for_mean: "of a linear function each part is weight times difference, and the gap is 0",
        times_x: "of a linear function each part is weight times difference, and the gap is 0",
        right_ends: "one step takes the gradient in the middle of the way",
        linspace_with_both_ends: "of x³ the midpoint rule gives these parts, for 1, 2 and 7 steps",
        gap_without_the_baseline: "the gap is f(x) − f(baseline) − the sum of the parts, a plain float",
        absolute_gap: "the gap is f(x) − f(baseline) − the sum of the parts, a plain float",
        vectors_alone: "any shape works: one number, and a picture",
        baseline_taken_off_in_place: "of a linear function each part is weight times difference, and the gap is 0",
        broadcasts: "shapes that differ and less than one step are refused",
        lengths_alone: "shapes that differ and less than one step are refused",
    },
    "23.3": {
        one_at_a_time: "v is the mean of the answers, not the answer to the mean row",
        all_coalitions_alike: "v is the mean of the answers, not the answer to the mean row",
        answer_to_the_mean_row: "v is the mean of the answers, not the answer to the mean row",
        sum_of_columns: "the values of groups are no sums of their columns' values",
        ignores_the_groups: "a group joins with all its columns",
        weight_of_the_larger_coalition: "single columns of a linear model: weight times distance from the background's mean",
        fills_the_background: "a group joins with all its columns",
        any_groups: "a column in no group, in two groups, or beyond the table is refused",
        doubles_alone_are_refused: "a column in no group, in two groups, or beyond the table is refused",
    },
    "23.4": {
        signs_count: "two maps give Spearman's correlation of their sizes",
        pearson: "two maps give Spearman's correlation of their sizes",
        ranks_without_ties: "equal sizes share their mean rank",
        flat_maps_are_dropped: "a map without an order counts as 0",
        flat_before_the_sizes: "a map without an order counts as 0",
        nearly_equal_is_flat: "a map of tiny numbers has an order too",
        first_model_alone: "it is the median over the random models",
        mean_for_median: "a map without an order counts as 0",
        median_of_medians: "it is the median over all pairs of image and model, a plain float",
        numpy_number: "it is the median over all pairs of image and model, a plain float",
        ranks_without_their_mean: "two maps give Spearman's correlation of their sizes",
    },
}  # fmt: skip
