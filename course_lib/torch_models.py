"""The course's networks in PyTorch, and their training. Lesson 04 builds and explains each piece; later lessons use it.

`digits_cnn` is the course's model. `wide` and `small_resnet` are the workloads for questions of speed: large enough that
arithmetic, and not the overhead of each call, takes the time. Their files have megabytes and never ship: a lesson that
needs one trains it.
"""

from collections.abc import Callable

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from course_lib import models

BATCH = 64
"""Examples in a step of training."""


def digits_cnn() -> nn.Sequential:
    """The network of lessons 01 and 04, its weights drawn from PyTorch's global random numbers.

    It maps pixels, float32 (N, 1, 8, 8), 0 to 1, to logits, float32 (N, 10). It starts in training mode, as every
    new module does.
    """
    look = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()]
    decide = [nn.Dropout(0.3), nn.Linear(512, 20), nn.ReLU(), nn.Linear(20, 10)]
    return nn.Sequential(*look, nn.MaxPool2d(2), nn.Flatten(), *decide)


def shifted(pixels: torch.Tensor, share: float = 0.5) -> torch.Tensor:
    """Moves some of the pictures by up to one point, at random; what leaves the grid is lost, what enters is empty.

    pixels: (N, 1, H, W). share: the chance, 0 to 1, with which a picture is moved, by −1, 0 or 1 in each direction.
    Returns a new tensor of the same shape and dtype.
    """
    count, _, height, width = pixels.shape
    room = nn.functional.pad(pixels, (1, 1, 1, 1))
    moved = torch.rand(count) < share
    start = torch.where(moved[:, None], torch.randint(0, 3, (count, 2)), 1)  # 1 is where it was
    rows = start[:, :1] + torch.arange(height)
    columns = start[:, 1:] + torch.arange(width)
    return room[torch.arange(count)[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]


def train(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    epochs: int = 30,
    shift: float = 0.5,
    hostile: Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    after_epoch: Callable[[int, nn.Module, float], None] | None = None,
) -> nn.Sequential:
    """Trains a new `digits_cnn`: Adam, a one-cycle schedule, batches of 64, pictures moved at random.

    images: float32 (N, 8, 8), 0 to 1, N from 64. labels: int64 (N,), 0 to 9. seed: fixes weights, order, dropout and
    shifts; PyTorch's own random numbers are left as they were. shift: see `shifted`. hostile: called with the network,
    in evaluation mode, and the pixels and labels of each batch; training sees the pixels that it returns (lesson 22).
    after_epoch: called after each epoch with its number, from 0, the network and the mean training loss in nats; it may
    switch the network's mode.
    Returns the network in evaluation mode. Raises ValueError for fewer images than a batch. Uses as many threads as
    `torch.set_num_threads` allows; for so small a network one is fastest.
    """
    _enough(images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = digits_cnn()
        optimizer = torch.optim.Adam(network.parameters())

        def augment(pixels: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
            pixels = shifted(pixels, shift)
            if hostile is not None:
                network.eval()
                pixels = hostile(network, pixels, answers)
                network.train()
            return pixels

        return _fit(network, optimizer, images, labels, epochs, 6e-3, augment, after_epoch)


def wide() -> nn.Sequential:
    """A perceptron of four layers of 1,024 neurons, almost all of whose time goes into matrix products.

    It maps pixels, float32 (N, 1, 32, 32), 0 to 1 (`data.upscaled`), to logits, float32 (N, 10), by 4,208,650 weights,
    drawn from PyTorch's global random numbers: 16.8 MB. It starts in training mode.
    """
    hidden = [nn.Linear(1024, 1024) for _ in range(4)]
    for layer in hidden:  # PyTorch's own first weights are smaller, and training then takes twice as long
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    both = [each for layer in hidden for each in (layer, nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *both, nn.Linear(1024, 10))


class Residual(nn.Module):
    """Two 3 × 3 convolutions, each with batch normalisation, whose result is added to the block's input.

    It maps float32 (N, channels, H, W) to (N, out, H / stride, W / stride); where those differ, a 1 × 1 convolution
    brings the input to the same shape. Source: K. He and others, Deep Residual Learning for Image Recognition, 2016.
    """

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        first = [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        self.body = nn.Sequential(*first, nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out))
        fits = channels == out and stride == 1
        other = [] if fits else [nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)]
        self.skip = nn.Sequential(*other)  # of nothing: passes its input on

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.skip(x))


def small_resnet() -> nn.Sequential:
    """A residual network of three blocks, almost all of whose time goes into convolutions.

    It maps pixels, float32 (N, 1, 32, 32), 0 to 1 (`data.upscaled`), to logits, float32 (N, 10), by 308,074 weights,
    drawn from PyTorch's global random numbers: 1.2 MB. It starts in training mode.
    """
    stem = [nn.Conv2d(1, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    blocks = [Residual(32, 32), Residual(32, 64, 2), Residual(64, 128, 2)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def train_wide(images: np.ndarray, labels: np.ndarray, *, seed: int, epochs: int = 6) -> nn.Sequential:
    """Trains a new `wide`, in about 3 seconds of one core: about 97 % of the test digits right.

    images: float32 (N, 32, 32), 0 to 1, N from 64. labels, seed: as for `train`. Returns the network in evaluation
    mode. Raises ValueError for fewer images than a batch.
    """
    return _train_large(wide, images, labels, seed, epochs, 1e-3)


def train_small_resnet(images: np.ndarray, labels: np.ndarray, *, seed: int, epochs: int = 4) -> nn.Sequential:
    """Trains a new `small_resnet`, in about 4 seconds of one core: about 99 % of the test digits right.

    Arguments, result and error as for `train_wide`.
    """

    def channels_last() -> nn.Sequential:  # the order in memory in which convolutions train half as fast again
        return small_resnet().to(memory_format=torch.channels_last)

    trained = _train_large(channels_last, images, labels, seed, epochs, 4e-3)
    return trained.to(memory_format=torch.contiguous_format)


def _train_large(
    make: Callable[[], nn.Sequential], images: np.ndarray, labels: np.ndarray, seed: int, epochs: int, max_lr: float
) -> nn.Sequential:
    _enough(images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make()
        optimizer = torch.optim.Adam(network.parameters(), fused=True)  # with millions of weights, its steps count
        return _fit(network, optimizer, images, labels, epochs, max_lr, lambda x, _: x, None)


def _enough(images: np.ndarray) -> None:
    if len(images) < BATCH:
        raise ValueError(f"expected {BATCH} images or more, a batch, got {len(images)}")


def _fit(
    network: nn.Sequential,
    optimizer: torch.optim.Optimizer,
    images: np.ndarray,
    labels: np.ndarray,
    epochs: int,
    max_lr: float,
    augment: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    after_epoch: Callable[[int, nn.Module, float], None] | None,
) -> nn.Sequential:
    pixels, answers = _pixels(images), torch.from_numpy(labels)
    batches = len(pixels) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=max_lr, total_steps=epochs * batches)
    for epoch in range(epochs):
        network.train()
        total = 0.0
        for chosen in torch.randperm(len(pixels))[: batches * BATCH].split(BATCH):
            loss = nn.functional.cross_entropy(network(augment(pixels[chosen], answers[chosen])), answers[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if after_epoch is not None:
            after_epoch(epoch, network, total / batches)
    return network.eval()


def _pixels(images: np.ndarray) -> torch.Tensor:
    """(N, H, W) as a tensor (N, 1, H, W)."""
    return torch.from_numpy(images.reshape(-1, 1, *images.shape[1:]))


def logits_of(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """The network's logits, in evaluation mode and without gradients; its mode is as before afterwards.

    images: float32 (N, 8, 8), 0 to 1; (N, 32, 32) for the two large networks. Returns float32 (N, 10).
    """
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            return network(_pixels(images)).numpy()
    finally:
        network.train(was_training)


def inputs_of(network: nn.Sequential, images: np.ndarray) -> dict[int, np.ndarray]:
    """What each layer with weights is given, by the layer's number in the network; in evaluation mode.

    network: a sequence of layers. images: as for `logits_of`. Returns arrays of one line for each image.
    """
    was_training, found, x = network.training, {}, _pixels(images)
    network.eval()
    try:
        with torch.inference_mode():
            for number, layer in enumerate(network):
                if hasattr(layer, "weight"):
                    found[number] = x.numpy()
                x = layer(x)
    finally:
        network.train(was_training)
    return found


def rows_for(layer: nn.Conv2d | nn.Linear, inputs: np.ndarray) -> np.ndarray:
    """The rows, (n, K), that a layer multiplies its weights with, K numbers for each output channel.

    A dense layer's rows are its inputs, (N, K). A convolution's are the windows of its inputs, (N, C, H, W), padding
    included, in the order of its weights: K = C · height · width of a window. Of a convolution with groups it raises
    ValueError, since its channels have different inputs.
    """
    if isinstance(layer, nn.Linear):
        return inputs
    if layer.groups != 1:
        raise ValueError(f"expected a convolution without groups, got {layer.groups}")
    setting = {"padding": layer.padding, "stride": layer.stride, "dilation": layer.dilation}
    windows = nn.functional.unfold(torch.tensor(inputs), layer.kernel_size, **setting)  # (N, K, places)
    return windows.movedim(1, 2).reshape(-1, windows.shape[1]).numpy()


def load_digits_cnn(version: int = 3) -> nn.Sequential:
    """The course's trained network, from `models/digits_cnn/VERSION/weights.safetensors`, in evaluation mode.

    Raises FileNotFoundError and ValueError as `models.path` does.
    """
    network = digits_cnn()
    network.load_state_dict(load_file(models.path("digits_cnn", version, "weights.safetensors")))
    return network.eval()
