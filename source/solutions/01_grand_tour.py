# %% [markdown]
# # 01 The grand tour: exercises
#
# The tour did four small things in passing. Here you write each as you would want it in a service of your own. Fill in
# what is missing, run the cell, then its check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("01")

# %% [markdown]
# ## 01.1 Parity, in one number ★☆☆ · 5 minutes
#
# The tour compared a model before and after conversion by the largest difference of their logits. Write this comparison
# so that it cannot pass by accident. NumPy stretches shapes that differ, small dtypes overflow, and a NaN is never
# larger than a tolerance.


# %%
def largest_difference(before, after):
    """The largest absolute difference between two models' outputs.

    before, after: arrays of one shape, float16, float32 or float64, not necessarily the same.
    Returns a plain float, computed in float64; NaN where either holds a NaN.
    Raises ValueError where the shapes differ.
    """
    # SOLUTION
    if before.shape != after.shape:
        raise ValueError(
            f"expected two outputs of one shape, got {before.shape} and {after.shape}"
        )
    return float(np.abs(before.astype(np.float64) - after.astype(np.float64)).max())


# %%
check("01.1", largest_difference)

# %% [markdown] tags=["solution"]
# Three details matter. Broadcasting would compare every row of one output with the single row of another, and report a
# number that means nothing. float16 ends at 65504, so 60000 − (−60000) must be computed in a larger type. And `max`
# returns NaN if there is one. No comparison with a tolerance is true for NaN, so a broken model fails the claim that
# follows. `np.nanmax` would let it pass.
#
# A second way: `np.abs(np.subtract(before, after, dtype=np.float64)).max()`, which converts inside the subtraction.

# %% [markdown]
# ## 01.2 The request ★★☆ · 5 minutes
#
# A colleague has images and wants answers. Write the function that turns images into the body of a request to
# `:predict`. It takes one image or many. It refuses images of another shape, or none, before anything is sent.


# %%
def request_body(images):
    """The body of a TensorFlow Serving request in row form.

    images: float32 array (8, 8) or (N, 8, 8), N from 1, values 0 to 1.
    Returns a dict that json.dumps takes, with one instance of shape (1, 8, 8) for each image, the
    values unchanged.
    Raises ValueError for any other shape, and for no image.
    """
    # SOLUTION
    if images.ndim not in (2, 3) or images.shape[-2:] != (8, 8) or not images.size:
        raise ValueError(f"expected images of shape (8, 8) or (N, 8, 8), got {images.shape}")
    return {"instances": images.reshape(-1, 1, 8, 8).tolist()}


# %%
check("01.2", request_body)

# %% [markdown] tags=["solution"]
# `reshape(-1, 1, 8, 8)` alone takes any multiple of 64 numbers for images: two images of 4 × 16, for example. So we
# check the shape first. A reshape that succeeds does not prove that the axes mean what you think.

# %% [markdown]
# ## 01.3 The answer ★★☆ · 10 minutes
#
# The service answers with logits, because the model computes logits. People want a digit, and how sure the model is.
# Write the function between the two. It must also work for a model that is very sure.


# %%
def read_predictions(body):
    """Reads the answer to a `:predict` request.

    body: {"predictions": [[10 logits], …]}, or {"error": "…"} where the service refused.
    Returns a list of (label, probability): the class of the largest logit, an int, and its
    softmax probability, a float.
    Raises ValueError, with the service's own words, for an error body.
    """
    # SOLUTION
    if "error" in body:
        raise ValueError(body["error"])
    answers = []
    for logits in np.asarray(body["predictions"], dtype=float):
        weights = np.exp(logits - logits.max())  # at most exp(0), which cannot overflow
        label = int(logits.argmax())
        answers.append((label, float(weights[label] / weights.sum())))
    return answers


# %%
check("01.3", read_predictions)

# %% [markdown] tags=["solution"]
# Subtracting the largest logit changes nothing in exact arithmetic, and it prevents overflow in floating point. Lesson
# 02b shows how. A second way is `scipy.special.softmax`, which does the same inside.

# %% [markdown]
# ## 01.4 None lost, of how many? ★★★ · 15 minutes
#
# The tour deleted a pod, and no request failed. "So it never loses one?" asks a colleague. It may still lose one in a
# thousand: the test was too short to tell. Write the largest failure rate that such a test leaves possible.


# %%
def largest_failure_rate(answered, confidence=0.95):
    """The largest failure rate that a run without a failure leaves possible.

    answered: number of requests, all answered, 0 or more; they are taken to fail independently.
    confidence: 0 to 1, both excluded.
    Returns a rate, 0 to 1, exact to six digits even for 10**12 requests: under any larger rate
    such a run has a probability below 1 - confidence.
    Raises ValueError for a negative count and for any other confidence, NaN included.
    """
    # SOLUTION
    if answered < 0 or not 0 < confidence < 1:
        raise ValueError(f"expected a count from 0, got {answered}, and a share, got {confidence}")
    if answered == 0:
        return 1.0
    # (1 - p) ** n = 1 - confidence, solved for p; expm1 keeps the digits of a p that is nearly 0
    return float(-np.expm1(np.log1p(-confidence) / answered))


# %%
check("01.4", largest_failure_rate)

# %% [markdown] tags=["solution"]
# At 95 % the result is close to $3/n$, because $-\ln 0.05 \approx 3.0$. Statisticians call this the *rule of three*. To
# claim "fewer than one in ten thousand" you need thirty thousand requests without a failure. Requests sent while one
# pod dies are not independent, so the true bound is even larger.

# %% tags=["solution"]
for answered in (100, 1_000, 30_000):
    rate = largest_failure_rate(answered)
    print(
        f"{answered:>6} answered, none lost: up to {100 * rate:.4f} % may fail; "
        f"3/n is {300 / answered:.4f} %"
    )
