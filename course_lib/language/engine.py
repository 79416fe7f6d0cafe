"""Continuous batching in a page: an engine that gives one token to each running request at a step (lesson 26)."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch

from course_lib.language.model import Cache, LanguageModel


@dataclass(eq=False)
class Request:
    """What is asked, and what has been made of it. `gone`: nobody waits for it any more.

    prompt: token numbers, one or more. limit: how many tokens are wanted. temperature: 0 takes the most probable token.
    """

    prompt: list[int]
    limit: int
    temperature: float = 0.0
    seed: int | None = None
    made: list[int] = field(default_factory=list)
    gone: bool = False

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def choose(self, logits: torch.Tensor) -> int:
        """The next token, from float32 logits (tokens,). The draw depends on this request's seed alone."""
        if self.temperature == 0:
            return int(logits.argmax())
        # The largest first becomes 0: divided by a tiny temperature it must not become infinite.
        chances = ((logits.double() - logits.max()) / self.temperature).softmax(0).cumsum(0).numpy()
        return min(int(np.searchsorted(chances, self.random.random(), side="right")), len(chances) - 1)


class Engine:
    """Requests wait in `waiting`, run in one of the slots of a cache, and leave it as soon as they end."""

    def __init__(self, model: LanguageModel, slots: int = 8, capacity: int = 256) -> None:
        self.model, self.cache = model, Cache(slots, capacity)
        self.waiting: deque[Request] = deque()
        self.running: dict[int, Request] = {}

    @torch.inference_mode()
    def step(self) -> list[tuple[Request, int]]:
        """One iteration. Returns each new token with its request."""
        new = []
        self.running = {slot: each for slot, each in self.running.items() if not each.gone}
        for slot in sorted(set(range(len(self.cache.lengths))) - self.running.keys()):
            while self.waiting and slot not in self.running:
                request = self.waiting.popleft()
                if not request.gone:
                    new.append(self._prefill(slot, request))
        slots = [slot for slot, each in self.running.items() if len(each.made) < each.limit]
        if slots:
            last = torch.tensor([[self.running[slot].made[-1]] for slot in slots])
            logits = self.model(last, self.cache, torch.tensor(slots))[:, -1]
            new += [self._take(self.running[slot], each) for slot, each in zip(slots, logits, strict=True)]
        self.running = {slot: each for slot, each in self.running.items() if len(each.made) < each.limit}
        return new

    def _prefill(self, slot: int, request: Request) -> tuple[Request, int]:
        """Reads the whole prompt at once. What an earlier request left in the slot is overwritten, or never read."""
        self.running[slot] = request
        self.cache.lengths[slot] = 0
        logits = self.model(torch.tensor([request.prompt]), self.cache, torch.tensor([slot]))
        return self._take(request, logits[0, -1])

    @staticmethod
    def _take(request: Request, logits: torch.Tensor) -> tuple[Request, int]:
        request.made.append(request.choose(logits))
        return request, request.made[-1]
