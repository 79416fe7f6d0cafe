"""Checks of lesson 06. PyTorch and onnx are imported where an answer needs them: the progress page reads this file in any
kernel."""

from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("06.1", "The test that a NaN passed")
def comparison(answer: Callable) -> Iterator[Property]:
    """answer(reference, converted, tolerance) -> bool."""
    logits = np.array([[8.0, -2.0, 0.0], [1.0, 0.5, -4.0]])

    def moved(example: int, column: int, by: float) -> np.ndarray:
        other = logits.copy()
        other[example, column] += by
        return other

    def says(expected: bool, reference: np.ndarray, converted: np.ndarray, tolerance: float = 1e-3) -> bool:
        return answer(reference, converted, tolerance) is expected

    yield ("equal logits pass, also with a tolerance of 0, and the answer is a plain bool", lambda: says(True, logits, logits.copy())
           and says(True, logits, logits.copy(), 0.0), [
        "What does type(…) of your result say?",
        "A NumPy truth value is no bool, and `<` is not `<=`.",
        "return bool((apart <= allowed).all())",
    ])  # fmt: skip
    yield ("what is too far apart fails, in either direction", lambda: says(False, logits, moved(0, 0, 0.1))
           and says(False, logits, moved(0, 1, -0.1)) and says(False, logits, moved(1, 2, -0.1)), [
        "One logit is 0.1 too small: does your test see it?",
        "Take the absolute value before the maximum.",
        "np.abs(answer - reference).max(axis=1)",
    ])  # fmt: skip
    yield ("the scale is the largest logit of the example, not the entry's own", lambda: says(True, logits, moved(0, 2, 0.007))
           and says(False, logits, moved(0, 2, 0.009)) and says(True, logits, moved(0, 2, -0.007))
           and says(True, logits, logits + [[0.007], [0.0]]) and says(False, np.full((1, 3), 8.0), np.array([[8.0, 8.0, 8.009]])), [
        "The first example's largest logit is 8, so with a tolerance of 0.001 each of its logits may be off by 0.008, all at once.",
        "A logit of 0 must not force a difference of 0.",
        "tolerance * np.abs(reference).max(axis=1)",
    ])  # fmt: skip
    yield ("each example has its own scale", lambda: says(False, logits, moved(1, 0, 0.006)) and says(True, logits, moved(1, 0, 0.003))
           and says(True, -logits, -moved(1, 0, 0.003)), [
        "The second example's largest |logit| is 4: 0.006 is too much for it, whatever the first holds.",
        "A maximum over the whole array lets quiet examples hide behind loud ones.",
        "axis=1 in both maxima, and the absolute value inside: np.abs(reference).max(axis=1).",
    ])  # fmt: skip

    def with_value(value: float) -> np.ndarray:
        return np.where(np.arange(6).reshape(2, 3) == 4, value, logits)

    yield ("a NaN where the reference has a number fails", lambda: says(False, logits, with_value(np.nan))
           and says(False, logits, np.full_like(logits, np.nan), 1e9), [
        "Is NaN greater than the tolerance? Is it smaller?",
        "Ask whether all are close, not whether any is far.",
        "(apart <= allowed).all() is False for a NaN; not (apart > allowed).any() is True.",
    ])  # fmt: skip
    yield ("an infinity where the reference has a number fails", lambda: says(False, logits, with_value(np.inf)), [
        "The difference is infinite.",
        "Is it compared with a number, or has it become a NaN before?",
        "Only the reference decides which examples are compared by distance.",
    ])  # fmt: skip
    yield ("NaN beside NaN, and an infinity beside its like, pass", lambda: all(
        says(True, with_value(value), with_value(value)) for value in (np.nan, np.inf, -np.inf)
    ), [
        "Both models overflow on the same input: that is parity.",
        "inf − inf is NaN, so a difference cannot tell.",
        "np.array_equal(reference[odd], answer[odd], equal_nan=True), odd: the rows that are not all finite.",
    ])  # fmt: skip
    yield ("beside anything else they fail", lambda: all(
        says(False, with_value(one), with_value(other), 1e9)
        for one, other in ((np.nan, 0.5), (np.inf, -np.inf), (np.inf, np.nan), (np.nan, np.inf), (np.inf, 0.5))
    ), [
        "Try infinity against minus infinity, and NaN against 0.5.",
        "An infinite scale allows every difference.",
        "Rows of the reference that are not all finite must be equal, entry by entry.",
    ])  # fmt: skip
    odd = with_value(np.nan)
    other = odd.copy()
    other[1, 0] += 0.001
    yield ("in an example with a NaN, the other entries must be the same too", lambda: says(False, odd, other)
           and says(True, odd, np.where(np.isnan(odd), odd, odd + np.array([[0.001], [0.0]]))), [
        "The docstring says: every entry is the same.",
        "Only examples whose reference is finite get the tolerance.",
        "Compare whole rows, chosen by np.isfinite(reference).all(axis=1).",
    ])  # fmt: skip
    halves = np.array([[60000.0, -60000.0]], np.float16)
    yield ("float16 does not overflow, float64 keeps its digits, dtypes may differ", lambda: says(False, halves, -halves, 1.5)
           and says(True, halves, -halves, 2.0) and says(True, logits.astype(np.float32), logits)
           and says(False, logits, moved(0, 1, 1e-10), 1e-12), [
        "60000 − (−60000) is infinite in float16, and float32 does not see a difference of 1e-10 at a logit of −2.",
        "Convert before you subtract.",
        ".astype(np.float64) on both",
    ])  # fmt: skip
    yield ("an example of zeros, and views with strides, are compared alike", lambda: says(True, np.zeros((1, 3)), np.zeros((1, 3)))
           and says(False, np.zeros((1, 3)), np.full((1, 3), 1e-9)) and says(True, np.repeat(logits, 2, axis=1)[:, ::2], logits), [
        "The largest logit is 0: what may the answer be off by?",
        "Multiply the scale by the tolerance; dividing by it makes 0/0.",
        "apart <= tolerance * scale",
    ])  # fmt: skip
    yield ("shapes that differ, one axis, and no example are refused", lambda: raises(ValueError, answer, logits, logits[:1], 0.1)
           and raises(ValueError, answer, logits[0], logits[0], 0.1) and raises(ValueError, answer, logits[:0], logits[:0], 0.1)
           and raises(ValueError, answer, logits[:, :1], logits, 0.1), [
        "Shapes (2, 3) and (1, 3) broadcast: the converted model lost a picture, and nothing says so.",
        "A test over no example is always green.",
        "if reference.shape != answer.shape or reference.ndim != 2 or len(reference) == 0: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("06.2", "How far is float32 off?")
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


@EXERCISES.add("06.3", "No branch left behind", seconds=60)
def preparation(answer: Callable) -> Iterator[Property]:
    """answer(pixels) -> pixels."""
    import torch
    from torch import nn

    def by_hand(pixels: np.ndarray) -> np.ndarray:
        done = []
        for picture in pixels.astype(np.float64):
            picture = picture / 255 if picture.max() > 1 else picture
            picture = 1 - picture if picture.mean() > 0.5 else picture
            done.append(picture / picture.max() if picture.max() > 0 else picture)
        return np.array(done)

    random = np.random.default_rng(3)
    plain = (random.random((1, 1, 8, 8)) ** 4).astype(np.float32)
    faint, negative = plain * np.float32(0.3), 1 - plain
    every = np.concatenate([plain, plain * 255, faint, negative, np.float32(255) * negative, np.zeros_like(plain),
                            np.ones_like(plain), faint * 255])  # fmt: skip

    def agrees(pixels: np.ndarray, tolerance: float = 1e-5) -> bool:
        said = answer(torch.from_numpy(pixels.copy()))
        return tuple(said.shape) == pixels.shape and bool(
            np.allclose(said.double().numpy(), by_hand(pixels), rtol=0, atol=tolerance)
        )

    yield ("one picture goes through the three steps", lambda: agrees(plain) and agrees(faint), [
        "Take a single picture that is none of the special cases: only the last step changes it.",
        "Divide by its largest value.",
        "pixels / pixels.amax(dim=(1, 2, 3), keepdim=True)",
    ])  # fmt: skip
    mean_above_median = np.where(np.arange(64) < 40, 0.45, 0.9).astype(np.float32).reshape(1, 1, 8, 8)
    yield ("pictures of 0 to 255, negatives, and both at once", lambda: all(agrees(every[k : k + 1]) for k in (1, 3, 4, 7)) and agrees(mean_above_median), [
        "Decide by the largest value and by the mean, in the order of the docstring.",
        "The mean is taken after the division by 255.",
        "torch.where(pixels.mean(dim=(1, 2, 3), keepdim=True) > 0.5, 1 - pixels, pixels)",
    ])  # fmt: skip
    yield ("a picture without ink stays 0, and a full one becomes 0", lambda: agrees(every[5:6]) and agrees(every[6:7]), [
        "What is 0 divided by its largest value?",
        "The last step is for pictures whose largest value is above 0.",
        "torch.where(largest > 0, pixels / largest, pixels)",
    ])  # fmt: skip
    yield ("in a batch, each picture is treated by itself", lambda: agrees(every) and agrees(every[::-1].copy()), [
        "Eight pictures, of all kinds, in one batch.",
        "pixels.max() is the maximum over all of them.",
        "amax and mean with dim=(1, 2, 3), keepdim=True give one number a picture.",
    ])  # fmt: skip
    colour = np.concatenate([plain * 0.5, negative * 0.4, faint], axis=1)[:, :, :5]
    yield ("several channels, and pictures that are not square", lambda: agrees(colour) and agrees(np.repeat(every, 3, axis=1)), [
        "Try three channels of 5 × 8 points.",
        "A picture is all of its channels: its mean is one number.",
        "dim=(1, 2, 3)",
    ])  # fmt: skip

    def dtypes() -> bool:
        said = {
            kind: answer(torch.from_numpy(every.copy()).to(kind))
            for kind in (torch.float64, torch.float32, torch.float16)
        }
        near = torch.from_numpy(by_hand(every.astype(np.float64)))
        sharp = answer(torch.from_numpy(every.copy()).double())
        return all(one.dtype == kind for kind, one in said.items()) and bool((sharp - near).abs().max() < 1e-12)

    yield ("the dtype stays, and float64 keeps its digits", dtypes, [
        "Try float16 and float64.",
        "Does a constant tensor or a `.float()` stand somewhere?",
        "Python's 255 and 1 take the dtype of the tensor.",
    ])  # fmt: skip

    def left_alone() -> bool:
        wide = torch.from_numpy(np.repeat(every, 2, axis=3))
        before = wide.clone()
        said = answer(wide[..., ::2])
        return torch.equal(wide, before) and bool(np.allclose(said.numpy(), by_hand(every), atol=1e-5))

    yield ("strides do not matter, and the input is left alone", left_alone, [
        "The input is every second column of a wider tensor: look at it afterwards.",
        "`pixels /= 255` and `pixels[mask] = …` write into the caller's tensor.",
        "torch.where makes a new tensor.",
    ])  # fmt: skip

    def exported() -> bool:
        class Step(nn.Module):
            def forward(self, pixels: torch.Tensor) -> torch.Tensor:
                return answer(pixels)

        batch = [{0: torch.export.Dim("batch")}]
        ready = torch.export.export(Step(), (torch.from_numpy(np.repeat(plain, 2, axis=0)),), dynamic_shapes=batch)
        step = ready.module()
        return all(
            np.allclose(step(torch.from_numpy(some.copy())).numpy(), by_hand(some), atol=1e-5)
            for some in (every, every[:1], every[3:6], every[6:])
        )

    yield ("torch.export takes it, for one picture, three and eight, of every kind", exported, [
        "Export it with an example of two plain pictures, then run negatives through what came out.",
        "An `if`, a `.item()`, a loop over pictures or an index by a mask decides on data or sizes that the exporter does not have.",
        "Three times torch.where, with one truth value a picture.",
    ])  # fmt: skip


@EXERCISES.add("06.4", "Before it goes on the server")
def inspection(answer: Callable) -> Iterator[Property]:
    """answer(raw) -> dict."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def tensor(array: np.ndarray, name: str) -> onnx.TensorProto:
        return numpy_helper.from_array(array, name)

    def value(name: str, sizes: list | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, sizes)

    weight, bias = tensor(np.ones((4, 3), np.float32), "w"), tensor(np.float32([0.5] * 3), "b")
    gemm = helper.make_node("Gemm", ["x", "w", "b"], ["y"])

    def file(nodes=(gemm,), ends=(), out=(), held=(weight, bias), sets=(("", 18),), ir: int = 8) -> bytes:  # noqa: ANN001
        graph = helper.make_graph(
            list(nodes), "g", list(ends or [value("x", ["n", 4])]), list(out or [value("y", ["n", 3])]), list(held)
        )
        sets = [helper.make_opsetid(*each) for each in sets]
        return helper.make_model(graph, opset_imports=sets, ir_version=ir).SerializeToString()

    yield ("names, dtypes and sizes of inputs and outputs", lambda: answer(file())["inputs"] == {"x": ("float32", ("n", 4))}
           and answer(file())["outputs"] == {"y": ("float32", ("n", 3))}, [
        "onnx.load_from_string(raw).graph.input lists the inputs, each with a name and a type.",
        "type.tensor_type.elem_type is a number: onnx.helper.tensor_dtype_to_np_dtype(…).name is its name.",
        "A dimension has dim_value, a number, or dim_param, a name.",
    ])  # fmt: skip
    odd = [value("a", [0, None, "rows", 1]), value("c", []), value("d", ["n"], TensorProto.INT64),
           value("e", ["n"], TensorProto.FLOAT16), value("f", [2], TensorProto.BOOL)]  # fmt: skip
    wanted = {"a": ("float32", (0, None, "rows", 1)), "c": ("float32", ()), "d": ("int64", ("n",)),
              "e": ("float16", ("n",)), "f": ("bool", (2,))}  # fmt: skip
    yield ("a size of 0, one of which nothing is said, a scalar, and other dtypes", lambda: answer(file(ends=[*odd, value("x", [1, 4])]))["inputs"]
           == wanted | {"x": ("float32", (1, 4))}, [
        "Sizes 0, unsaid, \"rows\" and 1 in one input.",
        "Where nothing is set, protobuf answers with 0 and with an empty string.",
        "dimension.WhichOneof(\"value\") is \"dim_value\", \"dim_param\" or None.",
    ])  # fmt: skip
    yield ("an input without any declared shape has None for sizes", lambda: answer(file(ends=[value("x", None)]))["inputs"] == {"x": ("float32", None)}
           and answer(file(ends=[value("x", [])]))["inputs"] == {"x": ("float32", ())}
           and answer(file(out=[value("y", None)]))["outputs"] == {"y": ("float32", None)}, [
        "No shape at all is not the same as a scalar's empty shape.",
        "An absent message looks like an empty one until you ask.",
        "tensor_type.HasField(\"shape\")",
    ])  # fmt: skip
    old = [value("x", ["n", 4]), value("w", [4, 3]), value("b", [3])]
    yield ("initialisers among the graph's inputs are no inputs", lambda: list(answer(file(ends=old, ir=3))["inputs"]) == ["x"]
           and answer(file(ends=old, ir=3))["ir_version"] == 3, [
        "Files of IR version 3 list every weight as an input too.",
        "Nobody sends the weights with the request.",
        "Leave out the names that graph.initializer holds.",
    ])  # fmt: skip
    sets = (("", 21), ("com.microsoft", 1), ("ai.onnx.ml", 3))
    yield ("operator sets by domain, the standard one under its name", lambda: answer(file(sets=sets))["operator_sets"]
           == {"ai.onnx": 21, "com.microsoft": 1, "ai.onnx.ml": 3} and answer(file(sets=(("ai.onnx", 18),)))["operator_sets"] == {"ai.onnx": 18}, [
        "model.opset_import is a list: there may be several.",
        "The standard domain is written as an empty string or as \"ai.onnx\".",
        "{each.domain or \"ai.onnx\": each.version for each in model.opset_import}",
    ])  # fmt: skip
    chain = [
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("Relu", ["h"], ["k"]),
        helper.make_node("Abs", ["k"], ["y"]),
    ]
    yield ("operators, sorted, each once", lambda: answer(file(nodes=chain, held=()))["operators"] == ["Abs", "Relu"], [
        "Two Relu and an Abs.",
        "A set, then sorted.",
        "sorted({node.op_type for node in graph.node})",
    ])  # fmt: skip
    kinds = [
        np.ones((2, 5), np.float16),
        np.ones(3, np.float64),
        np.float32(1.5),
        np.zeros((0, 7), np.float32),
        np.arange(90),
    ]
    held = [tensor(np.asarray(array), f"t{k}") for k, array in enumerate(kinds)]
    held.append(helper.make_tensor("bf", TensorProto.BFLOAT16, [6], [1.0] * 6))
    yield ("weights are entries of floating-point initialisers: scalars, empty ones and bfloat16 too", lambda: answer(file())["weights"] == 15
           and answer(file(held=[weight, bias, *held]))["weights"] == 15 + 10 + 3 + 1 + 0 + 6, [
        "Count entries, not tensors and not bytes.",
        "A scalar has no axis and one entry; integers are no weights.",
        "The product of dims, 1 for no axis, where data_type is in FLOATS.",
    ])  # fmt: skip

    def branch(name: str, inner: list, own: list) -> onnx.GraphProto:
        return helper.make_graph(inner, name, [], [value(name, ["n", 4])], own)

    deep = helper.make_node("If", ["flag"], ["deep"],
                            then_branch=branch("p", [helper.make_node("Exp", ["x"], ["p"])], [tensor(np.float32([1, 2]), "m")]),
                            else_branch=branch("q", [helper.make_node("Neg", ["x"], ["q"])], []))  # fmt: skip
    branching = helper.make_node("If", ["flag"], ["y"],
                                 then_branch=branch("deep", [deep], [tensor(np.ones(5, np.float32), "k")]),
                                 else_branch=branch("r", [helper.make_node("Abs", ["x"], ["r"])], []))  # fmt: skip
    two_ends = [value("x", ["n", 4]), value("flag", [], TensorProto.BOOL)]

    def subgraphs() -> bool:
        said = answer(file(nodes=[branching], ends=two_ends, held=[weight]))
        listed = helper.make_node(
            "Choose", ["x"], ["y"], domain="course", among=[branch("c", [deep], []), branch("d", [], [weight])]
        )
        several = answer(file(nodes=[listed], held=[], sets=(("", 18), ("course", 1))))
        return (
            said["operators"] == ["Abs", "Exp", "If", "Neg"]
            and said["weights"] == 12 + 5 + 2
            and several["operators"] == ["Choose", "Exp", "If", "Neg"]
            and several["weights"] == 12 + 2
        )

    yield ("what stands inside the branches of an If counts, at any depth", subgraphs, [
        "torch.cond becomes an If, which holds two graphs, which may hold an If.",
        "A node's attributes may be graphs: attribute.g, and attribute.graphs for several.",
        "A generator that yields a graph and then, for each graph inside its nodes' attributes, itself.",
    ])  # fmt: skip

    def outside(inside: bool = False) -> bytes:
        far = helper.make_tensor("k" if inside else "w", TensorProto.FLOAT, [4, 3], [0.0] * 12)
        far.ClearField("float_data")
        far.data_location = TensorProto.EXTERNAL
        far.external_data.add(key="location", value="../somewhere/weights.bin")
        if not inside:
            return file(held=[far, bias])
        node = helper.make_node("If", ["flag"], ["y"], then_branch=branch("s", [helper.make_node("Abs", ["x"], ["s"])], [far]),
                                else_branch=branch("r", [helper.make_node("Abs", ["x"], ["r"])], []))  # fmt: skip
        return file(nodes=[node], ends=two_ends, held=[])

    yield ("weights in another file are told, and counted without that file", lambda: answer(outside())["external"] is True and answer(outside())["weights"] == 15
           and answer(outside(inside=True))["external"] is True and answer(file())["external"] is False, [
        "A tensor says where its numbers are: data_location.",
        "Its dims stand in the file even if its numbers do not. Do not read the numbers.",
        "any(t.data_location == onnx.TensorProto.EXTERNAL for t in tensors)",
    ])  # fmt: skip
    yield ("bytes that are no model are refused: none, noise, a text, a cut file", lambda: all(
        raises(ValueError, answer, raw) for raw in (b"", b"\xff\x00\x01" * 50, b"<html>not found</html>", file()[:-9])
    ), [
        "Try an empty file, a web page, and a model that was cut off.",
        "Zero bytes parse: as a model in which nothing is set.",
        "Turn the parser's error into a ValueError, and ask for an operator set.",
    ])  # fmt: skip
