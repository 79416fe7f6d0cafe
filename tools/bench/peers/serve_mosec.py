"""mosec with the digits model: `serve_mosec.py MODEL PORT`; POST /predict {"pixels": one image}, or /batched.

Form: a Worker (mosecorg.github.io/mosec, "Quick Start"), JSON as by default, as many workers as processors. Its web server
is in Rust; each worker is a process of its own. /batched joins up to 32 requests and waits at most a millisecond for
them ("Dynamic Batching"). BENCH_MOSEC_WORKERS=1 in the environment tries another form.
"""

import os
import sys

import mosec
import numpy as np
import onnxruntime

WORKERS = int(os.environ.get("BENCH_MOSEC_WORKERS", os.cpu_count() or 1))
BATCH, WAIT_MS = 32, 1


class Digits(mosec.Worker):
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options)

    def predict(self, pixels: np.ndarray) -> list:
        return self.session.run(None, {"pixels": pixels})[0].tolist()


class One(Digits):
    def forward(self, data: dict) -> dict:
        return {"logits": self.predict(np.array([data["pixels"]], np.float32))[0]}


class Several(Digits):
    def forward(self, data: list[dict]) -> list[dict]:
        rows = self.predict(np.array([each["pixels"] for each in data], np.float32))
        return [{"logits": row} for row in rows]


if __name__ == "__main__":
    os.environ["BENCH_MODEL"] = sys.argv[1]  # a worker's process gets no words
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", sys.argv[2], "--log-level", "warning"]
    server = mosec.Server()
    server.append_worker(One, num=WORKERS, route="/predict")
    server.append_worker(Several, num=WORKERS, max_batch_size=BATCH, max_wait_time=WAIT_MS, route="/batched")
    server.run()
