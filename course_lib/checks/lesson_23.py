"""Checks of lesson 23, explainability."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


def near(found: object, expected: object, tolerance: float = 1e-6) -> bool:
    """Whether the two have one shape and agree."""
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    return found.shape == expected.shape and bool(np.allclose(found, expected, rtol=tolerance, atol=tolerance))


class Linear:
    """Pictures (N, H, W) to scores (N, C), weights (C, H, W); counts its calls."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights, self.calls = weights, 0

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.tensordot(np.asarray(pictures), self.weights, axes=([1, 2], [1, 2]))


def tiles(shape: tuple[int, int], size: int) -> np.ndarray:
    """For each pixel the number of its patch, (H, W)."""
    rows, columns = np.indices(shape) // size
    return rows * (1 + shape[1] // size) + columns


def falls(predict: Callable, image: np.ndarray, size: int, fill: float = 0.0) -> np.ndarray:
    """The reference: a patch at a time."""
    patch, found = tiles(image.shape, size), np.zeros(image.shape)
    scores = predict(image[None].astype(float))[0]
    for number in np.unique(patch):
        covered = np.where(patch == number, fill, image.astype(float))
        found[patch == number] = scores.max() - predict(covered[None])[0][scores.argmax()]
    return found


@EXERCISES.add("23.1", "Occlusion with patches")
def covers(answer: Callable) -> Iterator[Property]:
    """answer(predict, image, size, fill) -> array of the image's shape."""
    random = np.random.default_rng(0)
    model, image = Linear(random.normal(size=(3, 4, 6))), random.random((4, 6))
    yield ("patches of one pixel: each pixel holds the fall of its own score", lambda: near(
        answer(model, image, 1), falls(model, image, 1)
    ), [
        "Cover one pixel with 0, and see by how much the score of the named class falls.",
        "The named class is the argmax of the scores of the untouched image. Fall: score before minus score after.",
        "scores = predict(pictures); falls = scores[0, named] - scores[1:, named]",
    ])  # fmt: skip
    negative = Linear(-random.random((3, 4, 6)))
    yield ("the named class stays the same, and a fall may be negative", lambda: near(
        answer(negative, image, 1), falls(negative, image, 1)
    ) and (np.asarray(answer(negative, image, 1)) < 0).all(), [
        "Here covering a pixel raises the score. What do you return?",
        "No absolute value, and the argmax is taken once, before anything is covered.",
        "named = scores[0].argmax(), used for all rows",
    ])  # fmt: skip

    def corner(pictures: np.ndarray) -> np.ndarray:
        whole = np.asarray(pictures).reshape(len(pictures), 2, 2, 2, 2).max(axis=(2, 4)).reshape(-1, 4)
        return np.stack([whole @ [3, 1, 1, 1], np.zeros(len(pictures))], axis=1)

    yield ("all pixels of a patch are covered together and hold its fall", lambda: near(
        answer(model, image, 2), falls(model, image, 2)
    ) and near(answer(corner, np.ones((4, 4)), 2), np.kron([[3, 1], [1, 1]], np.ones((2, 2)))), [
        "A patch of 2 × 2 covers four pixels at once, and its fall is written to all four.",
        "The fall of a patch is not the sum of its pixels' falls: ask the model with the whole patch covered.",
        "picture[top : top + size, left : left + size] = fill",
    ])  # fmt: skip

    yield ("at the edges patches are cut off", lambda: all(
        near(answer(model, image, size), falls(model, image, size)) for size in (3, 4, 5, 7)
    ), [
        "Try patches of 3 and of 7 on 4 × 6 pixels.",
        "A slice that ends beyond the edge is cut off by NumPy: begin a patch at 0, size, 2 · size, …",
        "for top in range(0, height, size): for left in range(0, width, size)",
    ])  # fmt: skip
    yield ("another fill is used", lambda: near(
        answer(model, image, 2, 0.5), falls(model, image, 2, 0.5)
    ) and near(answer(model, image, 2, fill=-1.0), falls(model, image, 2, -1.0)), [
        "Is a 0 written somewhere in your function?",
        "Replace by fill; do not multiply by 0.",
        "picture[patch] = fill",
    ])  # fmt: skip
    grey = (image * 255).astype(np.uint8)
    yield ("an image of whole numbers is filled with exactly the fill", lambda: near(
        answer(model, grey, 2, 127.5), falls(model, grey, 2, 127.5), 1e-5
    ), [
        "What does an array of uint8 hold after you write 127.5 into it?",
        "Convert the image to float before you copy and fill it.",
        "np.repeat(image[None].astype(float), 1 + count, axis=0)",
    ])  # fmt: skip
    yield ("predict is called exactly once", lambda: called_once(answer, Linear(model.weights), image), [
        "Each call is a journey through the network. How many do you make?",
        "Put the image and all covered images into one array (1 + patches, H, W).",
        "scores = predict(np.stack([image, *covered]))",
    ])  # fmt: skip
    kept, turned = image.copy(), image[::-1, ::2]
    small = Linear(random.normal(size=(5, 4, 3)))
    yield ("the image stays as it is; float32 and views work", lambda: (
        answer(model, image, 2) is not None and np.array_equal(image, kept)
        and near(answer(model, image.astype(np.float32), 2), falls(model, image.astype(np.float32), 2), 1e-4)
        and near(answer(small, turned, 2), falls(small, turned, 2))
    ), [
        "Does your function write into `image`?",
        "Work on copies.",
        "np.repeat(…) copies; picture = image does not.",
    ])  # fmt: skip


def called_once(answer: Callable, model: Linear, image: np.ndarray) -> bool:
    """Whether the answer asks the model once."""
    answer(model, image, 2)
    return model.calls == 1


@EXERCISES.add("23.2", "Integrated gradients with their gap")
def adds_up(answer: Callable) -> Iterator[Property]:
    """answer(f, gradient, x, baseline, steps) -> (parts, gap)."""
    random = np.random.default_rng(1)
    w, x, baseline = random.normal(size=(3, 5))
    linear = (lambda points: np.asarray(points) @ w, lambda points: np.ones_like(points) * w)
    yield ("of a linear function each part is weight times difference, and the gap is 0", lambda: (
        near(answer(*linear, x, baseline, 4)[0], w * (x - baseline)) and near(answer(*linear, x, baseline, 4)[1], 0)
    ), [
        "Multiply the mean gradient by x − baseline, element by element.",
        "The gradient of a linear function is the same everywhere. Do you divide by the number of steps?",
        "parts = (x - baseline) * gradients.mean(axis=0)",
    ])  # fmt: skip
    square = (lambda points: (np.asarray(points) ** 2).sum(axis=-1), lambda points: 2 * np.asarray(points))
    yield ("one step takes the gradient in the middle of the way", lambda: (
        near(answer(*square, x, baseline, 1)[0], x**2 - baseline**2)
        and near(answer(*square, x, np.zeros(5), 1)[0], x**2)
    ), [
        "With one step there is one point. Where does it lie?",
        "Not at x and not at the baseline: in the middle, at t = 0.5.",
        "t = (np.arange(steps) + 0.5) / steps",
    ])  # fmt: skip
    cube = (lambda points: (np.asarray(points) ** 3).sum(axis=-1), lambda points: 3 * np.asarray(points) ** 2)
    yield ("of x³ the midpoint rule gives these parts, for 1, 2 and 7 steps", lambda: all(
        near(answer(*cube, x, baseline, steps)[0], midpoint(cube[1], x, baseline, steps)) for steps in (1, 2, 7)
    ), [
        "The way has `steps` equal pieces, with one point in the middle of each.",
        "np.linspace(0, 1, steps) gives the ends too: that is another rule.",
        "t = (np.arange(steps) + 0.5) / steps; points = baseline + t * (x - baseline)",
    ])  # fmt: skip
    yield ("32 steps are the default", lambda: near(
        answer(*cube, x, baseline)[0], midpoint(cube[1], x, baseline, 32)
    ), ["Look at the signature.", "steps=32 stands in the stub.", "Keep the default of the stub."])  # fmt: skip
    yield ("the gap is f(x) − f(baseline) − the sum of the parts, a plain float", lambda: all(
        near(answer(*cube, end, start, 2)[1], cube[0](end) - cube[0](start) - midpoint(cube[1], end, start, 2).sum())
        and type(answer(*cube, end, start, 2)[1]) is float
        for end, start in ((x, baseline), (baseline, x), (x, np.zeros(5)))
    ), [
        "Which sign does the gap have, and which type?",
        "f takes a batch: f(x[None])[0]. Do not leave f(baseline) out.",
        "float(f(x[None])[0] - f(baseline[None])[0] - parts.sum())",
    ])  # fmt: skip
    product = (lambda points: np.prod(points, axis=-1), lambda points: np.stack(
        [np.prod(np.delete(points, i, axis=-1), axis=-1) for i in range(np.shape(points)[-1])], axis=-1))  # fmt: skip
    yield ("of the product of three numbers from 0, each gets a third, and the gap closes", lambda: (
        near(answer(*product, np.array([1.0, 2.0, 3.0]), np.zeros(3), 400)[0], [2, 2, 2], 1e-4)
        and 0 < abs(answer(*product, np.array([1.0, 2.0, 3.0]), np.zeros(3), 4)[1]) < 0.2
    ), [
        "Print the points at which you ask for the gradient.",
        "All inputs move together along a straight line, not one after the other.",
        "points = baseline + t[:, None] * (x - baseline)",
    ])  # fmt: skip
    picture, paper = random.random((2, 4, 4)), random.random((4, 4))
    sums = (lambda points: (np.asarray(points) ** 2).sum(axis=(1, 2)), lambda points: 2 * np.asarray(points))
    yield ("any shape works: one number, and a picture", lambda: (
        near(answer(*square, x[:1], baseline[:1], 3)[0], x[:1] ** 2 - baseline[:1] ** 2)
        and near(answer(*sums, picture[0], paper, 3)[0], picture[0] ** 2 - paper**2)
        and near(answer(*sums, picture[0], picture[0], 3)[0], np.zeros((4, 4))) and answer(*sums, paper, paper, 3)[1] == 0
    ), [
        "Try x of shape (4, 4): which shape has t?",
        "t needs one axis for each axis of x behind its own.",
        "t.reshape(-1, *[1] * x.ndim)",
    ])  # fmt: skip
    copies = x.copy(), baseline.copy()
    single = x.astype(np.float32), baseline.astype(np.float32)
    yield ("float32 works, and x and baseline stay as they are", lambda: (
        near(answer(*square, *single, 4)[0], single[0] ** 2 - single[1] ** 2, 1e-4)
        and type(answer(*square, *single, 4)[1]) is float
        and answer(*square, x, baseline, 4) is not None and np.array_equal(copies[0], x)
        and np.array_equal(copies[1], baseline)
    ), [
        "Do you write into x or baseline?",
        "x -= baseline changes the caller's array.",
        "difference = x - baseline",
    ])  # fmt: skip
    yield ("shapes that differ and less than one step are refused", lambda: all(
        raises(ValueError, answer, *square, *bad)
        for bad in ((x, baseline[:1], 4), (x, np.zeros((1, 5)), 4), (paper, paper[:, :1], 4), (x, baseline, 0), (x, baseline, -3))
    ), [
        "What does NumPy do with shapes (5,) and (1,), or (4, 4) and (4, 1)?",
        "Compare x.shape with baseline.shape before you subtract.",
        "if x.shape != baseline.shape or steps < 1: raise ValueError(…)",
    ])  # fmt: skip


def midpoint(gradient: Callable, x: np.ndarray, baseline: np.ndarray, steps: int) -> np.ndarray:
    """The parts, a point at a time."""
    points = [baseline + (k + 0.5) / steps * (x - baseline) for k in range(steps)]
    return (x - baseline) * sum(gradient(point[None])[0] for point in points) / steps


@EXERCISES.add("23.3", "One value for each group of columns")
def joins_together(answer: Callable) -> Iterator[Property]:
    """answer(f, x, background, groups) -> one value for each group."""
    random = np.random.default_rng(2)
    x, background, w = random.normal(size=4), random.normal(size=(7, 4)), random.normal(size=4)
    alone = [[0], [1], [2], [3]]
    of_linear = w * (x - background.mean(axis=0))

    def linear(rows: np.ndarray) -> np.ndarray:
        return np.asarray(rows) @ w

    yield ("single columns of a linear model: weight times distance from the background's mean", lambda: near(
        answer(linear, x, background, alone), of_linear
    ), [
        "v(S): replace the columns in S by those of x in all rows of the background, and take the mean of f.",
        "A column that joins changes v by weight · (x − mean), whoever is there already.",
        "phi[g] += |S|! (G − |S| − 1)! / G! · (v(S ∪ {g}) − v(S)), over all S without g",
    ])  # fmt: skip
    yield ("a group joins with all its columns", lambda: (
        near(answer(linear, x, background, [[0, 3], [1, 2]]), [of_linear[[0, 3]].sum(), of_linear[[1, 2]].sum()])
        and near(answer(linear, x, background, [[2, 0, 1], [3]]), [of_linear[:3].sum(), of_linear[3]])
    ), [
        "The players are the groups, not the columns. How many coalitions of two groups are there?",
        "rows[:, groups[g]] = x[groups[g]] replaces all columns of a group.",
        "for number in range(2 ** len(groups)): members = [g for g in range(len(groups)) if number >> g & 1]",
    ])  # fmt: skip

    def bent(rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        return np.exp(rows[:, 0] * rows[:, 1] * rows[:, 2]) + rows[:, 3] ** 2 * rows[:, 0] + np.sin(rows[:, 2])

    yield ("v is the mean of the answers, not the answer to the mean row", lambda: near(
        answer(bent, x, background, alone), by_orders(bent, x, background, alone)
    ), [
        "Do you average the background before you ask f?",
        "Ask f for all rows, then take the mean of its answers.",
        "f(rows).mean(), where rows is a copy of the background with some columns replaced",
    ])  # fmt: skip
    yield ("the values of groups are no sums of their columns' values", lambda: all(
        near(answer(bent, x, background, groups), by_orders(bent, x, background, groups))
        for groups in ([[0, 2], [1], [3]], [[3, 1], [2, 0]], [[1], [0, 2, 3]])
    ), [
        "Did you compute single columns first and add them up?",
        "Within a group there is no order: all its columns join in one step.",
        "Players are groups: replace rows[:, groups[g]] in one go.",
    ])  # fmt: skip
    yield ("the values sum to f(x) minus the background's mean answer; one group gets all of it", lambda: (
        near(np.sum(answer(bent, x, background, alone)), total(bent, x, background))
        and near(answer(bent, x, background, [[0, 1, 2, 3]]), [total(bent, x, background)])
    ), [
        "What is v of no group, and of all groups?",
        "Check the weights: for each g they sum to 1 over all S without g.",
        "math.factorial(s) * math.factorial(G - s - 1) / math.factorial(G)",
    ])  # fmt: skip
    wide, many = random.normal(size=7), random.normal(size=(1, 7))  # all orders of eight would take too long
    yield ("a group that the model does not read gets 0, equal ones get equal values; seven groups, one row", lambda: (
        near(answer(lambda rows: np.asarray(rows)[:, 0] * np.asarray(rows)[:, 1], x, background, alone)[2:], [0, 0])
        and near(answer(lambda rows: np.max(rows, axis=1), np.ones(7), np.zeros((3, 7)), [[i] for i in range(7)]),
                 np.full(7, 1 / 7))
        and near(answer(lambda rows: np.prod(rows, axis=1), wide, many, [[i] for i in range(7)]),
                 by_subsets(lambda rows: np.prod(rows, axis=1), wide, many), 1e-5)
    ), [
        "Try max over seven ones against zeros: each gets a seventh.",
        "Is a number of groups or rows written somewhere in your function?",
        "Take G from len(groups), and the weights from it.",
    ])  # fmt: skip
    kept = x.copy(), background.copy()
    yield ("x and the background stay as they are", lambda: (
        answer(bent, x, background, [[0, 1], [2, 3]]) is not None and np.array_equal(kept[0], x)
        and np.array_equal(kept[1], background)
    ), [
        "Does your function write into the background?",
        "Replace columns in a copy.",
        "rows = background.copy()",
    ])  # fmt: skip
    yield ("a column in no group, in two groups, or beyond the table is refused", lambda: all(
        raises(ValueError, answer, linear, x, background, bad)
        for bad in ([[0, 1], [2]], [[0, 1], [1, 2, 3]], [[0, 1, 2, 3, 3]], [[0, 1], [2, 4]], [[0, 1, 2, -1]])
    ), [
        "Sort the columns of all groups. What must the list be?",
        "Compare with list(range(len(x))).",
        "if sorted(column for group in groups for column in group) != list(range(len(x))): raise ValueError(…)",
    ])  # fmt: skip


def total(f: Callable, x: np.ndarray, background: np.ndarray) -> float:
    """What the values sum to."""
    return float(f(x[None])[0] - f(background).mean())


def by_orders(f: Callable, x: np.ndarray, background: np.ndarray, groups: list[list[int]]) -> np.ndarray:
    """The values, by walking through all orders of the groups."""
    phi, orders = np.zeros(len(groups)), list(itertools.permutations(range(len(groups))))
    for order in orders:
        rows = background.copy()
        before = f(rows).mean()
        for g in order:
            rows[:, groups[g]] = x[groups[g]]
            after = f(rows).mean()
            phi[g] += (after - before) / len(orders)
            before = after
    return phi


def by_subsets(f: Callable, x: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The values of single columns, as the mean over sizes of the mean over coalitions of that size."""
    D, phi = len(x), np.zeros(len(x))

    def v(members: tuple[int, ...]) -> float:
        rows = background.copy()
        rows[:, list(members)] = x[list(members)]
        return float(f(rows).mean())

    for g in range(D):
        others = [i for i in range(D) if i != g]
        phi[g] = np.mean([
            np.mean([v((*S, g)) - v(S) for S in itertools.combinations(others, size)]) for size in range(D)
        ])  # fmt: skip
    return phi


@EXERCISES.add("23.4", "Does this explainer look at the model?")
def looks_at_the_model(answer: Callable) -> Iterator[Property]:
    """answer(explain, trained, randoms, images) -> float."""
    random = np.random.default_rng(3)
    images = random.random((5, 6, 6))
    before, after = random.normal(size=(2, 6, 6))

    def its_own(model: np.ndarray, image: np.ndarray) -> np.ndarray:
        """A stand-in for an explainer: the model is its map."""
        return model

    def seen(model: float, image: np.ndarray) -> np.ndarray:
        return image

    yield ("maps that show the image alone keep their order: 1", lambda: near(answer(seen, 1, [2], images), 1), [
        "The map is the same for both models. What is the correlation of a map with itself?",
        "explain takes a model and one image.",
        "explain(trained, image) and explain(model, image), for each image",
    ])  # fmt: skip
    yield ("two maps give Spearman's correlation of their sizes", lambda: near(
        answer(its_own, before, [after], images[:1]), spearman(before, after)
    ), [
        "Rank the sizes of each map, then correlate the ranks over all 36 pixels.",
        "Take absolute values before you rank.",
        "scipy.stats.spearmanr(np.abs(a).ravel(), np.abs(b).ravel()).statistic",
    ])  # fmt: skip
    yield ("signs do not count", lambda: near(answer(its_own, before, [-before], images), 1), [
        "Here the second map is the first with all signs turned.",
        "The sizes are equal, so the correlation is 1.",
        "np.abs(…) of both maps",
    ])  # fmt: skip
    yield ("ranks count, not values", lambda: near(answer(its_own, before, [np.exp(5 * np.abs(before))], images), 1), [
        "The second map is a growing function of the first one's sizes.",
        "np.corrcoef of the maps is Pearson's correlation. Use it on the ranks.",
        "scipy.stats.spearmanr, or scipy.stats.rankdata and np.corrcoef",
    ])  # fmt: skip
    holes = [np.where(random.random((6, 6)) < 0.6, 0.0, each) for each in (before, after)]
    yield ("equal sizes share their mean rank", lambda: near(
        answer(its_own, holes[0], [holes[1]], images), spearman(*holes)
    ) and near(answer(its_own, np.round(before), [np.round(after)], images), spearman(np.round(before), np.round(after))), [
        "Most pixels of these maps are 0. Which rank do they get?",
        "argsort of argsort gives equal values different ranks, in the order in which they stand.",
        "scipy.stats.rankdata gives the mean rank.",
    ])  # fmt: skip
    flat = np.full((6, 6), -0.5)
    turned = np.where(before > 0, 0.5, -0.5)
    yield ("a map without an order counts as 0", lambda: (
        near(answer(its_own, before, [flat], images), 0) and near(answer(its_own, flat, [after], images), 0)
        and near(answer(its_own, flat, [flat], images), 0)
        and near(answer(its_own, before, [flat, flat, before], images[:1]), 0)
        and near(answer(its_own, before, [turned], images), 0) and near(answer(its_own, turned, [after], images), 0)
    ), [
        "What does spearmanr give for a constant map? And for a map of 0.5 and -0.5, whose sizes are all equal?",
        "nan would spoil the median. Test first whether all sizes are equal.",
        "0.0 if np.ptp(np.abs(a)) == 0 or np.ptp(np.abs(b)) == 0 else …",
    ])  # fmt: skip
    yield ("a map of tiny numbers has an order too", lambda: near(
        answer(its_own, 1e-12 * before, [after], images), spearman(before, after)
    ) and near(answer(its_own, before, [1e-12 * after], images), spearman(before, after)), [
        "Gradients of probabilities are tiny. When do you call a map flat?",
        "Equal means equal: np.allclose and a threshold on the spread call small numbers equal.",
        "0.0 if np.ptp(sizes) == 0",
    ])  # fmt: skip
    several = [after, before, before + 0.3 * after, 0.1 * after + before, flat]
    each = [spearman(before, model) if model is not flat else 0.0 for model in several]
    yield ("it is the median over the random models", lambda: near(
        answer(its_own, before, several, images), np.median(each)
    ), [
        "Five random models give five correlations for each image.",
        "The median, not the mean, and not the first model alone.",
        "np.median(found), with one entry for each pair",
    ])  # fmt: skip

    def half(model: float, image: np.ndarray) -> np.ndarray:
        return image if image.mean() < middle else model * image[::-1] + (1 - abs(model)) * image

    middle = np.sort(images.mean(axis=(1, 2)))[2]
    pairs = [spearman(half(1, image), half(model, image)) for image in images for model in (0.2, 0.5)]
    yield ("it is the median over all pairs of image and model, a plain float", lambda: (
        near(answer(half, 1, [0.2, 0.5], images), np.median(pairs))
        and type(answer(half, 1, [0.2, 0.5], images)) is float
    ), [
        "Five images and two models are ten pairs.",
        "A median of medians is another number: collect all pairs in one list.",
        "float(np.median(found))",
    ])  # fmt: skip
    noise = iter(np.random.default_rng(4).normal(size=(80, 20, 20)))
    yield ("a map of pure noise keeps about 0, and float32 works", lambda: (
        abs(answer(lambda model, image: next(noise), 1, [2, 3], np.zeros((10, 20, 20)))) < 0.1
        and near(answer(its_own, before.astype(np.float32), [after.astype(np.float32)], images), spearman(before, after))
    ), [
        "Is your correlation near 0 for unrelated maps?",
        "Subtract the mean rank before you multiply.",
        "np.corrcoef(ranks_a, ranks_b)[0, 1]",
    ])  # fmt: skip


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation of the sizes, in plain counting: the rank of a value is 1 + those below + half of its equals."""
    ranks = []
    for each in (one, other):
        sizes = np.abs(np.asarray(each, float)).ravel()
        less = (sizes[:, None] > sizes).sum(axis=1)
        ranks.append(less + (sizes[:, None] == sizes).sum(axis=1) / 2)
    return float(np.corrcoef(*ranks)[0, 1])
