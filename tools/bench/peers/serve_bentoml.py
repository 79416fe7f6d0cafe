"""BentoML with the digits model: `serve_bentoml.py MODEL PORT`; POST /predict {"pixels": [one image]}.

Form: a service class with a batchable method (docs.bentoml.com, "Adaptive batching"), one worker.
"""

import os
import sys
from pathlib import Path

if __name__ != "__main__":
    import bentoml
    import numpy as np
    import onnxruntime

    @bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
    class Digits:
        def __init__(self) -> None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options)

        @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
        def predict(self, pixels: np.ndarray) -> np.ndarray:
            return self.session.run(None, {"pixels": pixels.astype(np.float32)})[0]

else:
    os.environ["BENCH_MODEL"] = sys.argv[1]
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"  # it reports its use over the network otherwise
    program = str(Path(sys.executable).with_name("bentoml"))
    where = ["--working-dir", str(Path(__file__).parent), "--host", "127.0.0.1", "--port", sys.argv[2]]
    os.execv(program, [program, "serve", "serve_bentoml:Digits", *where])
