# %% [markdown]
# # 26b Faster decoding: exercises
#
# Four functions behind the numbers of an engine's dashboard. Fill in what is missing, run the cell, then its check.

# %%
import math

import numpy as np

from course_lib.idioms import begin, check

scratch = begin("26b")

# %% [markdown]
# ## 26b.1 How many pages is that? ★☆☆ · 10 minutes
#
# "The cache is 90 % full, but only half of it is text." Write the count that says where the rest went. Some requests begin
# with the same instructions, and pages that are full of them are kept once.


# %%
def pages(lengths, page, prefix=0):
    """Pages in use, and the share of their room that holds no token.

    lengths: how many tokens each sequence has, whole numbers from 1; may be empty. page: tokens
    a page, 1 or more. prefix: the first so many tokens are the same in all sequences (0 or
    more). Only pages that hold nothing but prefix are shared, and by those sequences that fill
    them. Such a page is kept once, if any sequence has it.
    Returns (pages, waste): an int, and a float, 0.0 where no page is in use.
    Raises ValueError for numbers below these.
    """
    # SOLUTION
    if page < 1 or prefix < 0 or any(length < 1 for length in lengths):
        raise ValueError("expected lengths and page from 1, prefix from 0")
    common = [min(length, prefix) // page for length in lengths]
    own = sum(math.ceil(n / page) - c for n, c in zip(lengths, common))
    kept = max(common, default=0)
    held = kept * page + sum(n - c * page for n, c in zip(lengths, common))
    count = own + kept
    return count, 1 - held / (count * page) if count else 0.0


# %%
check("26b.1", pages)

# %% [markdown] tags=["solution"]
# A sequence that is longer than the prefix shares `prefix // page` pages. A shorter one has only as many as it fills. The
# page where the prefix ends inside is not shared, since the texts differ in its second half. With a page of one token there
# is no waste, but the tables are as long as the texts.

# %% [markdown]
# ## 26b.2 Keep or draw again ★★★ · 25 minutes
#
# "Since we speculate, the answers are blander." Somebody had drawn from the wrong distribution after a rejection. Write the
# check of one pass. The random numbers are given, so that the result is certain.


# %%
def verified(drafts, q, p, draws):
    """The tokens that one pass of speculative decoding adds.

    drafts: k token numbers, k from 0. q: float (k, tokens), the distribution each draft was
    drawn from. p: float (k + 1, tokens), the large model's. draws: float (k + 1,), uniform in
    [0, 1). Draft i with token x is kept if draws[i] * q[i, x] < p[i, x]. At the first draft
    that is not kept, one token from (p - q)+ of that place is added, and the pass ends. If all
    are kept, one from p[k] is added. To add a token, scale the weights to a sum of 1, add them
    up in the order of the tokens, and take the first token whose sum is above draws[k].
    Returns a list of 1 to k + 1 ints. Changes no argument.
    """
    # SOLUTION
    kept = []
    weights = p[len(drafts)]
    for i, token in enumerate(drafts):
        if not draws[i] * q[i][token] < p[i][token]:
            weights = np.clip(np.asarray(p[i], float) - q[i], 0, None)
            break
        kept.append(int(token))
    sums = np.cumsum(np.asarray(weights, float))
    return [*kept, int(np.searchsorted(sums / sums[-1], draws[-1], side="right"))]


# %%
check("26b.2", verified)

# %% [markdown] tags=["solution"]
# `draws[i] * q < p` is $u < p/q$ without a division by zero. `side="right"` finds the first sum that is *above* the draw, so a
# token of weight 0 is never taken. After a rejection the rest $(p - q)_+$ cannot be all zero: a draft is rejected only where
# $p < q$, so $p$ is larger elsewhere. The later drafts are void, since they continued a token that is not there.

# %% [markdown]
# ## 26b.3 Four bits, packed ★★☆ · 20 minutes
#
# "The table says 4 bits, the file has 8." An int8 array of small numbers still takes a byte each. Two belong into one byte.


# %%
def packed(weights, group):
    """Weights in 4 bits with a scale for each group, two to a byte.

    weights: float (rows, columns). group: even, divides columns. In each group of neighbours of
    a row, scale = largest magnitude / 7, in float32, or 1 where all are 0. Each weight becomes
    the nearest whole number of scales, at most 7 in magnitude (ties as np.rint has them), plus
    8: 1 to 15. The first, third, … of a row go into the low 4 bits of a byte, its right
    neighbours into the high. Returns (uint8 (rows, columns / 2), float32 (rows, columns /
    group)). Changes no argument. Raises ValueError for another group.
    """
    # SOLUTION
    weights = np.asarray(weights)
    rows, columns = weights.shape
    if group < 2 or group % 2 or columns % group:
        raise ValueError(f"expected an even group that divides {columns}, got {group}")
    parts = weights.reshape(rows, columns // group, group)
    scales = (np.abs(parts).max(axis=2) / 7).astype(np.float32)
    scales[scales == 0] = 1
    whole = np.clip(np.rint(parts / scales[:, :, None]), -7, 7).astype(np.int64) + 8
    whole = whole.reshape(rows, columns)
    return (whole[:, ::2] | whole[:, 1::2] << 4).astype(np.uint8), scales


# %%
check("26b.3", packed)

# %% [markdown] tags=["solution"]
# Plus 8 makes the numbers positive, so that they need no sign bit. The largest magnitude is scaled to 7, and both signs have
# the same levels. With 7.5 or 8 one more level would be used, but not on both sides. To unpack: `byte & 15` and `byte >> 4`,
# minus 8, times the scale.

# %% [markdown]
# ## 26b.4 Goodput from a log ★★☆ · 15 minutes
#
# "We answer 90 requests a second, and users complain." Write the number that should have been promised.


# %%
def goodput(log, seconds, first_s, token_s):
    """Requests a second that met the objective.

    log: one tuple (due, first, last, tokens) for each request that was due in the time of so
    many seconds: the moments when it was due, when its first and its last token came, and how
    many tokens it got. first is None where none came, last is None where it was not completed.
    A request meets the objective if it was completed, first - due <= first_s, and the mean time
    of the tokens after the first one, if there are any, is <= token_s.
    Returns a float. Raises ValueError unless seconds is above 0.
    """
    # SOLUTION
    if not seconds > 0:
        raise ValueError(f"expected seconds above 0, got {seconds}")
    good = 0
    for due, first, last, tokens in log:
        if first is None or last is None:
            continue
        good += first - due <= first_s and last - first <= token_s * (tokens - 1)
    return good / seconds


# %%
check("26b.4", goodput)

# %% [markdown] tags=["solution"]
# It counts from when a request was *due*. A client that was late itself, or a queue in front of the server, is part of what
# the user waits. Requests that failed or never ended are in the log and are not good. Leave them out, and goodput rises
# with every crash. With one token, `last` is `first`, and the second condition is 0 <= 0.
