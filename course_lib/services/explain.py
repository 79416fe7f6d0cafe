"""The explainer: `:explain` of KServe's v1 protocol, beside a model server that it asks like any other client.

POST /v1/models/NAME:explain takes {"instances": […]}, each of them numbers in nested lists of one shape, and answers
{"predictions": […], "explanations": […]}. An explanation is {"class", "score", "attributions"}: the class with the highest
score, that score, and for each number of the instance by how much the score falls once that number is replaced.
NAME may be followed by /versions/N or /labels/L; X-Model-Version says which version was explained.
"""

import argparse
import contextlib
import math
import re
import sys
import time
from collections.abc import AsyncIterator

import aiohttp
import numpy as np
import orjson
import prometheus_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from course_lib.services import process
from course_lib.services.upstream import Question, Upstream, ask
from course_lib.serving import errors, tensors

ADDRESS = re.compile(r"[\w.-]+(/versions/\d+|/labels/[\w.-]+)?", re.ASCII)
MOST_PREDICTIONS = 130
UNDER_WAY = 4
"""So many requests, of so many predictions each, take about half of the places in the model server's queue: other clients
have the rest."""
ASKED = prometheus_client.Counter("explain_predictions", "Predictions that explanations were made of")


def numbers(name: str, value: object) -> np.ndarray:
    """Nested lists of numbers as float64. Raises errors.Refused or ValueError for anything else: text is no number, even
    if it could be read as one."""
    return tensors.to_array(value, tensors.Tensor(name, np.dtype("float64"), "", "FP64", None))


def instances_of(body: dict, most: int) -> np.ndarray:
    """The instances of a request's body, float64 (N, …). Raises Refused (400) for what is no list of numbers of one shape,
    and where they would take more than `most` predictions."""
    if set(body) != {"instances"} or not isinstance(body["instances"], list) or not body["instances"]:
        raise process.Refused(400, 'expected {"instances": […]} with one instance or more, and nothing beside it')
    try:
        instances = numbers("instances", body["instances"])
    except errors.Refused as wrong:
        raise process.Refused(400, str(wrong)) from None
    except ValueError:
        raise process.Refused(400, "expected numbers in a few nested lists, got more than an array has axes") from None
    if not np.isfinite(instances).all():
        raise process.Refused(400, "expected finite numbers, got one too large for them")
    count, size = len(instances), instances[0].size
    if count * (1 + size) > most:
        raise process.Refused(
            400, f"expected instances that take {most} predictions at most, got {count} of {1 + size} each: send fewer"
        )
    return instances


def occluded(instances: np.ndarray, fill: float) -> np.ndarray:
    """Each instance as it is, and then with one number after the other replaced by `fill`: (N, …) to (N, 1 + size, …)."""
    count, size = len(instances), instances[0].size
    found = np.repeat(instances.reshape(count, 1, size), 1 + size, axis=1)
    found[:, 1 + np.arange(size), np.arange(size)] = fill
    return found.reshape(count, 1 + size, *instances.shape[1:])


def explanations(content: bytes, count: int, shape: tuple[int, ...]) -> dict:
    """The answer to `count` instances of `shape`, from the predictor's answer to what `occluded` made of them.

    Raises Refused (502) where that is no list of finite numbers, one or more, for each.
    """
    try:
        predictions = orjson.loads(content)["predictions"]
        scores = numbers("predictions", predictions).reshape(count, 1 + math.prod(shape), -1)
        if len(predictions) != scores.shape[0] * scores.shape[1] or not np.isfinite(scores).all():
            raise ValueError
    except (errors.Refused, ValueError, KeyError, TypeError):
        raise process.Refused(502, "the predictor's answer is no list of finite numbers for each instance") from None
    found = []
    for each in scores:
        best = int(each[0].argmax())
        drops = (each[0, best] - each[1:, best]).reshape(shape)
        found.append({"class": best, "score": each[0, best].item(), "attributions": drops.tolist()})
    return {"predictions": predictions[:: scores.shape[1]], "explanations": found}


class Explainer:
    """Asks one predictor, and one request for all that an answer takes: so one version of the model gives all of it."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked, self.predictor = asked, Upstream("predictor", asked.predictor, asked)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as self.wire:
            yield

    async def explain(self, request: Request) -> Response:
        if not ADDRESS.fullmatch(address := request.path_params["address"]):
            raise process.Refused(404, "expected POST /v1/models/NAME[/versions/N|/labels/L]:explain")
        most, span = self.asked.timeout_ms / 1000, request.state.span
        seconds = process.seconds_left(request, most)
        instances = instances_of(await process.json_body(request), self.asked.most_predictions)
        altered = occluded(instances, self.asked.fill)
        body = orjson.dumps({"instances": altered.reshape(-1, *instances.shape[1:])}, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = [(b"Content-Type", b"application/json"), (b"X-Request-Id", request.state.request_id.encode())]
        headers += [pair for pair in request.headers.raw if not span and pair[0] in (b"traceparent", b"tracestate")]
        target, until = f"/v1/models/{address}:predict", time.monotonic() + seconds
        question = Question("POST", target, body, headers, until, hasty=seconds < most, span=span)
        _, reply = await ask(self.wire, [self.predictor], question, self.asked)
        told = {
            name: value for name in ("X-Model-Version", "Retry-After") if (value := reply.header(name.lower().encode()))
        }
        if reply.status != 200:  # in its own words: it knows what it takes
            kind = reply.header(b"content-type") or "application/json"
            return Response(reply.content, reply.status, told, kind)
        ASKED.inc(altered.shape[0] * altered.shape[1])
        return process.answer(explanations(reply.content, len(instances), instances.shape[1:]), headers=told)


def main(words: list[str] | None = None) -> int:
    parser = process.options("explain", "Explains a model server's answers by occlusion.")
    add = parser.add_argument
    add("--predictor", required=True, metavar="URL", help="the model server")
    add("--fill", type=float, default=0.0, help="what replaces a number (default: 0)")
    add("--most-predictions", type=int, default=MOST_PREDICTIONS, help="what one request may take (default: 130)")
    add("--timeout-ms", type=int, default=5000, help="longest deadline of a request (default: 5000)")
    # Few at a time: each is as much work for the model server as dozens of its other requests.
    parser.set_defaults(max_under_way=UNDER_WAY, attempts=2, try_ms=math.inf, retry_share=0.1)
    parser.set_defaults(breaker_failures=10, breaker_rate=0.5, breaker_seconds=2.0)
    asked = parser.parse_args(words)
    if not math.isfinite(asked.fill) or asked.most_predictions < 2 or asked.timeout_ms < 1:
        parser.error("expected a finite --fill, --most-predictions from 2, and --timeout-ms from 1")
    explainer = Explainer(asked)
    routes = [Route("/v1/models/{address:path}:explain", explainer.explain, methods=["POST"])]
    return process.serve(process.application(routes, explainer.lifespan), asked)


if __name__ == "__main__":
    sys.exit(main())
