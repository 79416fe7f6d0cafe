"""Checks of lesson 26b."""

import copy
import math
import random
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


def _pages(lengths: list[int], page: int, prefix: int) -> tuple[int, float]:
    """By names of pages, as an engine keeps them."""
    names, held = set(), {}
    for sequence, length in enumerate(lengths):
        for token in range(length):
            at = token // page
            name = ("shared", at) if (at + 1) * page <= min(prefix, length) else (sequence, at)
            names.add(name)
            held.setdefault(name, set()).add(token)
    return len(names), 1 - sum(map(len, held.values())) / (len(names) * page) if names else 0.0


@EXERCISES.add("26b.1", "How many pages is that?")
def paging(answer: Callable) -> Iterator[Property]:
    """answer(lengths, page, prefix) -> (pages, waste)."""

    def same(lengths: list[int], page: int, prefix: int = 0) -> bool:
        count, waste = answer(list(lengths), page, prefix)
        wanted = _pages(lengths, page, prefix)
        return count == wanted[0] and abs(waste - wanted[1]) < 1e-9

    yield ("each sequence has whole pages, the last one partly empty", lambda: same([16], 16) and same([17], 16) and same([1, 15, 40], 16), [
        "17 tokens need two pages of 16.",
        "Round up for each sequence, not for the sum.",
        "sum(math.ceil(n / page) for n in lengths)",
    ])  # fmt: skip
    yield ("waste is the share of the pages' room without a token", lambda: abs(answer([17], 16)[1] - 15 / 32) < 1e-9 and same([1, 1, 1], 64)
           and answer([5, 9], 1)[1] == 0, [
        "17 tokens in 32 places: 15 are empty.",
        "Divide by the room of the pages, not by the tokens.",
        "1 - tokens / (count * page)",
    ])  # fmt: skip
    yield ("no sequence, no page, no waste", lambda: tuple(answer([], 16)) == (0, 0.0) and tuple(answer([], 16, 32)) == (0, 0.0), [
        "Is there a division by zero?",
        "max() of nothing needs a default.",
        "if count else 0.0",
    ])  # fmt: skip
    yield ("pages full of the common prefix are kept once", lambda: answer([580] * 20, 16, 480)[0] == 170 and same([580] * 20, 16, 480)
           and same([64, 64], 16, 64), [
        "20 sequences with 480 common tokens share 30 pages.",
        "Each has its own pages only after them.",
        "shared + sum(all pages - shared pages of each)",
    ])  # fmt: skip
    yield ("the page in which the prefix ends is not shared", lambda: same([100, 100], 16, 40) and same([20, 20], 16, 15) and same([33, 50], 16, 17), [
        "40 common tokens fill two pages of 16. The third holds 8 of them.",
        "Whole pages alone: round down.",
        "prefix // page",
    ])  # fmt: skip
    yield ("a sequence shorter than the prefix shares the pages that it fills", lambda: same([10, 100], 16, 64) and same([20, 20], 16, 64) and same([20, 40, 64, 70], 16, 64)
           and same([5], 16, 64), [
        "20 tokens fill one page of 16, also where the prefix has 64.",
        "For each sequence: min(length, prefix) // page. What is kept once is the largest of these.",
        "common = [min(n, prefix) // page for n in lengths]; kept = max(common, default=0)",
    ])  # fmt: skip

    def drawn() -> bool:
        draw = random.Random(0)
        for _ in range(200):
            lengths = [draw.randint(1, 60) for _ in range(draw.randint(0, 6))]
            if not same(lengths, draw.randint(1, 20), draw.randint(0, 70)):
                return False
        return True

    yield ("the same for 200 drawn sets", drawn, [
        "Pages of one token, too.",
        "Tokens in shared pages count once, as their pages do.",
        "held = kept * page + sum(n - c * page for n, c in zip(lengths, common))",
    ])  # fmt: skip
    yield ("numbers that cannot be are refused", lambda: all(raises(ValueError, answer, *each) for each in (
        ([0], 16, 0), ([5, -1], 16, 0), ([5], 0, 0), ([5], 16, -1), ([], 0, 0))), [
        "A page of 0 tokens, a sequence of none.",
        "Also where no sequence is given.",
        "if page < 1 or prefix < 0 or any(n < 1 for n in lengths): raise ValueError(…)",
    ])  # fmt: skip


def _verified(drafts: list[int], q: np.ndarray, p: np.ndarray, draws: np.ndarray) -> list[int]:
    """Token by token, independent of the solution."""
    kept: list[int] = []
    for i, token in enumerate(drafts):
        if draws[i] * q[i, token] < p[i, token]:
            kept.append(token)
        else:
            weights = [max(float(a) - float(b), 0.0) for a, b in zip(p[i], q[i], strict=True)]
            break
    else:
        weights = [float(each) for each in p[len(drafts)]]
    total, so_far = math.fsum(weights), 0.0
    for token, weight in enumerate(weights):
        so_far += weight
        if so_far / total > draws[-1]:
            return [*kept, token]
    raise AssertionError


@EXERCISES.add("26b.2", "Keep or draw again")
def speculation(answer: Callable) -> Iterator[Property]:
    """answer(drafts, q, p, draws) -> list of ints."""
    q = np.array([[0.5, 0.3, 0.2, 0.0], [0.25, 0.25, 0.25, 0.25]])
    p = np.array([[0.25, 0.5, 0.0, 0.25], [0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.5, 0.5]])

    def told(drafts: list[int], *draws: float) -> list:
        k = len(drafts)
        found = answer(list(drafts), q[:k].copy(), p[: k + 1].copy() if k else p[2:].copy(), np.array(draws))
        return list(found)

    yield ("a draft that the large model likes better is always kept", lambda: told([1], 0.99, 0.05) == [1, 0] and told([1], 0.99, 0.5) == [1, 2], [
        "p = 0.5 and q = 0.3: min(1, p/q) is 1.",
        "Then one more token follows, from p of the next place.",
        "if draws[i] * q[i][token] < p[i][token]: kept.append(token)",
    ])  # fmt: skip
    yield ("one that it likes less is kept with probability p/q", lambda: told([0], 0.49, 0.05) == [0, 0] and told([0], 0.51, 0.1)[0] != 0 and len(told([0], 0.51, 0.1)) == 1
           and len(told([0], 0.5, 0.1)) == 1 and told([2], 0.0, 0.1)[0] != 2, [
        "p = 0.25 and q = 0.5: kept if the draw is below 0.5. And where p is 0, never.",
        "Strictly below. After a rejection one other token is added, and nothing more.",
        "break at the first draft that is not kept",
    ])  # fmt: skip
    yield ("after a rejection the token comes from (p - q)+", lambda: told([0], 0.9, 0.4) == [1] and told([0], 0.9, 0.5) == [3] and told([2], 0.5, 0.2) == [1]
           and told([2], 0.5, 0.43) == [1] and told([2], 0.5, 0.45) == [3], [
        "p - q is -0.25, 0.2, -0.2, 0.25. Only tokens 1 and 3 can come.",
        "Not from p itself: its tokens had their chance among the drafts.",
        "weights = np.clip(p[i] - q[i], 0, None), scaled to a sum of 1",
    ])  # fmt: skip
    yield ("the drafts after a rejected one are void", lambda: told([0, 3], 0.9, 0.0, 0.4) == [1] and told([1, 0], 0.0, 0.9, 0.1) == [1, 2] and told([1, 3], 0.1, 0.9, 0.2) == [1, 3, 2], [
        "The second draft continued a token that is not there.",
        "p and q of the place where it was rejected.",
        "for i, token in enumerate(drafts): … else: break",
    ])  # fmt: skip
    yield ("if all are kept, one more comes from the large model", lambda: told([1, 2], 0.0, 0.0, 0.1) == [1, 2, 2] and told([1, 2], 0.0, 0.0, 0.7) == [1, 2, 3], [
        "p has one row more than q.",
        "p[k], as it is, without any q.",
        "weights = p[len(drafts)]",
    ])  # fmt: skip
    yield ("without drafts it is plain sampling, and a token of weight 0 is never drawn", lambda: told([], 0.0) == [2] and told([], 0.49) == [2] and told([], 0.5) == [3], [
        "k = 0: q has no rows, p has one.",
        "The first token whose sum is *above* the draw: with a draw of 0, tokens 0 and 1 have sum 0.",
        "np.searchsorted(sums, draws[-1], side='right')",
    ])  # fmt: skip

    def drawn() -> bool:
        draw = np.random.default_rng(0)
        for _ in range(300):
            k, size = int(draw.integers(0, 6)), int(draw.integers(2, 30))
            many_q, many_p = draw.dirichlet(np.ones(size), k), draw.dirichlet(np.ones(size), k + 1)
            drafts = [int(draw.choice(size, p=row)) for row in many_q]
            draws = draw.random(k + 1)
            given = [drafts, many_q.reshape(k, size), many_p, draws]
            kept = copy.deepcopy(given)
            found = answer(*given)
            if list(found) != _verified(*kept) or any(
                not np.array_equal(a, b) for a, b in zip(given, kept, strict=True)
            ):
                return False
            if not all(isinstance(each, int | np.integer) for each in found):
                return False
        return True

    yield ("300 drawn passes come out as they should, the arguments unchanged", drawn, [
        "Scale the weights to a sum of 1 before you compare with the draw.",
        "No `-=` on p.",
        "sums = np.cumsum(weights); np.searchsorted(sums / sums[-1], draws[-1], side='right')",
    ])  # fmt: skip


def _packed(weights: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
    """A number at a time."""
    rows, columns = weights.shape
    scales = np.ones((rows, columns // group), np.float32)
    found = np.zeros((rows, columns // 2), np.uint8)
    for i in range(rows):
        for j in range(columns):
            part = weights[i, j // group * group : (j // group + 1) * group]
            if np.abs(part).max() > 0:
                scales[i, j // group] = np.float32(np.abs(part).max() / 7)
            whole = int(min(7, max(-7, np.rint(weights[i, j] / scales[i, j // group])))) + 8
            found[i, j // 2] |= whole << (4 * (j % 2))
    return found, scales


def _unpacked(content: np.ndarray, scales: np.ndarray, group: int) -> np.ndarray:
    whole = np.stack([content & 15, content >> 4], axis=2).reshape(len(content), -1).astype(float) - 8
    return whole * np.repeat(scales, group, axis=1)


@EXERCISES.add("26b.3", "Four bits, packed")
def four_bits(answer: Callable) -> Iterator[Property]:
    """answer(weights, group) -> (uint8 (rows, columns / 2), float32 (rows, columns / group))."""
    weights = np.random.default_rng(0).normal(0, 0.1, (6, 64)).astype(np.float32)
    simple = np.array([[7.0, -7.0, 1.0, 0.0]])

    def shapes() -> bool:
        content, scales = answer(weights.copy(), 32)
        return (content.shape, content.dtype, scales.shape, scales.dtype) == ((6, 32), np.uint8, (6, 2), np.float32)

    yield ("half as many bytes as weights, and a float32 scale for each group", shapes, [
        "Two weights go into one byte.",
        "uint8 (rows, columns / 2), float32 (rows, columns / group)",
        "(… | … << 4).astype(np.uint8), scales.astype(np.float32)",
    ])  # fmt: skip
    yield ("the scale is the largest magnitude of its group, divided by 7", lambda: np.allclose(answer(weights.copy(), 32)[1], np.abs(weights.reshape(6, 2, 32)).max(2) / 7)
           and np.allclose(answer(-np.abs(weights), 16)[1], np.abs(weights.reshape(6, 4, 16)).max(2) / 7), [
        "Negative weights have a magnitude, too.",
        "Groups are neighbours in a row.",
        "np.abs(weights.reshape(rows, -1, group)).max(axis=2) / 7",
    ])  # fmt: skip
    yield ("7, -7, 1, 0 with scale 1 become 15, 1, 9, 8: low half first", lambda: answer(simple.copy(), 4)[0].tolist() == [[15 + 16 * 1, 9 + 16 * 8]], [
        "Plus 8: -7 becomes 1, 0 becomes 8.",
        "The left neighbour goes into the low 4 bits, the right one into the high.",
        "whole[:, ::2] | whole[:, 1::2] << 4",
    ])  # fmt: skip

    def near() -> bool:
        for group in (2, 16, 64):
            content, scales = answer(weights.copy(), group)
            if np.any(np.abs(_unpacked(content, scales, group) - weights) > np.repeat(scales, group, axis=1) * 0.5001):
                return False
        return True

    yield ("unpacked, each weight is at most half a scale away", near, [
        "Round to the nearest, do not cut off.",
        "astype(int) cuts off.",
        "np.rint(parts / scales[:, :, None])",
    ])  # fmt: skip
    halves = np.array([[7.0, 0.5, 1.5, -2.5]])
    yield ("ties go to the even number, as np.rint has them", lambda: answer(halves.copy(), 4)[0].tolist() == [[15 + 16 * 8, 10 + 16 * 6]], [
        "0.5 becomes 0, 1.5 becomes 2, -2.5 becomes -2.",
        "np.floor(x + 0.5) rounds ties up.",
        "np.rint(parts / scales[:, :, None])",
    ])  # fmt: skip
    zeros = np.array([[0.0, 0, 0, 0, 1, 2, -3, 7]])
    yield ("a group of zeros is no division by zero", lambda: answer(zeros.copy(), 4)[1].tolist() == [[1.0, 1.0]] and answer(zeros.copy(), 4)[0].tolist() == [[136, 136, 9 + 16 * 10, 5 + 16 * 15]], [
        "The largest magnitude is 0.",
        "Such a group has scale 1, and each weight is 8.",
        "scales[scales == 0] = 1",
    ])  # fmt: skip

    def drawn() -> bool:
        draw = np.random.default_rng(1)
        for _ in range(40):
            group = 2 * int(draw.integers(1, 6))
            given = draw.normal(
                0, draw.uniform(1e-3, 1e3), (int(draw.integers(1, 5)), group * int(draw.integers(1, 5)))
            )
            given = given.astype(draw.choice([np.float32, np.float64]))
            kept = given.copy()
            content, scales = answer(given, group)
            if not np.array_equal(given, kept) or not np.allclose(scales, _packed(kept, group)[1], rtol=1e-6):
                return False
            if np.mean(content != _packed(kept, group)[0]) > 0.02:  # a tie may fall otherwise
                return False
        return True

    yield ("the same for 40 drawn matrices, the argument unchanged", drawn, [
        "Other shapes, float32 and float64.",
        "A view that you change in place changes the argument.",
        "parts / scales makes a new array",
    ])  # fmt: skip
    yield ("another group is refused", lambda: all(raises(ValueError, answer, weights, each) for each in (0, -2, 3, 1, 24, 128)), [
        "Odd groups, and those that do not divide 64.",
        "0 and negative ones, too.",
        "if group < 2 or group % 2 or columns % group: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("26b.4", "Goodput from a log")
def within_objective(answer: Callable) -> Iterator[Property]:
    """answer(log, seconds, first_s, token_s) -> float."""
    fine = (10.0, 10.25, 11.25, 11)

    def near(log: list, wanted: float, seconds: float = 2.0, first_s: float = 0.5, token_s: float = 0.125) -> bool:
        return abs(answer(list(log), seconds, first_s, token_s) - wanted) < 1e-9

    yield ("good requests are counted a second", lambda: near([fine] * 6, 3.0) and near([fine] * 6, 1.5, seconds=4.0) and near([], 0.0), [
        "Six good requests in two seconds are three a second.",
        "Divide by the seconds, not by the requests.",
        "good / seconds",
    ])  # fmt: skip
    yield ("the first token counts from when the request was due", lambda: near([fine, (10.0, 10.75, 10.85, 2)], 0.5) and near([(10.0, 10.5, 10.75, 3)], 0.5), [
        "first - due",
        "At the bound it is still good.",
        "first - due <= first_s",
    ])  # fmt: skip
    yield ("the flow is the mean over the tokens after the first", lambda: near([(0.0, 0.25, 0.25 + 0.125 * 4, 5)], 0.5) and near([(0.0, 0.25, 0.25 + 0.14 * 4, 5)], 0.0)
           and near([(0.0, 0.25, 0.25 + 0.115 * 40, 41)], 0.5), [
        "Five tokens have four gaps.",
        "(last - first) / (tokens - 1)",
        "last - first <= token_s * (tokens - 1)",
    ])  # fmt: skip
    yield ("an answer of one token has no flow", lambda: near([(0.0, 0.25, 0.25, 1)] * 4, 2.0), [
        "tokens - 1 is 0.",
        "Multiply instead of dividing.",
        "last - first <= token_s * (tokens - 1)",
    ])  # fmt: skip
    yield ("what never began or never ended is not good, and nothing else changes", lambda: near([fine, (1.0, None, None, 0), (2.0, 2.25, None, 7), fine], 1.0)
           and near([(1.0, None, None, 0)], 0.0), [
        "None - 1.0 is an error.",
        "Skip it, and keep the others.",
        "if first is None or last is None: continue",
    ])  # fmt: skip
    yield ("a request that begins at moment 0 counts as well", lambda: near([(-0.25, 0.0, 0.5, 6), (0.0, 0.0, 0.0, 1), (-1.5, -1.25, 0.0, 20)], 1.5), [
        "`if not first` is true for 0.0.",
        "Ask for None.",
        "first is None",
    ])  # fmt: skip

    def drawn() -> bool:
        draw = random.Random(0)
        for _ in range(100):
            log, good = [], 0
            for _ in range(draw.randint(0, 40)):
                due, wait, gap, tokens = (
                    draw.uniform(0, 9),
                    draw.choice([0.1, 0.4, 0.6, 2]),
                    draw.choice([0.01, 0.12, 0.13, 1]),
                    draw.randint(1, 9),
                )
                log.append((due, due + wait, due + wait + gap * (tokens - 1), tokens))
                good += wait < 0.5 and (tokens == 1 or gap < 0.125)
            seconds = draw.uniform(1, 20)
            if not near(log, good / seconds, seconds):
                return False
        return True

    yield ("the same for a hundred drawn logs", drawn, [
        "Both conditions for one and the same request.",
        "Count requests, not tokens.",
        "good += first - due <= first_s and last - first <= token_s * (tokens - 1)",
    ])  # fmt: skip
    yield ("no time, no rate: it is refused", lambda: all(raises(ValueError, answer, [fine], each, 1, 1) for each in (0, -1.0, float("nan"))), [
        "Try 0 seconds.",
        "Negative ones and nan, too.",
        "if not seconds > 0: raise ValueError(…)",
    ])  # fmt: skip
