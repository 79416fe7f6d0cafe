# %% [markdown]
# # Where should I begin?
#
# A test of fifteen minutes. It has one exercise of each of the parts I to VI. Set a clock, and work through them in order.
# For each one, replace `raise NotImplementedError` by your answer, run that cell, and run the check below it.
#
# - **Stop after fifteen minutes**, or when you would have to look up what the question means.
# - You may look up how a function of Python or NumPy is called.
# - You may use the first hint of a check. If you need the second one, go on to the next exercise.
#
# At the end, run the last cell. It names the first part whose exercise is not solved, and that is where you begin.
# An exercise that you solve here counts as solved in the course too.
#
# **What this test can't tell.** One exercise is a small sample of a part. You may know a part well and fail its exercise,
# or solve it by luck. The test asks for short functions. It doesn't ask whether you can run a cluster. The course gives
# 50 minutes to readers who are new to these six exercises, so few people finish all of them. If the result surprises you,
# trust yourself.

# %%
# ruff: noqa: F401, F821
import numpy as np

from course_lib.idioms import begin, check
from course_lib.teaching.placement import place

scratch = begin("00")

# %% [markdown]
# EXERCISE 02.2

# %% [markdown]
# EXERCISE 07.1

# %% [markdown]
# EXERCISE 11.1

# %% [markdown]
# EXERCISE 13.3

# %% [markdown]
# EXERCISE 16b.1

# %% [markdown]
# EXERCISE 20.1

# %% [markdown]
# ## Where do I begin?
#
# The cell below runs all six checks again. An exercise that isn't solved yet counts as "not known", whatever the reason.

# %%
place(loss_to_beat, channels_last, magnitude_mask, threads_for, verdict, failed_share)
