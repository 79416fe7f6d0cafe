"""Wrong answers that people write, planted in lesson 06b: each must be caught at the property named."""

import copy
import math

import numpy as np


def _rho(single, exact):
    import torch

    if not len(exact) or not (torch.isfinite(single).all() and torch.isfinite(exact).all()):
        raise ValueError
    return float(((single - exact).abs().amax(dim=1) / exact.abs().amax(dim=1)).max())


def the_same_run_twice(network, inputs):
    import torch

    with torch.inference_mode():
        single = copy.deepcopy(network).eval()(inputs)
        return _rho(single.double(), single.double())


def one_scale(network, inputs):
    import torch

    with torch.inference_mode():
        single = copy.deepcopy(network).eval()(inputs).double()
        exact = copy.deepcopy(network).eval().double()(inputs.double())
    return float((single - exact).abs().max() / exact.abs().max())


def a_tensor(network, inputs):
    import torch

    return torch.tensor(right_error(network, inputs))


def stays_in_training(network, inputs):
    import torch

    torch.manual_seed(0)
    with torch.inference_mode():
        return _rho(copy.deepcopy(network)(inputs).double(), copy.deepcopy(network).double()(inputs.double()))


def with_a_graph(network, inputs):
    single = copy.deepcopy(network).eval()(inputs).detach().double()
    return _rho(single, copy.deepcopy(network).eval().double()(inputs.double()).detach())


def right_error(network, inputs):
    import torch

    with torch.inference_mode():
        single = copy.deepcopy(network).eval()(inputs).double()
        return _rho(single, copy.deepcopy(network).eval().double()(inputs.double()))


def doubles_the_network(network, inputs):
    import torch

    with torch.inference_mode():
        single = copy.deepcopy(network).eval()(inputs).double()
        return _rho(single, network.eval().double()(inputs.double()))


def there_and_back(network, inputs):
    import torch

    was_training = network.training
    network.eval()
    with torch.no_grad():
        single = network(inputs).double()
        exact = network.double()(inputs.double())
    network.float().train(was_training)
    return _rho(single, exact)


def evaluates_the_original(network, inputs):
    import torch

    network.eval()
    with torch.inference_mode():
        return _rho(network(inputs).double(), copy.deepcopy(network).double()(inputs.double()))


def no_finally(network, inputs):
    import torch

    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    with torch.inference_mode():
        single, exact = network(inputs).double(), copy.deepcopy(network).double()(inputs.double())
    for module, training in modes:
        module.training = training
    return _rho(single, exact)


def reads_memory_anew(network, inputs):
    import torch

    rows = inputs.as_strided(inputs.shape, (inputs.shape[1], 1)) if inputs.dim() == 2 else inputs
    return right_error(network, torch.as_tensor(rows))


def hopes_for_numbers(network, inputs):
    import torch

    with torch.inference_mode():
        single = copy.deepcopy(network).eval()(inputs).double()
        exact = copy.deepcopy(network).eval().double()(inputs.double())
    if len(exact) == 0:
        raise ValueError
    return float(((single - exact).abs().amax(dim=1) / exact.abs().amax(dim=1)).max())


def one_after_the_other(count, differs):
    return next((k for k in range(count) if differs(k)), None)


def never_looks_at_the_last(count, differs):
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if differs(middle) else (middle + 1, high)
    return low if count else None


def looks_once_more(count, differs):
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if differs(middle) else (middle + 1, high)
    return low if low < count and differs(low) else None


def throws_the_middle_away(count, differs):
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle - 1) if differs(middle) else (middle + 1, high)
    return low if low < count else None


def the_last_good_one(count, differs):
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if differs(middle) else (middle + 1, high)
    return low - 1 if low < count else None


def count_instead_of_none(count, differs):
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if differs(middle) else (middle + 1, high)
    return low


def beyond_the_last(count, differs):
    low, high = -1, count
    while high - low > 1:
        middle = math.ceil((low + high) / 2)
        low, high = (low, middle) if differs(middle) else (middle, high)
    return None if not differs(count) else high


def steps_of_the_root(count, differs):
    step = max(1, math.isqrt(count))
    for k in [*range(step - 1, count, step), count - 1]:
        if count and differs(k):
            return next(j for j in range(max(0, k - step + 1), k + 1) if j == k or differs(j))
    return None


def _ordered(logits):
    exact = np.asarray(logits, np.float64)
    if exact.shape[1] == 1:
        return exact, np.isfinite(exact[:, 0]), np.full(len(exact), np.inf)
    finite = np.isfinite(exact).all(axis=1)
    exact = np.where(finite[:, None], exact, 0.0)
    ordered = np.sort(exact, axis=1)
    return exact, finite, ordered[:, -1] - ordered[:, -2]


def right_certain(logits, tolerance, factor=2.0):
    exact, finite, margin = _ordered(logits)
    return finite & (margin > factor * tolerance * np.abs(np.where(finite[:, None], exact, 0)).max(axis=1))


def only_the_winner_moves(logits, tolerance):
    return right_certain(logits, tolerance, factor=1.0)


def an_absolute_tolerance(logits, tolerance):
    _, finite, margin = _ordered(logits)
    return finite & (margin > 2 * tolerance)


def on_the_winners_scale(logits, tolerance):
    exact, finite, margin = _ordered(logits)
    return finite & (margin > 2 * tolerance * np.abs(exact.max(axis=1)))


def one_scale_for_all(logits, tolerance):
    exact, finite, margin = _ordered(logits)
    return finite & (margin > 2 * tolerance * np.abs(exact).max(initial=0))


def equal_is_enough(logits, tolerance):
    exact, finite, margin = _ordered(logits)
    return finite & (margin >= 2 * tolerance * np.abs(np.where(finite[:, None], exact, 0)).max(axis=1))


def infinity_wins(logits, tolerance):
    exact = logits.astype(np.float64)
    if exact.shape[1] == 1:
        return np.isfinite(exact[:, 0])
    ordered = np.sort(exact, axis=1)
    with np.errstate(invalid="ignore"):
        margin = ordered[:, -1] - ordered[:, -2]
        return margin > 2 * tolerance * np.abs(np.where(np.isfinite(exact), exact, 0)).max(axis=1)


def two_columns_needed(logits, tolerance):
    exact = logits.astype(np.float64)
    finite = np.isfinite(exact).all(axis=1)
    exact = np.where(finite[:, None], exact, 0.0)
    ordered = np.sort(exact, axis=1)
    return finite & (ordered[:, -1] - ordered[:, -2] > 2 * tolerance * np.abs(exact).max(axis=1))


def in_their_own_dtype(logits, tolerance):
    finite = np.isfinite(logits).all(axis=1)
    if logits.shape[1] == 1:
        return finite
    known = np.where(finite[:, None], logits, logits.dtype.type(0))
    ordered = np.sort(known, axis=1)
    with np.errstate(over="ignore"):
        return finite & (ordered[:, -1] - ordered[:, -2] > 2 * tolerance * np.abs(known).max(axis=1).astype(np.float64))


def one_answer_for_all(logits, tolerance):
    return bool(right_certain(logits, tolerance).all())


WRONG = {
    "06b.1": {
        the_same_run_twice: "it is above 0 and below a millionth: float32's rounding, and nothing else",
        one_scale: "each example is measured on the scale of its own largest logit",
        a_tensor: "it is a plain float, for one example too",
        stays_in_training: "both runs are in evaluation mode",
        with_a_graph: "no graph is recorded in either run",
        doubles_the_network: "the network keeps its dtypes and numbers",
        there_and_back: "the network keeps its dtypes and numbers",
        evaluates_the_original: "and the mode of every module",
        no_finally: "also where the forward pass raises an error, which goes on",
        reads_memory_anew: "inputs may have strides, and are left alone",
        hopes_for_numbers: "no example, and logits that are not finite, are refused",
    },
    "06b.2": {
        the_last_good_one: "of eight layers, the first that differs is found, wherever it is",
        throws_the_middle_away: "of eight layers, the first that differs is found, wherever it is",
        never_looks_at_the_last: "where no layer differs, or there is none, the answer is None",
        count_instead_of_none: "where no layer differs, or there is none, the answer is None",
        beyond_the_last: "it looks only at layers that exist",
        one_after_the_other: "it looks at most bit_length times",
        looks_once_more: "it looks at most bit_length times",
        steps_of_the_root: "it looks at most bit_length times",
    },
    "06b.3": {
        one_answer_for_all: "a wide margin is certain, a narrow one is not",
        only_the_winner_moves: "the winner may lose and the second may gain",
        an_absolute_tolerance: "the winner may lose and the second may gain",
        on_the_winners_scale: "the scale is the example's largest |logit|, a negative one included",
        one_scale_for_all: "the scale is the example's largest |logit|, a negative one included",
        equal_is_enough: "margins that can just close, and ties, are not certain",
        infinity_wins: "an example with NaN or an infinity is not certain; its neighbours are judged as before",
        two_columns_needed: "one class is always certain, and no example gives an empty array",
        in_their_own_dtype: "float16 does not overflow, and float64 keeps its digits",
    },
}
