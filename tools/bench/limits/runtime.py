"""ONNX Runtime in a loop, no HTTP: `runtime.py MODEL SECONDS BATCH`, one thread. Prints its figures as JSON.

Latency is that of a call; a call answers BATCH images.
"""

import json
import sys
import time

import numpy as np
import onnxruntime
import psutil


def main(model: str, seconds: float, batch: int) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {"pixels": np.random.default_rng(0).random((batch, 1, 8, 8), np.float32)}
    times: list[float] = []
    for limit in (0.2, seconds):  # warm-up first
        times, began = [], time.perf_counter()
        now = began
        while now - began < limit:
            before = now
            session.run(None, feeds)
            now = time.perf_counter()
            times.append(now - before)
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    figures = {"calls": len(times), "seconds": now - began, "p50_ms": p50, "p99_ms": p99}
    print(json.dumps(figures | {"mib": psutil.Process().memory_info().rss / 2**20}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
