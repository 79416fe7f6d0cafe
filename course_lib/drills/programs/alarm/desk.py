"""A desk: it reads the digit on a scanned picture. Three of them run in drill 5, each with a scanner of its own.

POST /read   {"picture": 8 × 8 numbers} -> {"answer": 3, "request_id": …}
POST /label  {"request_id": …, "label": 3}: what the customer says that it was, some seconds later
GET /pictures -> {"pictures": the last 40 that it got}

sensor.toml in its folder says in which part of a picture the ink is measured. The model gets the whole picture.
"""

import sys
import tomllib
from collections import OrderedDict, deque
from pathlib import Path

import numpy as np
import prometheus_client
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from course_lib.pipeline import open_session
from course_lib.services import process

PICTURES = prometheus_client.Counter("desk_pictures", "Pictures that came")
INK = prometheus_client.Counter("desk_ink", "Ink of these pictures: a black picture has 1")
ANSWERS = prometheus_client.Counter("desk_answers", "Answers", ["code"])
LABELS = prometheus_client.Counter("desk_labels", "What customers said: was the answer right?", ["right"])


class Desk:
    """The model, the sensor, and what the desk remembers."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.session = open_session(model.read_bytes(), threads=1)
        part = tomllib.loads((folder / "sensor.toml").read_text(encoding="utf-8"))
        self.part = tuple(slice(*part[name]) for name in ("rows", "columns"))
        self.kept, self.answers = deque(maxlen=40), OrderedDict()
        for code, right in (("200", "yes"), ("500", "no")):  # a series that is not there yet cannot be told from 0
            ANSWERS.labels(code), LABELS.labels(right)

    async def read(self, request: Request) -> Response:
        picture = np.array((await process.json_body(request))["picture"], np.float32)
        PICTURES.inc()
        INK.inc(float(picture[self.part].sum() / 64))
        self.kept.append(picture.tolist())
        try:
            (logits,) = self.session.run(None, {"pixels": picture[None, None]})
        except Exception as error:
            ANSWERS.labels("500").inc()
            raise process.Refused(500, f"the model cannot take this picture: {type(error).__name__}") from None
        ANSWERS.labels("200").inc()
        self.answers[request.state.request_id] = answer = int(np.argmax(logits))
        if len(self.answers) > 2000:
            self.answers.popitem(last=False)
        return process.answer({"answer": answer, "request_id": request.state.request_id})

    async def label(self, request: Request) -> Response:
        said = await process.json_body(request)
        if said["request_id"] not in self.answers:
            raise process.Refused(404, "no such answer")
        LABELS.labels("yes" if self.answers[said["request_id"]] == said["label"] else "no").inc()
        return process.answer({})

    async def pictures(self, request: Request) -> Response:
        return process.answer({"pictures": list(self.kept)})


def main() -> int:
    parser = process.options("desk", "Reads digits.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where sensor.toml lies")
    asked = parser.parse_args()
    try:
        desk = Desk(asked.model, asked.folder)
    except (OSError, KeyError, TypeError, ValueError) as wrong:
        print(f"sensor.toml needs rows = [from, to] and columns = [from, to]: {wrong}", file=sys.stderr)
        return 2

    async def read(request: Request) -> Response:
        return await desk.read(request)

    async def label(request: Request) -> Response:
        return await desk.label(request)

    async def pictures(request: Request) -> Response:
        return await desk.pictures(request)

    posts = [Route("/read", read, methods=["POST"]), Route("/label", label, methods=["POST"])]
    return process.serve(process.application([*posts, Route("/pictures", pictures)]), asked)


if __name__ == "__main__":
    sys.exit(main())
