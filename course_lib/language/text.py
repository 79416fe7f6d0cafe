"""The text that the language model learns from, and the pieces that it reads and writes.

`manual.txt.gz` holds the language topics of Python 3.11's own manual (`pydoc_data.topics`), each paragraph once. Licence:
PSF License Version 2. Copyright 2001-2023 Python Software Foundation.
"""

import collections
import gzip
import json
import re
import zlib
from collections.abc import Iterable
from pathlib import Path

WORDS = re.compile(r" ?\w+| ?[^\w\s]+|\s+")
"""Where no piece crosses: words, runs of marks, runs of spaces."""


def manual() -> tuple[str, str]:
    """The manual in two texts, (training, held out). A checksum of each paragraph decides, so that the split stays."""
    paragraphs = gzip.decompress(Path(__file__).with_name("manual.txt.gz").read_bytes()).decode().split("\n\n")
    parts: tuple[list, list] = ([], [])
    for each in paragraphs:
        parts[zlib.crc32(each.encode()) % 20 == 0].append(each)
    return "\n\n".join(parts[0]), "\n\n".join(parts[1])


class Pieces:
    """Byte pair encoding: the 256 bytes, and one more piece for each merge. Any text can be encoded.

    merges: pairs of piece numbers; the first makes piece 256. longest: bytes of the longest piece. Source: R. Sennrich et al., ACL 2016.
    """

    def __init__(self, merges: Iterable[tuple[int, int]]) -> None:
        self.merges = [(int(a), int(b)) for a, b in merges]
        self.rank = {pair: i for i, pair in enumerate(self.merges)}
        self.bytes = [bytes([i]) for i in range(256)]
        for a, b in self.merges:
            self.bytes.append(self.bytes[a] + self.bytes[b])
        self.longest = max(map(len, self.bytes))
        self._known: dict[str, list[int]] = {}

    @classmethod
    def learn(cls, text: str, size: int = 512) -> "Pieces":
        """Learns pieces from a text until there are `size`: it joins the most frequent pair of neighbours, again and again."""
        counts = collections.Counter(WORDS.findall(text))
        words = [(list(word.encode()), count) for word, count in counts.items()]
        merges: list[tuple[int, int]] = []
        while 256 + len(merges) < size:
            pairs: collections.Counter = collections.Counter()
            for word, count in words:
                for pair in zip(word, word[1:], strict=False):
                    pairs[pair] += count
            best = max(pairs, key=lambda pair: (pairs[pair], pair))
            for word, _ in words:
                _join(word, best, 256 + len(merges))
            merges.append(best)
        return cls(merges)

    @classmethod
    def load(cls, file: Path) -> "Pieces":
        """Reads the merges that `save` wrote."""
        return cls(json.loads(file.read_text(encoding="utf-8")))

    def save(self, file: Path) -> None:
        """Writes the merges as JSON."""
        file.write_text(json.dumps(self.merges) + "\n", encoding="utf-8", newline="\n")

    def encode(self, text: str) -> list[int]:
        """The piece numbers of a text: in each word, the pair that was learned first is joined first."""
        return [piece for word in WORDS.findall(text) for piece in self._word(word)]

    def decode(self, pieces: Iterable[int]) -> str:
        """The text of these pieces. Bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self.bytes[piece] for piece in pieces).decode("utf-8", errors="replace")

    def _word(self, word: str) -> list[int]:
        if word not in self._known:
            found = list(word.encode())
            while pairs := [pair for pair in zip(found, found[1:], strict=False) if pair in self.rank]:
                best = min(pairs, key=self.rank.__getitem__)
                _join(found, best, 256 + self.rank[best])
            if len(word) > 64:  # a stranger's words may be long, and all different
                return found
            if len(self._known) > 20_000:  # a service runs for months
                self._known.clear()
            self._known[word] = found
        return self._known[word]


def _join(word: list[int], pair: tuple[int, int], new: int) -> None:
    """Replaces each such pair of neighbours by one piece, from the left, in place."""
    at = 0
    while at < len(word) - 1:
        if (word[at], word[at + 1]) == pair:
            word[at : at + 2] = [new]
        at += 1
