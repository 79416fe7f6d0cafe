"""The reader: a drawing in, the digit's name out. Drills copy this file into their folder and start it there.

POST /read    {"bitmap": 32 × 32 points, 0 or 1} -> {"answer": "three", "version": "3", "request_id": …}
POST /pixels  the same -> {"pixels": 8 × 8}, what the model would get
"""

import argparse
import json
import sys
from pathlib import Path

import aiohttp
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from course_lib.services import process


def to_pixels(bitmap: list, contract: dict) -> np.ndarray:
    """The share of black points in each block of 4 × 4. bitmap: (32, 32). Returns (8, 8)."""
    points = np.ravel(bitmap).reshape(32, 32)
    black = points.reshape(8, 4, 8, 4).sum(axis=(1, 3))
    return black / contract["full_block"]


async def pixels(request: Request) -> Response:
    body = await process.json_body(request)
    return process.answer({"pixels": to_pixels(body["bitmap"], request.app.state.contract).tolist()})


async def read(request: Request) -> Response:
    body, state = await process.json_body(request), request.app.state
    ready = to_pixels(body["bitmap"], state.contract)
    headers = {"X-Request-Id": request.state.request_id}
    async with aiohttp.ClientSession() as wire:
        asked = wire.post(state.predict, json={"instances": [[ready.tolist()]]}, headers=headers)
        async with asked as found:
            logits, version = (await found.json())["predictions"][0], found.headers.get("X-Model-Version", "")
    answer = state.names[int(np.argmax(logits))]
    process.log().write("info", "read", request_id=request.state.request_id, version=version, answer=answer)
    return process.answer({"answer": answer, "version": version, "request_id": request.state.request_id})


def main() -> int:
    parser = process.options("reader", "Reads drawings of digits.")
    parser.add_argument("--predict", required=True, help="where the model answers, …:predict")
    asked: argparse.Namespace = parser.parse_args()
    folder = Path(__file__).parent
    app = process.application([Route("/read", read, methods=["POST"]), Route("/pixels", pixels, methods=["POST"])])
    app.state.predict = asked.predict
    app.state.contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
    app.state.names = (folder / "names.txt").read_text(encoding="utf-8").split()
    return process.serve(app, asked)


if __name__ == "__main__":
    sys.exit(main())
