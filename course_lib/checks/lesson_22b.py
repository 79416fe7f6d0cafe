"""Checks of lesson 22b, privacy."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("22b.1", "Hits at few false alarms")
def hits(answer: Callable) -> Iterator[Property]:
    """answer(members, others, false_positive_rate) -> float."""
    members, others = np.array([9.0, 7.0, 5.0, 3.0]), np.array([8.0, 6.0, 4.0, 2.0])
    yield ("of four members one lies above all others, and two above all but one", lambda: (
        near(answer(members, others, 0.0), 0.25) and near(answer(members, others, 0.25), 0.5)
    ), [
        "Members 9, 7, 5, 3 and others 8, 6, 4, 2: which threshold accuses nobody wrongly?",
        "With a rate of 0.25 one of the four others may be accused.",
        "(members >= threshold).mean(), for the lowest threshold with (others >= threshold).mean() <= rate",
    ])  # fmt: skip
    yield ("it is a plain float", lambda: type(answer(members, others, 0.25)) is float, [
        "What does type(…) of your result say?",
        "A mean of a NumPy array is a NumPy number, which json.dumps may refuse.",
        "float(…) around the result.",
    ])  # fmt: skip
    yield ("a rate between two steps allows the lower number of false alarms", lambda: (
        near(answer(members, others, 0.49), 0.5) and near(answer(members, others, 0.24), 0.25)
    ), [
        "0.49 of four pictures is 1.96 pictures. How many may be accused?",
        "One: two would be a share of 0.5. A quantile that interpolates lies between two scores.",
        "Compare shares with <=, and do not compute a threshold with np.quantile.",
    ])  # fmt: skip
    tied = np.array([1.0] * 50 + [0.0] * 50)
    yield ("equal scores are accused together: half of the others at 1.0 is too many for a rate of 0.1", lambda: (
        answer(np.ones(10), tied, 0.1) == 0 and near(answer(np.ones(10), tied, 0.5), 1)
        and near(answer(members[:3], members[:3], 0.7), 2 / 3)
    ), [
        "All members have the score 1.0, and so have 50 of 100 others.",
        "A threshold of 1.0 accuses 50 % of the others. No threshold accuses only some of them.",
        "Try each score as a threshold: the others at or above it count, equal ones too. roc_curve leaves some out.",
    ])  # fmt: skip
    yield ("a score that only members have is found, however small the rate", lambda: (
        near(answer(np.array([2.0, 2.0, 1.0, 1.0]), tied, 0.001), 0.5)
    ), [
        "Two of four members have the score 2.0, and no other picture has it.",
        "Without any false alarm the threshold may still lie above the highest score of the others.",
        "Use the members' scores as thresholds, the highest included.",
    ])  # fmt: skip
    yield ("a rate of 1 accuses everybody, and one member more or less changes nothing about the others", lambda: (
        near(answer(members, others, 1.0), 1) and near(answer(members[:1], others, 0.0), 1)
        and near(answer(-members, others, 1.0), 1)
    ), [
        "With a rate of 1, all others may be accused.",
        "Then the threshold may lie below every score, also below negative ones.",
        "The lowest member's score is a possible threshold.",
    ])  # fmt: skip
    random = np.random.default_rng(0)
    cases = [
        (random.normal(shift, 1, n).round(digits).astype(kind), random.normal(size=m).round(digits).astype(kind), rate)
        for n, m, shift in ((300, 700, 1.0), (41, 1000, 2.5), (700, 13, 0.0))
        for digits, kind in ((1, np.float64), (6, np.float32))
        for rate in (0.0, 0.001, 0.01, 0.3)
    ]
    yield ("on many scores, rounded or not, of either size and dtype, it agrees with counting", lambda: all(
        near(answer(*case), reference_rate(*case)) for case in cases
    ), [
        "Try 300 members and 700 others, rounded to one digit, at rates of 0, 0.001, 0.01 and 0.3.",
        "Is each share divided by the length of its own array?",
        "best = max over thresholds t with (others >= t).mean() <= rate of (members >= t).mean()",
    ])  # fmt: skip
    yield ("an empty array and a nan are refused", lambda: all(
        raises(ValueError, answer, *pair, 0.1)
        for pair in ((members[:0], others), (members, others[:0]), (with_nan(members), others), (members, with_nan(others)))
    ), [
        "What is the mean of an empty array? And is nan >= 0.5?",
        "Every comparison with nan is false, so a nan is never accused and nobody notices.",
        "if not len(scores) or np.isnan(scores).any(): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("22b.2", "One private step")
def one_step(answer: Callable) -> Iterator[Property]:
    """answer(gradients, clip, sigma, expected_batch, random) -> float array (P,)."""

    def step(gradients: object, clip: float, sigma: float, expected: float, seed: int = 0) -> np.ndarray:
        return np.asarray(answer(np.array(gradients), clip, sigma, expected, np.random.default_rng(seed)))

    long = np.array([[3.0, 4.0], [0.0, 2.0]])
    yield ("gradients of length 5 and 2, clipped to 1, each count with length 1", lambda: close(
        step(long, 1.0, 0.0, 2), [0.3, 0.9]
    ), [
        "Each row has a length of its own: 5 and 2.",
        "Shorten each row before you add them up, and keep its direction: (3, 4) becomes (0.6, 0.8).",
        "gradients * (clip / lengths), with lengths = np.linalg.norm(gradients, axis=1, keepdims=True)",
    ])  # fmt: skip
    short = np.array([[0.3, 0.4], [0.0, 0.0], [6.0, -8.0]])
    yield ("short gradients stay as they are, also one of length 0", lambda: close(
        step(short, 1.0, 0.0, 1), [0.9, -0.4]
    ), [
        "A row of length 0.5 keeps its length. What happens to a row of zeros?",
        "The factor is at most 1, and a division by 0 makes nan.",
        "clip / np.maximum(lengths, clip)",
    ])  # fmt: skip
    yield ("the sum is divided by the expected size of a batch, not by the size that was drawn", lambda: (
        close(step(long, 1.0, 0.0, 8), [0.075, 0.225]) and close(step(long[:1], 1.0, 0.0, 0.5), [1.2, 1.6])
    ), [
        "Two rows were drawn and eight were expected.",
        "The drawn size depends on the data. The accountant does not cover it.",
        "… / expected_batch",
    ])  # fmt: skip
    zeros = np.zeros((3, 40_000))
    yield ("the noise has the standard deviation sigma * clip / expected_batch in each coordinate", lambda: all(
        abs(step(zeros, clip, sigma, expected).std() / (sigma * clip / expected) - 1) < 0.03
        and abs(step(zeros, clip, sigma, expected).mean()) < 0.03 * sigma * clip / expected
        for clip, sigma, expected in ((1.0, 2.0, 1), (0.5, 2.0, 4), (3.0, 0.7, 10), (1e-3, 1.0, 1))
    ), [
        "Give zeros, and measure the standard deviation of what comes back.",
        "The noise belongs to the sum, once, and is then divided with it. It grows with clip.",
        "random.normal(0, sigma * clip, gradients.shape[1]), added before the division",
    ])  # fmt: skip

    def independent() -> bool:
        first, second = step(zeros, 1.0, 1.0, 1, seed=1), step(zeros, 1.0, 1.0, 1, seed=2)
        half = first.reshape(2, -1)
        again = np.array_equal(first, step(zeros, 1.0, 1.0, 1, seed=1))
        return again and abs(np.corrcoef(first, second)[0, 1]) < 0.03 and abs(np.corrcoef(*half)[0, 1]) < 0.03

    yield ("the noise comes from `random`, anew for each coordinate", independent, [
        "Compare two generators with different seeds, and one coordinate with another.",
        "One number for all coordinates cannot hide a gradient.",
        "random.normal(…, size of one gradient), not np.random.normal(…)",
    ])  # fmt: skip
    yield ("the noise is normal", lambda: abs(np.mean(step(zeros, 1.0, 1.0, 1) ** 4) - 3) < 0.5, [
        "Draw a histogram of the noise. Which shape does it have?",
        "The accountant computes with a normal distribution. Uniform and Laplace noise promise something else.",
        "random.normal(0, sigma * clip, gradients.shape[1])",
    ])  # fmt: skip
    yield ("an empty batch gives noise of the same size, not nan and not zero", lambda: (
        step(zeros[:0], 1.0, 2.0, 4).shape == (40_000,) and abs(step(zeros[:0], 1.0, 2.0, 4).std() - 0.5) < 0.02
        and close(step(zeros[:0, :5], 1.0, 0.0, 4), np.zeros(5))
    ), [
        "No picture was drawn. What is the sum of no rows?",
        "A step that is skipped tells everybody that nobody was drawn.",
        "(0, P).sum(axis=0) is P zeros. Add the noise as usual.",
    ])  # fmt: skip
    random = np.random.default_rng(5)
    wide = random.normal(size=(30, 200)) * random.exponential(size=(30, 1)) / 10
    yield ("one picture more or less moves the sum by at most `clip`, whatever its gradient", lambda: all(
        np.linalg.norm(step(np.vstack([wide, extra]), 0.7, 0.0, 1) - step(wide, 0.7, 0.0, 1)) < 0.7 * (1 + 1e-4)
        for extra in (wide[:1] * 1e6, np.full((1, 200), 1e9), -wide[3:4])
    ) and close(step(wide, 0.7, 0.0, 3), reference_step(wide, 0.7, 3), 1e-4), [
        "Add a row with huge numbers and look at what changes.",
        "The length is the Euclidean one, over all parameters of one picture.",
        "np.linalg.norm(gradients, axis=1), not the norm of a column, of the mean, or of each number",
    ])  # fmt: skip

    def kept() -> bool:
        given = long.copy()
        answer(given, 1.0, 1.0, 2, np.random.default_rng(0))
        return np.array_equal(given, long)

    yield ("float32 works, and the gradients that were given are left as they were", lambda: kept() and close(
        step(wide.astype(np.float32)[::2], 0.7, 0.0, 3), reference_step(wide[::2], 0.7, 3), 1e-4
    ), [
        "Does your function write into `gradients`?",
        "`gradients *= …` changes the caller's array.",
        "clipped = gradients * …",
    ])  # fmt: skip
    yield ("a gradient with nan or infinity is refused", lambda: all(
        raises(ValueError, answer, np.array([[0.1, bad], [0.2, 0.3]]), 1.0, 1.0, 2, np.random.default_rng(0))
        for bad in (np.nan, np.inf, -np.inf)
    ), [
        "What is the length of a row with nan? And what does min(1, nan) give?",
        "Such a row cannot be clipped, so its influence has no bound.",
        "if not np.isfinite(gradients).all(): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("22b.3", "Privacy spent by three trainings")
def spent(answer: Callable) -> Iterator[Property]:
    """answer(trainings, delta) -> float."""
    yield ("one training without sampling (q = 1) gives the Gaussian's value", lambda: all(
        near(answer([(1.0, sigma, steps)], 1e-5), reference_epsilon([(1.0, sigma, steps)], 1e-5), 1e-6)
        for sigma, steps in ((4.0, 1), (20.0, 30), (200.0, 1))
    ), [
        "With q = 1 each picture is in each step. The divergence of one step is a / (2 sigma²).",
        "Multiply by the steps, convert for each order a from 2 to 128, and take the smallest.",
        "min(steps * a / (2 * sigma**2) + log((a - 1) / a) - (log(delta) + log(a)) / (a - 1) for a in range(2, 129))",
    ])  # fmt: skip
    usual = [(256 / 1347, 3.34, 158)]
    yield ("one training with sampling gives the lesson's value, as a plain float", lambda: (
        near(answer(usual, 1e-4), reference_epsilon(usual, 1e-4), 1e-6) and type(answer(usual, 1e-4)) is float
    ), [
        "q = 256 / 1,347, sigma = 3.34, 158 steps, delta = 1e-4: the lesson gets about 3.",
        "The divergence is a logarithm of a sum over k = 0 … a, divided by a - 1.",
        "terms = [log(comb(a, k)) + (a - k) * log1p(-q) + k * log(q) + k * (k - 1) / (2 * sigma**2) …], then log-sum-exp",
    ])  # fmt: skip
    three = [(0.2, 6.0, 150), (0.2, 3.0, 150), (0.1, 4.0, 300)]
    yield ("several trainings: divergences of one order are added, not ε", lambda: near(
        answer(three, 1e-4), reference_epsilon(three, 1e-4), 1e-6
    ), [
        "Three trainings: is your answer the sum, the largest or the last of three ε?",
        "Add first, convert afterwards: one sum for each order a, over all trainings.",
        "total = sum(steps * renyi(q, sigma, a) for q, sigma, steps in trainings)",
    ])  # fmt: skip
    mixed = [(1.0, 60.0, 10), (0.01, 1.0, 5000), (0.3, 9.0, 0)]
    yield ("each training keeps its own q, noise and steps, and their order does not matter", lambda: (
        near(answer(mixed, 1e-5), reference_epsilon(mixed, 1e-5), 1e-6)
        and near(answer(mixed[::-1], 1e-5), answer(mixed, 1e-5), 1e-9)
    ), [
        "Trainings with and without sampling may stand in one list, and one may have no step.",
        "The same order a is used for all of them in one sum. Do not take each training's best order.",
        "for a in range(2, 129): total = …; smallest = min(smallest, …)",
    ])  # fmt: skip
    yield ("little noise does not overflow, and much noise does not go below 0", lambda: (
        near(answer([(0.5, 0.1, 3)], 1e-5), reference_epsilon([(0.5, 0.1, 3)], 1e-5), 1e-6)
        and answer([(0.01, 500.0, 1)], 0.4) == 0 and near(answer([(1e-6, 0.3, 10)], 1e-5), reference_epsilon([(1e-6, 0.3, 10)], 1e-5), 1e-6)
    ), [
        "With sigma = 0.1 the exponent k (k - 1) / (2 sigma²) is above 800,000 for k = 128.",
        "Add logarithms: take the largest term out, as log-sum-exp does.",
        "largest + log(sum(exp(term - largest))), and max(0.0, …) at the end",
    ])  # fmt: skip
    yield ("no training, and trainings without a step, have spent nothing", lambda: (
        answer([], 1e-5) == 0 and answer([(0.2, 3.0, 0), (1.0, 1.0, 0)], 1e-5) == 0
    ), [
        "Nothing was published. What can anybody learn from it?",
        "The conversion alone is positive even for a sum of 0.",
        "if not any(steps for _, _, steps in trainings): return 0.0",
    ])  # fmt: skip
    yield ("a q of 0, below 0 or above 1, no noise, and a delta that is none are refused", lambda: all(
        raises(ValueError, answer, [(0.2, 3.0, 10), wrong], 1e-5) for wrong in ((0.0, 3.0, 10), (-0.1, 3.0, 10), (1.1, 3.0, 10), (0.2, 0.0, 10), (0.2, -1.0, 10))
    ) and all(raises(ValueError, answer, usual, delta) for delta in (0.0, 1.0, -0.1)), [
        "Which q, sigma and delta make sense?",
        "Without noise there is no privacy: an answer such as 0 or infinity hides the mistake.",
        "if not 0 < delta < 1 or any(not 0 < q <= 1 or sigma <= 0 …): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("22b.4", "Which models must go?")
def reached(answer: Callable) -> Iterator[Property]:
    """answer(versions, deleted) -> list."""
    few = {1: (None, {"a", "b"}), 2: (None, {"c"}), 3: (None, {"b", "d"})}
    yield ("versions that learned from a deleted record, and only they, sorted", lambda: (
        answer(dict(reversed(few.items())), {"b"}) == [1, 3] and answer(few, {"c"}) == [2]
    ), [
        "Versions 1 and 3 learned from b.",
        "Compare each version's records with the deleted ones.",
        "sorted(version for version, (_, records) in versions.items() if set(records) & set(deleted))",
    ])  # fmt: skip
    family = few | {4: (1, {"e"}), 5: (2, {"f"}), 6: (None, {"e"})}
    yield ("a version that started from such a version is reached, its source is not", lambda: (
        answer(family, {"a"}) == [1, 4] and answer(family, {"f"}) == [5]
    ), [
        "Version 4 never saw a. But it started from the weights of version 1, which did.",
        "What was learned goes on to the children, and never back to the parents.",
        "a version is reached if its made_from is reached",
    ])  # fmt: skip
    chain = {9: (None, ["x"]), 4: (9, []), 7: (4, []), 2: (7, []), 5: (None, ["y"]), 1: (5, [])}
    yield ("also through several others, in whatever order they stand", lambda: (
        answer(chain, ["x"]) == [2, 4, 7, 9] and answer(dict(reversed(chain.items())), ["x"]) == [2, 4, 7, 9]
        and answer(dict(sorted(chain.items())), ["y"]) == [1, 5]
    ), [
        "9 → 4 → 7 → 2: the last one is an int8 copy of a copy.",
        "One pass over the versions is not enough if a child stands before its parent.",
        "Repeat until nothing new is reached.",
    ])  # fmt: skip
    yield ("nothing deleted reaches nothing, and neither does a record that nobody learned from", lambda: (
        answer(family, set()) == [] and answer(family, {"z"}) == [] and answer({}, {"a"}) == []
    ), [
        "An empty deletion, and an empty registry.",
        "Does a version without records count as reached?",
        "set() & set() is empty, which is false.",
    ])  # fmt: skip
    ids = {1: (None, (17, 170)), 2: (None, [7]), 10: (2, frozenset({1})), 3: (None, range(700, 720))}
    yield ("records are ids of any kind, in any collection, compared as a whole", lambda: (
        answer(ids, (17,)) == [1] and answer(ids, [7]) == [2, 10] and answer(ids, {705, 17}) == [1, 3]
        and answer({1: (None, ["anna"]), 2: (None, ["annabel"])}, ["anna"]) == [1]
    ), [
        "Ids may be numbers, records tuples, lists or ranges.",
        "7 is not part of 17, and anna not of annabel: no comparison of texts.",
        "set(records) & set(deleted)",
    ])  # fmt: skip
    long = {0: (None, ["x"])} | {version: (version - 1, []) for version in range(1, 3000)}
    yield ("a chain of 3,000 versions works", lambda: answer(long, ["x"]) == list(range(3000)), [
        "A nightly retraining from the last weights makes long chains.",
        "Python's recursion ends at a depth of 1,000.",
        "Use a loop: a list of versions to look at, or repeated passes.",
    ])  # fmt: skip

    def kept() -> bool:
        given, gone = {1: (None, {"a"}), 2: (1, {"b"})}, {"a"}
        answer(given, gone)
        return given == {1: (None, {"a"}), 2: (1, {"b"})} and gone == {"a"}

    yield ("the registry is left as it was, and a list comes back", lambda: kept() and type(answer(few, {"a"})) is list, [
        "Does your function change `versions` or `deleted`?",
        "`records.add(…)` and `deleted |= …` change what the caller gave.",
        "Collect what is reached in a set of your own, and return sorted(…) of it.",
    ])  # fmt: skip
    yield ("a source that nobody knows is refused, also if nothing else is reached", lambda: (
        raises(ValueError, answer, {2: (1, {"b"})}, {"a"}) and raises(ValueError, answer, family | {8: (99, set())}, {"a"})
        and raises(ValueError, answer, {1: (0, set())}, {"a"})
        and answer({0: (None, {"a"}), 1: (0, set())}, {"a"}) == [0, 1]
    ), [
        "Version 2 was made from version 1, which is not in the registry.",
        "Unknown is not clean. Take care: version 0 is a version, and None is none.",
        "if made_from is not None and made_from not in versions: raise ValueError(…)",
    ])  # fmt: skip


def near(got: object, wanted: float, rtol: float = 1e-9) -> bool:
    return bool(np.isclose(got, wanted, rtol=rtol, atol=1e-9))


def close(got: np.ndarray, wanted: object, rtol: float = 1e-6) -> bool:
    wanted = np.asarray(wanted)
    return got.shape == wanted.shape and bool(np.allclose(got, wanted, rtol=rtol, atol=1e-7))


def with_nan(scores: np.ndarray) -> np.ndarray:
    copy = scores.copy()
    copy[-1] = np.nan
    return copy


def reference_rate(members: np.ndarray, others: np.ndarray, rate: float) -> float:
    """By one sort: members strictly above the first score of the others that would be one false alarm too many."""
    allowed = math.floor(rate * len(others) + 1e-9)
    ranked = sorted(others.tolist(), reverse=True)
    if allowed >= len(ranked):
        return 1.0
    return sum(score > ranked[allowed] for score in members.tolist()) / len(members)


def reference_step(gradients: np.ndarray, clip: float, expected: float) -> np.ndarray:
    """Without noise, a picture at a time."""
    total = np.zeros(gradients.shape[1])
    for row in gradients:
        length = math.sqrt(math.fsum(float(each) ** 2 for each in row))
        total += row * min(1.0, clip / length)
    return total / expected


def reference_epsilon(trainings: list[tuple[float, float, int]], delta: float) -> float:
    """The same bound with NumPy's logaddexp over all k at once."""

    def divergence(q: float, sigma: float, a: int) -> float:
        if q == 1:
            return a / (2 * sigma**2)
        k = np.arange(a + 1)
        choose = np.array([math.lgamma(a + 1) - math.lgamma(each + 1) - math.lgamma(a - each + 1) for each in k])
        terms = choose + (a - k) * math.log1p(-q) + k * math.log(q) + k * (k - 1) / (2 * sigma**2)
        return float(np.logaddexp.reduce(terms)) / (a - 1)

    found = (
        sum(steps * divergence(q, sigma, a) for q, sigma, steps in trainings)
        + math.log((a - 1) / a) - (math.log(delta) + math.log(a)) / (a - 1)
        for a in range(2, 129)
    )  # fmt: skip
    return max(0.0, min(found))
