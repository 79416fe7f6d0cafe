"""The services around the model server: a gateway, preprocessing, a store for feedback. Lesson 15 takes them apart.

Each is a process, `python -m course_lib.services.gateway` and so on. They import what a container would hold and nothing
else: no framework, and of the course only `course_lib.data`, so that preprocessing is the training's own, and the
model server's log and its reading of numbers (`course_lib.serving`'s `telemetry` and `tensors`).
"""
