"""Checks of lesson 21b."""

import contextlib
import math
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("21b.1", "What are these labels worth?")
def weighted_accuracy(answer: Callable) -> Iterator[Property]:
    """answer(right, propensity) -> (accuracy, effective sample size)."""

    def close(found: object, accuracy: float, effective: float) -> bool:
        first, second = found
        return math.isclose(first, accuracy, rel_tol=1e-5) and math.isclose(second, effective, rel_tol=1e-5)

    yield ("with equal propensities it is the share that was right, and every label counts",
           lambda: close(answer(np.array([True, True, True, False]), np.full(4, 0.1)), 0.75, 4), [
        "Four labels with the same propensity: all weights are equal.",
        "Divide by the sum of the weights, not by the number of labels.",
        "(weights * right).sum() / weights.sum(), and weights.sum() ** 2 / (weights**2).sum()",
    ])  # fmt: skip
    yield ("a label that is chosen once in ten stands for ten",
           lambda: close(answer(np.array([True, False, True]), np.array([1.0, 1.0, 0.1])), 11 / 12, 144 / 102), [
        "Three labels with the weights 1, 1 and 10.",
        "The weight is one over the propensity, not the propensity.",
        "weights = 1 / propensity",
    ])  # fmt: skip

    def plain() -> bool:
        found = answer([True, False], [0.5, 0.25])
        return close(found, 1 / 3, 36 / 20) and all(isinstance(each, float | np.floating) for each in found)

    yield ("lists are taken as well, and two floats come back", plain, [
        "Does 1 / [0.5, 0.25] work?",
        "np.asarray makes arrays of both.",
        "return float(…), float(…)",
    ])  # fmt: skip
    many = np.random.default_rng(3).uniform(0.05, 1, 500)
    truths = np.arange(500) % 3 > 0
    yield ("on 500 labels it agrees with np.average", lambda: close(
        answer(truths, many), float(np.average(truths, weights=1 / many)), float((1 / many).sum() ** 2 / (1 / many**2).sum())
    ), [
        "Try many labels with different propensities.",
        "Each label has its own weight, in the numerator and in the denominator.",
        "np.average(right, weights=1 / propensity)",
    ])  # fmt: skip
    yield ("no label, or lengths that differ, are refused", lambda: (
        raises(ValueError, answer, [], []) and raises(ValueError, answer, [True, False], [0.5])
        and raises(ValueError, answer, [True], [0.5, 0.5])
    ), [
        "What does NumPy do with shapes (2,) and (1,)?",
        "Compare the shapes, and look for a size of 0, before you compute.",
        "if right.shape != propensity.shape or right.size == 0: raise ValueError(…)",
    ])  # fmt: skip
    yield ("a propensity of 0, below 0, above 1 or NaN is refused", lambda: all(
        raises(ValueError, answer, [True, True], [0.5, wrong]) for wrong in (0.0, -0.1, 1.5, math.nan)
    ), [
        "Which propensities can belong to a request that got a label?",
        "Every comparison with NaN is false: ask whether all are good, not whether one is bad.",
        "if not ((propensity > 0) & (propensity <= 1)).all(): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("21b.2", "Spend the budget")
def choose_labels(answer: Callable) -> Iterator[Property]:
    """answer(margins, budget, explore, random) -> (rows, propensity)."""
    margins = np.random.default_rng(1).permutation(np.linspace(0.01, 0.99, 60))
    unsure = set(np.argsort(margins)[:12].tolist())

    def chosen(
        seed: int, budget: int = 20, explore: float = 0.4, over: np.ndarray = margins
    ) -> tuple[np.ndarray, np.ndarray]:
        rows, propensity = answer(over.copy(), budget, explore, np.random.default_rng(seed))
        return np.asarray(rows), np.asarray(propensity, dtype=float)

    def whole(rows: np.ndarray, propensity: np.ndarray, count: int) -> bool:
        return (rows.shape == propensity.shape == (count,) and np.issubdtype(rows.dtype, np.integer)
                and len(set(rows.tolist())) == count)  # fmt: skip

    yield ("the budget is spent, on different requests, each with its propensity", lambda: all(
        whole(*chosen(seed), 20) for seed in range(20)
    ), [
        "Of 60 requests with a budget of 20: 12 by margin, 8 by chance. Are they 20 different ones?",
        "Draw without replacement, and from the requests that were not taken already.",
        "random.choice(rest, drawn, replace=False)",
    ])  # fmt: skip
    yield ("the smallest margins are always among them", lambda: all(
        unsure <= set(chosen(seed)[0].tolist()) for seed in range(20)
    ), [
        "With explore = 0.4, 12 of 20 labels go to the smallest margins.",
        "np.argsort puts the smallest first.",
        "certain = np.argsort(margins)[: budget - drawn]",
    ])  # fmt: skip

    def told() -> bool:
        for seed in range(5):
            rows, propensity = chosen(seed)
            certain = np.isin(rows, list(unsure))
            if not (np.allclose(propensity[certain], 1) and np.allclose(propensity[~certain], 8 / 48)):
                return False
        return True

    yield ("what is certain has probability 1, what is drawn 8 of 48", told, [
        "12 requests are taken for certain. From how many are the 8 drawn?",
        "Their probability is the number of draws over the number of requests that are left.",
        "drawn / len(rest) with len(rest) = N - (budget - drawn)",
    ])  # fmt: skip

    def spread() -> bool:
        counts = np.zeros(60)
        for seed in range(600):
            counts[chosen(seed)[0]] += 1
        others = np.array([count for row, count in enumerate(counts) if row not in unsure])
        return bool((np.abs(others - 100) < 50).all())

    yield ("each of the others is drawn equally often", spread, [
        "Over 600 weeks, each of the 48 others should be drawn about 100 times.",
        "Is it drawn from all that are left, the most certain ones included?",
        "rest = np.argsort(margins)[budget - drawn :], then random.choice(rest, …)",
    ])  # fmt: skip

    def unbiased() -> bool:
        right = margins > 0.25
        sums = [(right[rows] / propensity).sum() / 60 for rows, propensity in (chosen(seed) for seed in range(600))]
        return abs(float(np.mean(sums)) - right.mean()) < 0.02

    yield ("weighted by these propensities, the accuracy is right on average", unbiased, [
        "Sum right / propensity over the labels, divide by N, and average over many weeks.",
        "The propensities must stand in the order of the rows.",
        "np.concatenate([certain, by_chance]) and np.repeat([1.0, share], [len(certain), drawn])",
    ])  # fmt: skip
    yield ("explore * budget is rounded; at least one is drawn, and all may be", lambda: (
        np.isclose(np.sort(chosen(0, 5, 0.01)[1]), [1 / 56, 1, 1, 1, 1]).all()
        and np.allclose(chosen(0, 5, 1)[1], 5 / 60)
        and np.isclose(np.sort(chosen(0, 9, 0.4)[1]), [4 / 55] * 4 + [1] * 5).all()
        and np.isclose(np.sort(chosen(0, 9, 0.25)[1]), [2 / 53] * 2 + [1] * 7).all()
    ), [
        "Try a budget of 5 with explore = 0.01 and 1, and a budget of 9 with 0.4 and 0.25.",
        "round(0.05) is 0, round(3.6) is 4 and round(2.25) is 2.",
        "drawn = max(round(explore * budget), 1)",
    ])  # fmt: skip
    yield ("a budget for every request takes them all, with probability 1", lambda: all(
        sorted(rows.tolist()) == list(range(len(over))) and (propensity == 1).all() and rows.shape == propensity.shape
        for over, (rows, propensity) in (
            (margins, chosen(0, 60, 0.4)), (margins, chosen(0, 99, 0.4)), (margins[:1], chosen(0, 1, 0.4, margins[:1])),
        )
    ), [
        "Try a budget of 60 and of 99 for 60 requests.",
        "More labels than requests cannot be drawn.",
        "if budget >= len(margins): return np.arange(len(margins)), np.ones(len(margins))",
    ])  # fmt: skip
    yield ("the given generator draws: the same seed, the same rows; another seed, others", lambda: (
        np.array_equal(chosen(7)[0], chosen(7)[0]) and any(set(chosen(0)[0].tolist()) != set(chosen(s)[0].tolist()) for s in (1, 2, 3))
    ), [
        "Which generator does your function use?",
        "np.random.choice has a state of its own, which nobody can repeat here.",
        "random.choice(…), with the argument `random`",
    ])  # fmt: skip
    yield ("an explore of 0, below 0 or above 1, and no budget, are refused", lambda: all(
        raises(ValueError, answer, margins, budget, explore, np.random.default_rng(0))
        for budget, explore in ((20, 0), (20, -0.5), (20, 1.1), (0, 0.5), (20, math.nan))
    ), [
        "What is the propensity of a sure request when explore is 0?",
        "Refuse what would leave a request without any chance.",
        "if not 0 < explore <= 1 or budget < 1: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("21b.3", "A gate that says no")
def gate(answer: Callable) -> Iterator[Property]:
    """answer(requests, labels, by_people, champion, challenger, trained_on, least, alpha) -> "promote", "keep" or "more labels"."""

    def made(champion_only: int, challenger_only: int, both: int, prefix: str = "r") -> dict:
        """Requests that one of the models, or both, get right; all labels are by people."""
        count = champion_only + challenger_only + both
        labels = np.arange(count) % 10
        wrong = (labels + 1) % 10
        place = np.arange(count)
        return {
            "requests": [f"{prefix}{i}" for i in range(count)],
            "labels": labels,
            "by_people": np.ones(count, bool),
            "champion": np.where((place >= champion_only) & (place < champion_only + challenger_only), wrong, labels),
            "challenger": np.where(place < champion_only, wrong, labels),
        }

    def joined(*parts: dict) -> dict:
        return {
            key: [*parts[0][key], *parts[1][key]]
            if key == "requests"
            else np.concatenate([part[key] for part in parts])
            for key in parts[0]
        }

    def says(case: dict, trained_on: object = (), **more: object) -> object:
        return answer(*case.values(), set(trained_on), **more)

    better, worse, alike = made(10, 40, 300), made(40, 10, 300), made(12, 15, 300)
    yield ("a challenger that is clearly better is promoted", lambda: says(better) == "promote", [
        "The challenger alone is right 40 times, the champion alone 10 times.",
        "disagreements(labels, champion, challenger) counts both, and computes p.",
        "pair.second_only > pair.first_only and pair.p < alpha",
    ])  # fmt: skip
    yield ("one that is clearly worse, or not clearly better, is not", lambda: (says(worse), says(alike)) == ("keep", "keep"), [
        "Try 40 against 10 in the champion's favour: p is small there too.",
        "The test is two-sided. Ask for the direction as well.",
        "pair.second_only > pair.first_only and pair.p < alpha",
    ])  # fmt: skip
    silent = made(0, 60, 300, "s") | {"by_people": np.zeros(360, bool)}
    yield ("labels that are not by people do not count", lambda: (
        says(joined(alike, silent)) == "keep" and says(joined(better, made(80, 0, 200, "s") | {"by_people": np.zeros(280, bool)})) == "promote"
    ), [
        "Half of the labels are answers that nobody corrected.",
        "Take the rows where by_people is True, of all columns.",
        "labels[counts], champion[counts], challenger[counts]",
    ])  # fmt: skip
    learned = made(0, 60, 300, "t")
    yield ("requests that a model was trained on do not count", lambda: (
        says(joined(alike, learned), learned["requests"]) == "keep"
        and says(joined(better, made(80, 0, 200, "t")), [f"t{i}" for i in range(280)]) == "promote"
    ), [
        "The challenger knows the answers to what it was trained on.",
        "Leave out each request whose id is in trained_on.",
        "np.array([each not in known for each in requests])",
    ])  # fmt: skip
    few = made(0, 30, 100)
    yield ("fewer labels than `least` ask for more, whatever they say", lambda: (
        says(few) == "more labels" and says(made(30, 0, 100)) == "more labels" and says(few, least=130) == "promote"
        and says(few, least=131) == "more labels" and says(joined(few, learned), learned["requests"]) == "more labels"
        and says(joined(few, silent)) == "more labels"
    ), [
        "Count the labels after both filters.",
        "130 labels that count, least = 130: enough. least = 131: not enough.",
        "if counts.sum() < least: return \"more labels\"",
    ])  # fmt: skip
    edge = made(8, 20, 300)  # exact p = 0.0357; the normal approximation gives 0.0233
    yield ("the exact test decides, at the alpha that is given", lambda: (
        says(edge) == "promote" and says(edge, alpha=0.03) == "keep" and says(made(10, 21, 300)) == "keep"
        and says(alike, alpha=0.9) == "promote"
    ), [
        "8 against 20 has an exact two-sided p of 0.036.",
        "The normal approximation is too small with so few, and half of the two-sided p is another test.",
        "disagreements(…).p < alpha",
    ])  # fmt: skip
    yield ("two models that never differ are kept apart from too little evidence", lambda: (
        says(made(0, 0, 300)) == "keep" and says(made(0, 0, 0), least=1) == "more labels" and says(made(0, 0, 0), least=0) == "keep"
    ), [
        "Try 300 requests that both get right, and no request at all.",
        "No disagreement has p = 1.",
        "np.array([...], dtype=bool) keeps an empty list of truth values one of truth values",
    ])  # fmt: skip
    yield ("ids in a list work as in a set, and truth values as 0 and 1", lambda: (
        answer(*joined(alike, learned).values(), list(learned["requests"])) == "keep"
        and says(joined(better, silent) | {"by_people": joined(better, silent)["by_people"].astype(int)}) == "promote"
    ), [
        "labels[by_people] with an array of 0 and 1 picks rows 0 and 1.",
        "Turn by_people into truth values first.",
        "np.asarray(by_people, bool)",
    ])  # fmt: skip
    yield ("lengths that differ are refused", lambda: all(
        raises(ValueError, answer, *{**better, key: better[key][:-1]}.values(), set()) for key in better
    ), [
        "Give one of the five a value less than the others.",
        "len of each, in a set, must have one member.",
        "if len({len(each) for each in columns}) != 1: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("21b.4", "Is this really a backup?")
def backup_problems(answer: Callable) -> Iterator[Property]:
    """answer(registry, feedback, acknowledged) -> {"unusable": [...], "lost": [...], "dangling": [...]}."""
    keys = [f"k{i:03}" for i in range(300)]

    def made(file: Path, script: str, rows: list[tuple] = ()) -> Path:
        with contextlib.closing(sqlite3.connect(file)) as opened:
            opened.executescript(script)
            if rows:
                opened.executemany("INSERT INTO feedback (key, note) VALUES (?, ?)", rows)
            opened.commit()
        return file

    def of_feedback(file: Path) -> Path:
        script = "CREATE TABLE feedback (id INTEGER PRIMARY KEY, key TEXT UNIQUE, note TEXT)"
        return made(file, script, [(key, "x" * 200) for key in keys])

    def of_registry(file: Path, moves: str = "('production', 1), ('production', 2)") -> Path:
        return made(file, f"""
            CREATE TABLE versions (version INTEGER PRIMARY KEY, sha256 TEXT);
            CREATE TABLE moves (id INTEGER PRIMARY KEY, alias TEXT, version INTEGER);
            INSERT INTO versions VALUES (1, 'a'), (2, 'b');
            INSERT INTO moves (alias, version) VALUES {moves};""")  # fmt: skip

    def found(acknowledged: object = keys, **changed: Callable[[Path], object]) -> dict:
        """What the answer says of two good files, one of which `changed` replaces: a function of the path to write to."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            paths = {name: Path(folder) / f"{name}.db" for name in ("registry", "feedback")}
            for name, make in ({"registry": of_registry, "feedback": of_feedback} | changed).items():
                make(paths[name])
            before = {path: path.read_bytes() if path.exists() else None for path in paths.values()}
            told = answer(paths["registry"], paths["feedback"], acknowledged)
            after = {path: path.read_bytes() if path.exists() else None for path in paths.values()}
            if set(told) != {"unusable", "lost", "dangling"}:
                return {}
            return {name: list(told[name]) for name in told} | {"same": before == after}

    def outcome(unusable: list = (), lost: list = (), dangling: list = (), same: bool = True) -> dict:
        return {"unusable": list(unusable), "lost": list(lost), "dangling": list(dangling), "same": same}

    yield ("two good files have no problem", lambda: found() == outcome() and found(set(keys[:5])) == outcome(), [
        "Open both files, and return three empty lists.",
        "contextlib.closing(sqlite3.connect(…)) closes what it opened.",
        'return {"unusable": [], "lost": [], "dangling": []} where nothing is wrong',
    ])  # fmt: skip
    yield ("acknowledged keys that are missing are lost, in order", lambda: (
        found([*keys, "z", "a"]) == outcome(lost=["a", "z"]) and found({"z", "k000"}) == outcome(lost=["z"])
    ), [
        "Acknowledge a key that was never stored.",
        "A set of the keys in the table, taken away from the set of those acknowledged.",
        "sorted(set(acknowledged) - there)",
    ])  # fmt: skip
    yield ("an alias that points to no version is dangling; only its last move counts", lambda: (
        found(registry=lambda file: of_registry(file, "('production', 7)")) == outcome(dangling=["production"])
        and found(registry=lambda file: of_registry(file, "('x', 9), ('b', 9), ('a', 8), ('x', 1)")) == outcome(dangling=["a", "b"])
        and found(registry=lambda file: of_registry(file, "('x', 1), ('x', 9)")) == outcome(dangling=["x"])
    ), [
        "Move production to version 7, which is not registered; then one alias to 9 and back to 1.",
        "A dictionary of the moves in order keeps the last one of each alias.",
        'dict(opened.execute("SELECT alias, version FROM moves ORDER BY id"))',
    ])  # fmt: skip

    def empty(file: Path) -> None:
        made(file, "PRAGMA journal_mode = WAL")

    yield ("a valid database without its table is unusable, and everything in it is lost", lambda: (
        found(keys[:3], feedback=empty) == outcome(["feedback"], keys[:3])
        and found(registry=empty) == outcome(["registry"])
        and found(registry=lambda file: made(file, "CREATE TABLE versions (version)")) == outcome(["registry"])
    ), [
        "That is a database which was copied without its log.",
        "SELECT raises sqlite3.OperationalError: no such table. Both tables of the registry are needed.",
        "SELECT name FROM sqlite_master lists the tables",
    ])  # fmt: skip

    def garbage(file: Path) -> None:
        file.write_bytes(b"this is no database, but a page of an error message " * 40)

    yield ("a file that is no database is unusable", lambda: (
        found(["b", "a"], feedback=garbage) == outcome(["feedback"], ["a", "b"])
        and found(["k000"], registry=garbage, feedback=garbage) == outcome(["feedback", "registry"], ["k000"])
    ), [
        "SQLite notices only when you first read from it.",
        "sqlite3.DatabaseError; sqlite3.Error is the class above all of them.",
        "try: … except sqlite3.Error: unusable",
    ])  # fmt: skip

    def torn(file: Path) -> None:
        """Some pages of the table are overwritten; the first ones, with header and schema, are as they were."""
        of_feedback(file)
        content = bytearray(file.read_bytes())
        content[-3 * 4096 :] = bytes(3 * 4096)
        file.write_bytes(content)

    def miscounted(file: Path) -> None:
        """The header names five free pages, and there are none: every row can still be read."""
        of_feedback(file)
        content = bytearray(file.read_bytes())
        content[36:40] = (5).to_bytes(4, "big")
        file.write_bytes(content)

    yield ("a damaged database is unusable", lambda: all(
        found(keys[:2], feedback=harm) == outcome(["feedback"], keys[:2]) for harm in (torn, miscounted)
    ), [
        "Some pages of the file are zeros, or its header is wrong. Does reading the keys notice?",
        "PRAGMA integrity_check returns the one row 'ok' where all is well, and sentences, or an error, where it is not.",
        'opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]',
    ])  # fmt: skip
    yield ("a file that does not exist is unusable, and does not exist afterwards", lambda: (
        found(["k000"], feedback=lambda file: None) == outcome(["feedback"], ["k000"])
        and found(registry=lambda file: None) == outcome(["registry"])
    ), [
        "What does sqlite3.connect do for a file that is not there?",
        "It creates an empty one. Open it read-only, or look first.",
        'sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True), or if not path.exists()',
    ])  # fmt: skip

    def as_text() -> bool:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            registry, feedback = of_registry(Path(folder) / "r 1.db"), of_feedback(Path(folder) / "f#2.db")
            told = answer(str(registry), str(feedback), keys)
            return {name: list(each) for name, each in told.items()} == {"unusable": [], "lost": [], "dangling": []}

    yield ("paths may be texts, with a space or a # in them", as_text, [
        "Give str(path), and a file called 'f#2.db'.",
        "In an address, # and spaces must be written otherwise.",
        "Path(feedback).resolve().as_uri()",
    ])  # fmt: skip

    def of_wal() -> bool:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            registry, feedback = of_registry(Path(folder) / "registry.db"), of_feedback(Path(folder) / "feedback.db")
            for file in (registry, feedback):
                made(file, "PRAGMA journal_mode = WAL")
            before = sorted(each.name for each in Path(folder).iterdir())
            told = answer(registry, feedback, keys)
            after = sorted(each.name for each in Path(folder).iterdir())
            good = {name: list(each) for name, each in told.items()} == {"unusable": [], "lost": [], "dangling": []}
            return good and before == after

    yield ("a database that uses a log is read, and no new file lies beside it", of_wal, [
        "Look into the folder afterwards: is there a feedback.db-shm?",
        "A backup of a database in WAL mode is in WAL mode. Opened with mode=ro, SQLite leaves two files beside it.",
        'f"{path.resolve().as_uri()}?mode=ro&immutable=1", or connect(path) for a file that exists',
    ])  # fmt: skip
