"""Right answers to lesson 04's exercises that differ from the solutions."""

import copy
import hashlib
import json
import math
import random
import struct

import numpy as np


def adds_group_by_group(groups, share, seed):
    names = sorted(set(groups.tolist()))
    if not 0 < share < 1 or len(names) < 2:
        raise ValueError("a share between 0 and 1, and two groups")
    random.Random(seed).shuffle(names)
    chosen = np.zeros(len(groups), bool)
    for name in names[:-1]:
        chosen |= groups == name
        if chosen.sum() >= share * len(groups):
            break
    return chosen


def an_old_generator(groups, share, seed):
    names, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if share <= 0 or share >= 1 or len(names) < 2:
        raise ValueError("a share between 0 and 1, and two groups")
    place = np.random.RandomState(seed).permutation(len(names)).argsort()
    before = np.array([sizes[place < place[i]].sum() for i in range(len(names))])
    return ((before < share * len(groups)) & (place < len(names) - 1))[inverse]


def keys_to_sort_by(groups, share, seed):
    names, sizes = np.unique(groups, return_counts=True)
    if not 0 < share < 1 or len(names) < 2:
        raise ValueError("a share between 0 and 1, and two groups")
    held, taken = [], 0
    for i in np.argsort(np.random.default_rng(seed).random(len(names)))[:-1]:
        if taken < share * len(groups):
            held.append(names[i])
            taken += sizes[i]
    return np.array([group in held for group in groups])


def sorts_by_a_hash(groups, share, seed):
    names, sizes = np.unique(groups, return_counts=True)
    if not 0 < share < 1 or len(names) < 2:
        raise ValueError("a share between 0 and 1, and two groups")
    size = dict(zip(names.tolist(), sizes.tolist()))
    order = sorted(size, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    chosen = []
    while len(chosen) < len(order) - 1 and sum(size[name] for name in chosen) < share * len(groups):
        chosen.append(order[len(chosen)])
    return np.isin(groups, chosen)


def measures_a_copy(network, inputs, labels, batch=256):
    import torch

    if not len(labels):
        raise ValueError("no example")
    still = copy.deepcopy(network).eval()
    with torch.no_grad():
        right = sum((still(inputs[i : i + batch]).argmax(1) == labels[i : i + batch]).sum().item()
                    for i in range(0, len(labels), batch))  # fmt: skip
    return right / len(labels)


def a_decorator(network, inputs, labels, batch=256):
    import torch

    @torch.no_grad()
    def answers():
        return torch.cat([network(some).argmax(dim=-1) for some in torch.split(inputs, batch)])

    if labels.numel() == 0:
        raise ValueError("no example")
    trained = [module for module in network.modules() if module.training]
    network.eval()
    try:
        return (answers() == labels).double().mean().item()
    finally:
        for module in trained:
            module.training = True


def a_switch_that_is_set_back(network, inputs, labels, batch=256):
    import torch

    if labels.shape[0] < 1:
        raise ValueError("no example")
    modes, recorded = {m: m.training for m in network.modules()}, torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    try:
        network.train(False)
        hits = [network(x).argmax(1).eq(y) for x, y in zip(inputs.split(batch), labels.split(batch))]
        return float(np.mean(torch.cat(hits).numpy()))
    finally:
        torch.set_grad_enabled(recorded)
        for module, mode in modes.items():
            module.training = mode


def by_a_loader(network, inputs, labels, batch=256):
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    if len(inputs) == 0:
        raise ValueError("no example")
    still, right = copy.deepcopy(network), 0
    for module in still.modules():
        module.eval()
    with torch.inference_mode():
        for x, y in DataLoader(TensorDataset(inputs, labels), batch_size=batch):
            right += int((still(x).max(dim=1).indices == y).sum())
    return right / len(inputs)


def a_mean_in_float32(network, inputs, labels, batch=256):
    import torch

    if len(labels) == 0:
        raise ValueError("no example")
    before = {name: module.training for name, module in network.named_modules()}
    try:
        network.apply(lambda module: setattr(module, "training", False))
        with torch.inference_mode():
            hits = torch.cat([network(x).topk(1, dim=1).indices[:, 0] == y
                              for x, y in zip(inputs.split(batch), labels.split(batch))])  # fmt: skip
            return hits.float().mean().item()
    finally:
        for name, module in network.named_modules():
            module.training = before[name]


def a_list_as_pair(losses, patience, least=0.0):
    values = [float(loss) for loss in losses]
    if not values or patience <= 0:
        raise ValueError("no loss, or no patience")
    best, last = None, -1
    for epoch, loss in enumerate(values):
        if not math.isnan(loss) and (best is None or values[best] - loss > least):
            best = last = epoch
        if epoch - last >= patience:
            return [best, epoch]
    return [best, epoch]


def looks_back(losses, patience, least=0.0):
    losses = np.asarray(losses, float)
    if losses.size == 0 or patience < 1:
        raise ValueError("no loss, or no patience")
    best, lowest, since = None, np.inf, 0
    for epoch in range(losses.size):
        better = bool(losses[epoch] + least < lowest)
        best, lowest = (epoch, losses[epoch]) if better else (best, lowest)
        since = 0 if better else since + 1
        if since >= patience:
            break
    return best, epoch


def calls_itself(losses, patience, least=0.0):
    losses = list(losses)
    if not losses or patience < 1:
        raise ValueError("no loss, or no patience")

    def from_epoch(epoch, best, lowest, waited):
        if waited == patience or epoch == len(losses):
            return best, epoch - 1
        if losses[epoch] < lowest - least:
            return from_epoch(epoch + 1, np.int64(epoch), losses[epoch], 0)
        return from_epoch(epoch + 1, best, lowest, waited + 1)

    return from_epoch(0, None, np.inf, 0)


TYPES = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "I8": "b", "U8": "B", "BOOL": "?"}
NUMPY = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I8": "i1", "U8": "u1", "BOOL": "?"}


def unpacks(raw):
    if len(raw) < 8:
        raise ValueError("no length")
    (length,) = struct.unpack("<Q", raw[:8])
    if 8 + length > len(raw):
        raise ValueError("no header")
    header = json.loads(raw[8 : 8 + length].decode())
    if type(header) is not dict:
        raise ValueError("no object")
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        if entry["dtype"] not in TYPES:
            raise ValueError("no dtype")
        begin, end = entry["data_offsets"]
        count = math.prod(entry["shape"])
        body = raw[8 + length + begin : 8 + length + end]
        if begin < 0 or min(entry["shape"], default=0) < 0 or end > len(raw) - 8 - length:
            raise ValueError("no place")
        if len(body) != end - begin or len(body) != count * np.dtype(NUMPY[entry["dtype"]]).itemsize:
            raise ValueError("no fit")
        numbers = struct.unpack(f"<{count}{TYPES[entry['dtype']]}", body)
        arrays[name] = np.array(numbers, NUMPY[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def asks_the_library(raw):
    from safetensors import SafetensorError
    from safetensors.numpy import load

    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length]) if len(raw) >= 8 + length else None
    if not isinstance(header, dict) or any(entry["dtype"] not in NUMPY for n, entry in header.items() if n[:2] != "__"):
        raise ValueError("no header, or no dtype of ours")
    try:
        return load(raw)
    except SafetensorError as refused:
        raise ValueError("the library refuses it") from refused


def fills_empty_arrays(raw):
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 + length:
        raise ValueError("no header")
    header, body = json.loads(raw[8 : 8 + length]), np.frombuffer(raw, np.uint8)[8 + length :]
    if not isinstance(header, dict):
        raise ValueError("no object")
    arrays = {}
    for name in header.keys() - {"__metadata__"}:
        try:
            dtype = np.dtype(NUMPY[header[name]["dtype"]])
        except KeyError as unknown:
            raise ValueError("no dtype") from unknown
        shape, (begin, end) = header[name]["shape"], header[name]["data_offsets"]
        if not 0 <= begin <= end <= len(body) or math.prod(shape) * dtype.itemsize != end - begin:
            raise ValueError("no fit")
        arrays[name] = np.empty(shape, dtype)
        arrays[name].reshape(-1).view(np.uint8)[:] = body[begin:end]
    return arrays


RIGHT = {
    "04.1": [adds_group_by_group, an_old_generator, keys_to_sort_by, sorts_by_a_hash],
    "04.2": [a_list_as_pair, looks_back, calls_itself],
    "04.3": [measures_a_copy, a_decorator, a_switch_that_is_set_back, by_a_loader, a_mean_in_float32],
    "04.4": [unpacks, asks_the_library, fills_empty_arrays],
}
