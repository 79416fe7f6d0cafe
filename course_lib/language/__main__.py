"""Makes `models/manual_lm/1` again: three minutes on one core.

    python -m course_lib.language

The same seed gives an equivalent model, not always the same bits: processors round differently.
"""

import json
import math
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from course_lib import models
from course_lib.language import model, text

STEPS = 1600
FILES = ("model.npz", "pieces.json", "curve.json")


def main() -> None:
    """Learns the pieces, trains for STEPS, and keeps weights, pieces and the curve of the held-out text."""
    torch.set_num_threads(1)
    learn, held_out = text.manual()
    pieces, curve = text.Pieces.learn(learn), []
    tokens, unseen = (np.array(pieces.encode(each)) for each in (learn, held_out))

    def told(step: int, now: model.LanguageModel) -> None:
        curve.append([step, round(model.nats(now, unseen) / math.log(2) / len(held_out), 4)])
        print(f"step {step:,}: {curve[-1][1]:.3f} bits per character", flush=True)

    made = model.train(tokens, STEPS, told=told)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / each for each in FILES]
        model.save(made, files[0])
        pieces.save(files[1])
        files[2].write_text(json.dumps(curve) + "\n", encoding="utf-8", newline="\n")
        os.environ["COURSE_RECORD"] = "1"
        for file in files:
            models.keep(file, "manual_lm", 1, file.name)


if __name__ == "__main__":
    main()
