"""LitServe with the digits model: `serve_litserve.py MODEL PORT`; POST /predict {"pixels": one image}.

Form: a LitAPI (lightning.ai/docs/litserve), with its options for throughput: as many workers as processors ("For CPU,
set to the number of cores", LitServer's docstring), as many API servers (its default), and `fast_queue` (ZeroMQ between
them). "Batching" is left off: a model this small gains less by it than the batching loop costs. It always computes in
processes of its own. The argument of `decode_request` must be called `request`.

BENCH_LITSERVE_FAST=0, _WORKERS=1 and _BATCH=32 in the environment try other forms.
"""

import os
import sys

import litserve
import numpy as np
import onnxruntime

FAST = os.environ.get("BENCH_LITSERVE_FAST", "1") == "1"
WORKERS = int(os.environ.get("BENCH_LITSERVE_WORKERS", os.cpu_count() or 1))
BATCH = int(os.environ.get("BENCH_LITSERVE_BATCH", "1"))


class Digits(litserve.LitAPI):
    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[1], options)

    def decode_request(self, request: dict) -> np.ndarray:
        return np.array(request["pixels"], np.float32)

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        one = pixels.ndim == 3
        logits = self.session.run(None, {"pixels": pixels[None] if one else pixels})[0]
        return logits[0] if one else logits

    def encode_response(self, logits: np.ndarray) -> dict:
        return {"logits": logits.tolist()}


if __name__ == "__main__":
    api = Digits(max_batch_size=BATCH)
    server = litserve.LitServer(api, accelerator="cpu", fast_queue=FAST, workers_per_device=WORKERS)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
