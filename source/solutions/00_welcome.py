# %% [markdown]
# # 00 Welcome: a warm-up
#
# Fill in what is missing, run the cell, then run the check below it. The check names the first property that does not
# hold yet, and gives one more hint at each try. Only what you solve is kept.

# %%
from course_lib.idioms import begin, check

scratch = begin("00")

# %% [markdown]
# ## 00.1 How long may it be down? ★☆☆ · 10 minutes
#
# A team promises that its service answers 99.9 % of the time. Somebody asks in the meeting: "how long may it be down?"
# Write the function that answers. Someone will pass a percentage where the function expects a share. Refuse it.


# %%
def allowed_downtime_minutes(availability, days=30):
    """How long a service may be down and still keep its promise.

    availability: the promised share of time, 0 to 1 (0.999, not 99.9).
    days: over how many days.
    Returns minutes, a float. Raises ValueError for anything else than a share, NaN included.
    """
    # SOLUTION
    if not 0 <= availability <= 1:  # NaN is not between 0 and 1 either
        raise ValueError(
            f"expected availability as a share from 0 to 1, got {availability}: 99.9 % is 0.999"
        )
    return (1 - availability) * days * 24 * 60


# %%
check("00.1", allowed_downtime_minutes)

# %% [markdown] tags=["solution"]
# The remaining time is $(1 - a)\,d \cdot 24 \cdot 60$ minutes. The important part of this small function is the
# refusal. Without it, 99.9 gives −4.3 million minutes, and a dashboard draws that without a complaint. The condition is
# written as `not 0 <= a <= 1`, and not as `a < 0 or a > 1`, because every comparison with NaN is false: the second form
# lets NaN through. Teams call the allowed time an *error budget*, and lesson 20 spends it.

# %% tags=["solution"]
for promised in (0.9, 0.99, 0.999, 0.9999, 0.99999):
    minutes = allowed_downtime_minutes(promised)
    print(f"{100 * promised:.3f} % leaves {minutes:8.1f} minutes in 30 days")
