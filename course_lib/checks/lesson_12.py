"""Checks of lesson 12: softened answers, the distillation loss, a test of pairs, a bias for a class never seen."""

from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    z = np.asarray(logits, np.longdouble)
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def _call(answer: Callable, *arguments: object) -> object:
    """The answer on copies, so that one that writes into its input spoils no later case (views stay views), with
    NumPy's warnings (a logarithm of 0, say) off: results are judged, not messages."""
    own = [a.copy() if isinstance(a, np.ndarray) and a.flags.c_contiguous else a for a in arguments]
    with np.errstate(all="ignore"):
        return answer(*own)


@EXERCISES.add("12.1", "A teacher without logits")
def softening(answer: Callable) -> Iterator[Property]:
    """answer(probabilities, temperature) -> probabilities."""
    random = np.random.default_rng(12)
    logits = random.normal(scale=3, size=(7, 5))
    logits[0, 1:3] = -60.0, -400.0  # probabilities of 1e-26 and 1e-174
    given = np.exp(_log_softmax(logits)).astype(np.float64)

    def soft(p: np.ndarray, T: float) -> np.ndarray:
        return np.asarray(_call(answer, p, T))

    yield ("at temperature 1 nothing changes", lambda: soft(given, 1.0).shape == (7, 5) and np.allclose(soft(given, 1.0), given, rtol=1e-9), [
        "What does dividing by 1 do?",
        "Whatever you do to the logarithms, undo it with the exponential and divide by the sum.",
        "np.log(p) / T, then softmax.",
    ])  # fmt: skip
    yield ("it gives what the logits would have given, warmer and colder", lambda: all(
        np.allclose(soft(given, T), np.exp(_log_softmax(logits / T)).astype(float), rtol=1e-7) for T in (0.75, 2, 4.0, 30.0)
    ), [
        "The logits are gone. What do you know about log p and z?",
        "log p is z less a constant, the same for the whole row: it can take the logits' place.",
        "softmax(np.log(p) / T), row by row; not p / T, not a softmax of p / T, and no least value for a p above 0.",
    ])  # fmt: skip
    zeros = np.array([[0.0, 0.75, 0.25], [1.0, 0.0, 0.0]])
    yield ("a probability of 0 stays 0, and the others are as they must be", lambda: np.allclose(
        soft(zeros, 2.0), [[0, np.sqrt(3) / (1 + np.sqrt(3)), 1 / (1 + np.sqrt(3))], [1, 0, 0]], rtol=1e-9, atol=0
    ), [
        "A service that rounds says 0 now and then. What is log 0?",
        "Adding a little to every probability gives the impossible class some, more with every degree of T.",
        "Take logarithms only where p > 0, and put 0 elsewhere: np.where(p > 0, …, 0).",
    ])  # fmt: skip
    cold = np.array([[0.4, 0.35, 0.25], [0.2, 0.4, 0.4], [0.9, 0.06, 0.04]])
    yield ("at T = 0.001 rows still add up to 1", lambda: np.allclose(soft(cold, 0.001), [[1, 0, 0], [0, 0.5, 0.5], [1, 0, 0]], atol=1e-9), [
        "Print 0.4 ** 1000.",
        "All powers round to 0, and 0 / 0 is NaN.",
        "Take the largest logarithm of each row away before the exponential.",
    ])  # fmt: skip
    small = given.astype(np.float32)
    yield ("float32 gives float32, float64 float64, no example none; views work", lambda: soft(small, 4.0).dtype == np.float32
           and soft(given, 4.0).dtype == np.float64 and soft(given[:0], 4.0).shape == (0, 5)
           and np.allclose(soft(given.T[:, ::2].T, 3.0), np.exp(_log_softmax(logits[::2] / 3)).astype(float), rtol=1e-7), [
        "Try float32, no row, and every second row.",
        "max over the classes of no example is fine; over everything it is not.",
        ".astype(probabilities.dtype) at the end, axis=1 and keepdims=True before.",
    ])  # fmt: skip

    def untouched() -> bool:
        kept = given.copy()
        with np.errstate(all="ignore"):
            answer(kept, 4.0)
        return np.array_equal(kept, given)

    yield ("its input stays as it was", untouched, [
        "Does your function write into `probabilities`?",
        "`p /= …` and `p **= …` change the caller's array.",
        "Make a new array in the first line.",
    ])  # fmt: skip
    yield ("a temperature of 0, below 0, NaN and infinity are refused", lambda: all(
        raises(ValueError, answer, given, T) for T in (0.0, -1.0, float("nan"), float("inf"))
    ), [
        "Try T = 0, −1, NaN and infinity.",
        "`T <= 0` is false for a NaN.",
        "if not 0 < temperature < np.inf: raise ValueError(…)",
    ])  # fmt: skip


def _loss(z: np.ndarray, v: np.ndarray, y: np.ndarray, T: float, w: float) -> float:
    rows = np.arange(len(y))
    hard = -_log_softmax(z)[rows, y].mean()
    soft = -(np.exp(_log_softmax(np.asarray(v, np.longdouble) / T)) * _log_softmax(np.asarray(z, np.longdouble) / T))
    return float((1 - w) * hard + w * T**2 * soft.sum(axis=1).mean())


def _slope(z: np.ndarray, v: np.ndarray, y: np.ndarray, T: float, w: float, step: float = 1e-5) -> np.ndarray:
    """The gradient by central differences, in extended precision where the machine has it."""
    slope = np.zeros(z.shape)
    for at in np.ndindex(z.shape):
        up, down = z.copy(), z.copy()
        up[at] += step
        down[at] -= step
        slope[at] = (_loss(up, v, y, T, w) - _loss(down, v, y, T, w)) / (2 * step)
    return slope


@EXERCISES.add("12.2", "The whole loss, and its gradient")
def whole_loss(answer: Callable) -> Iterator[Property]:
    """answer(student_logits, teacher_logits, labels, temperature, weight) -> (loss, gradient)."""
    random = np.random.default_rng(12)
    z, v, y = random.normal(size=(6, 4)), random.normal(scale=4, size=(6, 4)), random.integers(0, 4, 6)

    def value(T: float, w: float) -> float:
        return _call(answer, z, v, y, T, w)[0]

    def slope_right(T: float, w: float) -> bool:
        return np.allclose(_call(answer, z, v, y, T, w)[1], _slope(z, v, y, T, w), atol=1e-7)

    yield ("with weight 0 it is the labels' cross-entropy at every temperature, a plain float", lambda: type(value(1.0, 0.0)) is float
           and all(np.isclose(value(T, 0.0), _loss(z, v, y, 1.0, 0.0), rtol=1e-9) for T in (1.0, 4.0)), [
        "With weight 0 the teacher has no say, and lesson 02's loss remains: a mean over the examples.",
        "The labels' part has no temperature: the student is used at T = 1.",
        "-log_softmax(student_logits)[np.arange(N), labels].mean(), as a float.",
    ])  # fmt: skip
    yield ("with weight 1 and T = 1 it is the cross-entropy with the teacher's probabilities",
           lambda: np.isclose(value(1.0, 1.0), _loss(z, v, y, 1.0, 1.0), rtol=1e-9), [
        "Minus the sum over classes of the teacher's probability times the student's log-probability.",
        "The target stands before the logarithm, the student inside it. Not the KL divergence: no entropy is taken away.",
        "-(softmax(teacher) * log_softmax(student)).sum(axis=1).mean()",
    ])  # fmt: skip
    yield ("with weight 1 it is T² times the cross-entropy at T", lambda: all(
        np.isclose(value(T, 1.0), _loss(z, v, y, T, 1.0), rtol=1e-9) for T in (0.5, 4.0, 20.0)
    ), [
        "Both logits are divided by T before the softmax. And then?",
        "Without a factor the gradient goes to 0 as T grows.",
        "temperature**2 * -(softmax(v / T) * log_softmax(z / T)).sum(axis=1).mean()",
    ])  # fmt: skip
    yield ("in between it is the weighted sum of the two", lambda: all(np.isclose(value(3.0, w), _loss(z, v, y, 3.0, w), rtol=1e-9) for w in (0.1, 0.75)), [
        "Weight 1 is all teacher, weight 0 all labels.",
        "The two weights add up to 1.",
        "(1 - weight) * labels_part + weight * T**2 * teacher_part",
    ])  # fmt: skip
    yield ("the gradient of the labels' part is right", lambda: slope_right(4.0, 0.0), [
        "Compare with finite differences: move one logit by 1e-5 and see what the loss does.",
        "Softmax minus one-hot; the loss is a mean, so divide by N.",
        "g = softmax(z); g[rows, labels] -= 1; g /= N",
    ])  # fmt: skip
    yield ("the gradient of the teacher's part is right at every temperature", lambda: all(slope_right(T, 1.0) for T in (0.5, 1.0, 4.0)), [
        "At T = 1 it is p − q, over N. What changes with T?",
        "The chain rule brings 1/T, the factor in front T².",
        "temperature * (softmax(z / T) - softmax(v / T)) / N",
    ])  # fmt: skip
    yield ("a student that agrees with the teacher but for a constant is left alone", lambda: np.allclose(
        _call(answer, v + 7.0, v, y, 4.0, 1.0)[1], 0, atol=1e-12) and slope_right(3.0, 0.3), [
        "Add 7 to all logits of the teacher and call that the student: no answer differs.",
        "Matching logits as they are would punish the constant, which a softmax ignores.",
        "The difference of two softmaxes, not of two logits.",
    ])  # fmt: skip
    huge_z, huge_v = np.array([[5000.0, 0.0], [0.0, 0.0]]), np.array([[-5000.0, 5000.0], [0.0, 0.0]])
    zeros = np.zeros(2, int)
    yield ("logits of thousands do no harm", lambda: np.isclose(_call(answer, huge_z, huge_v, zeros, 2.0, 0.5)[0], _loss(huge_z, huge_v, zeros, 2.0, 0.5))
           and bool(np.isfinite(_call(answer, huge_z, huge_v, zeros, 2.0, 0.5)[1]).all()), [
        "exp(5000) overflows, and log(0) is minus infinity.",
        "Take the largest logit of each row away first, and never take the logarithm of a softmax: compute it as one.",
        "shifted = z - z.max(axis=1, keepdims=True); shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))",
    ])  # fmt: skip

    def careful() -> bool:
        mine, theirs = z.astype(np.float32), v.astype(np.float32)
        kept = mine.copy(), theirs.copy(), y.copy()
        _, slope = answer(mine, theirs, y, 4.0, 0.5)
        strided = answer(np.asfortranarray(z)[::2], v[::2], y[::2], 4.0, 0.5)
        return (
            slope.dtype == np.float32 and answer(z, v, y, 4.0, 0.5)[1].dtype == np.float64
            and all(map(np.array_equal, kept, (mine, theirs, y)))
            and np.isclose(strided[0], _loss(z[::2], v[::2], y[::2], 4.0, 0.5))
        )  # fmt: skip

    yield ("float32 gives a float32 gradient, views work, and no input is changed", careful, [
        "Try float32, and every second row; look at your inputs afterwards.",
        "`p[rows, labels] -= 1` on the student's own array would change it.",
        "Copy first; .astype(student_logits.dtype) at the end.",
    ])  # fmt: skip
    yield ("no example, a temperature of 0, and a weight outside 0 to 1 are refused", lambda: all(raises(ValueError, answer, *arguments) for arguments in (
        (z[:0], v[:0], y[:0], 4.0, 0.5), (z, v, y, 0.0, 0.5), (z, v, y, -1.0, 0.5), (z, v, y, float("nan"), 0.5), (z, v, y, 4.0, 1.5), (z, v, y, 4.0, -0.1), (z, v, y, 4.0, float("nan")),
    )), [
        "Try no rows, T = 0 and NaN, and weights of 1.5, −0.1 and NaN.",
        "A mean over nothing is NaN, with a warning only.",
        "if len(student_logits) == 0 or not temperature > 0 or not 0 <= weight <= 1: raise ValueError(…)",
    ])  # fmt: skip


def _exact_p(counts: list[int]) -> float:
    """The sign-flip p-value of whole numbers, in integers."""
    sums = np.zeros(1, np.int64)
    for count in counts:
        sums = np.concatenate([sums + count, sums - count])
    return float((np.abs(sums) >= abs(sum(counts))).mean())


@EXERCISES.add("12.3", "Would it have happened by chance?")
def sign_flips(answer: Callable) -> Iterator[Property]:
    """answer(differences) -> p-value."""
    yield ("ten gains of ten give 2 in 1024, a plain float", lambda: type(answer([1.0] * 10)) is float and answer([1.0] * 10) == 2 / 1024, [
        "Which of the 1024 ways to give signs reach the sum of 10?",
        "All plus and all minus: the test is two-sided.",
        "float((abs(sums) >= abs(sum)).mean()) over all 2^n sums.",
    ])  # fmt: skip
    mixed = [5, -1, 3, 2, -2, 4, 7]
    yield ("sizes count, not only signs", lambda: np.isclose(answer([float(d) for d in mixed]), _exact_p(mixed), atol=1e-12)
           and np.isclose(answer([9.0, -1.0, -1.0]), _exact_p([9, -1, -1]), atol=1e-12), [
        "Gains of 9 and losses of 1 and 1: the sign test would call that a loss.",
        "Flip signs of the differences, and add them up.",
        "For every combination of signs: abs((signs * differences).sum())",
    ])  # fmt: skip
    yield ("losses count like gains", lambda: answer([-1.0] * 10) == 2 / 1024 and np.isclose(answer([-float(d) for d in mixed]), _exact_p(mixed), atol=1e-12), [
        "Ten losses of ten: is that likely by chance?",
        "Compare absolute sums.",
        "abs(sums) >= abs(observed)",
    ])  # fmt: skip
    yield ("differences of 0 stay in, and nothing but zeros gives 1", lambda: answer([0.0] * 5) == 1.0
           and np.isclose(answer([0.0, 0.0, 1.0, 1.0, 1.0]), 0.25, atol=1e-12) and answer([3.0]) == 1.0, [
        "Five zeros: every way of signs gives the same sum.",
        "At least the observed sum, the observed one included.",
        ">=, not >",
    ])  # fmt: skip
    thirds = [7, -3, 9, 1, -2, 12, 4, -5, 6, 8]
    yield ("equal sums count as equal, whatever rounding does", lambda: all(
        np.isclose(answer([d * unit for d in thirds]), _exact_p(thirds), atol=1e-12) for unit in (1 / 450, 0.1, 1 / 3, 100 / 450)
    ), [
        "Print 0.1 + 0.2 - 0.3.",
        "Two sums that should be equal differ in the last bit, depending on the order of additions.",
        "Compare with a slack: >= abs(observed) - 1e-6 * abs(d).sum()",
    ])  # fmt: skip
    cancelled = [7, -3, 9, 1, -2, 12, 4, -5, 6, -29]
    yield ("differences whose sum is 0 give 1, and sums that differ a little stay apart", lambda: all(
        answer([d * unit for d in each]) == 1.0 for each in (cancelled, cancelled[::-1]) for unit in (1 / 450, 0.1, 1 / 3, 7e8 / 9)
    ) and answer([50_000.0, 1.0, -1.0]) == 0.75, [
        "Try 0.1, 0.2 and -0.3, and then 50000, 1 and -1.",
        "A slack that is a share of the sum is 0 where the sum is 0; one that is too large merges different sums.",
        "slack = 1e-6 * abs(d).sum(): the absolute differences are added, not the differences.",
    ])  # fmt: skip
    yield ("the unit does not matter", lambda: all(
        np.isclose(answer([d * unit for d in thirds]), _exact_p(thirds), atol=1e-12) for unit in (1e-13, 1e13 / 3)
    ), [
        "Measure the same differences in another unit: the same p-value must come out.",
        "A fixed slack of 1e-9 is everything to differences of 1e-13.",
        "Make the slack a millionth of the sum of the absolute differences.",
    ])  # fmt: skip
    near, far, near_nine, far_nine = [1.0, 2e-7], [1.0, 2e-6], [1.0] * 9 + [2e-6], [1.0] * 9 + [2e-5]
    yield ("the tolerance is a millionth of the absolute differences: no more and no less", lambda: all(
        [answer([d * unit for d in each]) for each in (near, far, near_nine, far_nine)] == [1.0, 0.5, 4 / 1024, 2 / 1024]
        for unit in (1.0, -1e3)
    ), [
        "Try [1, 2e-7] and [1, 2e-6]: the sums 1 + d and 1 - d are equal in the first case, and different in the second.",
        "The docstring says when two sums count as equal. How large is your tolerance?",
        "slack = 1e-6 * abs(d).sum()",
    ])  # fmt: skip
    long = [1, -1, 2, 3, -1, 1, 2, 1, -2, 1, 1, 3, 1, -1, 2, 1, 1, 2]
    yield ("lists, tuples and float32 arrays, up to 20 pairs", lambda: np.isclose(answer(np.float32(mixed)), _exact_p(mixed), atol=1e-12)
           and np.isclose(answer(tuple(map(float, mixed))), _exact_p(mixed), atol=1e-12)
           and np.isclose(answer(np.array(long, float)), _exact_p(long), atol=1e-12) and answer([1.0] * 20) == 2 / 2**20, [
        "Try a tuple, a float32 array, and 20 pairs.",
        "A million sums are fine as one array. Random signs instead of all of them do not give an exact answer.",
        "Start from [0.0] and double: sums = concatenate([sums + d, sums - d]).",
    ])  # fmt: skip
    yield ("none, more than 20, NaN and infinity are refused", lambda: all(
        raises(ValueError, answer, each) for each in ([], [1.0] * 21, [1.0, float("nan")], [1.0, float("inf")])
    ), [
        "Try an empty list, 21 pairs, and a NaN.",
        "A comparison with NaN is false, so that a NaN looks like p = 0: highly significant.",
        "if not 1 <= d.size <= 20 or not np.isfinite(d).all(): raise ValueError(…)",
    ])  # fmt: skip


def _right(logits: np.ndarray, labels: np.ndarray, missing: int, bias: float) -> int:
    """How many examples have their label's logit above all others, counted in the logits' own dtype."""
    z = logits.copy()
    z[:, missing] += z.dtype.type(bias)
    own = z[np.arange(len(labels)), labels].copy()
    z[np.arange(len(labels)), labels] = -np.inf
    return int((own > z.max(axis=1)).sum())


def _most(logits: np.ndarray, labels: np.ndarray, missing: int) -> int:
    """The most that any bias reaches: rights gained as it rises, less rights lost, over the sorted changes."""
    z = logits.astype(np.float64)
    rest = np.delete(z, missing, axis=1)
    changes = rest.max(axis=1) - z[:, missing]
    names = np.delete(np.arange(z.shape[1]), missing)
    others = np.sort(rest, axis=1)
    alone = others[:, -1:] > others[:, -2:-1] if rest.shape[1] > 1 else np.array([[True]])  # two as high: not right
    kept = (names[rest.argmax(axis=1)] == labels) & alone[:, 0]
    steps = sorted(
        (float(change), (label == missing) - int(stays)) for change, label, stays in zip(changes, labels, kept)
    )
    most = count = int(kept.sum())
    for i, (change, step) in enumerate(steps):
        count += step
        if i + 1 == len(steps) or steps[i + 1][0] > change:
            most = max(most, count)
    return most


@EXERCISES.add("12.4", "The class that never came")
def bias(answer: Callable) -> Iterator[Property]:
    """answer(logits, labels, missing) -> bias."""
    random = np.random.default_rng(12)

    def case(
        count: int = 60, classes: int = 5, missing: int = 3, down: float = 4.0, scale: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray, int]:
        labels = random.integers(0, classes, count)
        logits = random.normal(scale=1.5, size=(count, classes))
        logits[np.arange(count), labels] += 2.5
        logits[:, missing] -= down
        return logits * scale, labels, missing

    def best(logits: np.ndarray, labels: np.ndarray, missing: int) -> bool:
        kept = logits.copy()  # the answer gets the view itself
        return _right(kept, labels, missing, _call(answer, logits, labels, missing)) == _most(kept, labels, missing)

    two = np.array([[2.0, 0.0], [5.0, 0.0]]), np.array([1, 0]), 1
    yield ("a 1 that is 2 behind and a 0 that is 5 ahead: between 2 and 5, a plain float", lambda: type(_call(answer, *two)) is float and 2 < _call(answer, *two) < 5, [
        "What must be added so that the first is read as 1? And what may be added before the second is, too?",
        "Any number between 2 and 5 reads both correctly.",
        "Take the middle of a gap between two such numbers: 3.5 here.",
    ])  # fmt: skip
    many = [case() for _ in range(8)]
    yield ("no other number makes more examples right", lambda: all(best(*each) for each in many), [
        "Reading every example of that class correctly may cost more of the others than it brings.",
        "Count right answers over all examples, not over those of the class.",
        "Where does each example's answer change? At max(other logits) − own logit. Try one number in each gap.",
    ])  # fmt: skip
    narrow = np.array([[1.0, 0.0], [1.0006, 0.0], [0.9996, 0.0]]), np.array([1, 0, 1]), 1
    yield ("it finds a best range that is narrower than any grid", lambda: best(*narrow), [
        "Here the best range is 0.0006 wide.",
        "A grid finds it by luck. Where do answers change?",
        "Sort the numbers at which answers change, and try the middle of each gap.",
    ])  # fmt: skip
    over = case(down=-4.0)
    yield ("it may be negative", lambda: best(*over) and _call(answer, *over) < 0, [
        "A class may also be answered too often, as Hinton's 7s and 8s were.",
        "Does your search begin at 0?",
        "Try below the smallest change too: smallest − 1.",
    ])  # fmt: skip
    well = np.array([[3.0, 0.0, 1.0], [0.0, 4.0, 1.0], [0.0, 0.0, 2.0]]), np.array([0, 1, 2])
    hopeless = np.array([[3.0, 0.0], [1.0, 0.0]]), np.array([0, 0])
    yield ("0.0 where nothing is gained", lambda: all(_call(answer, *well, c) == 0.0 for c in range(3)) and _call(answer, *hopeless, 1) == 0.0, [
        "All are read correctly already: why change anything?",
        "Among equals 0 comes first.",
        "Put 0.0 at the head of what you try; argmax returns the first of equals.",
    ])  # fmt: skip
    edges = np.array([[2.0, 0.0], [9.0, 0.0]]), np.array([1, 1]), 1
    yield ("it is the middle of a best range, or 1 beyond its one end", lambda: np.isclose(_call(answer, *two), 3.5)
           and np.isclose(_call(answer, *edges), 10.0) and np.isclose(_call(answer, -edges[0], np.array([0, 0]), 1), -10.0), [
        "On the very number at which an answer changes, two logits are equal, and rounding decides.",
        "Infinity is no bias, and 1e9 swallows the logit in float32.",
        "(changes[:-1] + changes[1:]) / 2, changes[0] − 1, changes[-1] + 1",
    ])  # fmt: skip
    level = np.array([[1.0, 1.0], [5.0, 0.0]]), np.array([0, 0]), 1
    behind = np.array([[1.0, 1.0], [0.0, 5.0]]), np.array([1, 1]), 1
    doubled = np.array([[2.0, 2.0, 0.0], [0.0, 2.0, 2.0], [7.0, 0.0, 3.0], [0.0, 7.0, 4.0]]), np.array([0, 1, 2, 2]), 2
    yield ("an example with two equal highest logits is not read correctly", lambda: all(best(*each) for each in (level, behind, doubled)), [
        "Logits of an int8 model are often equal. Try [[1, 1], [5, 0]], both of class 0, for class 1.",
        "np.argmax answers the first of equals. Here the label's logit must be above *all* others.",
        "With two equal logits among the other classes, no bias makes an example of these classes right.",
    ])  # fmt: skip
    large, fine = case(scale=1e4), case(scale=1e-2)
    single = tuple(part.astype(np.float32) if part.dtype == float else part for part in many[0][:2])
    yield ("any scale, float32 and strided logits, two classes", lambda: best(*large) and best(*fine) and best(*single, 3)
           and best(np.asfortranarray(many[1][0])[::2], many[1][1][::2], 3) and best(*case(classes=2, missing=0)), [
        "Try logits a ten thousand times larger.",
        "Does a largest bias or a step stand somewhere in your code?",
        "Take what you try from the data, not from a constant.",
    ])  # fmt: skip

    def untouched() -> bool:
        logits, labels, missing = many[2]
        kept = logits.copy(), labels.copy()
        answer(logits, labels, missing)
        return np.array_equal(kept[0], logits) and np.array_equal(kept[1], labels)

    yield ("logits and labels stay as they were", untouched, [
        "Look at the logits after the call.",
        "`logits[:, missing] = -np.inf` writes into the caller's array.",
        "rest = logits.copy()",
    ])  # fmt: skip
    yield ("no example and no such class are refused", lambda: all(raises(ValueError, answer, *arguments) for arguments in (
        (two[0][:0], two[1][:0], 1), (*two[:2], 2), (*two[:2], -1),
    )), [
        "Try no rows, class 2 of two, and class −1.",
        "NumPy takes −1 for the last class.",
        "if len(logits) == 0 or not 0 <= missing < logits.shape[1]: raise ValueError(…)",
    ])  # fmt: skip
