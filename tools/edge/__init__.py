"""Lesson 25's page for the browser: one file, made of source/edge/page.html, the models and ONNX Runtime Web.

`./course build` writes it and `--check` compares it. The runtime's bytes come from the committed page itself, held to the
checksums below, so that nobody but the author of a new version needs npm: see `__main__.py`. Python's answers to the test
images stay in the page as long as models and images are the same: their last bits depend on the processor.
"""

import base64
import gzip
import hashlib
import html
import json
import re
from pathlib import Path

import numpy as np

from course_lib import data, models
from course_lib.places import CHECKOUT

PAGE = CHECKOUT / "notebooks" / "25_edge_page.html"
SOURCE = CHECKOUT / "source" / "edge" / "page.html"
LICENCE = CHECKOUT / "source" / "edge" / "onnxruntime-licence.txt"

VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of npm's archive of onnxruntime-web, as the registry states it."""

RUNTIME = {
    "ort-api": ("ort.wasm.min.mjs", "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b"),
    "ort-glue": ("ort-wasm-simd-threaded.mjs", "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"),
    "ort-wasm": ("ort-wasm-simd-threaded.wasm", "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"),
}
"""The parts of the page that are the runtime: the file in npm's archive, and its SHA-256."""

MODELS = {"fp32": 1, "int8": 2}
"""The versions of digits_cnn in the page; version 2 is version 1 in 8 bits."""

DRAWINGS = (
    [[(60.0, 40.0), (150.0, 40.0), (100.0, 190.0)], [(75.0, 110.0), (140.0, 112.0)]],
    [[(110.0, 30.0), (112.0, 200.0)]],
    [[(150.0, 60.0), (110.0, 35.0), (70.0, 70.0), (150.0, 150.0), (110.0, 195.0), (65.0, 160.0), (150.0, 60.0)]],
    [[(100.0, 100.0)]],
)
"""Strokes that page and Python both bring to 8 × 8 points."""


class Stale(ValueError):
    """The committed page lacks something that cannot be made again here."""


def page(checkout_page: Path = PAGE) -> str:
    """The text that the page should hold. Raises Stale where the runtime is missing in it or is not the pinned one."""
    old = parts(checkout_page.read_text(encoding="utf-8")) if checkout_page.exists() else {}
    return assemble({name: runtime_part(name, old) for name in RUNTIME}, old)


def assemble(runtime: dict[str, str], old: dict[str, tuple[str, str]]) -> str:
    """The page of these runtime parts (base64 of gzip); Python's answers are taken from `old` where they still hold."""
    blobs = {name: models.path("digits_cnn", version).read_bytes() for name, version in MODELS.items()}
    test = data.digits()[1]
    images = np.round(test.images * 16).astype(np.uint8).tobytes()
    labels = test.labels.astype(np.uint8).tobytes()
    content = {name: text(blob) for name, blob in [("images", images), ("labels", labels)]}
    content |= {f"model-{name}": text(blob) for name, blob in blobs.items()}
    key = hashlib.sha256(b"".join([*blobs.values(), images, repr(DRAWINGS).encode()])).hexdigest()
    answers = {f"python-{name}" for name in MODELS} | {"drawings"}
    if all(name in old and old[name][0] == key for name in answers):
        content |= {name: old[name][1] for name in answers}
    else:
        content |= python_answers(blobs, test.images)
    scripts = [
        f'<script type="application/octet-stream" id="{name}" data-key="{key if name in answers else ""}">{body}</script>'
        for name, body in [*sorted(content.items()), *runtime.items()]
    ]
    filled = SOURCE.read_text(encoding="utf-8").replace("@VERSION@", VERSION)
    filled = filled.replace("@LICENCE@", html.escape(LICENCE.read_text(encoding="utf-8").strip()))
    return filled.replace("@PARTS@", "\n".join(scripts))


def python_answers(blobs: dict[str, bytes], images: np.ndarray) -> dict[str, str]:
    """What ONNX Runtime in Python answers to each image alone, and what `data.from_strokes` makes of the drawings."""
    import onnxruntime

    made = {}
    for name, blob in blobs.items():
        session = onnxruntime.InferenceSession(blob, providers=["CPUExecutionProvider"])
        rows = [session.run(None, {"pixels": image[None, None]})[0] for image in images]
        made[f"python-{name}"] = text(np.concatenate(rows).astype("<f4").tobytes())
    drawn = [{"strokes": each, "pixels": data.from_strokes(each).ravel().tolist()} for each in DRAWINGS]
    return made | {"drawings": json.dumps(drawn)}


def parts(page_text: str) -> dict[str, tuple[str, str]]:
    """What a page carries: for each name its key and its text."""
    found = re.findall(r'<script type="application/octet-stream" id="([^"]*)" data-key="([^"]*)">([^<]*)<', page_text)
    return {name: (key, body) for name, key, body in found}


def problems() -> list[str]:
    """What keeps the page from being made again, for the build's check; that it differs, `pages` says."""
    if not SOURCE.exists():  # a checkout without lesson 25, as the tests make
        return []
    try:
        page()
    except Stale as lacks:
        return [str(lacks)]
    return []


def runtime_part(name: str, old: dict[str, tuple[str, str]]) -> str:
    """A part of the runtime out of the committed page. Raises Stale where it is not what the pinned checksum says."""
    file, sha256 = RUNTIME[name]
    try:
        body = old[name][1]
        found = hashlib.sha256(gzip.decompress(base64.b64decode(body))).hexdigest()
    except (KeyError, ValueError, OSError, EOFError):
        found = "nothing"
    if found != sha256:
        raise Stale(f"expected {file} of onnxruntime-web {VERSION} in {PAGE.name} (SHA-256 {sha256[:12]}…), found "
                    f"{found[:12]}: `git checkout {PAGE.relative_to(CHECKOUT).as_posix()}`, or make it anew: "
                    "`python -m tools.edge onnxruntime-web.tgz`")  # fmt: skip
    return body


def text(blob: bytes) -> str:
    """Bytes as the page carries them."""
    return base64.b64encode(blob).decode()
