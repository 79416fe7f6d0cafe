"""A model server: ONNX models in a folder, answered over HTTP.

`python -m course_lib.serving --models FOLDER --port 8501` serves every `FOLDER/NAME/VERSION/model.onnx`. It speaks
TensorFlow Serving's REST API (predict, status, metadata) and the health and metadata part of the Open Inference
Protocol v2. It needs starlette, uvicorn, onnxruntime and numpy, and nothing else of the course.

`models` finds and runs the models, `protocol` turns JSON into tensors and back, `app` is the HTTP side of it, and
`__main__` the process: command line, logs, signals.
"""

import os

# ONNX Runtime reports to its maker unless this is set before it is first imported (its Privacy.md). Where it cannot
# write down an identifier for that, as in a read-only container, it would also warn at every start.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
