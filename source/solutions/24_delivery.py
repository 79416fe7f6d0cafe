# %% [markdown]
# # 24 Continuous delivery: exercises
#
# Three functions that most pipelines contain: a gate that uses an interval, the order of the steps, and a match of
# packages with advisories. None needs git, an engine or a cluster. Fill in what is missing, run the cell, then its
# check.

# %%
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from course_lib.idioms import begin, check
from course_lib.measure import wilson

scratch = begin("24")

# %% [markdown]
# ## 24.1 A gate with two bars ★☆☆ · 10 minutes
#
# "The gate refused my model with 88 %, and the bar is 87 %. Is it broken?" Write the gate so that it names everything
# that failed. The whole test set must *show* that it is good enough. A slice is refused only if it is *shown* to be
# bad.


# %%
def gate(right, count, slices, bar, slice_bar):
    """Why a candidate is refused.

    right, count: ints; so many of count test answers are right, count from 1. slices: dict of name
    (str) -> (right, count); it may be empty. A slice with the count 0 shows nothing.
    bar, slice_bar: floats, 0 to 1. Use `wilson(right, count)`, the ends of the 95 % interval.
    The candidate is refused for "all" if the lower end of the interval is below bar, and for a
    slice if the upper end of the slice's interval is below slice_bar.
    Returns a list of names, "all" first if it is among them, then the slices, sorted; [] for a
    pass.
    """
    # SOLUTION
    failed = [name for name, (r, n) in slices.items() if n and wilson(r, n)[1] < slice_bar]
    return (["all"] if wilson(right, count)[0] < bar else []) + sorted(failed)


# %%
check("24.1", gate)

# %% [markdown] tags=["solution"]
# With 396 of 450 right (88 %), the interval starts near 0.847, so a bar of 0.87 is not cleared. Your colleague can
# collect more test pictures: with 4,500 and the same share, the interval starts near 0.870. Note that a slice named
# "all" could not be told from the whole set. A real gate keeps the two apart.

# %% [markdown]
# ## 24.2 The order of the steps ★★☆ · 15 minutes
#
# A colleague has added a step, and now the pipeline hangs. The steps need each other in a circle. Write the sorting
# without `graphlib`, to see how it works. The order must be the same on every machine.


# %%
def ordered(needs):
    """The steps in an order in which each comes after all that it needs.

    needs: dict of step (str) -> list of steps (str) that it needs; it stays as it is.
    Of several steps that could come next, the first in the alphabet comes next.
    Returns a list of all steps, each once. Raises ValueError for a need that is not itself a step,
    and for a circle.
    """
    # SOLUTION
    if unknown := {need for each in needs.values() for need in each} - needs.keys():
        raise ValueError(f"expected only steps as needs, got {', '.join(sorted(unknown))}")
    done = []
    while len(done) < len(needs):
        ready = [s for s in needs if s not in done and all(need in done for need in needs[s])]
        if not ready:
            left = ", ".join(sorted(needs.keys() - set(done)))
            raise ValueError(f"these steps need each other in a circle: {left}")
        done.append(min(ready))
    return done


# %%
check("24.2", ordered)

# %% [markdown] tags=["solution"]
# This is Kahn's algorithm. It looks at all steps again for each place, which is fast enough for a pipeline. A heap of
# the ready steps makes it linear, up to a logarithm. `graphlib.TopologicalSorter` does the same and names the circle.
# If the order depends on the machine, mistakes hide: a step that does not name one of its needs may work for you and
# fail for others.

# %% [markdown]
# ## 24.3 Which packages have a hole? ★★☆ · 15 minutes
#
# The scanner said "no hit" for `1.9.0`, although everything below `1.10.2` is affected. Somebody had compared the
# versions as text. Match a bill of materials with a table of advisories.


# %%
def affected(components, advisories):
    """Which components of an SBOM have a known hole.

    components: list of dicts with "name" and "version" (str), perhaps with more keys. advisories:
    list of dicts with "id", "package" and "ranges", a list of texts such as ">=1.10,<1.11". A
    version is affected if it is in one of the ranges. Names are equal without regard to case, and
    "-", "_" and "." mean the same in them. A pre-release such as 1.11rc1 counts:
    `SpecifierSet.contains(…, prereleases=True)`.
    A version that `Version` cannot read (it raises InvalidVersion) counts as affected by every
    advisory for its package: we cannot say that it is safe.
    Returns a sorted list of (id, name, version), name and version as the component has them, each
    once.
    """

    # SOLUTION
    def plain(name):
        return name.lower().replace("_", "-").replace(".", "-")

    def hit(version, ranges):
        try:
            known = Version(version)
        except InvalidVersion:
            return True
        return any(SpecifierSet(each).contains(known, prereleases=True) for each in ranges)

    return sorted(
        {
            (hole["id"], part["name"], part["version"])
            for part in components
            for hole in advisories
            if plain(part["name"]) == plain(hole["package"])
            and hit(part["version"], hole["ranges"])
        }
    )


# %%
check("24.3", affected)

# %% [markdown] tags=["solution"]
# As texts, "1.10" is smaller than "1.9". `Version` compares number by number. A scanner must fail closed: it reports
# what it cannot read. For a package that is in no table, this rule would report every internal package. Real teams keep
# a list of such names, with an owner for each.
