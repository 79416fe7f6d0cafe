"""PyTriton, which is NVIDIA's Triton with a Python model, with the digits model: `serve_nvidia-pytriton.py MODEL PORT FOLDER`;
asked by the Open Inference Protocol.

Form: `Triton().bind` of a function (triton-inference-server.github.io/pytriton, "Quick Start") in `@batch`, its dynamic
batching on, as by default. gRPC and metrics, which nobody asks here, are off. FOLDER takes its files.
"""

import os
import sys
import sysconfig

LIBRARIES = sysconfig.get_config_var("LIBDIR") or ""
if LIBRARIES not in (found := os.environ.get("LD_LIBRARY_PATH", "")).split(os.pathsep):
    # Triton loads libpython by its name, and would mix another one's with this Python's standard library.
    os.environ["LD_LIBRARY_PATH"] = f"{LIBRARIES}{os.pathsep}{found}"
    os.execv(sys.executable, [sys.executable, *sys.argv])

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from pytriton.decorators import batch  # noqa: E402
from pytriton.model_config import ModelConfig, Tensor  # noqa: E402
from pytriton.triton import Triton, TritonConfig  # noqa: E402

if __name__ == "__main__":
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(sys.argv[1], options)

    @batch
    def infer(pixels: np.ndarray) -> dict[str, np.ndarray]:
        return {"logits": session.run(None, {"pixels": pixels})[0]}

    config = TritonConfig(
        http_address="127.0.0.1", http_port=int(sys.argv[2]), allow_grpc=False, allow_metrics=False, log_verbose=0
    )
    with Triton(config=config, workspace=f"{sys.argv[3]}/pytriton") as triton:
        triton.bind(
            model_name="digits_cnn",
            infer_func=infer,
            inputs=[Tensor(name="pixels", dtype=np.float32, shape=(1, 8, 8))],
            outputs=[Tensor(name="logits", dtype=np.float32, shape=(10,))],
            config=ModelConfig(max_batch_size=32),
        )
        triton.serve()
