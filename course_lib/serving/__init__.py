"""A model server: ONNX models in a folder, answered over HTTP.

`python -m course_lib.serving --models FOLDER --port 8501` serves every `FOLDER/NAME/VERSION/model.onnx`. It speaks
TensorFlow Serving's REST API and the Open Inference Protocol v2, joins what waits into batches, refuses what it cannot
answer in time, and takes up new versions while it runs. It needs httptools, onnxruntime, numpy, orjson and
prometheus-client, takes uvloop where it is there, opentelemetry-sdk where it is asked for traces, and of the course
`course_lib.pipeline` alone.

To read it in the order of a request: `connection` (HTTP), `app` (addresses), `tf_serving` and `open_inference` (the
protocols), `tensors` (JSON to arrays), `store` (which version), `batching` (when), `models` (the computation),
`telemetry` and `tracing` (what is told about it); `__main__` is the process: command line, signals.
"""

import os

# ONNX Runtime reports to its maker unless this is set before it is first imported (its Privacy.md). Where it cannot
# write down an identifier for that, as in a read-only container, it would also warn at every start.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
