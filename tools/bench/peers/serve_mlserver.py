"""MLServer with the digits model: `serve_mlserver.py MODEL PORT GRPC_PORT FOLDER`; FOLDER takes its settings.

Form: a custom inference runtime (docs.seldon.ai/mlserver, "Custom Inference Runtimes"), in the server's own process.
"Parallel Inference" says that a pool of processes is what it starts with, and that `parallel_workers: 0` switches it
off: for a model that answers in a tenth of a millisecond the way there and back costs more than the model. "Adaptive
Batching" is left off as it is by default: tried with 32 requests within 1 ms, see BATCH, it answered fewer.
"""

import json
import os
import sys
from pathlib import Path

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

BATCH = json.loads(os.environ.get("BENCH_MLSERVER_BATCH", "{}"))
"""For trying out adaptive batching, as in {"max_batch_size": 32, "max_batch_time": 0.001}."""
PARALLEL_WORKERS = int(os.environ.get("BENCH_MLSERVER_WORKERS", "0"))


class Digits(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        pixels = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        logits = self.session.run(None, {"pixels": pixels})[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("logits", logits)])


if __name__ == "__main__":
    model, port, grpc_port, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    server = {"http_port": port, "grpc_port": grpc_port, "metrics_endpoint": None, "host": "127.0.0.1", "debug": False}
    (folder / "settings.json").write_text(json.dumps(server | {"parallel_workers": PARALLEL_WORKERS}))
    runtime = {"name": "digits_cnn", "implementation": "serve_mlserver.Digits", "parameters": {"uri": model}}
    (folder / "model-settings.json").write_text(json.dumps(runtime | BATCH))
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", str(folder)])
