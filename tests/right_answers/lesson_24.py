"""Right answers to lesson 24's exercises that differ from the solutions."""

import graphlib
import heapq
import re

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from course_lib.measure import wilson

# 24.1


def in_a_loop(right, count, slices, bar, slice_bar):
    found = []
    for name in sorted(slices):
        r, n = slices[name]
        if n == 0:
            continue
        _, high = wilson(r, n)
        if not high >= slice_bar:
            found.append(name)
    low, _ = wilson(right, count)
    if low < bar:
        found.insert(0, "all")
    return found


def as_a_tuple(right, count, slices, bar, slice_bar):
    return tuple(in_a_loop(right, count, slices, bar, slice_bar))


def by_filter(right, count, slices, bar, slice_bar):
    whole = filter(lambda _: wilson(right, count)[0] < bar, ["all"])
    parts = filter(lambda name: slices[name][1] and max(wilson(*slices[name])) < slice_bar, sorted(slices))
    return [*whole, *parts]


def from_the_formula(right, count, slices, bar, slice_bar, z=1.959963984540054):
    def ends(r, n):
        middle, half = r + z * z / 2, z * (r * (n - r) / n + z * z / 4) ** 0.5
        return (middle - half) / (n + z * z), (middle + half) / (n + z * z)

    parts = [name for name in sorted(slices) if slices[name][1] and ends(*slices[name])[1] < slice_bar - 1e-12]
    return ["all"] * (ends(right, count)[0] < bar - 1e-12) + parts


# 24.2


def with_a_heap(needs):
    missing = {step: set(each) for step, each in needs.items()}
    if any(need not in needs for each in missing.values() for need in each):
        raise ValueError("unknown")
    ready = [step for step, each in missing.items() if not each]
    heapq.heapify(ready)
    found = []
    while ready:
        step = heapq.heappop(ready)
        found.append(step)
        for other, each in missing.items():
            if step in each:
                each.remove(step)
                if not each:
                    heapq.heappush(ready, other)
    if len(found) < len(needs):
        raise ValueError("circle")
    return found


def with_graphlib(needs):
    if any(need not in needs for each in needs.values() for need in each):
        raise ValueError("unknown")
    sorter = graphlib.TopologicalSorter(needs)
    sorter.prepare()  # CycleError is a ValueError
    ready, found = set(), []
    while sorter.is_active():
        ready |= set(sorter.get_ready())
        step = min(ready)
        ready.remove(step)
        found.append(step)
        sorter.done(step)
    return found


def recursive(needs):
    if any(need not in needs for each in needs.values() for need in each):
        raise ValueError("unknown")
    if not needs:
        return []
    step = min((s for s, each in needs.items() if not each), default=None)
    if step is None:
        raise ValueError("circle")
    return [step, *recursive({s: [n for n in each if n != step] for s, each in needs.items() if s != step})]


# 24.3


def in_loops(components, advisories):
    found = []
    for part in components:
        for hole in advisories:
            if re.sub("[-_.]", "-", part["name"]).lower() != re.sub("[-_.]", "-", hole["package"]).lower():
                continue
            try:
                version = Version(part["version"])
            except ValueError:
                bad = True
            else:
                bad = any(version in SpecifierSet(each, prereleases=True) for each in hole["ranges"])
            triple = (hole["id"], part["name"], part["version"])
            if bad and triple not in found:
                found.append(triple)
    found.sort()
    return found


def by_package(components, advisories):
    known = {}
    for hole in advisories:
        known.setdefault(re.split("[-_.]", hole["package"].lower()).__str__(), []).append(hole)
    found = set()
    for part in components:
        for hole in known.get(str(re.split("[-_.]", part["name"].lower())), []):
            try:
                bad = any(SpecifierSet(r).contains(Version(part["version"]), prereleases=True) for r in hole["ranges"])
            except InvalidVersion:
                bad = True
            found |= {(hole["id"], part["name"], part["version"])} if bad else set()
    return sorted(found)


def canonical(components, advisories):
    def hit(version, ranges):
        try:
            return Version(version) in SpecifierSet(ranges, prereleases=True)
        except InvalidVersion:
            return True

    return sorted(
        {
            (hole["id"], part["name"], part["version"])
            for hole in advisories
            for part in components
            if canonicalize_name(part["name"]) == canonicalize_name(hole["package"])
            and any(hit(part["version"], each) for each in hole["ranges"])
        }
    )


def lists_in_a_list(components, advisories):
    return [list(each) for each in in_loops(components, advisories)]


RIGHT = {
    "24.1": [in_a_loop, as_a_tuple, by_filter, from_the_formula],
    "24.2": [with_a_heap, with_graphlib, recursive],
    "24.3": [in_loops, by_package, canonical, lists_in_a_list],
}
