"""BentoML with the digits model: `serve_bentoml.py MODEL PORT`; POST /predict {"pixels": [one image]}.

Form: a service class (docs.bentoml.com, "Hello world"), as many workers as processors ("Workers": `cpu_count`), access
log, metrics and tracking off. "Adaptive batching" stays off, as it is by default: its dispatcher costs more than a model
this small gains by it.
"""

import os
import sys
from pathlib import Path

if __name__ != "__main__":
    import bentoml
    import numpy as np
    import onnxruntime

    @bentoml.service(workers="cpu_count", logging={"access": {"enabled": False}}, metrics={"enabled": False})
    class Digits:
        def __init__(self) -> None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options)

        @bentoml.api
        def predict(self, pixels: np.ndarray) -> np.ndarray:
            return self.session.run(None, {"pixels": pixels.astype(np.float32)})[0]

else:
    os.environ["BENCH_MODEL"] = sys.argv[1]
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"  # it reports its use over the network otherwise
    program = str(Path(sys.executable).with_name("bentoml"))
    where = ["--working-dir", str(Path(__file__).parent), "--host", "127.0.0.1", "--port", sys.argv[2]]
    os.execv(program, [program, "serve", "serve_bentoml:Digits", *where])
