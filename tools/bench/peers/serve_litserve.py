"""LitServe with the digits model: `serve_litserve.py MODEL PORT`; POST /predict {"pixels": one image}.

Form: a LitAPI (lightning.ai/docs/litserve), with its options for throughput: `fast_queue` (ZeroMQ between its
processes) and `max_batch_size` ("Batching"; a batch is what waits, `batch_timeout` stays 0). It always computes in a
process of its own. The argument of `decode_request` must be called `request`.
"""

import os
import sys

import litserve
import numpy as np
import onnxruntime

OPTIONS = {"fast": os.environ.get("BENCH_LITSERVE_FAST", "1") == "1"}
OPTIONS |= {name: int(os.environ.get(f"BENCH_LITSERVE_{name.upper()}", "1")) for name in ("workers", "batch")}
"""For trying out the options."""


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
    api = Digits(max_batch_size=OPTIONS["batch"])
    server = litserve.LitServer(
        api, accelerator="cpu", fast_queue=OPTIONS["fast"], workers_per_device=OPTIONS["workers"]
    )
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
