# %% [markdown]
# # Where should I begin?
#
# A test of fifteen minutes. It has one exercise of each of the parts I to VI. You do two or three of them:
#
# 1. Choose the last part that you think you know, and do its exercise.
# 2. Solved? Do the exercise of the next part. Not solved? Do the one before.
# 3. Stop when one is solved and the next one isn't, or after fifteen minutes. Then run the last cell. It names the part.
#
# | part | you know it if you have done this | exercise |
# | --- | --- | --- |
# | I Learn | trained networks, and found out why a loss was wrong | 02.2 |
# | II Convert | exported a model, and compared its answers with the original's | 07.1 |
# | III Compress | quantized, pruned or distilled a model | 11.1 |
# | IV Speed | measured latency, and chosen threads | 13.3 |
# | V Serve | run a service in containers, on Kubernetes too | 16b.1 |
# | VI Operate | watched a service, and answered its alerts | 20.1 |
#
# **Five minutes each.** Replace `raise NotImplementedError` by your answer, run that cell, and run the check below it.
# You may look up a function of Python or NumPy. You may use the first hint of a check. If you need the second one, the
# exercise counts as not solved. If you know none of the parts, begin with part I: you need no test.
#
# **What this test can't tell.** One exercise is a small sample of a part. The checks also try rare cases, so you may know
# a part well and fail its exercise. The test asks for short functions. It doesn't ask whether you can run a cluster. If the
# result surprises you, trust yourself. An exercise that you solve here counts as solved in the course too.

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
# The cell below runs the checks again. An exercise that you tried and did not solve counts as not known.
# Exercises before one that you solved, and that you did not try, count as known, because you chose so.

# %%
place(loss_to_beat, channels_last, magnitude_mask, threads_for, verdict, failed_share)
