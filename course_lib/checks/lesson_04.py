"""Checks of lesson 04. PyTorch is imported where an answer needs it: the progress page reads this file in any kernel."""

import json
import math
from collections.abc import Callable, Iterator

import numpy as np

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("04.1", "No writer on both sides")
def groups_apart(answer: Callable) -> Iterator[Property]:
    """answer(groups, share, seed) -> mask of what is held out."""
    random = np.random.default_rng(4)
    writers = random.permutation(np.repeat(np.arange(40), random.integers(1, 30, 40)))
    sizes, even, lopsided = np.bincount(writers), np.repeat(np.arange(12), 5), np.array([0] + [1] * 99)

    def held(share: float = 0.25, seed: int = 0, groups: np.ndarray = writers) -> np.ndarray:
        return answer(groups, share, seed)

    yield ("one truth value for each example", lambda: held().dtype == bool and held().shape == writers.shape, [
        "What shape and dtype does the docstring promise?",
        "Not the indices of the examples, not the numbers of the groups: a mask.",
        "np.isin(groups, chosen_groups)",
    ])  # fmt: skip
    yield ("no group lies on both sides", lambda: not set(writers[held()]) & set(writers[~held()]), [
        "Do you draw examples, or groups?",
        "np.unique(groups) lists the groups, each once.",
        "Permute the groups' names, and take all examples of those that come first.",
    ])  # fmt: skip
    yield ("it holds at least the share, and no group more than that takes", lambda: all(
        held(share, seed).sum() >= share * len(writers) > held(share, seed).sum() - sizes[np.unique(writers[held(share, seed)])].max()
        for share in (0.125, 0.25, 0.5) for seed in range(5)
    ) and all(held(0.5, seed, even).sum() == 30 for seed in range(3)), [
        "The share is of the examples, and groups differ in size.",
        "Add up the sizes of the groups in their random order, and stop at the first total that reaches share × N.",
        "np.searchsorted(np.cumsum(sizes[order]), share * len(groups)) + 1 groups are enough. Of 12 equal groups, 6 are half.",
    ])  # fmt: skip

    def seeded() -> bool:
        before = np.random.get_state()[1].copy()
        alike = np.array_equal(held(seed=7), held(seed=7))
        differ = len({held(seed=seed).tobytes() for seed in range(8)}) > 4
        return alike and differ and np.array_equal(before, np.random.get_state()[1])

    yield ("the seed decides, and NumPy's global random numbers are left alone", seeded, [
        "Call it twice with one seed, then with eight seeds.",
        "np.random.seed changes what everybody else draws afterwards.",
        "np.random.default_rng(seed).permutation(…)",
    ])  # fmt: skip

    def every_order() -> bool:
        """Of 12 groups, 6 are held out: each in about half of 200 seeds, any two on one side in 5 of 11. Size plays no part."""
        sides = np.array([held(0.5, seed, even)[::5] for seed in range(200)])
        together = (sides[:, :, None] == sides[:, None, :]).mean(axis=0)[~np.eye(12, dtype=bool)]
        small = np.mean([held(0.5, seed, lopsided)[0] for seed in range(200)])
        return bool(
            np.abs(sides.mean(axis=0) - 0.5).max() < 0.2
            and np.abs(together - 5 / 11).max() < 0.2
            and abs(small - 0.5) < 0.2
        )

    yield ("every order of the groups is equally likely: no two groups always go together", every_order, [
        "Take 12 groups of one size, a share of one half, and 200 seeds. How often are two groups on one side? Then take two groups, of 1 and of 99.",
        "If the seed only rotates the list, neighbours nearly always stay together. If examples are shuffled, large groups come sooner.",
        "np.random.default_rng(seed).permutation(len(names)) gives every order the same chance.",
    ])  # fmt: skip
    odd = np.array([-7, 10**12, -7, 10**12, 3])
    yield ("group numbers may be any", lambda: held(0.25, 1, odd).shape == (5,) and not set(odd[held(0.25, 1, odd)]) & set(odd[~held(0.25, 1, odd)]), [
        "Try groups -7, 3 and a trillion.",
        "np.bincount and array indices need small numbers from 0.",
        "np.unique(groups, return_counts=True) gives names and sizes.",
    ])  # fmt: skip
    yield ("one group at least stays for training", lambda: all(0 < held(0.9, seed, lopsided).sum() < 100 for seed in range(20)), [
        "One group has 1 example, the other 99, and the share is 0.9.",
        "If the small group comes first, the share is reached with both: what is left to learn from?",
        "Take min(enough, number of groups − 1) groups.",
    ])  # fmt: skip
    yield ("an impossible share and a single group are refused", lambda: all(
        raises(ValueError, answer, groups, share, 0)
        for groups, share in ((writers, 0.0), (writers, 1.0), (writers, 25), (np.zeros(9, int), 0.5), (np.zeros(0, int), 0.5))
    ), [
        "Try a share of 25, and nine examples of one group.",
        "With one group there is nothing to split; with none neither.",
        "if not 0 < share < 1 or len(np.unique(groups)) < 2: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("04.2", "When to stop")
def stopping(answer: Callable) -> Iterator[Property]:
    """answer(losses, patience, least=0.0) -> (best, stopped)."""
    nan = math.nan

    def gives(best: int | None, stopped: int, losses: list[float], *rest: float) -> bool:
        return tuple(answer(losses, *rest)) == (best, stopped)

    yield ("a loss that keeps falling is followed to its end", lambda: gives(3, 3, [4.0, 3.0, 2.0, 1.0], 2), [
        "Four epochs, each better than the one before.",
        "Nothing ever ran out of patience: stopped is the last epoch.",
        "Return (best, len(losses) − 1) after the loop.",
    ])  # fmt: skip
    yield ("the first loss is an improvement, however large", lambda: gives(1, 1, [2e30, 1e30], 5), [
        "Try losses of 2e30 and 1e30: a training that has gone wrong may begin like that.",
        "With which number does your search for the lowest loss begin?",
        "lowest = float('inf')",
    ])  # fmt: skip
    yield ("it stops once `patience` epochs in a row brought nothing", lambda: gives(1, 3, [2.0, 1.0, 1.5, 1.4, 0.5], 2)
           and gives(0, 1, [1.0, 2.0, 0.5], 1), [
        "Losses 2, 1, 1.5, 1.4, 0.5 with patience 2: epochs 2 and 3 are worse than epoch 1.",
        "It never sees the 0.5: the job has ended by then.",
        "Count epochs since the best; return (best, epoch) when the count equals patience.",
    ])  # fmt: skip
    yield ("an improvement starts the count anew", lambda: gives(4, 6, [5.0, 6.0, 4.0, 6.0, 3.0, 6.0, 6.0], 2), [
        "Every second epoch improves: the patience of 2 must not run out before the end.",
        "Improvement is measured against the best so far, not against the epoch before.",
        "waited = 0 at each improvement.",
    ])  # fmt: skip
    yield ("an equal loss is no improvement", lambda: gives(0, 2, [1.0, 1.0, 1.0, 0.1], 2), [
        "Losses 1, 1, 1 with patience 2.",
        "Below, not at most.",
        "loss < lowest, not loss <= lowest",
    ])  # fmt: skip
    yield ("an improvement of `least` or less does not count", lambda: gives(0, 2, [1.0, 0.75, 0.75, 0.1], 2, 0.25)
           and gives(2, 4, [1.0, 0.9, 0.7, 0.6, 0.6], 2, 0.25) and gives(1, 3, [4.0, 3.5, 3.5, 3.5], 2, 0.25), [
        "With least=0.25, a loss of 0.75 after 1.0 is not enough, and 0.7 is. After 4.0, 3.5 is enough: `least` is in nats, and no share.",
        "Compare with the best that was kept: small steps may add up to an improvement.",
        "if loss < lowest - least:",
    ])  # fmt: skip
    yield ("a NaN never improves, and is never the best to beat", lambda: gives(1, 3, [nan, 2.0, nan, 3.0, 1.0], 2)
           and gives(0, 2, [1.0, nan, nan, 0.5], 2), [
        "Try NaN first, then 2.0.",
        "Nothing is below NaN: if epoch 0 is the best to begin with, nothing can improve on it.",
        "Begin with best = None and lowest = infinity.",
    ])  # fmt: skip
    yield ("where nothing was ever a number, there is no best", lambda: gives(None, 2, [nan] * 5, 3) and gives(None, 1, [nan] * 2, 3), [
        "Every loss is NaN: which weights are worth keeping?",
        "None, and the patience runs out all the same.",
        "best = None before the loop.",
    ])  # fmt: skip
    yield ("any sequence of floats will do", lambda: gives(1, 1, np.float32([2, 1]), 5) and gives(0, 0, (7.0,), 1), [
        "Try a NumPy array, and a tuple.",
        "`if not losses` fails for an array.",
        "len(losses) == 0",
    ])  # fmt: skip
    yield ("no loss and no patience are refused", lambda: raises(ValueError, answer, [], 3) and raises(ValueError, answer, [1.0], 0), [
        "Try an empty list, and a patience of 0.",
        "There is no last epoch to name.",
        "if len(losses) == 0 or patience < 1: raise ValueError(…)",
    ])  # fmt: skip


@EXERCISES.add("04.3", "Evaluate, and leave no trace")
def evaluation(answer: Callable) -> Iterator[Property]:
    """answer(network, inputs, labels, batch=256) -> accuracy."""
    import torch
    from torch import nn

    calls: list[tuple[int, bool, bool]] = []  # outside of the network: a copy of it, measured instead, notes them too

    class Watched(nn.Module):
        """Answers class 1 where its input is positive; notes how it was called."""

        def __init__(self, fails: type[Exception] | None = None) -> None:
            super().__init__()
            self.weight, self.fails = nn.Parameter(torch.ones(1)), fails
            self.fixed = nn.Parameter(torch.ones(1), requires_grad=False)
            self.inside, self.dropout = nn.Sequential(nn.Sequential(nn.BatchNorm1d(1))), nn.Dropout(0.9)
            self.frozen.eval()

        @property
        def frozen(self) -> nn.Module:
            """A layer two modules deep, in evaluation mode on purpose."""
            return self.inside[0][0]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append((len(x), self.training or self.dropout.training, torch.is_grad_enabled()))
            if self.fails is not None:
                raise self.fails("this batch cannot be read")
            return torch.cat([-x, x], dim=1) * self.weight

    inputs = torch.tensor([[1.0], [2.0], [-1.0], [-2.0], [3.0]])
    labels = torch.tensor([1, 1, 0, 1, 0])

    def asked(network: nn.Module, *rest: object) -> object:
        """What the answer returns; how PyTorch records is set back afterwards, lest one property spoil the next."""
        recorded = torch.is_grad_enabled()
        try:
            return answer(network, *rest)
        finally:
            torch.set_grad_enabled(recorded)

    def run(batch: int = 256, training: bool = True) -> Watched:
        network = Watched()
        network.train(training)
        network.frozen.eval()
        calls.clear()
        asked(network, inputs, labels, batch)
        return network

    def noted(batch: int = 256) -> list[tuple[int, bool, bool]]:
        run(batch)
        return list(calls)

    def near(share: object, wanted: float) -> bool:
        return type(share) is float and math.isclose(share, wanted, rel_tol=1e-6)

    some = torch.tensor([0, 1, 3])
    yield ("it is the share of right answers, a plain float", lambda: near(asked(Watched(), inputs, labels), 0.6)
           and near(asked(Watched(), inputs[some], labels[some]), 2 / 3), [
        "Three of the five examples are right. Of examples 0, 1 and 3, two are.",
        "argmax over the classes, compared with the labels. What does type(…) of your result say?",
        "int((network(inputs).argmax(dim=1) == labels).sum()) / len(labels)",
    ])  # fmt: skip
    scores = torch.tensor([[0.0, 1.0, 3.0], [2.0, 1.0, 0.0], [0.0, 5.0, 1.0], [1.0, 0.0, 2.0]])
    pictures = torch.stack([scores, scores], dim=2)  # (4, 3, 2)

    class Adds(nn.Module):
        """Three classes: adds up the last of the input's three axes."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum(dim=2)

    yield ("examples of any shape, and more than two classes", lambda: near(asked(Adds(), pictures, torch.tensor([2, 0, 1, 1])), 0.75), [
        "Try three classes, and inputs of shape (4, 3, 2).",
        "The network knows what to do with its inputs: hand them over in their own shape.",
        "network(some).argmax(dim=1)",
    ])  # fmt: skip
    yield ("it measures in evaluation mode", lambda: bool(noted()) and not any(mode for _, mode, _ in noted()), [
        "The network comes in training mode: is dropout off when you call it?",
        "inference_mode() does not switch layers.",
        "network.eval() before the first call.",
    ])  # fmt: skip
    yield ("no graph is recorded", lambda: not any(grad for _, _, grad in noted()), [
        "eval() is about layers. What is about gradients?",
        "Every call of the network must stand inside the context manager.",
        "with torch.inference_mode():",
    ])  # fmt: skip
    yield ("no more than `batch` examples at once, each exactly once", lambda: [n for n, _, _ in noted(batch=2)] == [2, 2, 1], [
        "With batch=2 and five examples the network should see 2, 2 and 1.",
        "A million images through the network at once need a million images' activations.",
        "for some, truth in zip(inputs.split(batch), labels.split(batch)):",
    ])  # fmt: skip
    yield ("a small last batch counts no more than its examples", lambda: near(asked(Watched(), inputs, labels, 2), 0.6)
           and near(asked(Watched(), inputs, labels, 3), 0.6), [
        "The batches have accuracies 1, 1/2 and 0; their mean is 0.5, and 3 of 5 are right.",
        "Add up right answers, not accuracies.",
        "Divide once, at the end, by len(labels).",
    ])  # fmt: skip

    def modes() -> bool:
        trained, used = run(training=True), run(training=False)
        return trained.training and trained.dropout.training and not used.training and not used.dropout.training

    yield ("the network is in the mode in which it came", modes, [
        "It came in training mode: in which mode does your function leave it? And if it came in evaluation mode?",
        "Note network.training before you change it.",
        "was_training = network.training … network.train(was_training), and see the next property.",
    ])  # fmt: skip
    yield ("a layer that was frozen stays frozen", lambda: not run(training=True).frozen.training, [
        "One layer, deep inside, is in eval() on purpose, while the network trains. Look at it afterwards.",
        "network.train() sets the mode of every module inside, and network.children() lists the outermost ones alone.",
        "Note (module, module.training) for every module in network.modules(), and set each one back.",
    ])  # fmt: skip

    def recording() -> bool:
        """Whether gradients are recorded as before: on stays on, off stays off, for PyTorch and for each weight."""
        network, kept = Watched(), []
        for before in (True, False):
            with torch.set_grad_enabled(before):
                answer(network, inputs, labels)
                kept.append(torch.is_grad_enabled() is before and not torch.is_inference_mode_enabled())
                torch.set_grad_enabled(before)
        return all(kept) and network.weight.requires_grad and not network.fixed.requires_grad

    yield ("gradients are recorded afterwards as they were before", recording, [
        "After your function a training step follows: does loss.backward() still work? Look at torch.is_grad_enabled().",
        "torch.set_grad_enabled(False) as a plain call stays in force, and so does requires_grad_(False) on a weight.",
        "with torch.inference_mode(): … sets back what it changed when the block ends.",
    ])  # fmt: skip

    def after_an_error() -> bool:
        """Whether modes and recording are set back, whichever error the network raises."""
        for error in (RuntimeError, IndexError):
            network, recorded = Watched(error), torch.is_grad_enabled()
            try:
                restored = raises(error, answer, network, inputs, labels) and torch.is_grad_enabled() is recorded
            finally:
                torch.set_grad_enabled(recorded)
            if not (restored and network.training and network.dropout.training and not network.frozen.training):
                return False
        return True

    yield ("also where the network raised an error, which goes on to the caller", after_an_error, [
        "A batch does not fit into memory: what sets the modes back then, and the recording of gradients?",
        "Do not swallow the error, and do not name its type: the next one is another.",
        "try: … finally: set the modes back.",
    ])  # fmt: skip
    yield ("no example is refused", lambda: raises(ValueError, asked, Watched(), inputs[:0], labels[:0]), [
        "What is the accuracy over nothing?",
        "Neither 0 nor NaN tells the caller that the data did not arrive.",
        "if len(labels) == 0: raise ValueError(…)",
    ])  # fmt: skip


def _file(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def _entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}


@EXERCISES.add("04.4", "What is in this file?")
def file_reading(answer: Callable) -> Iterator[Property]:
    """answer(raw) -> {name: array}."""
    from safetensors.numpy import save

    random = np.random.default_rng(4)
    floats = {"a.weight": random.normal(size=(3, 4)).astype(np.float32), "a.bias": np.float32([1, 2, 3])}
    kinds = ("f8", "f4", "f2", "i8", "i4", "i1", "u1", "?")
    every = {kind: (100 * random.random((2, 3)) - 20 * (kind != "u1")).astype(kind) for kind in kinds}
    shapes = {"scalar": np.array(2.5), "none": np.zeros((0, 3), np.float32), "deep": np.arange(24).reshape(2, 3, 1, 4)}

    def reads(tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> bool:
        read = answer(save(tensors, metadata))
        return read.keys() == tensors.keys() and all(
            read[k].dtype == v.dtype and read[k].shape == v.shape and np.array_equal(read[k], v)
            for k, v in tensors.items()
        )

    yield ("names and shapes are the file's", lambda: {k: v.shape for k, v in answer(save(floats)).items()} == {"a.weight": (3, 4), "a.bias": (3,)}, [
        "Read the first 8 bytes as an integer, then that many bytes as JSON.",
        "int.from_bytes(raw[:8], 'little'), json.loads(…), and one array for each entry.",
        "np.frombuffer(body[begin:end], '<f4').reshape(entry['shape'])",
    ])  # fmt: skip
    turned = _file({**_entry([1], 4, 8), "v": _entry([1], 0, 4)["w"]}, np.float32([1, 2]).tobytes())
    yield ("the numbers are the file's", lambda: reads(floats) and {k: v.tolist() for k, v in answer(turned).items()} == {"w": [2.0], "v": [1.0]}, [
        "Offsets count from the end of the header, not from the beginning of the file.",
        "The body begins at 8 + header length. Did you use data_offsets? The header may list the tensors in another order than the body.",
        "body = raw[8 + length:], then body[begin:end]",
    ])  # fmt: skip
    yield ("every dtype of the docstring", lambda: reads(every), [
        "Is float32 written down somewhere as a constant?",
        "DTYPES maps the file's names to NumPy's.",
        "np.frombuffer(…, DTYPES[entry['dtype']])",
    ])  # fmt: skip
    yield ("a scalar, an empty tensor and four axes", lambda: reads(shapes), [
        "A scalar has the shape [], and one element.",
        "The product of no numbers is 1; an empty tensor has 0 bytes.",
        "Compare end − begin with the product of the shape times the item size; 0 may equal 0.",
    ])  # fmt: skip
    yield ("__metadata__ is no tensor", lambda: reads(floats, {"format": "pt"}) and reads({"__scale__": np.float32([2])}, {"format": "pt"}), [
        "Save with metadata: the header has one key more. Other names with underscores are tensors.",
        "Its value has neither a shape nor offsets.",
        "if name == '__metadata__': continue",
    ])  # fmt: skip
    whole = save(floats)
    yield ("a file that ends too early is refused", lambda: all(raises(ValueError, answer, whole[:cut]) for cut in (0, 5, 20, len(whole) - 1)), [
        "Cut the file anywhere: after 5 bytes, in the header, one byte before the end.",
        "raw[a:b] does not complain where the file ends before b, and int.from_bytes takes 5 bytes too.",
        "Compare 8 + length, and every end offset, with len(raw) before you read.",
    ])  # fmt: skip
    yield ("a header that is no JSON object is refused", lambda: all(
        raises(ValueError, answer, _file(header)) for header in (b"[1, 2]", b"{", b'"text"', b"\xff\xfe")
    ), [
        "JSON may also be a list, or a text.",
        "A list has no .items(): that is an AttributeError, not what the docstring promises.",
        "if not isinstance(header, dict): raise ValueError(…)",
    ])  # fmt: skip
    yield ("an unknown dtype is refused", lambda: raises(ValueError, answer, _file(_entry([1], 0, 2, "BF16"), b"ab")), [
        "Try BF16, which NumPy does not have.",
        "A KeyError is not a ValueError.",
        "if entry['dtype'] not in DTYPES: raise ValueError(…)",
    ])  # fmt: skip
    eight = bytes(8)
    yield ("offsets that do not fit the shape, or lie outside, are refused", lambda: all(
        raises(ValueError, answer, _file(entry, eight))
        for entry in (_entry([1], 0, 8), _entry([3], 0, 8), _entry([2], 4, 12), _entry([2], -8, 0), _entry([1], -8, -4), _entry([0], 8, 0), _entry([-2], 0, 8))
    ), [
        "The shape asks for a number of bytes, the offsets give one: they must be equal.",
        "Negative offsets count from the end in Python, and a shape of [-1] lets reshape guess.",
        "if not 0 <= begin <= end <= len(body) or end - begin != size: raise ValueError(…)",
    ])  # fmt: skip
    yield ("a shape whose product overflows 64 bits is no empty tensor", lambda: raises(ValueError, answer, _file(_entry([2**32, 2**32], 0, 0))), [
        "np.prod([2**32, 2**32]) is 0 in int64: print it.",
        "Python's own integers have no largest one.",
        "math.prod(entry['shape'])",
    ])  # fmt: skip
