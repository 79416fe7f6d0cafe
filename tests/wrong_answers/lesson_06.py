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


def on_the_larger_scale(reference, answer, tolerance):
    for expected, got in zip(*_checked(reference, answer), strict=True):
        if not np.isfinite(expected).all():
            if not np.array_equal(expected, got, equal_nan=True):
                return False
        elif not np.isfinite(got).all():
            return False
        elif np.abs(got - expected).max() > tolerance * max(np.abs(expected).max(), np.abs(got).max()):
            return False
    return True


def adds_a_small_number(reference, answer, tolerance, axes=(2,)):
    if reference.shape != answer.shape or reference.ndim not in axes or len(reference) == 0:
        raise ValueError
    expected, got = reference.astype(np.float64), answer.astype(np.float64)
    plain = np.isfinite(expected).all(axis=1)
    apart = np.abs(got[plain] - expected[plain]).max(axis=1, initial=0)
    small = 1e-12 if axes == (2,) else 0
    close = apart <= tolerance * np.abs(expected[plain]).max(axis=1, initial=0) + small
    return bool(close.all() and np.array_equal(expected[~plain], got[~plain], equal_nan=True))


def takes_three_axes(reference, answer, tolerance):
    return adds_a_small_number(reference, answer, tolerance, axes=(2, 3))


def broadcasts(reference, answer, tolerance):
    expected, got = np.broadcast_arrays(reference.astype(np.float64), answer.astype(np.float64))
    expected, got = np.atleast_2d(expected), np.atleast_2d(got)
    plain = np.isfinite(expected).all(axis=1)
    apart = np.abs(got[plain] - expected[plain]).max(axis=1, initial=0)
    close = apart <= tolerance * np.abs(expected[plain]).max(axis=1, initial=0)
    return bool(close.all() and np.array_equal(expected[~plain], got[~plain], equal_nan=True))


def pythons_max_beside_nan(reference, answer, tolerance):
    _checked(reference, answer)
    for expected, got in zip(reference.astype(float), answer.astype(float), strict=True):
        if np.isfinite(expected).all():
            if not max(abs(got - expected)) <= tolerance * max(abs(expected)):
                return False
        elif not np.array_equal(expected, got, equal_nan=True):
            return False
    return True


def _batch():
    import torch

    return [{0: torch.export.Dim("batch")}]


def _two(example):
    import torch

    if len(example) == 0:
        raise ValueError
    return torch.cat([example, example]) if len(example) == 1 else example


def an_onnx_program(network, example):
    import torch

    return torch.onnx.export(copy.deepcopy(network).eval(), (_two(example),), dynamic_shapes=_batch(), verbose=False)


def a_module(network, example):
    return right_export(network, example).module()


def right_export(network, example):
    import torch

    return torch.export.export(copy.deepcopy(network).eval(), (_two(example),), dynamic_shapes=_batch())


def no_axis_named(network, example):
    import torch

    return torch.export.export(copy.deepcopy(network).eval(), (_two(example),))


def at_most_64(network, example):
    import torch

    shapes = [{0: torch.export.Dim("batch", max=64)}]
    return torch.export.export(copy.deepcopy(network).eval(), (_two(example),), dynamic_shapes=shapes)


def at_most_1024(network, example):
    import torch

    shapes = [{0: torch.export.Dim("batch", max=1024)}]
    return torch.export.export(copy.deepcopy(network).eval(), (_two(example),), dynamic_shapes=shapes)


def as_the_example_comes(network, example):
    import torch

    if len(example) == 0:
        raise ValueError
    return torch.export.export(copy.deepcopy(network).eval(), (example,), dynamic_shapes=_batch())


def bakes_a_single_picture(network, example):
    import torch

    if len(example) == 0:
        raise ValueError
    named = None if len(example) == 1 else _batch()
    return torch.export.export(copy.deepcopy(network).eval(), (example,), dynamic_shapes=named)


def every_axis_may_vary(network, example):
    import torch

    free = [{axis: torch.export.Dim.AUTO for axis in range(example.dim())}]
    return torch.export.export(copy.deepcopy(network).eval(), (_two(example),), dynamic_shapes=free)


def in_the_mode_it_comes_in(network, example):
    import torch

    return torch.export.export(copy.deepcopy(network), (_two(example),), dynamic_shapes=_batch())


def leaves_it_in_evaluation(network, example):
    import torch

    return torch.export.export(network.eval(), (_two(example),), dynamic_shapes=_batch())


def sets_all_to_training(network, example):
    import torch

    was = network.training
    try:
        return torch.export.export(network.eval(), (_two(example),), dynamic_shapes=_batch())
    finally:
        network.train(was)


def keeps_the_outer_modes(network, example):
    import torch

    was = [network.training, *(child.training for child in network.children())]
    try:
        return torch.export.export(network.eval(), (_two(example),), dynamic_shapes=_batch())
    finally:
        network.training = was[0]
        for child, training in zip(network.children(), was[1:], strict=True):
            child.train(training)


def no_finally(network, example):
    modes = [(module, module.training) for module in network.modules()]
    program = leaves_it_in_evaluation(network, example)
    for module, training in modes:
        module.training = training
    return program


def takes_no_picture(network, example):
    import torch

    if len(example) == 0:
        example = torch.zeros(2, *example.shape[1:])
    return right_export(network, example)


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


def a_smallest_divisor(pixels):
    pixels = forgets_the_last_step(pixels)
    return pixels / pixels.amax(EACH, True).clamp(min=1e-8)


def a_tiny_divisor(pixels):
    pixels = forgets_the_last_step(pixels)
    return pixels / pixels.amax(EACH, True).clamp(min=1e-30)


def half_is_a_negative(pixels):
    import torch

    pixels = torch.where(pixels.amax(EACH, True) > 1, pixels / 255, pixels)
    return _stretched(torch.where(pixels.mean(EACH, True) >= 0.5, 1 - pixels, pixels))


def the_machine_precision_at_least(pixels):
    import torch

    pixels = forgets_the_last_step(pixels)
    return pixels / pixels.amax(EACH, True).clamp(min=torch.finfo(pixels.dtype).eps)


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
               external=True, read=False, other=lambda value: (value.type.WhichOneof("value").removesuffix("_type"), None)):  # fmt: skip
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
                if other and not value.type.HasField("tensor_type"):
                    found[value.name] = other(value)
                    continue
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


def tensors_alone(raw):
    return _inspector(other=None)(raw)


def kinds_as_they_stand(raw):
    return _inspector(other=lambda value: (value.type.WhichOneof("value"), None))(raw)


def nothing_said_of_a_sequence(raw):
    return _inspector(other=lambda value: (None, None))(raw)


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
        pythons_max_beside_nan: "a NaN where the reference has a number fails",
        skips_what_is_not_finite: "an infinity where the reference has a number fails",
        never_equal_nan: "NaN beside NaN, and an infinity beside its like, pass",
        infinite_scale: "beside anything else they fail",
        nan_row_gets_a_tolerance: "in an example with a NaN, the other entries must be the same too",
        in_float16: "float16 does not overflow, float64 keeps its digits, dtypes may differ",
        in_float32_only: "float16 does not overflow, float64 keeps its digits, dtypes may differ",
        lengths_of_vectors: "the scale is the largest logit of the example, not the entry's own",
        divides_by_the_scale: "an example of zeros, and views with strides, are compared alike",
        on_the_larger_scale: "the scale is the largest logit of the example, not the entry's own",
        adds_a_small_number: "an example of zeros, and views with strides, are compared alike",
        takes_three_axes: "shapes that differ, one axis or three, and no example are refused",
        broadcasts: "shapes that differ, one axis or three, and no example are refused",
    },
    "06.2": {
        an_onnx_program: "it is a program that answers as the network does",
        a_module: "it is a program that answers as the network does",
        no_axis_named: "it takes batches of one, three and 100,000",
        at_most_1024: "it takes batches of one, three and 100,000",
        at_most_64: "it takes batches of one, three and 100,000",
        as_the_example_comes: "an example of one picture is enough, and one of three as well",
        bakes_a_single_picture: "an example of one picture is enough, and one of three as well",
        every_axis_may_vary: "the other axes keep the example's size",
        in_the_mode_it_comes_in: "it is in evaluation mode, also where the network is not",
        leaves_it_in_evaluation: "afterwards every module is in its own mode, and no number has changed",
        sets_all_to_training: "afterwards every module is in its own mode, and no number has changed",
        keeps_the_outer_modes: "afterwards every module is in its own mode, and no number has changed",
        no_finally: "also where the export fails, and the error goes on",
        takes_no_picture: "an example without a picture is refused",
    },
    "06.3": {
        forgets_the_last_step: "one picture goes through the three steps",
        a_small_number_instead: "one picture goes through the three steps",
        by_the_median: "pictures of 0 to 255, negatives, and both at once",
        mean_before_255: "pictures of 0 to 255, negatives, and both at once",
        divides_zero_by_zero: "a picture without ink stays 0, and a full one becomes 0",
        a_smallest_divisor: "the faintest ink is brought up to 1 as well",
        a_tiny_divisor: "the faintest ink is brought up to 1 as well",
        half_is_a_negative: "pictures of 0 to 255, negatives, and both at once",
        the_machine_precision_at_least: "the faintest ink is brought up to 1 as well",
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
        tensors_alone: "a value that is no tensor has its kind, and None for sizes",
        kinds_as_they_stand: "a value that is no tensor has its kind, and None for sizes",
        nothing_said_of_a_sequence: "a value that is no tensor has its kind, and None for sizes",
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
