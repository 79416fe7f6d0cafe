# %% [markdown]
# # 00 Welcome
#
# At 3 a.m. nobody asks how the model was trained. The question is why the service that it became answers `503`, and
# whether you can find out before the customers do. This course takes one model all the way there, and you run every
# step yourself.
#
# ## You will be able to
#
# - see at a glance what your machine can run, and what it replays instead;
# - tell a sentence that was computed from one that was only written;
# - work with an exercise's check until it is satisfied, and see what you have solved.
#
# ## Before you start
#
# You need some Python and the will to run cells: `Shift`+`Enter` runs one and goes on to the next. Nothing else is
# assumed. Every lesson opens with the cell below. It names the lesson and gives it an empty scratch folder; a lesson
# puts its files nowhere else, so you can run lessons in any order, and again.

# %%
from course_lib import doctor
from course_lib.idioms import begin, check, claim, live, observe, path, show

scratch = begin("00")

# %% [markdown]
# ## Where does the path lead?
#
# From a loss function to a load balancer, in six parts. The task stays the same: reading handwritten
# digits. What changes is what is done with the network that can.

# %%
path.picture(here="00")

# %% [markdown]
# ## What can my machine run?
#
# An environment should be examined before it is blamed. The doctor looks at what the lessons use: what each thing is
# for, whether it is there, and what still works without it. In a terminal, `./course doctor` adds the versions.

# %%
findings = [each for each in doctor.examine() if each.name != "Ports"]  # JupyterLab has one by now
rows = [["✓" if each.there else "–", each.name, each.purpose] for each in findings]
show.table(["there", "what", "what for"], rows)

# %%
for each in findings:
    if not each.there:
        print(f"{each.name}\n  how to get it: {each.get}\n  what works without: {each.without}")

# %% [markdown]
# *Docker* runs a program in a *container*, apart from the rest of the machine; *Kubernetes* keeps containers running on
# a *cluster* of machines. Both are welcome and not required, as you will see in a moment.
#
# ## Why should I believe what a lesson says?
#
# Here is the data of the whole course: 1,797 digits that people wrote by hand, on a grid of 8 × 8. That number stood
# in this sentence before anything was counted, so do not believe it yet.

# %%
from course_lib import data

train, test = data.digits()
claim(
    "the course's data are 1,797 digits of 8 × 8 points, every class in both parts",
    len(train.images) + len(test.images) == 1797
    and train.images.shape[1:] == (8, 8)
    and set(train.labels) == set(test.labels) == set(range(10)),
    f"{len(train.images)} to learn from, {len(test.images)} to test with",
)

# %% [markdown]
# That is a *claim*: a sentence, a condition that was computed just now, and the figure behind it. Change `1797` in the
# cell above and run it again: a claim that does not hold stops the notebook. The course's tests run every claim, so a
# sentence that stops being true is found by a machine before you find it. This is what one looks like:

# %%
import numpy as np

from course_lib.idioms import ClaimFailed

try:
    counts = np.bincount(train.labels)
    claim("every digit was written equally often", len(set(counts)) == 1, counts)
except ClaimFailed as failed:
    print("The cell would have stopped here:", failed)

# %% [markdown]
# Some things are true on one machine and false on the next, speed above all. For those there is `observe`: it shows
# what was seen here, and never fails. Is one large matrix product faster than a hundred small ones of the same total
# work?

# %%
import time


def seconds(function, repeats=15):
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        took.append(time.perf_counter() - start)
    return float(np.median(took))


random = np.random.default_rng(0)
rows, weights = random.random((100, 256), np.float32), random.random((256, 256), np.float32)
one_by_one = seconds(lambda: [row[None] @ weights for row in rows])
together = seconds(lambda: rows @ weights)
observe(
    "a batch of 100 rows is multiplied faster than the 100 rows one by one",
    together < one_by_one,
    f"{1e6 * together:.0f} µs against {1e6 * one_by_one:.0f} µs, "
    f"{one_by_one / together:.1f} times",
)

# %% [markdown]
# The arithmetic is the same. Together, the call is paid for once instead of a hundred times, and the weights are used for
# many rows each time they are read. Lesson 13 tells the two apart, and lesson 14 makes a service of it.
#
# ## What if I have no Docker?
#
# Lessons about containers and clusters run on a real Docker engine and a real cluster. Where there is none, in a
# notebook hosted by Binder or on a borrowed laptop, the same cell returns what it returned on a real one, and says so.
# This function asks the engine what it runs on.


# %%
@live("docker")
def engine():
    from course_lib.ops.docker import docker_client

    told = docker_client().info()
    return {"system": told["OSType"], "cpus": told["NCPU"], "memory_bytes": told["MemTotal"]}


told = engine()

# %% [markdown]
# Read the line above this one: it says whether that ran here or is a recording, and from when. What follows does not
# know the difference. Claims and figures are always computed, from whatever came back.

# %%
observe(
    "containers run on Linux, whatever this notebook runs on",
    told["system"] == "linux",
    f"{told['cpus']} processors and {show.bytes_text(told['memory_bytes'])} "
    "for all containers together",
)

# %% [markdown]
# ## How do exercises work?
#
# Each lesson has a notebook of exercises. An exercise is a function whose body is missing, and under it a cell that
# checks it. Here is one from lesson 00's own: *a service promises to answer 99.9 % of the time. How many minutes may
# it be down in 30 days?* Unsolved, its check says only that:


# %%
def allowed_downtime_minutes(availability, days=30):
    raise NotImplementedError


check("00.1", allowed_downtime_minutes)

# %% [markdown]
# A wrong answer gets the first property that fails, and one hint. Run this cell again for the next hint.


# %%
def allowed_downtime_minutes(availability, days=30):
    return (1 - availability) * days


check("00.1", allowed_downtime_minutes)

# %% [markdown]
# Solve it in the exercises notebook (link below); its check also wants a percentage refused. What you solve is kept in the folder `.course/`
# of your checkout, on your machine alone; this cell, or `./course progress`, shows it.

# %%
from course_lib.progress import progress

progress()
