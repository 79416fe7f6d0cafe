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
           and says(True, logits, logits + [[0.007], [0.0]]) and says(False, np.full((1, 3), 8.0), np.array([[8.0, 8.0, 8.009]]))
           and says(False, np.array([[1.0, 0.0]]), np.array([[2.0, 0.0]]), 0.6), [
        "The first example's largest logit is 8, so with a tolerance of 0.001 each of its logits may be off by 0.008, all at once.",
        "A logit of 0 must not force a difference of 0. Nor may a large answer widen what it is allowed.",
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
           and says(False, np.zeros((1, 3)), np.full((1, 3), 1e-30)) and says(True, np.repeat(logits, 2, axis=1)[:, ::2], logits), [
        "The largest logit is 0: what may the answer be off by?",
        "Multiply the scale by the tolerance; dividing by it makes 0/0.",
        "apart <= tolerance * scale",
    ])  # fmt: skip
    yield ("shapes that differ, one axis or three, and no example are refused", lambda: raises(ValueError, answer, logits, logits[:1], 0.1)
           and raises(ValueError, answer, logits[0], logits[0], 0.1) and raises(ValueError, answer, logits[:0], logits[:0], 0.1)
           and raises(ValueError, answer, logits[:, :1], logits, 0.1) and raises(ValueError, answer, logits[None], logits[None], 0.1), [
        "Shapes (2, 3) and (1, 3) broadcast: the converted model lost a picture, and nothing says so.",
        "A test over no example is always green.",
        "if reference.shape != answer.shape or reference.ndim != 2 or len(reference) == 0: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("06.2", "An export that nobody can get wrong", seconds=60)
def safe_export(answer: Callable) -> Iterator[Property]:
    """answer(network, example) -> torch.export.ExportedProgram."""
    import torch
    from torch import nn

    random = torch.Generator().manual_seed(6)
    many = torch.randn(130, 1, 4, generator=random)
    crowd = many[:1].expand(100_000, 1, 4)  # one picture, many times: no memory

    def plain(training: bool = False) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).train(training)

    def mixed() -> nn.Module:
        """In training mode, but for one module that was frozen on purpose."""
        network = nn.Sequential(
            nn.Flatten(), nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)), nn.Linear(4, 4), nn.BatchNorm1d(4)
        )
        network[1][0].eval()
        return network

    def agrees(network: nn.Module, example: torch.Tensor, *counts: int) -> bool:
        ready = answer(network, example).module()
        network.eval()
        with torch.no_grad():
            batches = [many[:n] if n <= len(many) else crowd[:n] for n in counts]
            return all(torch.allclose(ready(some), network(some), atol=1e-5) for some in batches)

    yield ("it is a program that answers as the network does", lambda: isinstance(
        answer(plain(), many[:2]), torch.export.ExportedProgram
    ) and agrees(plain(), many[:2], 2), [
        "Which call of the lesson returns PyTorch's own graph?",
        "The example goes in as a tuple of one.",
        "torch.export.export(network, (example,))",
    ])  # fmt: skip
    yield ("it takes batches of one, three and 100,000", lambda: agrees(plain(), many[:2], 1, 3, 100_000), [
        "Run what came out with a batch that is not the example's.",
        "Name the axis that may vary, without a largest size.",
        "dynamic_shapes=[{0: torch.export.Dim(\"batch\")}]",
    ])  # fmt: skip
    yield ("an example of one picture is enough, and one of three as well", lambda: agrees(plain(), many[:1], 1, 2, 130)
           and agrees(plain(), many[:3], 1, 130), [
        "What does torch.export say to a named axis of size 1?",
        "You may change the example before you export; its numbers do not matter.",
        "if len(example) == 1: example = torch.cat([example, example])",
    ])  # fmt: skip

    def other_axes() -> bool:
        ready = answer(nn.Flatten().eval(), many[:2]).module()  # nothing in the network asks for a size
        return ready(many[:5]).shape == (5, 4) and raises(Exception, ready, torch.zeros(2, 1, 5))

    yield ("the other axes keep the example's size", other_axes, [
        "Pictures of another width must be refused.",
        "Only axis 0 is named.",
        "dynamic_shapes=[{0: torch.export.Dim(\"batch\")}]",
    ])  # fmt: skip
    yield ("it is in evaluation mode, also where the network is not", lambda: agrees(mixed(), many[:2], 1, 2, 130), [
        "The network comes with dropout on and batch normalisation in training mode.",
        "Which line stands before every export?",
        "network.eval()",
    ])  # fmt: skip

    def modes_stay() -> bool:
        network, resting = mixed(), plain()
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        answer(network, many[:2])
        answer(resting, many[:2])
        return (
            [module.training for module in network.modules()] == [True, True, True, False, True, True, True]
            and not any(module.training for module in resting.modules())
            and all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
        )

    yield ("afterwards every module is in its own mode, and no number has changed", modes_stay, [
        "The network is in training mode, but for one inner layer in evaluation mode on purpose.",
        "network.train() sets all of them.",
        "modes = [(module, module.training) for module in network.modules()], and set each back; or export a copy.",
    ])  # fmt: skip

    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout, self.frozen = nn.Dropout(0.5), nn.Dropout(0.5).eval()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise LookupError("no such table")

    def after_an_error() -> bool:
        network = Broken()
        failed = raises(LookupError, answer, network, many[:2])
        return failed and [module.training for module in network.modules()] == [True, True, False]

    yield ("also where the export fails, and the error goes on", after_an_error, [
        "The forward pass raises an error: in which mode is the network then?",
        "Do not swallow the error.",
        "try: … finally: set the modes back",
    ])  # fmt: skip
    yield ("an example without a picture is refused", lambda: raises(ValueError, answer, plain(), many[:0]), [
        "Try an example of shape (0, 1, 4).",
        "A size of 0 says nothing about a batch.",
        "if len(example) == 0: raise ValueError(…)",
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
    half = np.where(np.arange(64) % 2, 0.25, 0.75).astype(np.float32).reshape(1, 1, 8, 8)  # a mean of exactly 0.5
    mean_above_median = np.where(np.arange(64) < 40, 0.45, 0.9).astype(np.float32).reshape(1, 1, 8, 8)
    yield ("pictures of 0 to 255, negatives, and both at once", lambda: all(agrees(every[k : k + 1]) for k in (1, 3, 4, 7)) and agrees(mean_above_median) and agrees(half), [
        "Decide by the largest value and by the mean, in the order of the docstring.",
        "The mean is taken after the division by 255.",
        "torch.where(pixels.mean(dim=(1, 2, 3), keepdim=True) > 0.5, 1 - pixels, pixels)",
    ])  # fmt: skip
    yield ("a picture without ink stays 0, and a full one becomes 0", lambda: agrees(every[5:6]) and agrees(every[6:7]), [
        "What is 0 divided by its largest value?",
        "The last step is for pictures whose largest value is above 0.",
        "torch.where(largest > 0, pixels / largest, pixels)",
    ])  # fmt: skip

    def faintest() -> bool:
        with_tiny = [answer(torch.from_numpy(plain * np.float32(scale))) for scale in (1e-10, 1e-20, 1e-35)]
        return all(np.allclose(said.numpy(), by_hand(plain), rtol=1e-4, atol=1e-6) for said in with_tiny)

    yield ("the faintest ink is brought up to 1 as well", faintest, [
        "Try a picture whose largest value is 1e-10.",
        "A smallest divisor such as 1e-8 leaves that picture faint. Only 0 is special.",
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
    types = helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"])
    strange = [
        helper.make_value_info("listed", helper.make_sequence_type_proto(types)),
        helper.make_value_info("chances", helper.make_sequence_type_proto(
            helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        )),
        helper.make_value_info("by_name", helper.make_map_type_proto(TensorProto.STRING, types)),
        helper.make_value_info("perhaps", helper.make_optional_type_proto(types)),
        value("y", ["n", 3]),
    ]  # fmt: skip
    yield ("a value that is no tensor has its kind, and None for sizes", lambda: answer(file(out=strange))["outputs"] == {
        "listed": ("sequence", None), "chances": ("sequence", None), "by_name": ("map", None),
        "perhaps": ("optional", None), "y": ("float32", ("n", 3)),
    }, [
        "scikit-learn's converter returns probabilities as a sequence of maps. Is there a tensor_type in it?",
        "value.type.WhichOneof(\"value\") is \"tensor_type\", \"sequence_type\", \"map_type\" or \"optional_type\".",
        "(kind.removesuffix(\"_type\"), None) where kind is not \"tensor_type\"",
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
