"""Wrong answers to lesson 24, as people write them."""

import re

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from course_lib.measure import wilson

# 24.1


def by_the_share(right, count, slices, bar, slice_bar):
    bad = sorted(name for name, (r, n) in slices.items() if n and wilson(r, n)[1] < slice_bar)
    return (["all"] if right / count < bar else []) + bad


def slices_must_show_it_too(right, count, slices, bar, slice_bar):
    bad = sorted(name for name, (r, n) in slices.items() if n and wilson(r, n)[0] < slice_bar)
    return (["all"] if wilson(right, count)[0] < bar else []) + bad


def one_bar_for_all(right, count, slices, bar, slice_bar):
    bad = sorted(name for name, (r, n) in slices.items() if n and wilson(r, n)[1] < bar)
    return (["all"] if wilson(right, count)[0] < bar else []) + bad


def divides_by_nothing(right, count, slices, bar, slice_bar):
    bad = sorted(name for name, (r, n) in slices.items() if wilson(r, n)[1] < slice_bar)
    return (["all"] if wilson(right, count)[0] < bar else []) + bad


def stops_at_the_first(right, count, slices, bar, slice_bar):
    if wilson(right, count)[0] < bar:
        return ["all"]
    return sorted(name for name, (r, n) in slices.items() if n and wilson(r, n)[1] < slice_bar)


def sorts_everything(right, count, slices, bar, slice_bar):
    bad = [name for name, (r, n) in slices.items() if n and wilson(r, n)[1] < slice_bar]
    return sorted((["all"] if wilson(right, count)[0] < bar else []) + bad)


def rounds_first(right, count, slices, bar, slice_bar):
    bad = sorted(name for name, (r, n) in slices.items() if n and round(wilson(r, n)[1], 2) < slice_bar)
    return (["all"] if round(wilson(right, count)[0], 2) < bar else []) + bad


def equal_is_below(right, count, slices, bar, slice_bar):
    bad = sorted(name for name, (r, n) in slices.items() if n and wilson(r, n)[1] <= slice_bar)
    return (["all"] if wilson(right, count)[0] <= bar else []) + bad


# 24.2


def _check(needs):
    if {need for each in needs.values() for need in each} - needs.keys():
        raise ValueError


def as_written(needs):
    return list(needs)


def level_by_level(needs):
    _check(needs)
    done = []
    while len(done) < len(needs):
        ready = sorted(s for s in needs if s not in done and all(n in done for n in needs[s]))
        if not ready:
            raise ValueError
        done += ready
    return done


def depth_first(needs):
    _check(needs)
    done = []

    def visit(step, above=()):
        if step in above:
            raise ValueError
        for need in sorted(needs[step]):
            visit(need, (*above, step))
        if step not in done:
            done.append(step)

    for step in sorted(needs):
        visit(step)
    return done


def ignores_a_circle(needs):
    _check(needs)
    done = []
    while ready := [s for s in needs if s not in done and all(n in done for n in needs[s])]:
        done.append(min(ready))
    return done


def unknown_needs_are_done(needs):
    done = []
    while len(done) < len(needs):
        ready = [s for s in needs if s not in done and all(n in done for n in needs[s] if n in needs)]
        if not ready:
            raise ValueError
        done.append(min(ready))
    return done


def empties_the_dictionary(needs):
    _check(needs)
    done = []
    while needs:
        ready = [s for s in needs if all(n in done for n in needs[s])]
        if not ready:
            raise ValueError
        done.append(min(ready))
        del needs[done[-1]]
    return done


# 24.3


def _plain(name):
    return name.lower().replace("_", "-").replace(".", "-")


def _found(components, advisories, hit, plain=_plain):
    return sorted(
        {
            (hole["id"], part["name"], part["version"])
            for part in components
            for hole in advisories
            if plain(part["name"]) == plain(hole["package"]) and hit(part["version"], hole["ranges"])
        }
    )


def _in(version, ranges, **more):
    try:
        return any(SpecifierSet(each).contains(Version(version), **more) for each in ranges)
    except InvalidVersion:
        return True


def _as_text(version, ranges):
    ends = [each.rpartition("<")[2] for each in ranges]
    return any(version < end for end in ends)


def compares_texts(components, advisories):
    return _found(components, advisories, _as_text)


def every_range_must_hold(components, advisories):
    return _found(components, advisories, lambda v, ranges: _in(v, [",".join(ranges)], prereleases=True))


def exact_names(components, advisories):
    return _found(components, advisories, lambda v, r: _in(v, r, prereleases=True), plain=str)


def only_case(components, advisories):
    return _found(components, advisories, lambda v, r: _in(v, r, prereleases=True), plain=str.lower)


def without_prereleases(components, advisories):
    return _found(components, advisories, lambda v, r: _in(v, r, prereleases=False))


def unreadable_is_safe(components, advisories):
    def hit(version, ranges):
        try:
            Version(version)
        except InvalidVersion:
            return False
        return _in(version, ranges, prereleases=True)

    return _found(components, advisories, hit)


def reads_the_digits(components, advisories):
    def hit(version, ranges):
        try:
            Version(version)
        except InvalidVersion:
            digits = re.findall(r"\d+", version)
            return not digits or _in(".".join(digits), ranges, prereleases=True)
        return _in(version, ranges, prereleases=True)

    return _found(components, advisories, hit)


def tidies_the_version(components, advisories):
    def tidy(version):
        try:
            return str(Version(version))
        except InvalidVersion:
            return version

    def hit(version, ranges):
        try:
            known = Version(version)
        except InvalidVersion:
            return True
        return any(SpecifierSet(each).contains(known, prereleases=True) for each in ranges)

    found = _found(components, advisories, hit)
    return sorted({(hole, name, tidy(version)) for hole, name, version in found})


def with_doubles(components, advisories):
    return sorted(
        (hole["id"], part["name"], part["version"])
        for part in components
        for hole in advisories
        if _plain(part["name"]) == _plain(hole["package"]) and _in(part["version"], hole["ranges"], prereleases=True)
    )


WRONG = {
    "24.1": {
        by_the_share: "396 of 450 (88 %) do not show 0.87; 3,960 of 4,500 show 0.865",
        slices_must_show_it_too: "29 of 30 right in a slice is no reason to refuse, 12 of 30 is one",
        one_bar_for_all: "slices have their own bar",
        divides_by_nothing: "a slice without pictures shows nothing",
        stops_at_the_first: 'all that fail are named: "all" first, the slices sorted',
        sorts_everything: 'all that fail are named: "all" first, the slices sorted',
        rounds_first: "the ends are compared as they are, not rounded",
        equal_is_below: "an end that is equal to its bar is not below it",
    },
    "24.2": {
        as_written: "build, which needs test, comes after it",
        level_by_level: "of those that are ready, the first in the alphabet comes next",
        depth_first: "of those that are ready, the first in the alphabet comes next",
        ignores_a_circle: "a circle is refused, also of one step, and beside steps that are fine",
        unknown_needs_are_done: "a need that is no step is refused",
        empties_the_dictionary: "needs stays as it was",
    },
    "24.3": {
        compares_texts: "1.10.0 is above 1.9.2",
        every_range_must_hold: "one of several ranges is enough, and in a range all conditions must hold",
        exact_names: "names: case does not matter, and - _ . are the same",
        only_case: "names: case does not matter, and - _ . are the same",
        without_prereleases: "a pre-release counts",
        unreadable_is_safe: "a version that nobody can read is affected by every advisory for its package, and by no other",
        reads_the_digits: "a version that nobody can read is affected by every advisory for its package, and by no other",
        tidies_the_version: "the version is given back as the component has it",
        with_doubles: "each once, and sorted",
    },
}
