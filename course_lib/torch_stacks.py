"""Small dense networks of one shape in PyTorch, trained side by side. Lessons 11 and 11b race dozens of them.

A *stack* is a list of tensors: the first layer's weights (M, in, out) and biases (M, 1, out) of M networks, then those of
the second layer, and so on, with ReLU between the layers. The networks share nothing but the call that computes them.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from course_lib.torch_models import BATCH

Stack = list[torch.Tensor]


def fresh(seeds: Sequence[int], sizes: Sequence[int]) -> Stack:
    """New networks, each drawn from a seed of its own: one that is named again has the same weights in any stack.

    sizes: numbers in each layer, inputs and classes included. Weights are drawn evenly from −1/√in to 1/√in, as
    `nn.Linear` does, biases are 0.
    """
    stack = []
    for rows, columns in zip(sizes, sizes[1:]):
        draws = [torch.Generator().manual_seed(1000 * seed + rows) for seed in seeds]
        weights = [(2 * torch.rand(rows, columns, generator=draw) - 1) / rows**0.5 for draw in draws]
        stack += [torch.stack(weights), torch.zeros(len(seeds), 1, columns)]
    return stack


def logits(stack: Stack, inputs: torch.Tensor) -> torch.Tensor:
    """inputs: float32 (M, N, in), a batch for each network. Returns float32 (M, N, classes)."""
    for k in range(0, len(stack), 2):
        inputs = torch.baddbmm(stack[k + 1], inputs, stack[k])
        inputs = inputs.relu() if k + 2 < len(stack) else inputs
    return inputs


def accuracies(stack: Stack, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each network's share of right answers, float32 (M,). inputs: float32 (N, in). labels: int64 (N,)."""
    with torch.inference_mode():
        chosen = logits(stack, torch.from_numpy(inputs).expand(len(stack[0]), -1, -1)).argmax(2)
        return (chosen == torch.from_numpy(labels)).float().mean(1).numpy()


def masks_at(stack: Stack, sparsities: np.ndarray) -> Stack:
    """Masks of 1 and 0 that keep the largest weights over all layers of each network. sparsities: (M,), 0 to below 1."""
    weights = stack[::2]
    every = torch.cat([each.abs().flatten(1) for each in weights], dim=1)
    gone = (torch.as_tensor(sparsities) * every.shape[1]).round().long().tolist()
    least = torch.stack([row.kthvalue(count + 1).values for row, count in zip(every, gone)])
    keep = (every >= least[:, None]).float().split([each[0].numel() for each in weights], dim=1)
    return [mask.reshape(each.shape) for mask, each in zip(keep, weights)]


def train(
    stack: Stack,
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int,
    seed: int = 0,
    masks: Stack | None = None,
    sparsity: Callable[[float], np.ndarray] | None = None,
    every: int = 4,
    after_epoch: Callable[[int, Stack], None] | None = None,
) -> Stack:
    """Trains copies of the networks: Adam, batches of 64, the order of the examples drawn for each network.

    inputs: float32 (N, in), N from 64. labels: int64 (N,). masks: held throughout. sparsity: in place of masks, asked
    before every `every`-th step for the sparsities (M,) at this share of the training, 0 to below 1; the masks are then
    made anew. after_epoch: called with the number of the epoch, from 0, and the stack. Returns the trained stack.
    """
    stack = [each.clone().requires_grad_() for each in stack]
    optimizer = torch.optim.Adam(stack, lr=4e-3, fused=True)
    draws, batches = torch.Generator().manual_seed(seed), len(inputs) // BATCH
    pixels, answers = torch.from_numpy(inputs), torch.from_numpy(labels)
    for step in range(batches * epochs):
        if step % batches == 0:
            order = torch.rand(len(stack[0]), len(pixels), generator=draws).argsort(1)
        if sparsity is not None and step % every == 0:
            masks = masks_at(stack, sparsity(step / (batches * epochs)))
        _hold(stack, masks)
        chosen = order[:, BATCH * (step % batches) :][:, :BATCH]
        loss = torch.nn.functional.cross_entropy(
            logits(stack, pixels[chosen]).flatten(0, 1), answers[chosen].flatten(), reduction="sum"
        )
        optimizer.zero_grad()
        (loss / BATCH).backward()  # not divided by M: each network gets the gradient of its own mean loss
        optimizer.step()
        if after_epoch is not None and (step + 1) % batches == 0:
            _hold(stack, masks)
            after_epoch(step // batches, stack)
    _hold(stack, masks)
    return [each.detach() for each in stack]


def _hold(stack: Stack, masks: Stack | None) -> None:
    with torch.no_grad():
        for weight, mask in zip(stack[::2], masks or []):
            weight *= mask
