"""The services around the model server: a gateway, preprocessing, a store for feedback (lesson 15), an explainer (23).

Each is a process, `python -m course_lib.services.gateway` and so on. They import what a container would hold and nothing
else: no framework, and of the course only `course_lib.data`, so that preprocessing is the training's own, and the
model server's log, traces and reading of numbers (`course_lib.serving`'s `telemetry`, `tracing` and `tensors`).
"""
