"""Wrong answers that people write, planted in lesson 21b: each must be caught at the property named."""

import contextlib
import math
import sqlite3
from pathlib import Path

import numpy as np

from course_lib.measure import disagreements


def _checked(right, propensity):
    right, propensity = np.asarray(right, float), np.asarray(propensity, float)
    if right.shape != propensity.shape or right.size == 0 or not ((propensity > 0) & (propensity <= 1)).all():
        raise ValueError
    return right, propensity


def divided_by_the_labels(right, propensity):
    right, propensity = _checked(right, propensity)
    w = 1 / propensity
    return float((w * right).sum() / len(w)), float(w.sum() ** 2 / (w**2).sum())


def weighted_by_the_propensity(right, propensity):
    right, w = _checked(right, propensity)
    return float((w * right).sum() / w.sum()), float(w.sum() ** 2 / (w**2).sum())


def counts_all_labels_as_equal(right, propensity):
    right, propensity = _checked(right, propensity)
    return float(np.average(right, weights=1 / propensity)), float(len(right))


def arrays_only(right, propensity):
    if right.shape != propensity.shape or right.size == 0 or not ((propensity > 0) & (propensity <= 1)).all():
        raise ValueError
    w = 1 / propensity
    return float((w * right).sum() / w.sum()), float(w.sum() ** 2 / (w**2).sum())


def broadcasts(right, propensity):
    right, propensity = np.asarray(right, float), np.asarray(propensity, float)
    if not right.size or not ((propensity > 0) & (propensity <= 1)).all():
        raise ValueError
    w = 1 / propensity * np.ones_like(right)
    return float((w * right).sum() / w.sum()), float(w.sum() ** 2 / (w**2).sum())


def lets_nan_pass(right, propensity):
    right, propensity = np.asarray(right, float), np.asarray(propensity, float)
    if right.shape != propensity.shape or right.size == 0 or (propensity <= 0).any() or (propensity > 1).any():
        raise ValueError
    w = 1 / propensity
    return float((w * right).sum() / w.sum()), float(w.sum() ** 2 / (w**2).sum())


def _asked(margins, budget, explore):
    if not 0 < explore <= 1 or budget < 1:
        raise ValueError
    return max(round(explore * budget), 1)


def all_by_margin(margins, budget, explore, random):
    _asked(margins, budget, explore)
    return np.argsort(margins)[:budget], np.ones(min(budget, len(margins)))


def largest_margins(margins, budget, explore, random):
    drawn = _asked(margins, budget, explore)
    if budget >= len(margins):
        return np.arange(len(margins)), np.ones(len(margins))
    order = np.argsort(-margins)
    by_chance = random.choice(order[budget - drawn :], drawn, replace=False)
    share = drawn / (len(margins) - budget + drawn)
    return np.append(order[: budget - drawn], by_chance), np.repeat([1, share], [budget - drawn, drawn])


def drawn_from_all(margins, budget, explore, random):
    drawn = _asked(margins, budget, explore)
    rows = np.append(np.argsort(margins)[: budget - drawn], random.choice(len(margins), drawn, replace=False))
    return rows, np.repeat([1, drawn / len(margins)], [budget - drawn, drawn])


def share_of_all(margins, budget, explore, random):
    drawn = _asked(margins, budget, explore)
    order = np.argsort(margins)
    by_chance = random.choice(order[budget - drawn :], drawn, replace=False)
    return np.append(order[: budget - drawn], by_chance), np.repeat([1, drawn / len(margins)], [budget - drawn, drawn])


def the_next_unsure_ones_by_chance(margins, budget, explore, random):
    drawn = _asked(margins, budget, explore)
    order = np.argsort(margins)
    rest = order[budget - drawn :]
    by_chance = random.choice(rest[: len(rest) // 2], drawn, replace=False)
    return np.append(order[: budget - drawn], by_chance), np.repeat([1, drawn / len(rest)], [budget - drawn, drawn])


def none_drawn_of_a_small_budget(margins, budget, explore, random):
    _asked(margins, budget, explore)
    drawn = round(explore * budget)
    order = np.argsort(margins)
    by_chance = random.choice(order[budget - drawn :], drawn, replace=False)
    share = drawn / (len(margins) - budget + drawn)
    return np.append(order[: budget - drawn], by_chance), np.repeat([1, share], [budget - drawn, drawn])


def rounds_down(margins, budget, explore, random):
    return _drawn(margins, budget, explore, random, max(int(explore * budget), 1))


def rounds_up(margins, budget, explore, random):
    return _drawn(margins, budget, explore, random, math.ceil(explore * budget))


def _drawn(margins, budget, explore, random, drawn):
    _asked(margins, budget, explore)
    if budget >= len(margins):
        return np.arange(len(margins)), np.ones(len(margins))
    order = np.argsort(margins)
    rest = order[budget - drawn :]
    by_chance = random.choice(rest, drawn, replace=False)
    return np.append(order[: budget - drawn], by_chance), np.repeat([1, drawn / len(rest)], [budget - drawn, drawn])


def a_large_budget_forgotten(margins, budget, explore, random):
    drawn = _asked(margins, budget, explore)
    order = np.argsort(margins)
    rest = order[budget - drawn :]
    by_chance = random.choice(rest, drawn, replace=False)
    return np.append(order[: budget - drawn], by_chance), np.repeat([1, drawn / len(rest)], [budget - drawn, drawn])


def a_generator_of_its_own(margins, budget, explore, random):
    return _chosen(margins, budget, explore, np.random.default_rng())


def always_the_same_seed(margins, budget, explore, random):
    return _chosen(margins, budget, explore, np.random.default_rng(0))


def explores_nothing_if_asked(margins, budget, explore, random):
    if explore == 0:
        return np.argsort(margins)[:budget], np.ones(budget)
    return _chosen(margins, budget, explore, random)


def _chosen(margins, budget, explore, random):
    drawn = _asked(margins, budget, explore)
    if budget >= len(margins):
        return np.arange(len(margins)), np.ones(len(margins))
    order = np.argsort(margins)
    rest = order[budget - drawn :]
    by_chance = random.choice(rest, drawn, replace=False)
    return np.append(order[: budget - drawn], by_chance), np.repeat([1, drawn / len(rest)], [budget - drawn, drawn])


def _counting(requests, labels, by_people, champion, challenger, trained_on):
    columns = [np.asarray(each) for each in (requests, labels, by_people, champion, challenger)]
    if len({len(each) for each in columns}) != 1:
        raise ValueError
    known = set(trained_on)
    fresh = np.array([each not in known for each in columns[0]], dtype=bool)
    return columns[1], columns[3], columns[4], columns[2].astype(bool), fresh


def _verdict(labels, champion, challenger, counts, least, alpha):
    if counts.sum() < least:
        return "more labels"
    pair = disagreements(labels[counts], champion[counts], challenger[counts])
    return "promote" if pair.second_only > pair.first_only and pair.p < alpha else "keep"


def any_difference_promotes(requests, labels, by_people, champion, challenger, trained_on, least=200, alpha=0.05):
    labels, champion, challenger, people, fresh = _counting(
        requests, labels, by_people, champion, challenger, trained_on
    )
    if (people & fresh).sum() < least:
        return "more labels"
    pair = disagreements(labels[people & fresh], champion[people & fresh], challenger[people & fresh])
    return "promote" if pair.p < alpha else "keep"


def the_higher_accuracy_promotes(requests, labels, by_people, champion, challenger, trained_on, least=200, alpha=0.05):
    labels, champion, challenger, people, fresh = _counting(
        requests, labels, by_people, champion, challenger, trained_on
    )
    counts = people & fresh
    if counts.sum() < least:
        return "more labels"
    better = (challenger[counts] == labels[counts]).mean() > (champion[counts] == labels[counts]).mean()
    return "promote" if better else "keep"


def every_label_counts(requests, labels, by_people, champion, challenger, trained_on, least=200, alpha=0.05):
    labels, champion, challenger, _, fresh = _counting(requests, labels, by_people, champion, challenger, trained_on)
    return _verdict(labels, champion, challenger, fresh, least, alpha)


def training_data_count(requests, labels, by_people, champion, challenger, trained_on, least=200, alpha=0.05):
    labels, champion, challenger, people, _ = _counting(requests, labels, by_people, champion, challenger, trained_on)
    return _verdict(labels, champion, challenger, people, least, alpha)


def evidence_before_the_filters(requests, labels, by_people, champion, challenger, trained_on, least=200, alpha=0.05):
    labels, champion, challenger, people, fresh = _counting(
        requests, labels, by_people, champion, challenger, trained_on
    )
    return "more labels" if len(labels) < least else _verdict(labels, champion, challenger, people & fresh, 0, alpha)


def one_sided(requests, labels, by_people, champion, challenger, trained_on, least=200, alpha=0.05):
    labels, champion, challenger, people, fresh = _counting(
        requests, labels, by_people, champion, challenger, trained_on
    )
    return _verdict(labels, champion, challenger, people & fresh, least, 2 * alpha)


def truth_values_as_positions(requests, labels, by_people, champion, challenger, trained_on, least=200, alpha=0.05):
    labels, champion, challenger, _, fresh = _counting(requests, labels, by_people, champion, challenger, trained_on)
    places = np.arange(len(labels))[np.asarray(by_people)] if len(labels) else np.zeros(0, int)
    places = places[fresh[places]]
    if len(places) < least:
        return "more labels"
    return _verdict(labels[places], champion[places], challenger[places], np.ones(len(places), bool), 0, alpha)


def lengths_not_compared(requests, labels, by_people, champion, challenger, trained_on, least=200, alpha=0.05):
    count = min(map(len, (requests, labels, by_people, champion, challenger)))
    cut = [each[:count] for each in (requests, labels, by_people, champion, challenger)]
    labels, champion, challenger, people, fresh = _counting(*cut, trained_on)
    return _verdict(labels, champion, challenger, people & fresh, least, alpha)


def _examined(registry, feedback, acknowledged, *, connect, check=True, last="ORDER BY id", wrong=sqlite3.Error):
    found = {"unusable": [], "lost": sorted(set(acknowledged)), "dangling": []}
    for name, file in (("feedback", feedback), ("registry", registry)):
        try:
            with contextlib.closing(connect(Path(file))) as opened:
                if check and opened.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                    raise sqlite3.DatabaseError
                if name == "feedback":
                    there = {key for (key,) in opened.execute("SELECT key FROM feedback")}
                    found["lost"] = sorted(set(acknowledged) - there)
                else:
                    versions = {each for (each,) in opened.execute("SELECT version FROM versions")}
                    points = dict(opened.execute(f"SELECT alias, version FROM moves {last}"))
                    found["dangling"] = sorted(a for a, version in points.items() if version not in versions)
        except wrong:
            found["unusable"].append(name)
    return found


def _read_only(file):
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)


def leaves_a_log(registry, feedback, acknowledged):
    return _examined(registry, feedback, acknowledged, connect=_read_only)


def creates_what_is_missing(registry, feedback, acknowledged):
    return _examined(registry, feedback, acknowledged, connect=sqlite3.connect)


def never_checks_the_pages(registry, feedback, acknowledged):
    return _examined(registry, feedback, acknowledged, connect=_read_only, check=False)


def the_first_move_counts(registry, feedback, acknowledged):
    return _examined(registry, feedback, acknowledged, connect=_read_only, last="ORDER BY id DESC")


def only_missing_tables(registry, feedback, acknowledged):
    return _examined(registry, feedback, acknowledged, connect=_read_only, wrong=sqlite3.OperationalError)


def an_address_without_care(registry, feedback, acknowledged):
    return _examined(registry, feedback, acknowledged, connect=lambda f: sqlite3.connect(f"file:{f}?mode=ro", uri=True))


def lost_keys_in_any_order(registry, feedback, acknowledged):
    found = _examined(registry, feedback, acknowledged, connect=_read_only)
    return found | {"lost": found["lost"][::-1]}


def integrity_alone(registry, feedback, acknowledged):
    unusable = []
    for name, file in (("feedback", feedback), ("registry", registry)):
        try:
            with contextlib.closing(_read_only(Path(file))) as opened:
                if opened.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                    unusable.append(name)
        except sqlite3.Error:
            unusable.append(name)
    return {"unusable": unusable, "lost": [], "dangling": []}


_A = "with equal propensities it is the share that was right, and every label counts"
_LABELS = "labels that are not by people do not count"

_ROUNDED = "explore * budget is rounded; at least one is drawn, and all may be"

WRONG = {
    "21b.1": {
        divided_by_the_labels: _A,
        weighted_by_the_propensity: "a label that is chosen once in ten stands for ten",
        counts_all_labels_as_equal: "a label that is chosen once in ten stands for ten",
        arrays_only: "lists are taken as well, and two floats come back",
        broadcasts: "no label, or lengths that differ, are refused",
        lets_nan_pass: "a propensity of 0, below 0, above 1 or NaN is refused",
    },
    "21b.2": {
        all_by_margin: "what is certain has probability 1, what is drawn 8 of 48",
        largest_margins: "the smallest margins are always among them",
        drawn_from_all: "the budget is spent, on different requests, each with its propensity",
        share_of_all: "what is certain has probability 1, what is drawn 8 of 48",
        the_next_unsure_ones_by_chance: "each of the others is drawn equally often",
        none_drawn_of_a_small_budget: _ROUNDED,
        rounds_down: _ROUNDED,
        rounds_up: _ROUNDED,
        a_large_budget_forgotten: "a budget for every request takes them all, with probability 1",
        a_generator_of_its_own: "the given generator draws: the same seed, the same rows; another seed, others",
        always_the_same_seed: "each of the others is drawn equally often",
        explores_nothing_if_asked: "an explore of 0, below 0 or above 1, and no budget, are refused",
    },
    "21b.3": {
        any_difference_promotes: "one that is clearly worse, or not clearly better, is not",
        the_higher_accuracy_promotes: "one that is clearly worse, or not clearly better, is not",
        every_label_counts: _LABELS,
        training_data_count: "requests that a model was trained on do not count",
        evidence_before_the_filters: "fewer labels than `least` ask for more, whatever they say",
        one_sided: "the exact test decides, at the alpha that is given",
        truth_values_as_positions: "ids in a list work as in a set, and truth values as 0 and 1",
        lengths_not_compared: "lengths that differ are refused",
    },
    "21b.4": {
        lost_keys_in_any_order: "acknowledged keys that are missing are lost, in order",
        the_first_move_counts: "an alias that points to no version is dangling; only its last move counts",
        integrity_alone: "acknowledged keys that are missing are lost, in order",
        only_missing_tables: "a file that is no database is unusable",
        never_checks_the_pages: "a damaged database is unusable",
        creates_what_is_missing: "a file that does not exist is unusable, and does not exist afterwards",
        an_address_without_care: "paths may be texts, with a space or a # in them",
        leaves_a_log: "a database that uses a log is read, and no new file lies beside it",
    },
}
