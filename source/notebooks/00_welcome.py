# %% [markdown]
# # 00 Welcome
#
# At 3 a.m. nobody asks how the model was trained. They ask why the service answers `503` (“not available”), and
# whether you can find out before the customers do. This course takes one model from its training to a running service.
# You run every step yourself.
#
# ## You will be able to
#
# - see what your machine can run, and what it replays instead;
# - make a guess before you see a measurement, and compare the two;
# - see which sentences of a lesson were checked by a computation;
# - solve an exercise with the help of its check.
#
# ## Before you start
#
# You need some Python and one shortcut: `Shift`+`Enter` runs a cell and goes on to the next. Every lesson opens with
# the cell below. It gives the lesson an empty folder for its files, so you can run the lessons in any order, and run
# them again.

# %%
from course_lib import data, doctor
from course_lib.idioms import begin, check, claim, guess, live, observe, path, reveal, show

scratch = begin("00")

# %% [markdown]
# ## Where does the path lead?
#
# It starts with a *loss function*, which says how wrong a model is. It ends with a *load balancer*, which shares
# requests among servers. The task is always the same: the model reads handwritten digits.

# %%
path.picture(here="00")

# %% [markdown]
# Some lessons have a *second floor*: a notebook with the same number and a letter, such as 02b. It goes deeper into the
# same subject. You can take the whole course without it.
#
# ## What can my machine run?
#
# The *doctor* looks for everything that the lessons use. Run the cell: the table then describes your machine.

# %%
findings = [each for each in doctor.examine() if each.name != "Ports"]  # this JupyterLab uses one
table = [["yes" if each.there else "no", each.name, each.purpose] for each in findings]
show.table(["there", "what", "what for"], table, caption="What the lessons use")

# %%
for each in findings:
    if not each.there:
        print(f"{each.name}\n  how to get it: {each.get}\n  what works without: {each.without}")

# %% [markdown]
# *Docker* runs a program in a *container*, separated from the rest of the machine. *Kubernetes* keeps containers
# running on a *cluster* of machines. You can take the course without either of them. You will see how below.
#
# ## Why should I believe what a lesson says?
#
# You can see how the lesson computes it. Here are the data of the whole course: 1,797 digits written by hand, each a
# picture of 8 × 8 points. Do not believe these numbers yet: the next cell counts.

# %%
train, test = data.digits()
claim(
    "the data are 1,797 digits of 8 × 8 points",
    len(train.images) + len(test.images) == 1797 and train.images.shape[1:] == (8, 8),
    f"{len(train.images)} to learn from, {len(test.images)} to test with",
)

# %% [markdown]
# This is a *claim*: a sentence, a condition that the cell has just computed, and the number behind it. A claim that
# is false stops the notebook. **Change** `1797` to `1798` in the cell above and run it again. Then change it back.
# The course's tests run every claim, so they find a false sentence before you do.
#
# Many lessons have a part called **Where this goes wrong**. It runs a mistake that people really make, and then the
# line that repairs it. Several of these mistakes come from a few articles on deployment that this course grew from.
#
# ## What is a guess for?
#
# You remember a measurement better when you have guessed it first. So each lesson asks you for two to four guesses.
# Nobody sees them but you, and you may skip them. Only a guess made before the measurement counts. The notebooks come
# with their outputs: choose *Edit › Clear Outputs of All Cells* when you open one, and no answer is given away.
#
# Here is the first. The simplest way to read a digit needs no training. We compare it with the 1,347 pictures to learn
# from. Each has a *label*, the digit that it shows. The answer is the label of the most similar one. How often is that
# right?

# %%
guess("nearest", "What share of the 450 test digits does this method read correctly?", share=True)

# %%
known, unseen = train.images.reshape(-1, 64), test.images.reshape(-1, 64)
nearest = [((known - image) ** 2).sum(axis=1).argmin() for image in unseen]
correct = float((train.labels[nearest] == test.labels).mean())
claim(
    "comparing points reads more than 97 % of the digits", correct > 0.97, f"{100 * correct:.1f} %"
)
reveal("nearest", correct)

# %% [markdown]
# Three lines of code read nearly all of them. So reading digits is not the hard part of this course. The hard part is
# a service that stays correct, fast and available while everything around it changes.
#
# ## What if the answer depends on the machine?
#
# Speed depends on it. So the course does not claim a speed, it *observes* one. The card says what happened here, and
# it never stops the notebook.
#
# Here is an example. A neural network multiplies its inputs by a matrix of numbers, its *weights* (`@` in the code).
# We do this with 100 pictures, one at a time and in a single call. The arithmetic is the same.

# %%
guess("together", "How many times faster is the single call?", low=1.0, high=1000, unit="times")

# %%
import time

import numpy as np


def best_us(function):
    """The fastest of 50 runs, in microseconds: the one that other programs disturbed least."""
    took = []
    for _ in range(50):
        start = time.perf_counter()
        function()
        took.append(time.perf_counter() - start)
    return 1e6 * min(took)


# %%
pictures = known[:100]  # (100, 64)
weights = np.random.default_rng(0).random((64, 10), np.float32)
one_by_one = best_us(lambda: [picture @ weights for picture in pictures])
together = best_us(lambda: pictures @ weights)
observe(
    "one call for 100 pictures is faster than 100 calls",
    together < one_by_one,
    f"{together:.0f} µs against {one_by_one:.0f} µs",
)
reveal("together", one_by_one / together)

# %% [markdown]
# Each call from Python costs a fixed time, however little it computes. A single call costs it once and not a hundred
# times. This is why a server collects requests into *batches*. Lesson 13 measures it, and lesson 14 builds it.
#
# ## What if I have no Docker?
#
# Then a cell that needs Docker *replays* a recording, and says so. The recording holds what the cell returned on a
# machine with Docker. The next function asks the *engine*, Docker's server, about its machine.


# %%
@live("docker")
def engine():
    from course_lib.ops.docker import docker_client

    told = docker_client().info()
    return {"system": told["OSType"], "cpus": told["NCPU"], "memory_bytes": told["MemTotal"]}


told = engine()

# %% [markdown]
# The card says whether this ran here or is a recording, and from which day. The next cells are the same in both cases:
# they compute with whatever the function returned.

# %%
observe(
    "containers run on Linux, whatever system this notebook runs on",
    told["system"] == "linux",
    f"{told['cpus']} processors, {show.bytes_text(told['memory_bytes'])} for all containers",
    of=told,
)

# %% [markdown]
# ## How do exercises work?
#
# An exercise is a function that you write, and a cell that checks it. Here is a question from a meeting. *A service
# promises to answer 99.9 % of the time. How many minutes may it be down in 30 days?* A colleague has tried already:


# %%
def colleagues_try(availability, days=30):
    return (1 - availability) * days


check("00.1", colleagues_try)

# %% [markdown]
# The check names the first thing that is not right yet, and it gives a hint. **Run the cell again**, and you get the
# next hint.
#
# Now do it yourself. Replace `raise NotImplementedError` with your answer, and run both cells.


# %%
def allowed_downtime_minutes(availability, days=30):
    """How long a service may be down and still keep its promise.

    availability: the promised share of time, 0 to 1 (0.999, not 99.9).
    days: over how many days.
    Returns minutes, a float. Raises ValueError for anything else than a share, NaN included.
    """
    raise NotImplementedError


# %%
check("00.1", allowed_downtime_minutes)

# %% [markdown]
# When the check says *solved*, the course notes this in the folder `.course/`, on your machine only:

# %%
from course_lib.idioms import store

print(store.solved() or "Nothing is solved yet.")

# %% [markdown]
# The exercises of every lesson are in a notebook of their own; the link is below. When a lesson says “now do exercise
# 01.1”, open that notebook, solve this one exercise, and come back. The solutions are in a third notebook, with an
# explanation. In a terminal, `./course progress` (on Windows `py course progress`) shows all lessons and your
# guesses. The next lesson goes the whole path once.
