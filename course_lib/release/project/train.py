"""Trains on the data that data.toml names, with settings.toml, and writes model.onnx."""

import hashlib
import os
import tomllib
from pathlib import Path

import numpy as np
import torch
from network import trained
from prepare import prepare

from course_lib import onnx_files

settings, data = (tomllib.loads(Path(f).read_text()) for f in ("settings.toml", "data.toml"))
file = Path(os.environ["STORE"], data["file"])
if hashlib.sha256(file.read_bytes()).hexdigest() != data["sha256"]:
    raise SystemExit(f"{file.name} is not the file that data.toml names")
scans = np.load(file)
rows = ~scans["test"] & np.isin(scans["scanner"], settings.pop("scanners"))
pixels = torch.from_numpy(prepare(scans["images"]))[:, None]
net = trained(pixels[rows], torch.from_numpy(scans["labels"][rows]), **settings)
with torch.inference_mode():
    np.save("logits.npy", net(pixels[scans["test"]]).numpy())
w1, b1, w2, b2 = (each.detach().numpy() for each in net.parameters())
graph = """scans (float[batch, 1, 8, 8] pixels) => (float[batch, 10] logits) {
    flat = Flatten(pixels)
    hidden = Gemm<transB = 1>(flat, w1, b1)
    active = Relu(hidden)
    logits = Gemm<transB = 1>(active, w2, b2) }"""
Path("model.onnx").write_bytes(onnx_files.from_text(graph, w1=w1, b1=b1, w2=w2, b2=b2))
print(f"{rows.sum()} pictures, seed {settings['seed']}, data {data['sha256'][:8]}")
