"""Checks of lesson 06b, how far may a conversion move. PyTorch is imported where an answer needs it."""

from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("06b.1", "How far is float32 off?")
def float_error(answer: Callable) -> Iterator[Property]:
    """answer(network, inputs) -> float."""
    import torch
    from torch import nn

    random = np.random.default_rng(6)
    weight, pixels = (random.normal(size=shape).astype(np.float32) for shape in ((5, 1), (9, 1)))
    pixels *= 10.0 ** np.arange(-4, 5, dtype=np.float32)[:, None]  # examples of very different scales

    def layer(training: bool = False) -> nn.Module:
        """One product for each logit, no sum: every kernel, for every batch size, must round it alike."""
        module = nn.Sequential(nn.Dropout(0.9), nn.Linear(1, 5, bias=False))
        module[1].weight.data = torch.from_numpy(weight.copy())
        return module.train(training)

    def expected(rows: slice = slice(None)) -> float:
        single = (pixels[rows] * weight.T).astype(np.float64)
        exact = pixels[rows].astype(np.float64) * weight.T.astype(np.float64)
        return float((np.abs(single - exact).max(axis=1) / np.abs(exact).max(axis=1)).max())

    def close(said: object, value: float) -> bool:
        return abs(said - value) <= 1e-3 * value

    inputs = torch.from_numpy(pixels)
    yield ("it is above 0 and below a millionth: float32's rounding, and nothing else", lambda: 0 < answer(layer(), inputs) < 1e-6, [
        "Run the network twice: as it is, and with weights and inputs in float64.",
        "If it is 0, both runs were the same; if it is large, they saw different numbers.",
        "copy.deepcopy(network).double()(inputs.double())",
    ])  # fmt: skip
    yield ("each example is measured on the scale of its own largest logit", lambda: close(answer(layer(), inputs), expected())
           and all(close(answer(layer(), inputs[k : k + 2]), expected(slice(k, k + 2))) for k in range(0, 8, 2)), [
        "The examples differ in size by powers of ten.",
        "Two maxima over axis 1, a division, and only then the maximum over the examples.",
        "((answer - exact).abs().amax(dim=1) / exact.abs().amax(dim=1)).max()",
    ])  # fmt: skip
    yield ("it is a plain float, for one example too", lambda: type(answer(layer(), inputs)) is float and type(answer(layer(), inputs[3:4])) is float, [
        "What does type(…) of your result say?",
        "A tensor carries its device and perhaps a graph to the caller.",
        "float(…)",
    ])  # fmt: skip

    def training_mode() -> bool:
        return close(answer(layer(training=True), inputs), expected())

    yield ("both runs are in evaluation mode", training_mode, [
        "The network may come in training mode, with dropout on.",
        "Dropout draws anew for each run: the difference is then no rounding.",
        "copy.deepcopy(network).eval()",
    ])  # fmt: skip
    seen: list[tuple[bool, bool]] = []

    class Watched(nn.Module):
        """Notes how it is called; holds parameters and buffers of several dtypes."""

        def __init__(self, fails: bool = False) -> None:
            super().__init__()
            self.linear, self.fails, self.dropout = nn.Linear(4, 3), fails, nn.Dropout(0.5)
            self.frozen = nn.Dropout(0.5).eval()
            self.register_buffer("steps", torch.tensor(7))
            self.register_buffer("precise", torch.tensor([1 / 3], dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((torch.is_grad_enabled(), x.dtype == torch.float64))
            if self.fails and x.dtype == torch.float64:
                raise RuntimeError("no kernel for float64")
            return self.linear(self.dropout(x))

    few = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.1, 0.2, 0.3, 0.4]])

    def no_graph() -> bool:
        seen.clear()
        answer(Watched(), few)
        return {double for _, double in seen} == {False, True} and not any(graph for graph, _ in seen)

    yield ("no graph is recorded in either run", no_graph, [
        "eval() is about layers. What is about gradients?",
        "Both calls must stand inside the context manager.",
        "with torch.inference_mode():",
    ])  # fmt: skip

    def untouched(fails: bool = False, training: bool = True) -> bool:
        network = Watched(fails).train(training)
        network.frozen.eval()
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        tensors = {name: id(tensor) for name, tensor in network.named_parameters()}
        failed = raises(RuntimeError, answer, network, few)
        after = network.state_dict()
        return (
            failed == fails
            and all(after[name].dtype == t.dtype and torch.equal(after[name], t) for name, t in before.items())
            and {name: id(tensor) for name, tensor in network.named_parameters()} == tensors
            and all(parameter.grad is None for parameter in network.parameters())
            and network.training == training
            and network.dropout.training == training
            and not network.frozen.training
        )

    yield ("the network keeps its dtypes and numbers", lambda: untouched(training=False), [
        "network.double() converts the network itself, and returns it.",
        "There is a float64 buffer inside: what does .float() do to it on the way back?",
        "Work on copy.deepcopy(network).",
    ])  # fmt: skip
    yield ("and the mode of every module", untouched, [
        "It came in training mode, with one layer in evaluation mode on purpose.",
        "network.eval() changes the caller's network.",
        "copy.deepcopy(network).eval(), for the float32 run too",
    ])  # fmt: skip
    yield ("also where the forward pass raises an error, which goes on", lambda: untouched(fails=True) and untouched(fails=True, training=False), [
        "The float64 run fails: in which state is the network?",
        "Do not swallow the error.",
        "With copies there is nothing to set back.",
    ])  # fmt: skip
    strided = torch.from_numpy(np.repeat(pixels, 2, axis=1))[:, ::2]
    yield ("inputs may have strides, and are left alone", lambda: close(answer(layer(), strided), expected()) and strided.dtype == torch.float32, [
        "The same numbers, every second entry of a wider tensor.",
        "Do you reinterpret memory somewhere?",
        "inputs.double() copies; the original keeps its dtype.",
    ])  # fmt: skip

    def refused(value: float) -> bool:
        with torch.no_grad():
            return raises(ValueError, answer, layer(), torch.full((2, 1), value))

    yield ("no example, and logits that are not finite, are refused", lambda: raises(ValueError, answer, layer(), inputs[:0])
           and refused(float("nan")) and refused(3e38), [
        "Try no input at all, a NaN, and numbers so large that float32 overflows where float64 does not.",
        "A NaN as tolerance makes every comparison false.",
        "if not (torch.isfinite(answer).all() and torch.isfinite(exact).all()): raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("06b.2", "Which layer began it?")
def halving(answer: Callable) -> Iterator[Property]:
    """answer(count, differs) -> the first layer's number, or None."""

    def asked(count: int, first: int | None) -> tuple[object, list[int]]:
        looks: list[int] = []

        def differs(k: int) -> bool:
            looks.append(int(k))
            return first is not None and k >= first

        return answer(count, differs), looks

    def finds(count: int, first: int | None) -> bool:
        said, _ = asked(count, first)
        return said is None if first is None else said is not None and said is not False and said == first

    yield ("of eight layers, the first that differs is found, wherever it is", lambda: all(
        finds(8, first) for first in range(8)
    ), [
        "Look at the layer in the middle. In which half is the first one that differs?",
        "If the middle one differs, it may itself be the first: keep it.",
        "if differs(middle): high = middle, else: low = middle + 1",
    ])  # fmt: skip
    yield ("any number of layers works, one as well", lambda: all(
        finds(count, first) for count in (1, 2, 3, 5, 13, 1200) for first in {0, 1, count // 2, count - 1} if first < count
    ), [
        "Try one layer, then two, then three.",
        "Does the loop end when one layer is left? Is the last layer ever looked at?",
        "low, high = 0, count; while low < high",
    ])  # fmt: skip
    yield ("where no layer differs, or there is none, the answer is None", lambda: all(
        finds(count, None) for count in (0, 1, 2, 8, 13)
    ), [
        "Let `differs` always return False, then try no layer at all.",
        "When the loop ends with low = count, no layer was found.",
        "return low if low < count else None",
    ])  # fmt: skip

    yield ("it looks only at layers that exist", lambda: all(
        0 <= k < count for count in (1, 2, 8, 13) for first in (0, count - 1, None) for k in asked(count, first)[1]
    ), [
        "Layers are numbered from 0 to count − 1.",
        "Is `count` itself ever passed to differs?",
        "middle = (low + high) // 2, which is below high",
    ])  # fmt: skip

    def few() -> bool:
        return all(
            len(asked(count, first)[1]) <= count.bit_length()
            for count in (0, 1, 7, 8, 100, 1200)
            for first in [*range(0, count, max(1, count // 40)), count - 1, None]
        )

    yield ("it looks at most bit_length times", few, [
        "1,200 layers take 11 looks at most. Count yours.",
        "Do not ask about a layer that you asked about before, the last one included.",
        "One call of differs in the loop, none after it.",
    ])  # fmt: skip


@EXERCISES.add("06b.3", "Whose class is certain?")
def certainty(answer: Callable) -> Iterator[Property]:
    """answer(logits, tolerance) -> bool array (N,)."""

    def says(expected: list[bool], logits: object, tolerance: float, kind: type = np.float64) -> bool:
        said = answer(np.array(logits, dtype=kind).reshape(len(expected), -1), tolerance)
        return said.shape == (len(expected),) and said.dtype == bool and said.tolist() == expected

    yield ("a wide margin is certain, a narrow one is not", lambda: says([True, False, True], [[8, 2, 0], [4, 3.99, 0], [0, -8, 4]], 0.01), [
        "The margin is the largest logit minus the second largest.",
        "Compare it with what the tolerance allows: tolerance times the largest |logit|, and not only once.",
        "np.sort(logits, axis=1): the last column minus the one before it",
    ])  # fmt: skip
    yield ("the winner may lose and the second may gain", lambda: says([False, True], [[10, 8.5], [10, 7.5]], 0.1), [
        "With a tolerance of 0.1, logits of 10 and 8.5 may become 9 and 9.5.",
        "Both move, in opposite directions.",
        "margin > 2 * tolerance * scale",
    ])  # fmt: skip
    yield ("the scale is the example's largest |logit|, a negative one included", lambda: says(
        [False, True, True], [[1, 0.5, -8], [1, 0.5, -1], [-3, -1, -8]], 0.1
    ), [
        "Logits 1, 0.5 and −8: each may be off by 0.8 where the tolerance is 0.1.",
        "Take the absolute value before the maximum, for each row by itself.",
        "np.abs(logits).max(axis=1)",
    ])  # fmt: skip
    yield ("margins that can just close, and ties, are not certain", lambda: says([False, True], [[8, 6, 0], [8, 5, 0]], 0.125)
           and says([False, False, True], [[3, 3, 0], [0, 0, 0], [3, 2, 0]], 0), [
        "At a margin of exactly twice the allowance the two logits can become equal.",
        "Two largest logits: which class is alone at the top?",
        "Use >, not >=.",
    ])  # fmt: skip
    odd = [[np.nan, 1, 0], [9, np.nan, 0], [np.inf, 1, 0], [9, 1, -np.inf], [9, 1, 0]]
    yield ("an example with NaN or an infinity is not certain; its neighbours are judged as before", lambda: says(
        [False, False, False, False, True], odd, 0.01
    ), [
        "inf is larger than everything, and its scale allows everything.",
        "np.sort puts NaN last. Decide about such rows by themselves.",
        "np.isfinite(logits).all(axis=1) & …",
    ])  # fmt: skip
    yield ("one class is always certain, and no example gives an empty array", lambda: says([True, True, False], [[5], [0], [np.nan]], 0.5)
           and answer(np.zeros((0, 4)), 0.1).shape == (0,) and answer(np.zeros((0, 1)), 0.1).shape == (0,), [
        "With one column there is no second largest.",
        "Is a row with a single finite logit ever in doubt?",
        "if logits.shape[1] == 1: return finite",
    ])  # fmt: skip
    yield ("float16 does not overflow, and float64 keeps its digits", lambda: says([False], [[60000, -60000]], 1, np.float16)
           and says([True], [[60000, -60000]], 0.99, np.float16)
           and says([True], [[1, 1 - 1e-12]], 1e-14), [
        "60000 − (−60000) is infinite in float16.",
        "Convert before you subtract.",
        "logits.astype(np.float64)",
    ])  # fmt: skip
