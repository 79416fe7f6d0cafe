"""Wrong answers that people write, planted in lesson 06: each must be caught at the property named."""

import copy

import numpy as np


def _checked(reference, answer):
    if reference.shape != answer.shape or reference.ndim != 2 or len(reference) == 0:
        raise ValueError
    return reference.astype(np.float64), answer.astype(np.float64)


def a_numpy_bool(reference, answer, tolerance):
    expected, got = _checked(reference, answer)
    return (np.abs(got - expected).max(axis=1) <= tolerance * np.abs(expected).max(axis=1)).all()


def strictly_less(reference, answer, tolerance):
    expected, got = _checked(reference, answer)
    return bool((np.abs(got - expected).max(axis=1) < tolerance * np.abs(expected).max(axis=1)).all())


def one_direction(reference, answer, tolerance):
    expected, got = _checked(reference, answer)
    return bool(((got - expected).max(axis=1) <= tolerance * np.abs(expected).max(axis=1)).all())


def each_entry_its_scale(reference, answer, tolerance):
    _checked(reference, answer)
    return bool(np.allclose(answer, reference, rtol=tolerance, atol=0, equal_nan=True))


def absolute(reference, answer, tolerance):
    expected, got = _checked(reference, answer)
    return bool((np.abs(got - expected) <= tolerance).all())


def one_scale_for_all(reference, answer, tolerance):
    expected, got = _checked(reference, answer)
    return bool(np.abs(got - expected).max() <= tolerance * np.abs(expected).max())


def blind_to_nan(reference, answer, tolerance):
    expected, got = _checked(reference, answer)
    return not bool((np.abs(got - expected) > tolerance * np.abs(expected).max(axis=1, keepdims=True)).any())


def skips_what_is_not_finite(reference, answer, tolerance):
    expected, got = _checked(reference, answer)
    plain = np.isfinite(expected).all(axis=1) & ~np.isinf(got).any(axis=1)
    apart = np.abs(got[plain] - expected[plain]).max(axis=1, initial=0)
    return bool((apart <= tolerance * np.abs(expected[plain]).max(axis=1, initial=0)).all())


def never_equal_nan(reference, answer, tolerance):
    expected, got = _checked(reference, answer)
    return bool((np.abs(got - expected).max(axis=1) <= tolerance * np.abs(expected).max(axis=1)).all())


def infinite_scale(reference, answer, tolerance):
    expected, got = _checked(reference, answer)
    same = (expected == got) | (np.isnan(expected) & np.isnan(got))
    scale = np.nanmax(np.abs(expected), axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return bool((same | (np.abs(got - expected) <= tolerance * scale)).all())


def nan_row_gets_a_tolerance(reference, answer, tolerance):
    expected, got = _checked(reference, answer)
    same = (expected == got) | (np.isnan(expected) & np.isnan(got))
    finite = np.isfinite(expected)
    scale = np.abs(np.where(finite, expected, 0)).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return bool((same | (finite & (np.abs(got - expected) <= tolerance * scale))).all())


def in_float16(reference, answer, tolerance):
    _checked(reference, answer)
    plain = np.isfinite(reference).all(axis=1)
    with np.errstate(over="ignore"):
        apart = np.abs(answer[plain] - reference[plain]).max(axis=1, initial=0)
    close = apart <= tolerance * np.abs(reference[plain]).max(axis=1, initial=0)
    return bool(close.all() and np.array_equal(reference[~plain], answer[~plain], equal_nan=True))


def in_float32_only(reference, answer, tolerance):
    _checked(reference, answer)
    expected, got = reference.astype(np.float32), answer.astype(np.float32)
    plain = np.isfinite(expected).all(axis=1)
    apart = np.abs(got[plain] - expected[plain]).max(axis=1, initial=0)
    close = apart <= tolerance * np.abs(expected[plain]).max(axis=1, initial=0)
    return bool(close.all() and np.array_equal(expected[~plain], got[~plain], equal_nan=True))


def lengths_of_vectors(reference, answer, tolerance):
    expected, got = _checked(reference, answer)
    plain = np.isfinite(expected).all(axis=1)
    apart, scale = (np.linalg.norm(each[plain], axis=1) for each in (got - expected, expected))
    return bool((apart <= tolerance * scale).all() and np.array_equal(expected[~plain], got[~plain], equal_nan=True))


def divides_by_the_scale(reference, answer, tolerance):
    expected, got = _checked(reference, answer)
    plain = np.isfinite(expected).all(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.abs(got[plain] - expected[plain]).max(axis=1, initial=0)
        share = share / np.abs(expected[plain]).max(axis=1, initial=0)
    return bool((share <= tolerance).all() and np.array_equal(expected[~plain], got[~plain], equal_nan=True))


def broadcasts(reference, answer, tolerance):
    expected, got = np.broadcast_arrays(reference.astype(np.float64), answer.astype(np.float64))
    expected, got = np.atleast_2d(expected), np.atleast_2d(got)
    plain = np.isfinite(expected).all(axis=1)
    apart = np.abs(got[plain] - expected[plain]).max(axis=1, initial=0)
    close = apart <= tolerance * np.abs(expected[plain]).max(axis=1, initial=0)
    return bool(close.all() and np.array_equal(expected[~plain], got[~plain], equal_nan=True))


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


EACH = (1, 2, 3)


def forgets_the_last_step(pixels):
    import torch

    pixels = torch.where(pixels.amax(EACH, True) > 1, pixels / 255, pixels)
    return torch.where(pixels.mean(EACH, True) > 0.5, 1 - pixels, pixels)


def mean_before_255(pixels):
    import torch

    dark = pixels.mean(EACH, True) > 0.5
    pixels = torch.where(pixels.amax(EACH, True) > 1, pixels / 255, pixels)
    pixels = torch.where(dark, 1 - pixels, pixels)
    return _stretched(pixels)


def _stretched(pixels):
    import torch

    largest = pixels.amax(EACH, True)
    return torch.where(largest > 0, pixels / largest, pixels)


def divides_zero_by_zero(pixels):
    pixels = forgets_the_last_step(pixels)
    return pixels / pixels.amax(EACH, True)


def by_the_median(pixels):
    import torch

    pixels = torch.where(pixels.amax(EACH, True) > 1, pixels / 255, pixels)
    middle = pixels.flatten(1).median(dim=1).values[:, None, None, None]
    return _stretched(torch.where(middle > 0.5, 1 - pixels, pixels))


def a_small_number_instead(pixels):
    pixels = forgets_the_last_step(pixels)
    return pixels / (pixels.amax(EACH, True) + 0.01)


def for_the_whole_batch(pixels):
    if pixels.max() > 1:
        pixels = pixels / 255
    if pixels.mean() > 0.5:
        pixels = 1 - pixels
    if pixels.max() > 0:
        pixels = pixels / pixels.max()
    return pixels


def each_channel(pixels):
    import torch

    pixels = torch.where(pixels.amax((2, 3), True) > 1, pixels / 255, pixels)
    pixels = torch.where(pixels.mean((2, 3), True) > 0.5, 1 - pixels, pixels)
    largest = pixels.amax((2, 3), True)
    return torch.where(largest > 0, pixels / largest, pixels)


def in_float32(pixels):
    return _stretched(forgets_the_last_step(pixels.float())).to(pixels.dtype)


def in_place(pixels):
    pixels /= (pixels.amax(EACH, True) > 1).to(pixels.dtype) * 254 + 1
    return _stretched(forgets_the_last_step(pixels))


def picture_by_picture(pixels):
    import torch

    done = []
    for picture in pixels:
        if picture.max() > 1:
            picture = picture / 255
        if picture.mean() > 0.5:
            picture = 1 - picture
        done.append(picture / picture.max() if picture.max() > 0 else picture)
    return torch.stack(done)


def stacked_without_if(pixels):
    import torch

    return torch.cat([_stretched(forgets_the_last_step(pixels[k : k + 1])) for k in range(len(pixels))])


def by_item(pixels):
    import torch

    scales = [255.0 if largest > 1 else 1.0 for largest in pixels.amax(EACH).tolist()]
    pixels = pixels / torch.tensor(scales, dtype=pixels.dtype)[:, None, None, None]
    return _stretched(forgets_the_last_step(pixels))


def _graphs(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for each in [attribute.g] * attribute.HasField("g") + list(attribute.graphs):
                yield from _graphs(each)


def _without_lists(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _without_lists(attribute.g)


def _inspector(size=None, shape=True, drop=True, named=True, once=True, kinds=None, empty=1, down=_graphs, refuse=True,
               external=True, read=False):  # fmt: skip
    """An inspector with one mistake, by keyword."""

    def inspect(raw):
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import TensorProto

        floats = kinds or {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
        try:
            model = onnx.load_from_string(raw)
        except DecodeError as error:
            raise ValueError from error
        if refuse and not model.opset_import:
            raise ValueError
        held = {each.name for each in model.graph.initializer} if drop else set()

        def plain(dimension):
            kind = dimension.WhichOneof("value")
            return getattr(dimension, kind) if kind else None

        def ends(values):
            found = {}
            for value in values:
                tensor = value.type.tensor_type
                sizes = tuple((size or plain)(each) for each in tensor.shape.dim)
                name = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
                found[value.name] = (name, sizes if tensor.HasField("shape") or not shape else None)
            return found

        graphs = list(down(model.graph))
        tensors = [t for graph in graphs for t in graph.initializer]
        count = [len(onnx.numpy_helper.to_array(t).ravel()) if read else int(np.prod(t.dims)) if t.dims else empty
                 for t in tensors if t.data_type in floats]  # fmt: skip
        operators = [node.op_type for graph in graphs for node in graph.node]
        return {
            "inputs": ends(each for each in model.graph.input if each.name not in held),
            "outputs": ends(model.graph.output),
            "operator_sets": {(each.domain or "ai.onnx") if named else each.domain: each.version
                              for each in model.opset_import},
            "ir_version": model.ir_version,
            "operators": sorted(set(operators) if once else operators),
            "weights": sum(count),
            "external": external and any(t.data_location == TensorProto.EXTERNAL for t in tensors),
        }  # fmt: skip

    return inspect


def names_only(raw):
    import onnx

    return {"inputs": [each.name for each in onnx.load_from_string(raw).graph.input]}


def value_or_name(raw):
    return _inspector(size=lambda d: d.dim_value or d.dim_param or None)(raw)


def no_shape_is_a_scalar(raw):
    return _inspector(shape=False)(raw)


def weights_as_inputs(raw):
    return _inspector(drop=False)(raw)


def an_empty_domain(raw):
    return _inspector(named=False)(raw)


def one_entry_a_node(raw):
    return _inspector(once=False)(raw)


def float32_only(raw):
    return _inspector(kinds={1})(raw)


def scalars_have_no_size(raw):
    return _inspector(empty=0)(raw)


def top_graph_only(raw):
    return _inspector(down=lambda graph: [graph])(raw)


def one_graph_an_attribute(raw):
    return _inspector(down=_without_lists)(raw)


def says_nothing_of_files(raw):
    return _inspector(external=False)(raw)


def reads_the_numbers(raw):
    return _inspector(read=True)(raw)


def believes_an_empty_file(raw):
    return _inspector(refuse=False)(raw)


WRONG = {
    "06.1": {
        a_numpy_bool: "equal logits pass, also with a tolerance of 0, and the answer is a plain bool",
        strictly_less: "equal logits pass, also with a tolerance of 0, and the answer is a plain bool",
        one_direction: "what is too far apart fails, in either direction",
        each_entry_its_scale: "the scale is the largest logit of the example, not the entry's own",
        absolute: "the scale is the largest logit of the example, not the entry's own",
        one_scale_for_all: "each example has its own scale",
        blind_to_nan: "a NaN where the reference has a number fails",
        skips_what_is_not_finite: "an infinity where the reference has a number fails",
        never_equal_nan: "NaN beside NaN, and an infinity beside its like, pass",
        infinite_scale: "beside anything else they fail",
        nan_row_gets_a_tolerance: "in an example with a NaN, the other entries must be the same too",
        in_float16: "float16 does not overflow, float64 keeps its digits, dtypes may differ",
        in_float32_only: "float16 does not overflow, float64 keeps its digits, dtypes may differ",
        lengths_of_vectors: "the scale is the largest logit of the example, not the entry's own",
        divides_by_the_scale: "an example of zeros, and views with strides, are compared alike",
        broadcasts: "shapes that differ, one axis, and no example are refused",
    },
    "06.2": {
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
    "06.3": {
        forgets_the_last_step: "one picture goes through the three steps",
        a_small_number_instead: "one picture goes through the three steps",
        by_the_median: "pictures of 0 to 255, negatives, and both at once",
        mean_before_255: "pictures of 0 to 255, negatives, and both at once",
        divides_zero_by_zero: "a picture without ink stays 0, and a full one becomes 0",
        for_the_whole_batch: "in a batch, each picture is treated by itself",
        each_channel: "several channels, and pictures that are not square",
        in_float32: "the dtype stays, and float64 keeps its digits",
        in_place: "strides do not matter, and the input is left alone",
        picture_by_picture: "torch.export takes it, for one picture, three and eight, of every kind",
        stacked_without_if: "torch.export takes it, for one picture, three and eight, of every kind",
        by_item: "torch.export takes it, for one picture, three and eight, of every kind",
    },
    "06.4": {
        names_only: "names, dtypes and sizes of inputs and outputs",
        value_or_name: "a size of 0, one of which nothing is said, a scalar, and other dtypes",
        no_shape_is_a_scalar: "an input without any declared shape has None for sizes",
        weights_as_inputs: "initialisers among the graph's inputs are no inputs",
        an_empty_domain: "operator sets by domain, the standard one under its name",
        one_entry_a_node: "operators, sorted, each once",
        float32_only: "weights are entries of floating-point initialisers: scalars, empty ones and bfloat16 too",
        scalars_have_no_size: "weights are entries of floating-point initialisers: scalars, empty ones and bfloat16 too",
        one_graph_an_attribute: "what stands inside the branches of an If counts, at any depth",
        top_graph_only: "what stands inside the branches of an If counts, at any depth",
        says_nothing_of_files: "weights in another file are told, and counted without that file",
        reads_the_numbers: "weights in another file are told, and counted without that file",
        believes_an_empty_file: "bytes that are no model are refused: none, noise, a text, a cut file",
    },
}
