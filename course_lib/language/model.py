"""A small transformer with a cache of keys and values: the language model of lessons 26 and 26b."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, LAYERS, HEADS = 128, 4, 4


class Cache:
    """The keys and values of `slots` sequences: two float32 tensors (layers, slots, heads, capacity, head size).

    lengths: int64 (slots,), how many tokens of each sequence are kept.
    """

    def __init__(self, slots: int, capacity: int = 256) -> None:
        shape = (LAYERS, slots, HEADS, capacity, WIDTH // HEADS)
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.lengths = torch.zeros(slots, dtype=torch.long)

    @property
    def bytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes


class Attention(nn.Module):
    """Each position reads itself and those before it, the nearer ones more easily (O. Press et al., ICLR 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        slopes = torch.tensor([2.0 ** (-8 * (head + 1) / HEADS) for head in range(HEADS)])
        self.register_buffer("slopes", slopes[:, None, None], persistent=False)

    def forward(self, x: Tensor, positions: Tensor, cache: Cache | None, slots: Tensor | None, layer: int) -> Tensor:
        """x: float32 (sequences, new, width). positions: int64 (sequences, new), of the new tokens. Returns the same shape."""
        count, new, _ = x.shape
        queries, keys, values = self.qkv(x).view(count, new, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        if cache is not None:
            cache.keys[layer, slots[:, None], :, positions] = keys.transpose(1, 2)
            cache.values[layer, slots[:, None], :, positions] = values.transpose(1, 2)
            longest = int(positions.max()) + 1
            keys, values = cache.keys[layer, slots, :, :longest], cache.values[layer, slots, :, :longest]
        back = positions[:, None, :, None] - torch.arange(keys.shape[2])  # how far each key lies behind
        bias = torch.where(back < 0, -torch.inf, -self.slopes * back)
        read = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        return self.out(read.transpose(1, 2).reshape(count, new, WIDTH))


class Block(nn.Module):
    """Attention, then two layers for each position alone, both added to what came in."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.attention, self.drop = Attention(), nn.Dropout(dropout)
        self.alone = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor, *where: object) -> Tensor:
        x = x + self.drop(self.attention(self.norms[0](x), *where))
        return x + self.drop(self.alone(self.norms[1](x)))


class LanguageModel(nn.Module):
    """From token numbers to the logits of the next token."""

    def __init__(self, tokens: int = 512, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, WIDTH)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(dropout) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        for weights in self.parameters():
            if weights.ndim == 2:
                nn.init.normal_(weights, 0, 0.02)

    def forward(self, ids: Tensor, cache: Cache | None = None, slots: Tensor | None = None) -> Tensor:
        """ids: int64 (sequences, new). With a cache, they continue the sequences in these slots (int64 (sequences,)), and
        are kept there. Returns float32 (sequences, new, tokens)."""
        start = torch.zeros(len(ids), dtype=torch.long) if cache is None else cache.lengths[slots]
        positions = start[:, None] + torch.arange(ids.shape[1])
        x = self.drop(self.embedding(ids))
        for layer, block in enumerate(self.blocks):
            x = block(x, positions, cache, slots, layer)
        if cache is not None:
            cache.lengths[slots] += ids.shape[1]
        return self.norm(x) @ self.embedding.weight.T


def train(
    tokens: np.ndarray, steps: int, *, planned: int | None = None, told: Callable | None = None, every: int = 100
) -> LanguageModel:
    """Trains a new model on a text: AdamW, batches of 16 stretches of 64 tokens, the step size along a cosine.

    tokens: int (N,). steps: how many are taken. planned: the length of the cosine, `steps` if None.
    told(step, model) is called every so many steps and at the end.
    """
    torch.manual_seed(0)
    model, data = LanguageModel(dropout=0.1), torch.as_tensor(np.asarray(tokens), dtype=torch.long)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(steps):
        done = step / (planned or steps)
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * done) + 0.02)
        starts = torch.randint(0, len(data) - 65, (16, 1))
        stretch = data[starts + torch.arange(65)]
        loss = functional.cross_entropy(model(stretch[:, :-1]).flatten(0, 1), stretch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if told and ((step + 1) % every == 0 or step + 1 == steps):
            told(step + 1, model.eval())
            model.train()
    return model.eval()


@torch.inference_mode()
def nats(model: LanguageModel, tokens: np.ndarray, window: int = 128) -> float:
    """The cross-entropy of a text in nats, summed over all tokens but the first; each sees `window` / 2 tokens or more."""
    data, half, total, at = torch.as_tensor(np.asarray(tokens), dtype=torch.long), window // 2, 0.0, 0
    while at < len(data) - 1:
        first = max(0, at - half)
        piece = data[first : first + window + 1]
        losses = functional.cross_entropy(model(piece[None, :-1])[0], piece[1:], reduction="none")
        total += float(losses[at - first :].sum(dtype=torch.float64))
        at = first + len(piece) - 1
    return total


def save(model: LanguageModel, file: Path) -> None:
    """Writes the weights: matrices in int8 with a scale for each row, vectors in float32."""
    kept = {}
    for name, tensor in model.state_dict().items():
        weights = tensor.numpy()
        if weights.ndim == 2:
            scale = np.abs(weights).max(axis=1, keepdims=True) / 127
            kept[name + ".scale"], weights = scale, np.rint(weights / scale).astype(np.int8)
        kept[name] = weights
    np.savez(file, **kept)


def load(file: Path) -> LanguageModel:
    """Reads the weights that `save` wrote, back in float32."""
    with np.load(file, allow_pickle=False) as kept:
        weights = {
            name: torch.from_numpy(kept[name] * kept[name + ".scale"] if name + ".scale" in kept else kept[name])
            for name in kept.files
            if not name.endswith(".scale")
        }
    model = LanguageModel(len(weights["embedding.weight"]))
    model.load_state_dict(weights)
    return model.eval()
