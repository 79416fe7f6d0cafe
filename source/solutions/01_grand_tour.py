# %% [markdown]
# # 01 The grand tour: exercises
#
# Four small pieces of what the tour did in passing, each as you would want it in a service of your own. Fill in what is
# missing, run the cell, then its check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("01")

# %% [markdown]
# ## 01.1 Parity, in one number ★☆☆ · 5 minutes
#
# The tour compared a model before and after conversion by the largest difference of their logits. Write that
# comparison so that it cannot be satisfied by accident: a shape that NumPy would stretch, or a NaN, must not pass for
# agreement.


# %%
def largest_difference(before, after):
    """The largest absolute difference between two models' outputs.

    before, after: float arrays of one shape, of any dtype.
    Returns a plain float; NaN where either holds a NaN.
    Raises ValueError where the shapes differ.
    """
    # SOLUTION
    if before.shape != after.shape:
        raise ValueError(
            f"expected two outputs of one shape, got {before.shape} and {after.shape}"
        )
    return float(np.abs(before - after).max())


# %%
check("01.1", largest_difference)

# %% [markdown] tags=["solution"]
# The refusal and the NaN carry the weight. Broadcasting would compare every row of one output with the single row of another,
# and report a difference that means nothing. And `max` hands a NaN on: no comparison with a tolerance holds for it, so
# a broken model fails the claim that follows. `np.nanmax` would let it through.

# %% [markdown]
# ## 01.2 The request ★★☆ · 5 minutes
#
# A colleague has images and wants answers. Write the function that turns images into the body of a request to
# `:predict`, for one image or for many, and that refuses images of another shape, or none, before anything is sent.


# %%
def request_body(images):
    """The body of a TensorFlow Serving request in row form.

    images: float32 array (8, 8) or (N, 8, 8), N from 1, values 0 to 1.
    Returns a dict that json.dumps takes, with one instance of shape (1, 8, 8) for each image.
    Raises ValueError for any other shape, and for no image.
    """
    # SOLUTION
    if images.ndim not in (2, 3) or images.shape[-2:] != (8, 8) or not images.size:
        raise ValueError(f"expected images of shape (8, 8) or (N, 8, 8), got {images.shape}")
    return {"instances": images.reshape(-1, 1, 8, 8).tolist()}


# %%
check("01.2", request_body)

# %% [markdown] tags=["solution"]
# `reshape(-1, 1, 8, 8)` alone would take any 64 numbers for an image: two images of 4 × 16, say. The shape is checked
# first, because a reshape that succeeds is no sign that the axes mean what you think.

# %% [markdown]
# ## 01.3 The answer ★★☆ · 10 minutes
#
# The service answers logits, since that is what the model computes. People want a digit and how sure the model is.
# Write what stands between the two, and let it survive a model that is very sure.


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
        weights = np.exp(
            logits - logits.max()
        )  # softmax is the same after a shift, and exp(0) cannot overflow
        label = int(logits.argmax())
        answers.append((label, float(weights[label] / weights.sum())))
    return answers


# %%
check("01.3", read_predictions)

# %% [markdown] tags=["solution"]
# The shift by the largest logit changes nothing in exact arithmetic and everything in floating point: lesson 02 derives
# it. Another way is `scipy.special.softmax`, which does the same inside.

# %% [markdown]
# ## 01.4 None lost, of how many? ★★★ · 10 minutes
#
# The tour killed a pod and lost no request. "So it never loses one?" asks the colleague. It may still lose one in a
# thousand. Write the largest failure rate that a run without a failure leaves possible.


# %%
def largest_failure_rate(answered, confidence=0.95):
    """The largest failure rate that a run without a failure leaves possible.

    answered: number of requests, all answered, 0 or more; they are taken to fail independently.
    confidence: 0 to 1, both excluded.
    Returns a rate, 0 to 1, exact to six digits even for 10**12 requests: under any larger rate
    such a run has a probability below 1 - confidence.
    Raises ValueError for a negative count and for any other confidence.
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
# At 95 % the result is close to $3/n$, since $-\ln 0.05 \approx 3.0$: statisticians call it the *rule of three*. To claim
# "fewer than one in ten thousand" you need thirty thousand requests without a failure, and lesson 13 meets the
# same question in MLPerf's query counts, with another formula. Requests that are sent while one pod dies are not independent, so the true bound
# is wider still.

# %% tags=["solution"]
for answered in (100, 1_000, 30_000):
    rate = largest_failure_rate(answered)
    print(
        f"{answered:>6} answered, none lost: up to {rate:.4%} may fail; 3/n is {3 / answered:.4%}"
    )
