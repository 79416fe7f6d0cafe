"""KServe's model server with the digits model: `serve_kserve.py MODEL PORT`; asked by its protocol v1.

Form: a custom predictor (kserve.github.io/website, "Custom Predictor"), a plain `predict`, one uvicorn worker as by
default. gRPC, which nobody asks here, and its three log lines a request are off, by its own options. KServe has no batching in
the Python server (its batcher is a sidecar); more workers (`workers=2`) need a model that can be pickled, which an
InferenceSession cannot.
"""

import logging
import sys

MODEL, PORT = sys.argv[1:3]
sys.argv[1:] = ["--http_port", PORT, "--enable_grpc", "false", "--enable_latency_logging", "false"]
# Its import reads the command line.

import kserve  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402


class Digits(kserve.Model):
    def __init__(self) -> None:
        super().__init__("digits_cnn")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(MODEL, options)
        self.ready = True

    def predict(self, payload: dict, headers: dict | None = None, response_headers: dict | None = None) -> dict:
        pixels = np.array(payload["instances"], np.float32)
        return {"predictions": self.session.run(None, {"pixels": pixels})[0].tolist()}


if __name__ == "__main__":
    server = kserve.ModelServer()
    for name in ("kserve.trace", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    server.start([Digits()])
