"""The course's network in PyTorch, and its training. Lesson 04 builds and explains each piece; later lessons use it."""

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
    after_epoch: Callable[[int, nn.Module, float], None] | None = None,
) -> nn.Sequential:
    """Trains a new `digits_cnn`: Adam, a one-cycle schedule, batches of 64, pictures moved at random.

    images: float32 (N, 8, 8), 0 to 1, N from 64. labels: int64 (N,), 0 to 9. seed: fixes weights, order, dropout and
    shifts; PyTorch's own random numbers are left as they were. shift: see `shifted`. after_epoch: called after each
    epoch with its number, from 0, the network and the mean training loss in nats; it may switch the network's mode.
    Returns the network in evaluation mode. Raises ValueError for fewer images than a batch. Uses as many threads as
    `torch.set_num_threads` allows; for so small a network one is fastest.
    """
    if len(images) < BATCH:
        raise ValueError(f"expected {BATCH} images or more, a batch, got {len(images)}")
    pixels, answers = torch.from_numpy(images.reshape(-1, 1, 8, 8)), torch.from_numpy(labels)
    batches = len(pixels) // BATCH
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = digits_cnn()
        optimizer = torch.optim.Adam(network.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=epochs * batches)
        for epoch in range(epochs):
            network.train()
            total = 0.0
            for chosen in torch.randperm(len(pixels))[: batches * BATCH].split(BATCH):
                loss = nn.functional.cross_entropy(network(shifted(pixels[chosen], shift)), answers[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item()
            if after_epoch is not None:
                after_epoch(epoch, network, total / batches)
    return network.eval()


def logits_of(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """The network's logits, in evaluation mode and without gradients; its mode is as before afterwards.

    images: float32 (N, 8, 8), 0 to 1. Returns float32 (N, 10).
    """
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            return network(torch.from_numpy(images.reshape(-1, 1, 8, 8))).numpy()
    finally:
        network.train(was_training)


def load_digits_cnn(version: int = 3) -> nn.Sequential:
    """The course's trained network, from `models/digits_cnn/VERSION/weights.safetensors`, in evaluation mode.

    Raises FileNotFoundError and ValueError as `models.path` does.
    """
    network = digits_cnn()
    network.load_state_dict(load_file(models.path("digits_cnn", version, "weights.safetensors")))
    return network.eval()
