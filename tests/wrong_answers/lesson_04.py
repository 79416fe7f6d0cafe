"""Wrong answers that people write, planted in lesson 04: each must be caught at the property named."""

import json
import math

import numpy as np


def _names(groups):
    return np.unique(groups, return_counts=True)


def group_names(groups, share, seed):
    names, _ = _names(groups)
    return np.random.default_rng(seed).permutation(names)[: max(1, round(share * len(names)))]


def draws_examples(groups, share, seed):
    return np.random.default_rng(seed).random(len(groups)) < share


def shares_of_groups(groups, share, seed):
    names, _ = _names(groups)
    return np.isin(groups, np.random.default_rng(seed).permutation(names)[: math.ceil(share * len(names))])


def _held_out(groups, share, order, names, sizes, leave_one=False):
    enough = int(np.searchsorted(np.cumsum(sizes[order]), share * len(groups))) + 1
    return np.isin(groups, names[order[: min(enough, len(names) - 1) if leave_one else enough]])


def seeds_numpy(groups, share, seed):
    np.random.seed(seed)
    names, sizes = _names(groups)
    return _held_out(groups, share, np.random.permutation(len(names)), names, sizes)


def deaf_to_the_seed(groups, share, seed):
    names, sizes = _names(groups)
    return _held_out(groups, share, np.arange(len(names)), names, sizes)


def rolls_the_groups(groups, share, seed):
    names, sizes = _names(groups)
    return _held_out(groups, share, np.roll(np.arange(len(names)), seed), names, sizes, leave_one=True)


def rolls_a_shuffled_list(groups, share, seed):
    names, sizes = _names(groups)
    order = np.roll(np.random.default_rng(0).permutation(len(names)), seed)
    return _held_out(groups, share, order, names, sizes, leave_one=True)


def small_numbers_only(groups, share, seed):
    sizes = np.bincount(groups)
    return _held_out(groups, share, np.random.default_rng(seed).permutation(len(sizes)), np.arange(len(sizes)), sizes)


def takes_everything(groups, share, seed):
    names, sizes = _names(groups)
    return _held_out(groups, share, np.random.default_rng(seed).permutation(len(names)), names, sizes)


def refuses_nothing(groups, share, seed):
    names, sizes = _names(groups)
    return _held_out(groups, share, np.random.default_rng(seed).permutation(len(names)), names, sizes, leave_one=True)


def one_more_on_a_tie(groups, share, seed):
    names, sizes = _names(groups)
    order = np.random.default_rng(seed).permutation(len(names))
    enough = int((np.cumsum(sizes[order]) <= share * len(groups)).sum()) + 1
    return np.isin(groups, names[order[: min(enough, len(names) - 1)]])


def shuffles_examples(groups, share, seed):
    names, sizes = _names(groups)
    met = dict.fromkeys(np.random.default_rng(seed).permutation(groups).tolist())  # in the order of the first example
    return _held_out(groups, share, np.searchsorted(names, list(met)), names, sizes, leave_one=True)


def a_tensor(network, inputs, labels, batch=256):
    return (network(inputs).argmax(dim=1) == labels).float().mean()


def without_eval(network, inputs, labels, batch=256):
    import torch

    with torch.inference_mode():
        return float((network(inputs).argmax(dim=1) == labels).double().mean())


def with_gradients(network, inputs, labels, batch=256):
    network.eval()
    return float((network(inputs).argmax(dim=1) == labels).double().mean())


def all_at_once(network, inputs, labels, batch=256):
    import torch

    network.eval()
    with torch.no_grad():
        return float((network(inputs).argmax(dim=1) == labels).double().mean())


def mean_of_means(network, inputs, labels, batch=256):
    import torch

    network.eval()
    with torch.no_grad():
        parts = zip(inputs.split(batch), labels.split(batch))
        return float(np.mean([(network(x).argmax(dim=1) == y).double().mean().item() for x, y in parts]))


def _rights(network, inputs, labels, batch):
    import torch

    network.eval()
    with torch.no_grad():
        parts = zip(inputs.split(batch), labels.split(batch))
        return sum(int((network(x).argmax(dim=1) == y).sum()) for x, y in parts)


def stays_in_eval(network, inputs, labels, batch=256):
    return _rights(network, inputs, labels, batch) / len(labels)


def always_back_to_train(network, inputs, labels, batch=256):
    share = _rights(network, inputs, labels, batch) / len(labels)
    network.train()
    return share


def thaws_the_frozen(network, inputs, labels, batch=256):
    was_training = network.training
    share = _rights(network, inputs, labels, batch) / len(labels)
    network.train(was_training)
    return share


def no_finally(network, inputs, labels, batch=256):
    modes = [(module, module.training) for module in network.modules()]
    share = _rights(network, inputs, labels, batch) / len(labels)
    for module, training in modes:
        module.training = training
    return share


def nothing_is_zero(network, inputs, labels, batch=256):
    modes = [(module, module.training) for module in network.modules()]
    try:
        return _rights(network, inputs, labels, batch) / max(len(labels), 1)
    finally:
        for module, training in modes:
            module.training = training


def _restoring(network, measure):
    modes = [(module, module.training) for module in network.modules()]
    try:
        return measure()
    finally:
        for module, training in modes:
            module.training = training


def gradients_off_for_good(network, inputs, labels, batch=256):
    import torch

    torch.set_grad_enabled(False)
    return _restoring(network, lambda: _rights(network, inputs, labels, batch) / len(labels))


def freezes_the_weights(network, inputs, labels, batch=256):
    for weight in network.parameters():
        weight.requires_grad_(False)
    return _restoring(network, lambda: _rights(network, inputs, labels, batch) / len(labels))


def gradients_on_whatever_was(network, inputs, labels, batch=256):
    import torch

    torch.set_grad_enabled(False)
    share = _restoring(network, lambda: _rights(network, inputs, labels, batch) / len(labels))
    torch.set_grad_enabled(True)
    return share


def two_decimals(network, inputs, labels, batch=256):
    return _restoring(network, lambda: round(_rights(network, inputs, labels, batch) / len(labels), 2))


def two_classes(network, inputs, labels, batch=256):
    import torch

    def measure():
        network.eval()
        with torch.no_grad():
            logits = torch.cat([network(some) for some in inputs.split(batch)])
        return float(((logits[:, 1] > logits[:, 0]).long() == labels).double().mean())

    return _restoring(network, measure)


def flattens_the_inputs(network, inputs, labels, batch=256):
    rows = inputs.reshape(len(inputs), -1)
    return _restoring(network, lambda: _rights(network, rows, labels, batch) / len(labels))


def knows_children_only(network, inputs, labels, batch=256):
    training, modes = network.training, [(child, child.training) for child in network.children()]
    try:
        return _rights(network, inputs, labels, batch) / len(labels)
    finally:
        network.training = training
        for child, mode in modes:
            child.train(mode)


def expects_runtime_errors(network, inputs, labels, batch=256):
    modes = [(module, module.training) for module in network.modules()]

    def restore():
        for module, training in modes:
            module.training = training

    try:
        share = _rights(network, inputs, labels, batch) / len(labels)
    except RuntimeError:
        restore()
        raise
    restore()
    return share


def gradients_off_after_an_error(network, inputs, labels, batch=256):
    import torch

    recorded = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    share = _restoring(network, lambda: _rights(network, inputs, labels, batch) / len(labels))
    torch.set_grad_enabled(recorded)
    return share


def always_to_the_end(losses, patience, least=0.0):
    return int(np.argmin(losses)), len(losses) - 1


def forgets_the_last_epoch(losses, patience, least=0.0):
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best]:
            best = epoch
        if epoch - best >= patience:
            return best, epoch
    return best, None


def one_epoch_late(losses, patience, least=0.0):
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best]:
            best = epoch
        if epoch - best > patience:
            break
    return best, epoch


def never_counts_anew(losses, patience, least=0.0):
    best, waited = 0, 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best] or epoch == 0:
            best = epoch
        else:
            waited += 1
            if waited == patience:
                break
    return best, epoch


def equal_is_better(losses, patience, least=0.0):
    best = 0
    for epoch, loss in enumerate(losses):
        if loss <= losses[best]:
            best = epoch
        if epoch - best >= patience:
            break
    return best, epoch


def deaf_to_least(losses, patience, least=0.0):
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best]:
            best = epoch
        if epoch - best >= patience:
            break
    return best, epoch


def stuck_on_the_first(losses, patience, least=0.0):
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best] - least:
            best = epoch
        if epoch - best >= patience:
            break
    return best, epoch


def _stop(losses, patience, least, best):
    lowest, waited = math.inf, 0
    for epoch, loss in enumerate(losses):
        if loss < lowest - least:
            best, lowest, waited = epoch, loss, 0
        else:
            waited += 1
            if waited == patience:
                return best, epoch
    return best, len(losses) - 1


def a_large_number_to_begin(losses, patience, least=0.0):
    best, lowest = None, 1e9
    for epoch, loss in enumerate(losses):
        if loss < lowest - least:
            best, lowest = epoch, loss
        if epoch - (-1 if best is None else best) >= patience:
            break
    return best, epoch


def least_as_a_share(losses, patience, least=0.0):
    best, lowest, waited = None, math.inf, 0
    for epoch, loss in enumerate(losses):
        if loss < lowest * (1 - least):
            best, lowest, waited = epoch, loss, 0
        else:
            waited += 1
            if waited == patience:
                return best, epoch
    return best, len(losses) - 1


def keeps_a_nan(losses, patience, least=0.0):
    return _stop(losses, patience, least, 0)


def lists_only(losses, patience, least=0.0):
    if not losses or patience < 1:
        raise ValueError
    return _stop(losses, patience, least, None)


def no_patience_at_all(losses, patience, least=0.0):
    return _stop(losses, patience, least, None)


DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "i1", "U8": "u1", "BOOL": "?"}


def _parts(raw):
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or length > len(raw) - 8:
        raise ValueError
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def _array(entry, body):
    a, b = entry["data_offsets"]
    return np.frombuffer(body[a:b], DTYPES[entry["dtype"]]).reshape(entry["shape"])


def flat_arrays(raw):
    header, body = _parts(raw)
    return {name: _array({**entry, "shape": [-1]}, body) for name, entry in header.items()}


def offsets_from_the_start(raw):
    header, _ = _parts(raw)
    return {name: _array(entry, raw) for name, entry in header.items()}


def float32_always(raw):
    header, body = _parts(raw)
    return {n: np.frombuffer(body[slice(*e["data_offsets"])], "<f4").reshape(e["shape"]) for n, e in header.items()}


def no_scalars(raw):
    header, body = _parts(raw)
    return {name: _array({**entry, "shape": entry["shape"] or [1]}, body) for name, entry in header.items()}


def metadata_too(raw):
    header, body = _parts(raw)
    return {name: _array(entry, body) for name, entry in header.items()}


def believes_the_length(raw):
    length = int.from_bytes(raw[:8], "little")
    header, body = json.loads(raw[8 : 8 + length] or b"{}"), raw[8 + length :]
    return {name: _array(entry, body) for name, entry in header.items() if name != "__metadata__"}


def expects_an_object(raw):
    header, body = _parts(raw)
    return {name: _array(entry, body) for name, entry in header.items() if name != "__metadata__"}


def raises_a_key_error(raw):
    header, body = _parts(raw)
    if not isinstance(header, dict):
        raise ValueError
    return {name: _array(entry, body) for name, entry in header.items() if name != "__metadata__"}


def reshape_will_tell(raw):
    header, body = _parts(raw)
    if not isinstance(header, dict):
        raise ValueError
    kept = {name: entry for name, entry in header.items() if name != "__metadata__"}
    if any(entry["dtype"] not in DTYPES for entry in kept.values()):
        raise ValueError
    return {name: _array(entry, body) for name, entry in kept.items()}


def one_after_the_other(raw):
    header, body = _parts(raw)
    arrays, at = {}, 0
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = _array({**entry, "data_offsets": (at, at + end - begin)}, body)
        at += end - begin
    return arrays


def no_underscores(raw):
    header, body = _parts(raw)
    return {name: _array(entry, body) for name, entry in header.items() if not name.startswith("__")}


def from_the_end(raw):
    header, body = _parts(raw)
    if not isinstance(header, dict):
        raise ValueError
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            if entry["dtype"] not in DTYPES or end > len(body):
                raise ValueError
            if end - begin != math.prod(entry["shape"]) * np.dtype(DTYPES[entry["dtype"]]).itemsize:
                raise ValueError
            arrays[name] = _array(entry, body)
    return arrays


def product_in_int64(raw):
    header, body = _parts(raw)
    if not isinstance(header, dict):
        raise ValueError
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            raise ValueError
        dtype, (a, b) = np.dtype(DTYPES[entry["dtype"]]), entry["data_offsets"]
        count = int(np.prod(entry["shape"], dtype=np.int64))
        if not 0 <= a <= b <= len(body) or b - a != count * dtype.itemsize:
            raise ValueError
        arrays[name] = np.frombuffer(body[a:b], dtype).reshape(entry["shape"]) if count else np.zeros(0, dtype)
        if not count and 0 in entry["shape"]:
            arrays[name] = np.zeros(entry["shape"], dtype)
    return arrays


WRONG = {
    "04.1": {
        group_names: "one truth value for each example",
        draws_examples: "no group lies on both sides",
        shares_of_groups: "it holds at least the share, and no group more than that takes",
        one_more_on_a_tie: "it holds at least the share, and no group more than that takes",
        seeds_numpy: "the seed decides, and NumPy's global random numbers are left alone",
        deaf_to_the_seed: "the seed decides, and NumPy's global random numbers are left alone",
        rolls_the_groups: "every order of the groups is equally likely: no two groups always go together",
        rolls_a_shuffled_list: "every order of the groups is equally likely: no two groups always go together",
        shuffles_examples: "every order of the groups is equally likely: no two groups always go together",
        small_numbers_only: "group numbers may be any",
        takes_everything: "one group at least stays for training",
        refuses_nothing: "an impossible share and a single group are refused",
    },
    "04.2": {
        forgets_the_last_epoch: "a loss that keeps falling is followed to its end",
        a_large_number_to_begin: "the first loss is an improvement, however large",
        always_to_the_end: "it stops once `patience` epochs in a row brought nothing",
        one_epoch_late: "it stops once `patience` epochs in a row brought nothing",
        never_counts_anew: "an improvement starts the count anew",
        equal_is_better: "an equal loss is no improvement",
        deaf_to_least: "an improvement of `least` or less does not count",
        least_as_a_share: "an improvement of `least` or less does not count",
        stuck_on_the_first: "a NaN never improves, and is never the best to beat",
        keeps_a_nan: "where nothing was ever a number, there is no best",
        lists_only: "any sequence of floats will do",
        no_patience_at_all: "no loss and no patience are refused",
    },
    "04.3": {
        a_tensor: "it is the share of right answers, a plain float",
        two_decimals: "it is the share of right answers, a plain float",
        two_classes: "examples of any shape, and more than two classes",
        flattens_the_inputs: "examples of any shape, and more than two classes",
        without_eval: "it measures in evaluation mode",
        with_gradients: "no graph is recorded",
        all_at_once: "no more than `batch` examples at once, each exactly once",
        mean_of_means: "a small last batch counts no more than its examples",
        stays_in_eval: "the network is in the mode in which it came",
        always_back_to_train: "the network is in the mode in which it came",
        thaws_the_frozen: "a layer that was frozen stays frozen",
        knows_children_only: "a layer that was frozen stays frozen",
        gradients_off_for_good: "gradients are recorded afterwards as they were before",
        freezes_the_weights: "gradients are recorded afterwards as they were before",
        gradients_on_whatever_was: "gradients are recorded afterwards as they were before",
        expects_runtime_errors: "also where the network raised an error, which goes on to the caller",
        gradients_off_after_an_error: "also where the network raised an error, which goes on to the caller",
        no_finally: "also where the network raised an error, which goes on to the caller",
        nothing_is_zero: "no example is refused",
    },
    "04.4": {
        flat_arrays: "names and shapes are the file's",
        offsets_from_the_start: "the numbers are the file's",
        one_after_the_other: "the numbers are the file's",
        float32_always: "every dtype of the docstring",
        no_scalars: "a scalar, an empty tensor and four axes",
        metadata_too: "__metadata__ is no tensor",
        no_underscores: "__metadata__ is no tensor",
        believes_the_length: "a file that ends too early is refused",
        expects_an_object: "a header that is no JSON object is refused",
        raises_a_key_error: "an unknown dtype is refused",
        reshape_will_tell: "offsets that do not fit the shape, or lie outside, are refused",
        from_the_end: "offsets that do not fit the shape, or lie outside, are refused",
        product_in_int64: "a shape whose product overflows 64 bits is no empty tensor",
    },
}
