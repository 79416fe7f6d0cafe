"""Checks of lesson 08."""

import math
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("08.1", "Pictures as they come")
def pictures(answer: Callable) -> Iterator[Property]:
    """answer(picture, order="RGB") -> uint8 (H, W, 3)."""
    random = np.random.default_rng(8)
    colours = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    grey = colours[..., 0]

    def is_(got: object, expected: np.ndarray) -> bool:
        return isinstance(got, np.ndarray) and got.dtype == np.uint8 and np.array_equal(got, expected)

    yield ("bytes in red, green, blue stay as they are", lambda: is_(answer(colours), colours), [
        "The easiest case: what goes in is what should come out.",
        "Does every byte survive the way to 0 … 1 and back? Round, do not cut off.",
        "np.rint(255 * values).astype(np.uint8)",
    ])  # fmt: skip
    yield ("grey becomes three equal channels", lambda: is_(answer(grey), np.dstack([grey] * 3)), [
        "A grey picture has two axes.",
        "Which axis do the channels lie on?",
        "np.stack([picture] * 3, axis=2)",
    ])  # fmt: skip
    yield ("blue, green, red is turned around", lambda: is_(answer(colours, "BGR"), colours[..., ::-1]), [
        "Nothing in the array says in which order its colours are: the argument does.",
        "Turn the last axis, not the rows.",
        "picture[..., ::-1] for three channels",
    ])  # fmt: skip
    steps = np.array([0, 0.1, 0.5, 0.9985, 1])[None, :, None].repeat(3, axis=2)
    nearest = np.array([0, 26, 128, 255, 255], np.uint8)[None, :, None].repeat(3, axis=2)
    yield ("numbers from 0 to 1 become the nearest byte", lambda: all(
        is_(answer(steps.astype(kind)), nearest) for kind in (np.float32, np.float64)
    ), [
        "Try 0.9985: 255 times that is 254.6.",
        "astype(np.uint8) cuts off what is behind the point.",
        "np.rint before astype (np.rint(127.5) is 128)",
    ])  # fmt: skip
    yield ("a float picture of zeros and ones is not taken for bytes", lambda: is_(
        answer(np.float32([[0, 1], [1, 1]])), np.uint8([[0, 255], [255, 255]])[..., None].repeat(3, axis=2)
    ), [
        "A float picture whose largest number is 1: black and white, or almost black?",
        "The dtype says which it is, not the largest number.",
        "Divide by 255 where picture.dtype == np.uint8, and only there.",
    ])  # fmt: skip
    opacity = np.uint8([[0, 255, 51, 128]])[..., None]
    over = np.concatenate([np.full((1, 4, 3), (200, 100, 0), np.uint8), opacity], axis=2)
    share = opacity / 255.0
    paper = np.rint(np.array([200.0, 100.0, 0.0]) * share + 255 * (1 - share)).astype(np.uint8)
    yield ("what is transparent shows white paper", lambda: is_(answer(over), paper) and is_(answer(over / 255.0), paper), [
        "Opacity 0: what should one see?",
        "Dropping the fourth channel shows colours that were never meant to be seen.",
        "colour * opacity + 1 * (1 - opacity), with opacity from 0 to 1, also where floats came; keep the axis: values[..., 3:]",
    ])  # fmt: skip
    swapped = over[..., [2, 1, 0, 3]]
    yield ("with BGR and opacity, the opacity stays last", lambda: is_(answer(swapped, "BGR"), paper), [
        "Four channels in the order blue, green, red, opacity.",
        "[..., ::-1] would put the opacity first.",
        "values[..., 2::-1] counts down from the third channel.",
    ])  # fmt: skip

    def leaves_it() -> bool:
        kept = colours.copy()
        for order in ("RGB", "BGR"):
            answer(colours, order)[...] = 0
        answer(grey)[...] = 0
        strided = np.asfortranarray(colours)[::-2, ::3]
        return np.array_equal(colours, kept) and is_(answer(strided), strided)

    yield ("the result is the caller's own, and strides do not matter", leaves_it, [
        "Write into the result: does `picture` change?",
        "An array that needs no conversion must be copied all the same.",
        "picture.copy(), or any arithmetic, makes a new array.",
    ])  # fmt: skip
    yield ("other shapes, dtypes and orders are refused", lambda: all(raises(ValueError, answer, *bad) for bad in (
        (colours[0, :, 0],), (colours[..., :2],), (colours[None],), (colours.transpose(2, 0, 1)[:, :, :5],),
        (colours.astype(np.int64),), (colours > 9,), (colours, "GRB"), (colours, "rgb"), (grey, "XYZ"),
    )), [
        "Two channels, five, a batch, int64, booleans, the order GRB: what does yours say to each?",
        "int64 may hold bytes or anything: the docstring takes uint8 and floats alone.",
        "Check dtype, ndim, shape[2] in (3, 4) and order in ('RGB', 'BGR') before you compute.",
    ])  # fmt: skip
    yield ("floats outside 0 to 1, and NaN, are refused", lambda: all(
        raises(ValueError, answer, np.full((2, 2, 3), value)) for value in (-0.1, 1.5, 255.0, math.nan, math.inf)
    ) and raises(ValueError, answer, np.full((1, 1, 4), (0.5, 0.5, 0.5, 1.5))), [
        "A float picture from 0 to 255 is the commonest mistake of all.",
        "Every comparison with NaN is false: (x < 0) | (x > 1) lets it pass.",
        "if not ((picture >= 0) & (picture <= 1)).all(): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("08.2", "Say what was wrong")
def records(answer: Callable) -> Iterator[Property]:
    """answer(records, fields) -> float32 (N, K)."""
    fields = [("age", 0, 120), ("bmi", 10.0, 80.0), ("bp", 30, 250)]

    def good() -> list[dict]:
        return [{"age": 50, "bmi": 22.5, "bp": 80}, {"bp": 120.0, "age": 0, "bmi": 80.0}]

    def said(some: list[dict]) -> list[str]:
        try:
            answer(some, fields)
        except NotImplementedError:
            raise
        except ValueError as refused:
            return str(refused).splitlines()
        return []

    yield ("a float32 row for each record", lambda: answer(good()[:1], fields).dtype == np.float32
           and answer(good()[:1], fields).tolist() == [[50, 22.5, 80]], [
        "One record, three columns.",
        "What dtype does the docstring promise?",
        "np.array([[record[name] for name, _, _ in fields] for record in records], dtype=np.float32)",
    ])  # fmt: skip
    yield ("names decide, not the order in which a record lists them", lambda: answer(good(), fields).tolist()
           == [[50, 22.5, 80], [0, 80, 120]], [
        "The second record lists bp first.",
        "record.values() is in the caller's order.",
        "record[name] for each name of `fields`",
    ])  # fmt: skip
    yield ("no records give an array of no rows and K columns", lambda: answer([], fields).shape == (0, 3), [
        "A night without patients is no error.",
        "What is the shape of np.array([])?",
        ".reshape(len(records), len(fields))",
    ])  # fmt: skip
    numpy_record = {"age": np.int64(120), "bmi": np.float32(10), "bp": np.float64(30)}
    yield ("NumPy's numbers, and both ends of a range, are taken", lambda: answer([numpy_record], fields).tolist() == [[120, 10, 30]], [
        "np.int64 is no int, and np.float32 no float.",
        "low <= value <= high, with both ends.",
        "isinstance(value, int | float | np.integer | np.floating)",
    ])  # fmt: skip
    yield ("a missing and an unknown column are named", lambda: said([{"age": 1, "bmi": 20.0, "weight": 70}])
           == ["row 0, bp: missing", "row 0, weight: unknown"], [
        "bp is missing, weight is not asked for.",
        "The lines are 'row 0, bp: missing' and 'row 0, weight: unknown', in this order.",
        "First walk through fields, then through the record's names that are no field's.",
    ])  # fmt: skip

    def line_of(value: object) -> str:
        lines = said([good()[0], {"age": 1, "bmi": value, "bp": 100}])
        return lines[0] if len(lines) == 1 else ""

    def named(value: object, *words: str) -> bool:
        line = line_of(value)
        return line.startswith("row 1, bmi: ") and all(word in line for word in (repr(value), *words))

    yield ("a number out of range is refused with row, name, what came and what was expected", lambda: named(220.0, "10.0", "80.0")
           and named(9.999, "10.0", "80.0"), [
        "The second record's bmi is 220.0; its line begins with 'row 1, bmi: '.",
        "Whoever reads the line should see 10.0, 80.0 and 220.0 in it.",
        'f"row {r}, {name}: expected {low} to {high}, got {value!r}"',
    ])  # fmt: skip
    yield ("what is no number is refused: text, None, a list, an array", lambda: all(
        named(value) for value in ("22.5", None, [22.5], np.array([22.5]))
    ), [
        'A JSON job sends "22.5" as text sooner or later.',
        "float('22.5') works, and hides that the sender is broken. A comparison with None is a TypeError, not a ValueError.",
        "if not isinstance(value, int | float | np.integer | np.floating): …",
    ])  # fmt: skip
    yield ("NaN and infinity are refused", lambda: named(math.nan) and named(math.inf) and named(np.float32("nan")), [
        "JSON readers take the token NaN.",
        "Every comparison with NaN is false: value < low or value > high lets it pass.",
        "if not low <= value <= high:",
    ])  # fmt: skip
    truths = (True, np.True_)
    yield ("True is no age of one year", lambda: all(
        [line[:12] for line in said([{"age": truth, "bmi": 20.0, "bp": 80}])] == ["row 0, age: "] for truth in truths
    ), [
        "isinstance(True, int) is True in Python.",
        "Ask for a bool before you ask for a number, NumPy's own too.",
        "isinstance(value, bool | np.bool_)",
    ])  # fmt: skip
    many = [{"bmi": "x", "age": 300, "sex": 1}, good()[0], {"bp": 1000, "bmi": None}]
    yield ("every problem is named, in the order of records and fields", lambda: [line.split(":")[0] for line in said(many)]
           == ["row 0, age", "row 0, bmi", "row 0, bp", "row 0, sex", "row 2, age", "row 2, bmi", "row 2, bp"], [
        "Five nights, five mended columns: who stops at the first problem causes that.",
        "Collect lines in a list, and raise once, after the last record.",
        'raise ValueError("\\n".join(problems))',
    ])  # fmt: skip

    def unchanged() -> bool:
        sent = good()
        answer(sent, fields)
        return sent == good()

    yield ("the records stay as they were", unchanged, [
        "Does your function take entries out of the records?",
        "record.pop changes the caller's dict.",
        "Read with record[name] or record.get(name).",
    ])  # fmt: skip


@EXERCISES.add("08.3", "What to do, by what it costs")
def decisions(answer: Callable) -> Iterator[Property]:
    """answer(probabilities, costs) -> (actions, expected)."""
    random = np.random.default_rng(8)
    weather = np.array([[0.7, 0.3], [0.2, 0.8]])
    umbrella = np.array([[1.0, 0.0], [1.0, 5.0]])  # classes dry, wet; actions take it, leave it

    def reference(p: np.ndarray, costs: np.ndarray) -> tuple[list[int], list[float]]:
        rows = [[math.fsum(float(a) * float(b) for a, b in zip(row, column)) for column in costs.T] for row in p]
        return [row.index(min(row)) for row in rows], [min(row) for row in rows]

    def agrees(p: np.ndarray, costs: np.ndarray, within: float = 1e-9) -> bool:
        actions, expected = answer(p, costs)
        wanted, least = reference(p, costs)
        return np.asarray(actions).tolist() == wanted and np.allclose(expected, least, rtol=within, atol=within)

    yield ("an umbrella for 1 against 5 for getting wet", lambda: np.asarray(answer(weather, umbrella)[0]).tolist() == [0, 0]
           and np.allclose(answer(weather, umbrella)[1], [1, 1]), [
        "At 30 % rain: leaving it costs 0.3 × 5 = 1.5 on average, taking it 1.",
        "The expected cost is probabilities @ costs, one column for each action.",
        "expected = p @ costs; expected.argmin(axis=1)",
    ])  # fmt: skip
    yield ("actions are int64, expected costs float64, one for each example", lambda: answer(weather, umbrella)[0].dtype == np.int64
           and answer(weather, umbrella)[1].dtype == np.float64 and answer(weather, umbrella)[1].shape == (2,), [
        "What does the docstring promise?",
        "The second result is the cost of the action that was chosen, not of all.",
        "expected[np.arange(len(p)), actions]",
    ])  # fmt: skip
    five = random.dirichlet(np.ones(5), 200)
    yield ("with 0 for right and 1 for wrong it is the largest probability", lambda: agrees(five, 1 - np.eye(5))
           and np.array_equal(answer(five, 1 - np.eye(5))[0], five.argmax(axis=1)), [
        "costs[c, k]: the truth first, the action second.",
        "argmin of the costs, not argmax.",
        "expected = p @ costs",
    ])  # fmt: skip
    lopsided = random.normal(size=(5, 3))
    yield ("more or fewer actions than classes, gains, and costs that are not symmetric", lambda: agrees(five, lopsided)
           and agrees(five[:, :3] / five[:, :3].sum(axis=1, keepdims=True), random.normal(size=(3, 8))), [
        "Five classes and three actions: the matrix is (5, 3).",
        "p @ costs.T works by accident where both numbers are equal.",
        "The sum runs over the classes, the rows of costs.",
    ])  # fmt: skip
    ask = np.hstack([5.0 * (1 - np.eye(2)), np.ones((2, 1))])
    chow = np.array([[0.9, 0.1], [0.7, 0.3], [0.1, 0.9]])
    yield ("a column of its own for asking a person gives Chow's rule", lambda: np.asarray(answer(chow, ask)[0]).tolist() == [0, 2, 1], [
        "An answer that is wrong costs 5, a person 1: below 80 % the person is cheaper.",
        "The action's number may be as large as the number of classes.",
        "argmin over all columns of p @ costs",
    ])  # fmt: skip
    yield ("of equal costs the first action is taken", lambda: np.asarray(answer(np.array([[0.5, 0.5]]), np.ones((2, 4)))[0]).tolist() == [0], [
        "Four actions, each costs 1.",
        "np.argmin takes the first of equal ones; a sort from the end does not.",
        "expected.argmin(axis=1)",
    ])  # fmt: skip
    fine = np.array([[0.5, 0.5]], np.float32), np.array([[16777217.0, 16777216.0], [16777217.0, 16777217.0]])
    yield ("float32 probabilities are computed with in float64", lambda: agrees(*fine, within=1e-12)
           and answer(*fine)[1].dtype == np.float64, [
        "Costs of 16,777,217 and 16,777,216 are the same number in float32.",
        "p.astype(np.float64) before the product.",
        "np.asarray(probabilities, np.float64) @ np.asarray(costs, np.float64)",
    ])  # fmt: skip
    yield ("no example and a single class are allowed", lambda: answer(np.zeros((0, 5)), lopsided)[0].shape == (0,)
           and answer(np.ones((3, 1)), np.array([[2.0, 1.0]]))[0].tolist() == [1, 1, 1], [
        "N may be 0, C may be 1.",
        "Does something take the first row, or the mean?",
        "p.sum(axis=1) of no rows is an empty array, and .any() of it is False.",
    ])  # fmt: skip
    yield ("shapes that do not fit are refused", lambda: all(raises(ValueError, answer, p, c) for p, c in (
        (weather, np.ones((3, 2))), (weather[0], umbrella), (weather, umbrella[0]), (weather, np.ones((2, 0))),
    )), [
        "Two classes in the probabilities, three in the costs.",
        "One example without the batch axis has the shape (C,); and with no action there is nothing to choose.",
        "if p.ndim != 2 or costs.ndim != 2 or p.shape[1] != costs.shape[0] or costs.shape[1] == 0: raise ValueError(…)",
    ])  # fmt: skip
    yield ("logits, negative probabilities and rows that do not add up are refused", lambda: all(
        raises(ValueError, answer, np.array([row]), umbrella) for row in ([2.0, 5.0], [-0.5, 1.5], [0.5, 0.4], [0.5, 0.498], [0.0, 0.0])
    ) and answer(np.array([[0.5004, 0.5]]), umbrella)[0].shape == (1,), [
        "Somebody hands in logits: the shape is right.",
        "-0.5 and 1.5 add up to 1.",
        "(p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 0.001).any()",
    ])  # fmt: skip
    yield ("NaN and infinity are refused, in both", lambda: all(raises(ValueError, answer, *bad) for bad in (
        (np.array([[math.nan, 1.0]]), umbrella), (weather, np.array([[1.0, math.nan], [1.0, 5.0]])),
        (weather, np.array([[1.0, 0.0], [1.0, math.inf]])),
    )), [
        "abs(nan − 1) > 0.001 is false.",
        "An infinite cost times a probability of 0 is NaN.",
        "if not (np.isfinite(p).all() and np.isfinite(costs).all()): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("08.4", "The same buckets tomorrow")
def buckets(answer: Callable) -> Iterator[Property]:
    """answer(texts, sizes=(1, 2, 3), buckets=1024) -> float32 (N, buckets)."""

    def reference(text: str, sizes: tuple[int, ...] = (1, 2, 3), count: int = 1024) -> list[float]:
        text = " " + unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()) + " "
        found = Counter()
        for n in sizes:
            for gram in zip(*(text[i:] for i in range(n))):
                found[zlib.crc32("".join(gram).encode()) % count] += 1
        return [float(found[i]) for i in range(count)]

    def counts(*texts: str, **options: object) -> bool:
        got = answer(list(texts), **options)
        sizes, count = options.get("sizes", (1, 2, 3)), options.get("buckets", 1024)
        return got.tolist() == [reference(text, sizes, count) for text in texts]

    yield ("a float32 row for each text", lambda: answer(["abc", "de"]).shape == (2, 1024) and answer(["abc"]).dtype == np.float32, [
        "Two texts, 1,024 buckets.",
        "What dtype does the docstring promise?",
        "counts = np.zeros((len(texts), buckets), np.float32)",
    ])  # fmt: skip
    yield ("n-grams lie in the buckets that crc32 gives", lambda: counts("abc", sizes=(1,))
           and counts("abc", "the quick brown fox", "  two  blanks\n"), [
        "Is there a call of hash() anywhere? It gives other numbers in every process.",
        "zlib.crc32(gram.encode('utf-8')) % buckets, for every n-gram of the text with a blank at both ends.",
        "for n in sizes: for start in range(len(text) - n + 1): …",
    ])  # fmt: skip
    yield ("an n-gram that comes twice counts twice", lambda: counts("anana banana", "aaaaaa"), [
        "'aaaaaa' has six single letters of one kind.",
        "counts[row, list_of_buckets] += 1 counts a repeated bucket once.",
        "np.add.at(row, list_of_buckets, 1), or += 1 in a loop",
    ])  # fmt: skip
    yield ("characters are counted, not bytes", lambda: counts("żółć", "東京都", "a😀b"), [
        "An emoji is one character and four bytes in UTF-8.",
        "Slice the str, and encode each n-gram.",
        "text[start : start + n].encode('utf-8')",
    ])  # fmt: skip
    apart = unicodedata.normalize("NFD", "Ångström café")
    yield ("accents written apart count like accents written together", lambda: counts(apart, "x² ①")
           and np.array_equal(answer([apart]), answer(["Ångström café"])), [
        "'é' can be one character, or an e and an accent.",
        "unicodedata.normalize, before anything else: the form that joins, and leaves ² a ² (NFKC would not).",
        "unicodedata.normalize('NFC', text)",
    ])  # fmt: skip
    yield ("upper and lower case meet, also where lower() is not enough", lambda: counts("HELLO", "Straße", "ΣΊΣΥΦΟΣ")
           and np.array_equal(answer(["Straße"]), answer(["STRASSE"])), [
        "Try 'Straße' and 'STRASSE'.",
        "str.lower leaves ß as it is; there is a method made for comparing.",
        "text.casefold()",
    ])  # fmt: skip
    yield ("NFC again after folding", lambda: counts("ǰ", "ΐ"), [
        "Fold 'ǰ' and look at the length of the result.",
        "Folding can take a character apart; what then?",
        "NFC, casefold, NFC, in this order.",
    ])  # fmt: skip
    yield ("other sizes and numbers of buckets, and texts that are shorter than n", lambda: counts("hi", sizes=(5,)) and counts("hi", "hello", sizes=(2, 4), buckets=7)
           and counts("x", buckets=1), [
        "'hi' with its blanks has four characters: no 5-gram.",
        "range of a negative number is empty; a wrapped index is not.",
        "range(len(text) - n + 1)",
    ])  # fmt: skip
    yield ("no text and an empty text", lambda: answer([]).shape == (0, 1024) and counts(""), [
        "N may be 0, and a text may be empty.",
        "An empty text still has its two blanks.",
        "np.zeros((len(texts), buckets), np.float32) has the right shape for no text too.",
    ])  # fmt: skip
    yield ("one str in place of a list is a TypeError", lambda: raises(TypeError, answer, "abc"), [
        "A str is a sequence of str: what does yours return for 'abc'?",
        "Three rows, without an error: that is how such mistakes live on.",
        "if isinstance(texts, str): raise TypeError(…)",
    ])  # fmt: skip
    yield ("fewer than one bucket is a ValueError", lambda: raises(ValueError, answer, ["abc"], (1,), 0) and raises(ValueError, answer, [], (1,), -3), [
        "Modulo 0 is a ZeroDivisionError.",
        "Check before the loop: no text may come.",
        "if buckets < 1: raise ValueError(…)",
    ])  # fmt: skip
