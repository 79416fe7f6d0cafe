# %% [markdown]
# # 12 Distillation: exercises
#
# Four parts of a distillation and of its report. NumPy is enough. Fill in what is missing, run the cell, then its
# check.

# %%
import numpy as np

from course_lib.idioms import begin, check

scratch = begin("12")

# %% [markdown]
# ## 12.1 A teacher without logits ★☆☆ · 10 minutes
#
# The teacher is somebody else's service. It answers with probabilities, rounded to a few digits, and never shows its
# logits. Can you still soften its answers? Yes. The probabilities come from a softmax. A softmax loses only one thing
# about the logits of an image: a constant that they all share.


# %%
def soften(probabilities, temperature):
    """The distribution that the same logits would give at another temperature.

    probabilities: float array (N, C), each row a softmax at temperature 1, from 0 to 1; N may be
    0. temperature: a finite number above 0. A probability of 0 stays 0. Returns a new array
    (N, C) in the dtype of `probabilities`, whose rows add up to 1, also where the temperature is
    as low as 0.001. Raises ValueError for another temperature.
    """
    # SOLUTION
    if not 0 < temperature < np.inf:
        raise ValueError(f"expected a finite temperature above 0, got {temperature}")
    known = probabilities > 0
    logs = np.log(np.where(known, probabilities, 1)) / temperature
    highest = np.where(known, logs, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    powers = np.where(known, np.exp(np.where(known, logs - highest, 0)), 0)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(probabilities.dtype)


# %%
check("12.1", soften)

# %% [markdown] tags=["solution"]
# The logarithm of a softmax equals the logits minus a constant, and a softmax ignores a constant. So $\log p$ can
# replace the logits. Dividing it by $T$ and taking the softmax gives $q_j \propto p_j^{1/T}$. The line `p ** (1 / T)`
# computes the same, and fails if all powers round to 0: at $T = 0.001$, $0.4^{1000}$ does. So subtract the largest
# logarithm *before* the exponential, as in lesson 02. No formula restores what the service rounded to 0. For
# distillation ask for logits, or for more digits.

# %% [markdown]
# ## 12.2 The whole loss, and its gradient ★★☆ · 15 minutes
#
# A colleague trains a student with a loop in plain C. You write the reference for the test of that C code: the loss of
# the lesson, with its gradient.


# %%
def distillation_loss(student_logits, teacher_logits, labels, temperature, weight):
    """(1 − weight) · cross-entropy with the labels + weight · temperature² · soft cross-entropy.

    student_logits, teacher_logits: float arrays (N, C), N from 1, of any magnitude below 1e30.
    labels: int array (N,), each from 0 to C − 1. temperature: above 0; it divides both logits in
    the second part, and neither in the first. weight: from 0 to 1. Each part is a mean over the
    N examples, in nats. Returns (loss, gradient): a plain float, and a new array (N, C), the
    derivative of the loss with respect to the student's logits, in the dtype of `student_logits`.
    Raises ValueError for no example, and for another temperature or weight.
    """
    # SOLUTION
    if len(student_logits) == 0 or not temperature > 0 or not 0 <= weight <= 1:
        raise ValueError(f"expected examples, T > 0 and w in 0..1, got {temperature}, {weight}")
    rows, count = np.arange(len(labels)), len(labels)

    def log_softmax(logits):
        shifted = logits - logits.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

    z, v = (np.asarray(each, np.float64) for each in (student_logits, teacher_logits))
    plain, warm, target = (
        log_softmax(z),
        log_softmax(z / temperature),
        log_softmax(v / temperature),
    )
    from_labels = -plain[rows, labels].mean()
    from_teacher = -(np.exp(target) * warm).sum(axis=1).mean()
    by_labels = np.exp(plain)
    by_labels[rows, labels] -= 1
    by_teacher = temperature * (np.exp(warm) - np.exp(target))  # T² · (p − q) / T
    loss = (1 - weight) * from_labels + weight * temperature**2 * from_teacher
    gradient = ((1 - weight) * by_labels + weight * by_teacher) / count
    return float(loss), gradient.astype(np.asarray(student_logits).dtype)


# %%
check("12.2", distillation_loss)

# %% [markdown] tags=["solution"]
# Two factors are easy to lose. The gradient of the second part has the factor $T^2 \cdot \frac{1}{T} = T$, not $T^2$
# and not 1. The labels' part has no temperature, because the student will be used at $T = 1$. Both parts use the
# logarithm of the softmax. It is computed from shifted logits, so logits of thousands do not overflow. There is a
# second way in PyTorch: `(1 - w) * F.cross_entropy(z, labels) + w * T**2 * F.cross_entropy(z / T, softmax(v / T))`.
# This works because `cross_entropy` also takes probabilities as targets. Then `backward()` gives the gradient.

# %% [markdown]
# ## 12.3 Would it have happened by chance? ★★☆ · 15 minutes
#
# A supplier shows eight pairs of runs, "six of eight better", and asks for a signature. Write the sign-flip test.
# Accuracies are multiples of 1/450, so their sums are often *equal*. Rounding must not decide whether an equal sum
# counts.


# %%
def sign_flip_p(differences):
    """The exact p-value of the two-sided sign-flip test of the mean difference.

    differences: a sequence of 1 to 20 finite floats, one a pair, in any unit. Of all 2^n ways to
    give them signs, the share in which the absolute sum is at least that of the differences as
    they are. Sums that differ by less than a millionth of the sum of the absolute differences
    count as equal. Returns a plain float above 0 and up to 1. Raises ValueError for none, for
    more than 20, and for a NaN or an infinity.
    """
    # SOLUTION
    d = np.asarray(differences, np.float64)
    if not 1 <= d.size <= 20 or not np.isfinite(d).all():
        raise ValueError(f"expected 1 to 20 finite differences, got {differences}")
    sums = np.zeros(1)
    for each in d:  # doubles the sums with every difference
        sums = np.concatenate([sums + each, sums - each])
    slack = 1e-6 * np.abs(d).sum()
    return float((np.abs(sums) >= abs(d.sum()) - slack).mean())


# %%
check("12.3", sign_flip_p)

# %% [markdown] tags=["solution"]
# All $2^n$ sums are built by doubling: each difference is added to one copy of the list and subtracted from another. So
# 20 pairs need a million numbers and no loop over them. The tolerance `slack` is a share of the absolute differences. A
# fixed `1e-12` is too large for differences of $10^{-15}$ and too small for those of $10^{9}$. A share of the sum
# itself is 0 if gains and losses cancel, and then rounding decides. There is a second way if the differences are counts
# of examples: integers need no tolerance. What is p for the supplier's six of eight, if all gains and losses are equal?

# %% tags=["solution"]
print(f"p = {sign_flip_p([1.0] * 6 + [-1.0] * 2):.2f}: coins do that often")

# %% [markdown]
# ## 12.4 The class that never came ★★★ · 20 minutes
#
# "Our student was distilled on the traffic of a summer, when nobody asked about heating." Which number must you add to
# that class's logit so that the most answers are right, as Hinton's group did for the 3s? Find it on validation data,
# not on the test part. Find it exactly: a grid of steps can miss a narrow best range.


# %%
def class_bias(logits, labels, missing):
    """The number to add to one class's logit so that the most examples are read correctly.

    logits: float array (N, C), C from 2, N from 1. labels: int array (N,). missing: the class,
    from 0 to C − 1. An example is read correctly if the label's logit is above all others; if
    another one equals it, it is not. The number may be negative. It is the middle of a best
    range, so that rounding in the logits' own dtype changes no answer. If the range has only one
    end, it is 1 away from this end. Returns a plain float; 0.0 if no number makes more examples
    right than 0. Raises ValueError for no example, and if `missing` is no class.
    """
    # SOLUTION
    if len(logits) == 0 or not 0 <= missing < logits.shape[1]:
        raise ValueError(f"expected examples and a class, got shape {logits.shape}, {missing}")
    z, here = logits.astype(np.float64), labels == missing
    rest = z.copy()
    rest[:, missing] = -np.inf
    needed = rest.max(axis=1) - z[:, missing]  # above this, the answer is `missing`
    own = rest[np.arange(len(labels)), labels]
    alone = (rest == rest.max(axis=1, keepdims=True)).sum(axis=1) == 1  # no second one as high
    otherwise = (own == rest.max(axis=1)) & alone  # right as long as `missing` stays below
    ends = np.unique(needed)
    tries = np.concatenate([[0.0, ends[0] - 1], (ends[:-1] + ends[1:]) / 2, [ends[-1] + 1]])
    wins = tries[:, None] > needed
    right = np.where(here, wins, ~wins & otherwise & (tries[:, None] != needed)).sum(axis=1)
    return float(tries[right.argmax()])  # the first of equals, and 0 comes first


# %%
check("12.4", class_bias)

# %% [markdown] tags=["solution"]
# Each example has one number at which its answer changes: how far the class is behind the best of the others. Between
# two such numbers nothing changes. So one try in each of the at most $N + 1$ gaps finds the best, whatever the scale.
# The comparison of all tries with all examples takes $N^2$ memory. For a large validation part, sort the numbers and
# use two cumulative sums: right answers gained as the bias rises, and right answers lost. If you have no labels but
# know how often the class occurs, you can choose the bias at which the student answers it as often.
