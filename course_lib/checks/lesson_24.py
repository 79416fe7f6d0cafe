"""Checks of lesson 24, continuous delivery."""

import copy
import graphlib
import random
from collections.abc import Callable, Iterator

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property
from course_lib.measure import wilson

EXERCISES = Register()


def refused(right: int, count: int, slices: dict, bar: float, slice_bar: float) -> list[str]:
    """The gate, as the exercise asks for it."""
    bad = sorted(name for name, (r, n) in slices.items() if n > 0 and wilson(r, n)[1] < slice_bar)
    return [*(["all"] if wilson(right, count)[0] < bar else []), *bad]


@EXERCISES.add("24.1", "A gate with two bars")
def gates(answer: Callable) -> Iterator[Property]:
    """answer(right, count, slices, bar, slice_bar) -> list of names."""

    def says(*arguments: object) -> bool:
        found = answer(*copy.deepcopy(arguments))
        return isinstance(found, list | tuple) and list(found) == refused(*arguments)

    yield ("430 of 450 pass a bar of 0.87, 300 of 450 do not", lambda: (
        says(430, 450, {}, 0.87, 0.8) and says(300, 450, {}, 0.87, 0.8)
    ), [
        "For a pass the answer is [], for a refusal [\"all\"].",
        "wilson(right, count) gives the two ends of the interval.",
        "[\"all\"] if wilson(right, count)[0] < bar else []",
    ])  # fmt: skip
    yield ("396 of 450 (88 %) do not show 0.87; 3,960 of 4,500 show 0.865", lambda: (
        says(396, 450, {}, 0.87, 0.8) and says(3960, 4500, {}, 0.865, 0.8)
    ), [
        "88 % of 450 pictures: how far down may the true share lie?",
        "The whole set must show that it is good: the lower end counts, not the share.",
        "wilson(right, count)[0] < bar",
    ])  # fmt: skip
    yield ("29 of 30 right in a slice is no reason to refuse, 12 of 30 is one", lambda: (
        says(430, 450, {"B": (29, 30)}, 0.87, 0.9) and says(430, 450, {"B": (12, 30)}, 0.87, 0.8)
    ), [
        "29 of 30 have a lower end of about 0.83. Is the slice shown to be bad?",
        "A slice is refused only if even the upper end is below its bar.",
        "wilson(r, n)[1] < slice_bar",
    ])  # fmt: skip
    yield ("slices have their own bar", lambda: (
        says(430, 450, {"B": (25, 30)}, 0.2, 0.95) and says(430, 450, {"B": (12, 30)}, 0.87, 0.3)
    ), [
        "Which of the two bars does a slice have to reach?",
        "bar is for the whole set, slice_bar for each slice.",
        "Compare the slices with slice_bar.",
    ])  # fmt: skip
    yield ("the ends are compared as they are, not rounded", lambda: (
        says(396, 450, {}, 0.8473, 0.8) and says(396, 450, {"B": (20, 30)}, 0.8, 0.8079) and says(396, 450, {"B": (20, 30)}, 0.8, 0.807)
    ), [
        "wilson(396, 450)[0] is about 0.8469. Does your gate say that it reaches 0.8473?",
        "Round what people read, not what the gate compares.",
        "wilson(right, count)[0] < bar",
    ])  # fmt: skip
    yield ("a slice without pictures shows nothing", lambda: says(430, 450, {"C": (0, 0), "B": (3, 30)}, 0.87, 0.8), [
        "What does wilson(0, 0) do?",
        "Leave a slice out whose count is 0.",
        "if n and wilson(r, n)[1] < slice_bar",
    ])  # fmt: skip
    many = {"z": (1, 30), "B": (28, 30), "a": (2, 40), "M": (0, 9)}
    yield ("all that fail are named: \"all\" first, the slices sorted", lambda: (
        says(100, 450, many, 0.87, 0.8) and says(440, 450, many, 0.87, 0.8)
    ), [
        "The gate must not stop at the first reason.",
        "Collect the names of the slices, sort them, and put \"all\" before them.",
        "([\"all\"] if … else []) + sorted(…)",
    ])  # fmt: skip

    def edges() -> bool:
        low, high = wilson(400, 450)[0], wilson(20, 30)[1]
        return says(400, 450, {"B": (20, 30)}, low, high) and says(450, 450, {}, 1.0, 0.5) and says(0, 1, {}, 0.0, 0.0)

    yield ("an end that is equal to its bar is not below it", edges, [
        "What if the lower end is exactly the bar?",
        "Below means below: <, not <=.",
        "wilson(right, count)[0] < bar",
    ])  # fmt: skip


def alphabetical(needs: dict) -> list[str]:
    """The order by graphlib, the first in the alphabet of those that are ready."""
    sorter = graphlib.TopologicalSorter(needs)
    sorter.prepare()
    ready, found = [], []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()])
        found.append(ready.pop(0))
        sorter.done(found[-1])
    return found


@EXERCISES.add("24.2", "The order of the steps")
def order(answer: Callable) -> Iterator[Property]:
    """answer(needs) -> list of steps."""

    def says(needs: dict) -> bool:
        found = answer(copy.deepcopy(needs))
        return isinstance(found, list | tuple) and list(found) == alphabetical(needs)

    yield ("build, which needs test, comes after it", lambda: (
        says({"build": ["test"], "test": []}) and says({"b": [], "c": ["b"], "a": ["c"]})
    ), [
        "Start with the steps that need nothing.",
        "A step is ready if everything that it needs has its place already.",
        "ready = [s for s in needs if s not in done and all(n in done for n in needs[s])]",
    ])  # fmt: skip
    yield ("of those that are ready, the first in the alphabet comes next", lambda: (
        says({"z": [], "b": [], "a": ["z"], "m": []}) and says({"d": [], "c": ["d"], "b": ["d"], "e": []})
        and says({"x": [], "a": ["x"], "y": []})
    ), [
        "After each step, look anew which are ready: another one may come before those that were.",
        "Take one step at a time, not all that are ready together.",
        "done.append(min(ready))",
    ])  # fmt: skip
    yield ("no steps: an empty list; a need that is named twice counts once", lambda: says({}) and says({"a": [], "b": ["a", "a"]}), [
        "Try {}.",
        "Ask whether each need is done. Do not count needs.",
        "all(need in done for need in needs[step])",
    ])  # fmt: skip
    yield ("a circle is refused, also of one step, and beside steps that are fine", lambda: all(
        raises(ValueError, answer, each)
        for each in ({"a": ["b"], "b": ["a"]}, {"a": ["a"]}, {"x": [], "a": ["x", "c"], "b": ["a"], "c": ["b"]})
    ), [
        "What if no step is ready, and some are left?",
        "Then those that are left need each other in a circle, or need something in one.",
        "if not ready: raise ValueError(…)",
    ])  # fmt: skip
    yield ("a need that is no step is refused", lambda: (
        raises(ValueError, answer, {"a": ["lint"]}) and raises(ValueError, answer, {"a": [], "b": ["a", "lint"]})
    ), [
        "Somebody misspelt a need. What does your function do?",
        "Compare all needs with the names of the steps, first.",
        "{need for each in needs.values() for need in each} - needs.keys()",
    ])  # fmt: skip

    def random_ones() -> bool:
        draw = random.Random(3)
        for _ in range(60):
            names = [f"{draw.choice('abcxyz')}{i}" for i in range(draw.randint(1, 12))]
            shuffled = draw.sample(names, len(names))
            needs = {s: draw.sample(shuffled[:i], draw.randint(0, min(i, 3))) for i, s in enumerate(shuffled)}
            if not says(dict(draw.sample(list(needs.items()), len(needs)))):
                return False
        return True

    yield ("random pipelines, in any order of their entries", random_ones, [
        "Does your order depend on how the dictionary is sorted?",
        "Look at all steps each time, and take the smallest name of those that are ready.",
        "done.append(min(ready))",
    ])  # fmt: skip

    def untouched() -> bool:
        needs = {"c": ["a"], "a": [], "b": ["a", "c"]}
        kept = copy.deepcopy(needs)
        answer(needs)
        return needs == kept

    yield ("needs stays as it was", untouched, [
        "Print needs before and after.",
        "Do not remove steps from needs or from its lists.",
        "Keep a list of your own, done.",
    ])  # fmt: skip


def hits(components: list, advisories: list) -> list[tuple]:
    """What the exercise asks for, written otherwise."""
    found = set()
    for hole in advisories:
        wanted = hole["package"].casefold().translate(str.maketrans("_.", "--"))
        for part in components:
            if part["name"].casefold().translate(str.maketrans("_.", "--")) == wanted:
                try:
                    version = Version(part["version"])
                    bad = any(SpecifierSet(each, prereleases=True).contains(version) for each in hole["ranges"])
                except InvalidVersion:
                    bad = True
                if bad:
                    found.add((hole["id"], part["name"], part["version"]))
    return sorted(found)


@EXERCISES.add("24.3", "Which packages have a hole?")
def advisories(answer: Callable) -> Iterator[Property]:
    """answer(components, advisories) -> sorted list of (id, name, version)."""

    def part(name: str, version: str) -> dict:
        return {"type": "library", "name": name, "version": version}

    def hole(name: str, package: str, *ranges: str) -> dict:
        return {"id": name, "package": package, "ranges": list(ranges)}

    def says(components: list, known: list) -> bool:
        found = answer(copy.deepcopy(components), copy.deepcopy(known))
        return isinstance(found, list) and [tuple(each) for each in found] == hits(components, known)

    old = hole("CVE-1", "onnx", "<1.21.0")
    yield ("onnx 1.20.1 is below 1.21.0, onnx 1.21.0 is not, and numpy is another package", lambda: (
        says([part("onnx", "1.20.1")], [old]) and says([part("onnx", "1.21.0"), part("numpy", "1.0")], [old]) and says([], [old])
        and says([part("onnx", "1.0")], [])
    ), [
        "For each component, look at the advisories for its package.",
        "SpecifierSet(\"<1.21.0\").contains(Version(\"1.20.1\"))",
        "Return (advisory[\"id\"], component[\"name\"], component[\"version\"]).",
    ])  # fmt: skip
    yield ("1.10.0 is above 1.9.2", lambda: says(
        [part("web", v) for v in ("1.10.0", "1.9.1", "1.9.2", "1.9.10", "0.99")], [hole("CVE-2", "web", "<1.9.2")]
    ), [
        "As texts, \"1.10\" is smaller than \"1.9\".",
        "Compare with Version and SpecifierSet, number by number.",
        "SpecifierSet(each).contains(Version(version), prereleases=True)",
    ])  # fmt: skip
    two = hole("CVE-3", "web", "<1.9.2", ">=1.10,<1.11")
    yield ("one of several ranges is enough, and in a range all conditions must hold", lambda: says(
        [part("web", v) for v in ("1.9.1", "1.9.5", "1.10", "1.10.7", "1.11", "2.0")], [two]
    ), [
        "1.10.7 is in the second range alone.",
        "any(…) over the ranges. SpecifierSet itself takes care of the comma.",
        "any(SpecifierSet(each).contains(…) for each in advisory[\"ranges\"])",
    ])  # fmt: skip
    yield ("names: case does not matter, and - _ . are the same", lambda: says(
        [part("Typing.Extensions", "1.0"), part("typing_extensions", "1.0"), part("typingextensions", "1.0")],
        [hole("CVE-4", "typing-Extensions", "<2")],
    ), [
        "Bring both names to one form before you compare.",
        "lower(), then replace \"_\" and \".\" by \"-\". Give back the name as the component has it.",
        "name.lower().replace(\"_\", \"-\").replace(\".\", \"-\")",
    ])  # fmt: skip
    yield ("a pre-release counts", lambda: says(
        [part("web", v) for v in ("1.11rc1", "1.11.dev3", "1.10.1b2", "1.11")], [hole("CVE-5", "web", ">=1.10,<2")]
    ), [
        "By default SpecifierSet leaves pre-releases out.",
        "contains has an argument for it.",
        "SpecifierSet(each).contains(version, prereleases=True)",
    ])  # fmt: skip
    yield ("a version that nobody can read is affected by every advisory for its package, and by no other", lambda: says(
        [part("web", v) for v in ("unknown", "2024-build-x", "")] + [part("api", "2024-build-x")],
        [two, hole("CVE-6", "other", "<9")],
    ), [
        "Version(\"unknown\") raises InvalidVersion.",
        "The scanner cannot say that it is safe, so it reports it.",
        "except InvalidVersion: count it as affected",
    ])  # fmt: skip
    yield ("the version is given back as the component has it", lambda: says(
        [part("web", v) for v in ("v1.0", "1.010", "1.0-beta")], [hole("CVE-8", "web", "<2")]
    ), [
        "Version(\"v1.0\") prints as 1.0. Which of the two is in the SBOM?",
        "Use Version only to compare.",
        "(advisory[\"id\"], component[\"name\"], component[\"version\"])",
    ])  # fmt: skip
    yield ("each once, and sorted", lambda: says(
        [part("web", "1.10"), part("api", "0.1"), part("web", "1.10")],
        [hole("CVE-9", "web", "<2", ">=1"), hole("CVE-1", "web", "<3"), hole("CVE-1", "api", "<3")],
    ), [
        "The list has the same package twice, and two ranges fit.",
        "Collect the triples in a set.",
        "return sorted(found)",
    ])  # fmt: skip
