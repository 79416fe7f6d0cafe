"""MLServer with the digits model: `serve_mlserver.py MODEL PORT GRPC_PORT FOLDER`; FOLDER takes its settings.

Form: a custom inference runtime (docs.seldon.ai/mlserver, "Custom Inference Runtimes"), in the server's own process.
"Parallel Inference": one process more is what it starts with, and `parallel_workers: 0` computes in the server's own;
for a model that answers in a tenth of a millisecond the way there and back costs more than the model. "Adaptive
Batching" stays off, as it is by default: with a wait of 1 ms it answered a third as many at one connection. It cannot
start without its gRPC server.

BENCH_MLSERVER_WORKERS=1 and BENCH_MLSERVER_BATCH='{"max_batch_size": 32, "max_batch_time": 0.001}' in the environment
try other forms.
"""

import json
import os
import sys
from pathlib import Path

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

WORKERS = int(os.environ.get("BENCH_MLSERVER_WORKERS", "0"))
BATCH = json.loads(os.environ.get("BENCH_MLSERVER_BATCH", "{}"))


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
    (folder / "settings.json").write_text(json.dumps(server | {"parallel_workers": WORKERS}))
    runtime = {"name": "digits_cnn", "implementation": "serve_mlserver.Digits", "parameters": {"uri": model}}
    (folder / "model-settings.json").write_text(json.dumps(runtime | BATCH))
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", str(folder)])
