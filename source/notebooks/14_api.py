# %% [markdown]
# # 14 A model behind an API
#
# At 3 a.m. the service answers every request correctly, and every answer comes too late. The clients gave up seconds
# ago. The processors run at 100 %, for nobody.
#
# ## You will be able to
#
# - put a model behind HTTP, so that the health check still answers while the model computes;
# - give every mistake of a client its own error, and keep one client's numbers out of another client's answer;
# - build dynamic batching, and say what it gains;
# - keep a service useful at twice the load that it can bear, with deadlines and a bounded queue;
# - choose a status code, and say who may repeat a request after it.
#
# ## Before you start
#
# Lesson 08 puts a contract around a model, and lesson 13 measures latencies; we use both. An *application programming
# interface* (API) is what a program promises to other programs: addresses, requests and answers. *HTTP* is the protocol
# of the web. A request has a *method* (GET or POST), a *path*, *headers* and a *body*. An answer has a *status*,
# headers and a body. Status 200 means success, 4xx a mistake of the client, 5xx a fault of the service.

# %%
import asyncio
import json
import os
import time

import numpy as np
from starlette.responses import JSONResponse

from course_lib import data, measure, models, onnx_files
from course_lib.idioms import begin, claim, guess, observe, path, reveal, show
from course_lib.measure import load
from course_lib.ops.service import start_handlers, start_service
from course_lib.pipeline import open_session

scratch = begin("14")
path.picture(here="14")

# %% [markdown]
# ## How do I put a model behind an HTTP address?
#
# In Python it takes little. *Starlette* maps a path to a function. *uvicorn* listens on a *port* (a number that tells
# the programs of one machine apart), reads HTTP, and calls the function. The convention between the two is called
# *ASGI*, the asynchronous server gateway interface. Our service is two functions:

# %%
train, test = data.digits()
pixels = test.images.reshape(-1, 64)  # (450, 64), 0 to 1
file = models.path("digits_cnn", 3)


# %%
async def health(request):
    return JSONResponse({"live": True})


async def predict(request):
    rows = np.array(json.loads(await request.body())["instances"], np.float32)
    logits = model.run(None, {"pixels": rows.reshape(-1, 1, 8, 8)})[0]
    return JSONResponse({"predictions": logits.tolist()})


# %% [markdown]
# A server must be a process of its own. In this notebook's process it would compete with the client that measures it.
# `start_handlers` writes the lines of `HEAD` and the source of our functions into a program, and runs it. So what you
# read in a cell is what runs.

# %%
HEAD = f"""
import asyncio, json, pathlib, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from starlette.exceptions import HTTPException as Refused
from starlette.responses import JSONResponse
from course_lib.pipeline import open_session  # lesson 08: an ONNX Runtime session

model = open_session(pathlib.Path({str(file)!r}).read_bytes(), threads=1)
"""
PREDICT, HEALTH = "/v1/models/digits:predict", "/health"
first = start_handlers({HEALTH: health, PREDICT: predict}, scratch / "first.py", head=HEAD)
wires = load.Wires(first.url)

# %%
body = json.dumps({"instances": pixels[:1].tolist()}).encode()
reply = wires.ask(PREDICT, body)
print(reply.status, reply.body[:90])

# %% [markdown]
# `Wires` keeps its connection open for the next request (*keep-alive*), as HTTP/1.1 does by default. In a terminal you
# would type the following, with the port of `first.url`. The file `request.json` holds `{"instances": [[0.0, 0.0,
# 0.3125, …]]}`, with all 64 numbers.
#
# ```bash
# curl http://localhost:8000/health
# curl -X POST http://localhost:8000/v1/models/digits:predict -d @request.json
# ```

# %%
model = open_session(file.read_bytes(), threads=1)  # the same model, in this process
logits = model.run(None, {"pixels": pixels.reshape(-1, 1, 8, 8)})[0]  # (450, 10)
answers = np.array(json.loads(reply.body)["predictions"])
claim(
    "over HTTP the answer is the model's own",
    np.allclose(answers, logits[:1], rtol=1e-3, atol=1e-4),
    f"digit {answers[0].argmax()}; largest difference {abs(answers - logits[:1]).max():.1e}",
)

# %% [markdown]
# ## Why does the health check hang while the model computes?
#
# Larger models take longer. We build one. It has two layers of 3,072 units with random weights. Only the last layer is
# fitted to the digits, by least squares, so we need no gradient descent. A call takes milliseconds.

# %%
WIDTH, random = 3072, np.random.default_rng(14)


def weights(inputs, outputs):
    return random.standard_normal((inputs, outputs), np.float32) * np.float32((2 / inputs) ** 0.5)


def fitted(features):
    """The last layer: least squares, with a little shrinkage."""
    gram = features @ features.T + 10 * np.eye(len(features), dtype=np.float32)
    return features.T @ np.linalg.solve(gram, np.eye(10, dtype=np.float32)[train.labels])


# %%
w1, w2 = weights(64, WIDTH), weights(WIDTH, WIDTH)
hidden = np.maximum(np.maximum(train.images.reshape(-1, 64) @ w1, 0) @ w2, 0)  # (1347, 3072)
HEAVY = """heavy (float[batch, 64] pixels) => (float[batch, 10] logits) {
    a = MatMul(pixels, w1)
    b = Relu(a)
    c = MatMul(b, w2)
    d = Relu(c)
    logits = MatMul(d, w3)
}"""
heavy_file = scratch / "heavy.onnx"
size = heavy_file.write_bytes(onnx_files.from_text(HEAVY, w1=w1, w2=w2, w3=fitted(hidden)))


# %% [markdown]
# The text in `HEAVY` is ONNX's own text form. Does the model read digits?

# %%
heavy = open_session(heavy_file.read_bytes(), threads=1)
heavy_logits = heavy.run(None, {"pixels": pixels})[0]
accuracy = float((heavy_logits.argmax(axis=1) == test.labels).mean())
said = f"{accuracy:.3f}, {show.bytes_text(size)}"
claim("it reads more than 9 of 10 new digits", accuracy > 0.9, said)

# %% [markdown]
# We serve it in two ways. The first one is `predict` from above. The second one hands the call to a *thread*, a second
# line of work inside the same process. Our function waits until the thread has the answer.

# %%
from concurrent.futures import ThreadPoolExecutor

COMPUTE = ThreadPoolExecutor(1)  # the one thread that computes; the server has the same line


# %%
async def rows_of(request):
    return np.array(json.loads(await request.body())["instances"], np.float32)


# %%
def answer(logits):
    return JSONResponse({"predictions": logits.tolist()})


def compute(rows):
    return heavy.run(None, {"pixels": rows})[0]


# %% [markdown]
# The two ways:


# %%
async def blocking(request):
    return answer(compute(await rows_of(request)))


async def threaded(request):
    loop = asyncio.get_running_loop()
    return answer(await loop.run_in_executor(COMPUTE, compute, await rows_of(request)))


# %% [markdown]
# An orchestrator such as Kubernetes asks `/health` every few seconds. If the process does not answer in time, several
# times in a row, it is restarted. We send one large request of 900 pictures, and 20 ms later we ask `/health`.

# %%
guess(
    "health",
    "How long does `/health` take while `blocking` computes?",
    low=1,
    high=5000,
    unit="ms",
)

# %% [markdown]
# One program serves both:

# %%
HEAVY_HEAD = f"""{HEAD}
heavy = open_session(pathlib.Path({str(heavy_file)!r}).read_bytes(), threads=1)
COMPUTE = ThreadPoolExecutor(1)
"""
SHARED = [rows_of, answer, compute]
routes = {HEALTH: health, "/blocking": blocking, "/threaded": threaded}
second = start_handlers(routes, scratch / "second.py", head=HEAVY_HEAD, beside=SHARED)
ask = load.Wires(second.url).ask
large = json.dumps({"instances": np.concatenate([pixels, pixels]).tolist()}).encode()


# %%
def health_beside(address):
    """Milliseconds of a health check beside a large request, and of that request."""
    send = lambda i: ask(HEALTH) if i else ask(address, large)  # noqa: E731
    return load.open_loop(send, np.array([0, 0.02]), workers=2).latency_ms[::-1]


# %%
ways = "/blocking", "/threaded"
rounds = (np.array([health_beside(name) for _ in range(3)]) for name in ways)
(blocked, call), (free, _) = (np.median(each, axis=0) for each in rounds)
reveal("health", blocked, f"The call itself took {call:.0f} ms")

# %% [markdown]
# And how long does it take while `threaded` computes?

# %%
observe(
    "with the model in a thread the health check takes less than a third of that time",
    free < blocked / 3,
    f"{free:.1f} ms instead of {blocked:.1f} ms",
)

# %% [markdown]
# A *coroutine* (`async def`) runs until it waits for something. `blocking` computes without waiting. Meanwhile the
# *event loop*, the one thread that runs all coroutines, can do nothing else. It accepts no connection and sends no
# answer.
#
# Suppose that calls take two seconds, and the orchestrator waits one second for each health check. After a few failed
# checks it restarts a healthy service, at the busiest moment. The cure is the thread. Python lets only one thread at a
# time run Python code, but ONNX Runtime releases that lock while it computes. We use only one such thread, so calls do
# not slow each other down. The health check still waits a little, mainly for the JSON: `rows_of` reads 900 pictures on
# the loop. (The course's server uses such a thread, too, except for calls of less than a millisecond.)
#
# ## What will clients send?
#
# Anything. Here are requests as they come in real life: a client of an older version, a text instead of a number, a
# picture in the range 0 to 255, a `NaN` out of somebody's division.

# %%
good = pixels[0].tolist()


def as_json(*rows):
    return json.dumps({"instances": rows}).encode()


BAD = {
    "empty": b"",
    "not JSON": b"instances=1",
    "no rows": as_json(),
    "5 numbers, not 64": as_json([0.1, 0.2, 0.3, 0.4, 0.5]),
    "ragged rows": as_json(good, good[:-1]),
    "a text": as_json([*good[:-1], "1.0"]),
    "true": as_json([*good[:-1], True]),
    "NaN": as_json([*good[:-1], float("nan")]),
    "too large for float32": as_json([*good[:-1], 1e39]),
    "pixels of 0 to 255": as_json([255 * each for each in good]),
    "nested 100,000 deep": b"[" * 100_000,
}

# %% [markdown]
# Each of these 11 is the client's mistake, and should get 4xx.

# %%
guess("mistakes", "How many of the 11 does our first service answer with 4xx?", low=0, high=11)


# %%
def once(url, sent):
    """On a connection of its own: after an internal error the server closes it."""
    own = load.Wires(url)
    reply = own.ask(PREDICT, sent)
    own.close()
    return reply


# %%
before = {name: once(first.url, sent) for name, sent in BAD.items()}
blamed = sum(400 <= reply.status < 500 for reply in before.values())
silent = [name for name, reply in before.items() if reply.status == 200]
reveal("mistakes", blamed, f"Status 200 for {len(silent)} of them: {', '.join(silent)}")

# %% [markdown]
# All the others got status 500. A 500 says "our fault". So the client may repeat a request that can never work, and the
# team on duty is called for somebody else's typo. The answers with status 200 are worse. A text and `true` were taken
# for numbers. Pixels of 0 to 255 got an answer without a warning. `NaN` shows how far a mistake can travel. JSON has no
# such number. Python's reader accepts it all the same, the model computes with it, and only the writer of the answer
# stops. (On some processors nothing stops it: their ReLU turns `NaN` into 0, and the status is 200.)
#
# So a service needs a *contract*: what a request must look like, and what the answer is if it does not. We use
# TensorFlow Serving's form for errors, a status and `{"error": "…"}`. Lesson 08's rule holds: say what was expected,
# and do not repeat the data, since logs live long. `Refused` is our name for Starlette's `HTTPException`, which holds a
# status, a sentence and headers.

# %%
from starlette.exceptions import HTTPException as Refused


def contract(body):
    """The rows of a request, as float32 (N, 64) with numbers from 0 to 1."""
    try:
        request = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise Refused(400, "expected JSON in UTF-8") from None
    rows = request.get("instances") if isinstance(request, dict) else None
    if not isinstance(rows, list) or not rows:
        raise Refused(400, "expected an object whose key 'instances' holds a list of rows")
    for row in rows:
        if not isinstance(row, list) or len(row) != 64:
            raise Refused(400, "'instances': expected rows of 64 numbers each")
        if not all(type(each) in (int, float) for each in row):  # True is an int, by isinstance
            raise Refused(400, "'instances': expected numbers only")
        if not all(0 <= each <= 1 for each in row):  # NaN fails every comparison
            raise Refused(400, "'instances': expected numbers from 0 to 1")
    return np.array(rows, np.float32)


# %% [markdown]
# Two lines need care. `isinstance(True, int)` is true in Python, so the code compares the type itself. And the range
# check has the form that `NaN` fails. `x < 0 or x > 1` would let it pass.
#
# A body also needs a maximum size. Without one, a single client can fill the memory. The header that announces the
# length may be missing or wrong, so `received` counts the bytes as they arrive. **Now do exercise 14.1**: it reads rows
# for any model.


# %%
async def received(request):
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise Refused(413, f"expected a body of at most {MOST_BYTES} bytes")
    return body


# %%
async def checked(request):
    try:
        rows = contract(await received(request))
    except Refused as no:
        return JSONResponse({"error": no.detail}, no.status_code, no.headers)
    return answer(model.run(None, {"pixels": rows.reshape(-1, 1, 8, 8)})[0])


# %% [markdown]
# The same requests, to a server with all that:

# %%
MOST_BYTES = 1 << 20
third = start_handlers(
    {PREDICT: checked}, scratch / "third.py", head=HEAD, beside=[contract, received, answer],
    MOST_BYTES=MOST_BYTES,
)  # fmt: skip

# %%
BAD["a body of more than 1 MiB"] = b" " * (MOST_BYTES + 1)
after = {name: once(third.url, sent) for name, sent in BAD.items()}
show.table(
    ["sent", "before", "now", "answer now"],
    [[name, before[name].status if name in before else "–", reply.status, reply.body.decode()]
     for name, reply in after.items()],
    caption="Twelve mistakes, without and with a contract",
)  # fmt: skip

# %%
claim(
    "now each mistake gets a 4xx and a reason in JSON, and a good request still gets its answer",
    all(400 <= r.status < 500 and "error" in json.loads(r.body) for r in after.values())
    and once(third.url, body).status == 200,
    f"{len(after)} mistakes",
)

# %% [markdown]
# From here on we leave the contract out, to keep the code short.
#
# ## What is dynamic batching, and what does it gain?
#
# For one picture our heavy model reads all of its weights from memory. For 16 pictures in one call it reads them only
# once, too. How long does each call take?

# %%
sizes = [1, 2, 4, 8, 16]
calls = {b: lambda b=b: heavy.run(None, {"pixels": pixels[:b]}) for b in sizes}
batch_ms = {b: float(np.median(ms)) for b, ms in measure.latencies_ms(calls, rounds=15).items()}
beta, alpha = np.polyfit(sizes, list(batch_ms.values()), 1)
show.table(
    ["pictures in a call", "ms", "pictures a second"],
    [[b, f"{ms:.1f}", f"{1000 * b / ms:,.0f}"] for b, ms in batch_ms.items()],
    caption=f"One thread. About {alpha:.1f} ms for a call and {beta:.2f} ms for each picture in it",
)

# %% [markdown]
# So the requests of *different* clients should share a call. This is *dynamic batching*. The handler of each request
# puts its rows into a queue, together with a *future*: a place for the answer. Then the handler waits until the future
# is filled. One task takes as many requests from the queue as fit into a call, computes them, and fills their futures.

# %%
MOST = 16  # rows in a call
waiting, batches, arrived = [], [], asyncio.Event()  # the server has the same line


# %%
async def joined(request):
    future = asyncio.get_running_loop().create_future()
    waiting.append((await rows_of(request), future))
    arrived.set()
    return answer(await future)


# %% [markdown]
# `taken` chooses the requests of the next call. `work` is the task.


# %%
def taken():
    """Requests from the front of the queue: as many as fit into MOST rows, and one at least."""
    batch, total = [], 0
    while waiting and (not batch or total + len(waiting[0][0]) <= MOST):
        batch.append(waiting.pop(0))
        total += len(batch[-1][0])
    if not waiting:
        arrived.clear()
    batches.append(total)
    return batch


# %%
async def work():
    while True:
        await arrived.wait()
        batch = taken()
        try:
            rows = np.concatenate([rows for rows, _ in batch])
            logits = await asyncio.get_running_loop().run_in_executor(COMPUTE, compute, rows)
        except Exception as wrong:  # for all of them: see the next section
            [future.set_exception(wrong) for _, future in batch]
            continue
        for rows, future in batch:  # each gets its own rows back
            future.set_result(logits[: len(rows)])
            logits = logits[len(rows) :]


# %%
async def batch_sizes(request):
    return JSONResponse(batches)


# %% [markdown]
# Nobody waits for a batch to fill. While the model computes one batch, the next one gathers. How much does that gain,
# if 24 clients ask all the time, each for one picture?

# %%
guess(
    "batching", "By what factor do batches raise the number of requests a second?", low=1, high=20
)

# %%
fourth = start_handlers(
    {"/threaded": threaded, "/joined": joined, "/sizes": batch_sizes}, scratch / "fourth.py",
    head=HEAVY_HEAD + "waiting, batches, arrived = [], [], asyncio.Event()",
    beside=[*SHARED, taken, work], MOST=MOST,
)  # fmt: skip
ask_fourth = load.Wires(fourth.url).ask
one_each = [as_json(row.tolist()) for row in pixels]


# %%
def at_once(address, clients=24, count=200):
    """Clients that ask one after the other. Answers (count, 10), and requests a second."""
    told = np.zeros((count, 10))

    def ask_for(i):
        told[i] = json.loads(ask_fourth(address, one_each[i]).body)["predictions"][0]

    return told, load.closed_loop(ask_for, count, workers=clients).throughput_per_s


# %% [markdown]
# First each request in a call of its own, then batched:

# %%
_, singly = at_once("/threaded")
told, batched = at_once("/joined")
crowd = json.loads(ask_fourth("/sizes").body)
reveal("batching", batched / singly, f"{singly:.0f} and {batched:.0f} requests a second")

# %%
claim(
    "everybody gets the answer to their own picture, and no call has more than 16",
    np.allclose(told, heavy_logits[:200], rtol=1e-3, atol=1e-3) and max(crowd) <= MOST,
    f"{np.mean(crowd):.1f} requests in a call on average",
)

# %% [markdown]
# Under light load each batch has one request, and no request waits for company. Under heavy load batches grow.
#
# Most servers have a second setting: how long the first request of a batch waits for others (`--batch-wait-ms` in the
# course's server). Suppose that it is 20 ms, and that a single client asks. Every answer comes 20 ms later, and no
# other request joins the batch. Set it only if requests come so fast that a few milliseconds bring several of them.
# Otherwise leave it at 0. **Now do exercise 14.2**, which forms such batches from a log.
#
# ## Can my answer depend on other clients' requests?
#
# Batching puts the requests of strangers into one call. Two things can go wrong, even if everybody gets their own row
# back.
#
# **One bad request fails the whole batch.** Suppose that a request asks for row 100 of a table whose rows are numbered
# from 0 to 99. No check of types or shapes finds that mistake. The model finds it, and the call fails for everybody in
# it. So check what you can before you join requests, and join only requests of the same dtype and shape. If a call
# fails all the same, run its requests alone before you answer any of them. The course's server does so.
#
# **The model itself may look at the whole batch.** A plain network treats each row on its own. Another row in the call
# cannot change my answer, apart from rounding. A *dynamically quantized* network (lesson 10) is different. It rounds
# its activations to 8 bits while it runs, and takes the scale from their largest and smallest value. These are the
# values of the whole tensor, and the tensor is the whole batch. Here is a small network without and with that step:

# %%
u1 = weights(64, 512)
u2 = fitted(np.maximum(train.images.reshape(-1, 64) @ u1, 0))
NETWORK = """net (float[batch, 64] pixels) => (float[batch, 10] logits) {
    a = MatMul(pixels, u1)
    b = Relu(a)
    STEP
    logits = MatMul(c, u2)
}"""
DYNAMIC = "d, scale, zero = DynamicQuantizeLinear(b)  c = DequantizeLinear(d, scale, zero)"
nets = {
    name: open_session(onnx_files.from_text(NETWORK.replace("STEP", step), u1=u1, u2=u2), 1)
    for name, step in (("float32", "c = Identity(b)"), ("dynamic int8", DYNAMIC))
}


# %%
def right_beside(net, *others):
    """How many of 200 pictures (%) are read right, each in a call with these others."""
    said = [net.run(None, {"pixels": np.stack([own, *others])})[0][0] for own in pixels[:200]]
    return 100 * float((np.argmax(said, axis=1) == test.labels[:200]).mean())


# %% [markdown]
# We compute each picture alone, beside an ordinary neighbour, and beside one whose client forgot to divide by 255:

# %%
OTHERS = {"alone": [], "beside another digit": [pixels[300]],
          "beside a picture of 0 to 255": [255 * pixels[300]]}  # fmt: skip
right = {name: [right_beside(net, *o) for o in OTHERS.values()] for name, net in nets.items()}
show.table(
    ["network", *OTHERS],
    [[name, *(f"{each:.1f} %" for each in row)] for name, row in right.items()],
    caption="Accuracy of the same 200 pictures, by what else is in the call",
)

# %%
plain, quantized = right.values()
claim(
    "beside any neighbour float32 keeps its accuracy, within a point; in dynamic int8 a picture of "
    "0 to 255 costs its neighbours more than 5 points",
    np.ptp(plain) < 1 and quantized[2] < quantized[0] - 5,
    f"{quantized[0]:.1f} % becomes {quantized[2]:.1f} %",
)

# %% [markdown]
# In int8 one careless client spoils the answers of others. Such a fault is hard to reproduce: sent again alone, the
# same picture gets another answer, and usually the right one. The contract above refuses the picture of 0 to 255. But
# ordinary neighbours change the scale as well, by a little, and no contract can refuse them. So quantize such a model
# statically, with a fixed scale. If that is not possible, do not batch it. The course's server looks for
# `DynamicQuantizeLinear` in the graph, and does not batch models that have it.
#
# ## What happens at twice the load that the service can bear?
#
# A user waits for a while, then leaves. The moment at which the user leaves is the request's *deadline*. Here it is the
# time of twenty calls. Nobody reads an answer that comes later. So we count *goodput*: answers a second that came in
# time.
#
# We send a server twice the load that it can bear, for a second and a half. A call of this server sleeps for 10 ms, as
# if it waited for a GPU, so that its capacity stays the same. The server takes requests in order, and knows nothing of
# deadlines.

# %%
guess(
    "goodput",
    "At twice the load, how large is the goodput, as a share of the capacity?",
    share=True,
)


# %%
def sleeper(rows):
    time.sleep(0.010)
    return np.zeros((len(rows), 10), np.float32)


async def everything(request):
    loop = asyncio.get_running_loop()
    return answer(await loop.run_in_executor(COMPUTE, sleeper, await rows_of(request)))


# %% [markdown]
# The same program gets a second function, which has the cure: a counter and two comparisons. `X-Request-Timeout-Ms` is
# the header in which the course's server takes a deadline.

# %%
queued, MOST_QUEUED, CALL_S = 0, 10, 0.0105  # what a call takes, with a little room


def in_time(rows, deadline):
    """Runs in the computing thread, when the request's turn has come."""
    return sleeper(rows) if time.monotonic() + CALL_S <= deadline else None


# %%
async def careful(request):
    global queued
    rows, loop = await rows_of(request), asyncio.get_running_loop()
    deadline = time.monotonic() + float(request.headers["X-Request-Timeout-Ms"]) / 1000
    if queued >= MOST_QUEUED:
        return JSONResponse({"error": "the queue is full"}, 429, {"Retry-After": "1"})
    queued += 1
    try:
        logits = await loop.run_in_executor(COMPUTE, in_time, rows, deadline)
    finally:
        queued -= 1
    if logits is None:
        return JSONResponse({"error": "the deadline passed; not computed"}, 504)
    return answer(logits)


# %% [markdown]
# First we measure what the server can bear. Three clients that ask all the time keep it busy.

# %%
fifth = start_handlers(
    {"/everything": everything, "/careful": careful}, scratch / "fifth.py",
    head=HEAD + "COMPUTE = ThreadPoolExecutor(1)", beside=[rows_of, answer, sleeper, in_time],
    queued=0, MOST_QUEUED=MOST_QUEUED, CALL_S=CALL_S,
)  # fmt: skip
ask_fifth = load.Wires(fifth.url).ask
patient = {"X-Request-Timeout-Ms": "1000"}
send = lambda i: ask_fifth("/careful", body, patient)  # noqa: E731
bears = load.closed_loop(send, 80, workers=3).throughput_per_s  # requests a second
deadline_ms = 20 * 1000 / bears

# %% [markdown]
# Then we send twice as many, at random times, each with its deadline. Our clients wait longer than that, to see when
# the answer would have come.


# %%
def overloaded(address, seconds=1.5):
    """When requests were due (s), how long each took (ms), and its status."""
    told = {"X-Request-Timeout-Ms": f"{deadline_ms:.0f}"}
    due = load.poisson_arrivals(2 * bears, int(2 * bears * seconds), seed=20)
    replies = [load.Reply(0, {}, b"")] * len(due)  # for those that get none

    def send(i):
        replies[i] = ask_fifth(address, body, told)

    took_ms = load.open_loop(send, due, workers=192).latency_ms
    return due, took_ms, replies


# %%
def goodput(due, took_ms, replies):
    """Answers in time over the capacity, in the second half."""
    good = [reply.status == 200 for reply in replies] & (took_ms <= deadline_ms)
    return good[due > due[-1] / 2].sum() / (due[-1] / 2) / bears


# %%
measured = {address: overloaded(address) for address in ("/careful", "/everything")}
shares = {address: goodput(*each) for address, each in measured.items()}
reveal("goodput", shares["/everything"], f"With the cure: {100 * shares['/careful']:.0f} %")

# %% [markdown]
# When did each answer come?

# %%
import matplotlib.pyplot as plt

looks = {"/everything": (show.ORANGE, "."), "/careful": (show.BLUE, "x")}
for address, (colour, mark) in looks.items():
    due, took_ms, replies = measured[address]
    ok = np.array([reply.status == 200 for reply in replies])
    plt.plot(due[ok], took_ms[ok], mark, ms=4, color=colour, label=f"{address}: answers")
plt.axhline(deadline_ms, color="black", ls="--", lw=1, label="deadline")
plt.xlabel("when the request came (s)")
plt.ylabel("time to its answer (ms)")
plt.legend(fontsize="small")
show.finding(
    "At twice the load answers come later and later, unless some requests are refused",
    alt="Time to the answer against the time of the request, at twice the load. /everything rises "
    f"to {measured['/everything'][1].max():.0f} ms, /careful to {took_ms[ok].max():.0f} ms. The "
    f"deadline is {deadline_ms:.0f} ms.",
)

# %%
replies = measured["/careful"][2]
claim(
    "the careful server answers 200, 429 or 504, and each 429 says when to come back",
    {reply.status for reply in replies if reply.status} <= {200, 429, 504}
    and all(r.headers["retry-after"] == "1" for r in replies if r.status == 429),
    {code: sum(r.status == code for r in replies) for code in (200, 429, 504)},
)

# %% [markdown]
# This is *congestion collapse*. The queue grows until every answer is too late. The server works at full speed for
# users who have left. The dashboard shows a busy processor, no errors, and the throughput of a healthy service. The
# collapse also outlives the peak: the server takes the oldest requests first, and their users have already left. The
# cure has two parts:
#
# - a *deadline* that travels with the request. The server does not compute a request whose deadline cannot be met
#   (status 504);
# - a bounded queue. The server refuses a request at once if it would wait too long. This is called *load shedding*.
#   `Retry-After` tells the client when to come back. Meanwhile the client can ask another *replica*, a second copy of
#   the service.
#
# How long may the queue be? A server that answers $\mu$ requests a second needs $L/\mu$ seconds for a queue of $L$. To
# keep that below half of the deadline $D$, choose $L \le \mu D / 2$. Our $D$ is the time of 20 calls, so $L = 10$. This
# holds only as long as calls keep their speed. If they slow down, only the deadline helps. So keep both. **Now do
# exercise 14.3**: it decides for each request.
#
# ## Which addresses does TensorFlow Serving's REST API have?
#
# So far the format was our own, and clients would have to read our code to know it. *TensorFlow Serving's REST API* is
# a format for which clients and load tests exist already. (REST: representational state transfer.) The course's own
# server speaks it, and does all of the above. (It also speaks the Open Inference Protocol, which lesson 14b explains.)
# We give it a folder with two versions of a model, and *labels*: names that point to versions, here `stable` and
# `canary`. (A *canary* is a new version that gets few of the requests: lesson 19. Version 2 of this folder is the file
# that later lessons call version 3. Our server reads labels from `serving.json`, TensorFlow Serving from its model
# configuration.)

# %%
folder = scratch / "models"
for version, kept in ((1, 1), (2, 3)):  # lesson 01's file and lesson 06's
    target = folder / "digits" / str(version) / "model.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(models.path("digits_cnn", kept).read_bytes())
labels = json.dumps({"labels": {"stable": 1, "canary": 2}})
(folder / "digits" / "serving.json").write_text(labels, encoding="utf-8")

service = start_service(folder, scratch / "service.log")
ours = load.Wires(service.url)

# %% [markdown]
# ```bash
# python -m course_lib.serving --models models --port 8501
# curl -X POST http://localhost:8501/v1/models/digits:predict -d @article.json
# ```
#
# `article.json` holds `{"inputs": [{"data": [0.1, 0.2, 0.3, 0.4, 0.5]}]}`. One of the articles behind this course ends
# with this request, to a model of MNIST's pictures (28 × 28 points). Is it right? We send it to our digits model.

# %%
V1 = "/v1/models/digits"
images = test.images[:1, None]  # (1, 1, 8, 8)
rows, columns = (json.dumps({key: images.tolist()}).encode() for key in ("instances", "inputs"))
said = ours.ask(f"{V1}:predict", b'{"inputs":[{"data":[0.1, 0.2, 0.3, 0.4, 0.5]}]}')
mended = ours.ask(f"{V1}:predict", rows)
print(*(f"{reply.status} {reply.body.decode()[:90]}" for reply in (said, mended)), sep="\n")

# %%
claim(
    "the article's request is refused with 400; with all the numbers under `instances` it works",
    (said.status, mended.status) == (400, 200)
    and np.argmax(json.loads(mended.body)["predictions"][0]) == test.labels[0],
    f"digit {test.labels[0]}",
)

# %% [markdown]
# **Where this goes wrong.** Three things are wrong. `inputs` asks for the *column form*: one tensor for each input. An
# object with the key `data` is no tensor. There are 5 numbers, where the article's model takes 784. And in the
# article's container nothing listens on port 8501 (lesson 16 shows it). The *row form*, `instances`, has one entry for
# each example, and its answer has the key `predictions`. The answer to the column form has the key `outputs`. Only the
# column form allows tensors that have no common first axis.
#
# The address may name the model alone, a version, or a label:

# %%
tries = [
    (f"{V1}:predict", rows), (f"{V1}:predict", columns), (f"{V1}/versions/1:predict", rows),
    (f"{V1}/labels/stable:predict", rows), (f"{V1}/labels/canary:predict", rows),
    (f"{V1}/versions/9:predict", rows), (f"{V1}/labels/best:predict", rows),
    ("/v1/models/cats:predict", rows), (V1, None), (f"{V1}/metadata", None),
]  # fmt: skip
replies = [ours.ask(*each) for each in tries]
show.table(
    ["request", "status", "version", "answer"],
    [[f"{'POST' if sent else 'GET'} {where}", r.status, r.headers.get("x-model-version", "–"),
      r.body[:60].decode()] for (where, sent), r in zip(tries, replies)],
    caption="Our server tells the version that computed an answer in a header, X-Model-Version",
)  # fmt: skip

# %%
versions = [reply.headers.get("x-model-version") for reply in replies[:5]]
claim(
    "without a version the latest one answers, a label means its version; an unknown version or "
    "model is 404, an unknown label 400",
    versions == ["2", "2", "1", "1", "2"] and [r.status for r in replies[5:8]] == [404, 400, 404],
    ", ".join(map(str, versions)),
)

# %% [markdown]
# ```bash
# curl http://localhost:8501/v1/models/digits
# curl -X POST http://localhost:8501/v1/models/digits/labels/stable:predict -d @image.json
# ```
#
# `image.json` holds `rows`, the request that worked above. This model takes 1 × 8 × 8 numbers, so they are nested. The
# flat `request.json` would get status 400.
#
# With a version in the address, the same request gets the same answer tomorrow, as long as that version is served. A
# label leaves the choice to the service's owners. If they move `stable` from 1 to 2, this is a *release*. If they move
# it back, this is a *rollback*. No client has to change. Lesson 19 does both.
#
# ## Is a server that is shutting down alive, or ready?
#
# An orchestrator asks two questions. *Liveness*: does the process answer at all? If not, restart it. *Readiness*:
# should it get requests now? A server that loads a model, or is about to end, is alive and not ready. If you restart it
# for that, it may never become ready. We ask our server to end, and watch. The addresses are those of lesson 14b's
# protocol; TensorFlow Serving's REST API has no address for health, only the model's status. With `--drain-seconds 10`
# it goes on answering for up to ten seconds. In that time load balancers see that it is not ready, and stop sending to
# it.


# %%
def state(wires):
    asked = ("/v2/health/live", None), ("/v2/health/ready", None), (f"{V1}:predict", rows)
    return [wires.ask(*each).status for each in asked]


# %%
leaving = start_service(folder, scratch / "leaving.log", options=("--drain-seconds", "10"))
to_it = load.Wires(leaving.url)
stages = [state(to_it)]
if os.name != "nt":  # Windows has no signal that asks a process to end
    leaving.process.terminate()  # typed: kill -TERM 4711
    while to_it.ask("/v2/health/ready").status == 200:
        time.sleep(0.02)  # until it has heard
    stages.append(state(to_it))
to_it.close()
leaving.stop()

# %%
if len(stages) == 2:
    claim(
        "asked to end, it is alive, no longer ready, still answers, and then ends with exit code 0",
        stages == [[200, 200, 200], [200, 503, 200]] and leaving.process.returncode == 0,
        f"live, ready and predict before: {stages[0]}, after: {stages[1]}",
    )

# %% [markdown]
# ## Which status code means what, and who may repeat the request?
#
# A request is *idempotent* if doing it twice has the same effect as doing it once. HTTP promises this for GET and PUT,
# but not for POST. So a *proxy*, a program that passes requests on, must not repeat a POST on its own (RFC 9110,
# section 9.2.2), and a client should do so only if it knows that this is safe. A prediction is a POST, but repeating it
# does no harm, because it changes nothing on the server. So its clients may repeat it. A *gateway*, the proxy in front
# of several services, may do so too if it is configured for it. Lesson 15 has one.
#
# | status | what it says | who may repeat it, and after what |
# | --- | --- | --- |
# | 400, 404, 405, 413, 415 | the request is wrong: its form, address, method, size or encoding | nobody, until somebody has changed the request |
# | 408 | the request did not arrive whole in time | the client, on a new connection |
# | 429 | too many requests | the client, after `Retry-After`, or at another replica |
# | 500 | the service has a fault | the client once, if at all: the same fault is likely |
# | 502 | a gateway got no usable answer from the server behind it | the gateway, at another replica; then the client |
# | 503 | the service cannot answer at present | the gateway, at another replica; or the client, after `Retry-After` |
# | 504 | the deadline passed | nobody, if it was the client's deadline: the client does not wait any more |
#
# A full queue is where servers differ. HTTP defines 429 for *one client* that sends too many requests (RFC 6585), and
# 503 for a server that is overloaded or in maintenance (RFC 9110). TensorFlow Serving follows this, and answers 503 if
# its queue is full. Our server answers 429, and keeps 503 for "I am about to end", so that an operator can tell the two
# apart. A client should treat 429 and 503 alike.
#
# If the client's deadline has passed, nobody waits for the answer any more, so a retry helps nobody. Of the answers
# with an error status, the course's gateway repeats 502 and 503. It repeats a 504, at another replica, only if a time
# limit for one try ran out and the client still waits (lesson 15).
#
# Some requests *do* change something: they count, bill, or train. Then the server must recognise the second one by a
# key, which the client sends with each try (lesson 15). A *request id* does less. It marks a request in the logs: our
# server writes it into its log, and returns it:

# %%
twice = [ours.ask(f"{V1}:predict", rows, {"X-Request-Id": "demo-1"}) for _ in range(2)]
claim(
    "the same request gets the same bytes twice, and its id comes back",
    twice[0].body == twice[1].body and twice[0].headers["x-request-id"] == "demo-1",
    twice[0].headers["x-request-id"],
)

# %% [markdown]
# ```bash
# curl -i -H "X-Request-Id: demo-1" http://localhost:8501/v1/models/digits:predict -d @image.json
# ```
#
# ## What we measured

# %%
show.table(
    ["step", "before", "after"],
    [
        ["a thread computes: health check beside a call (ms)", f"{blocked:.0f}", f"{free:.0f}"],
        ["a contract: mistakes answered with 4xx", f"{blamed} of 11", f"{len(after)} of 12"],
        ["batching: requests a second, 24 clients", f"{singly:.0f}", f"{batched:.0f}"],
        ["deadlines and a bounded queue: answers in time at twice the load, of the capacity",
         *(f"{shares[name]:.2f}" for name in ("/everything", "/careful"))],
    ],
    caption="Four steps, a few lines each",
)  # fmt: skip

# %% [markdown]
# ## What to remember
#
# - Do not compute for long on the event loop. Check what comes in before strangers share a batch. Answer a client's
#   mistake with 4xx, since 5xx invites it to try again.
# - Batches that form while the model is busy cost no waiting. They multiply the throughput of a network that spends
#   most of its time reading its weights. Do not batch a model that looks at the whole batch.
# - A service needs deadlines and a bounded queue. Otherwise, above its capacity, it works at full speed for nobody.
#
# ## Where this breaks down
#
# We had one process, one model and one machine, and the client shared the cores with the server. Our arrivals were
# random and independent. A burst can fill a bounded queue even at half of the capacity. Batching as we built it suits
# models whose calls take about the same time. A model that writes text finishes its requests at different times.
# Servers for those let requests enter and leave the batch between two words (*continuous batching*, lesson 26). A 429
# helps only if clients obey it. Lesson 15 shows what happens otherwise. A deadline that counts from the request's
# arrival leaves out the time on the network.
#
# ## What real teams use
#
# | server | speaks | known for |
# | --- | --- | --- |
# | TensorFlow Serving | its REST API, gRPC | SavedModels; versions and labels, batching |
# | NVIDIA Triton | Open Inference Protocol, REST and gRPC | many runtimes, GPUs; dynamic batching, ensembles |
# | KServe | TensorFlow Serving's and Open Inference Protocol | runs such servers on Kubernetes; scaling, split traffic |
# | MLServer | Open Inference Protocol | scikit-learn, XGBoost, your own Python |
# | OpenVINO Model Server | TensorFlow Serving's and Open Inference Protocol | Intel processors |
# | BentoML, Ray Serve, LitServe | addresses of their own | Python services of several models |
# | vLLM, SGLang | OpenAI's API | language models: continuous batching, streams |
# | TorchServe | its own API | archived in 2025: choose another |
#
# A gateway in front (Envoy, NGINX, a cloud's own) does encryption, access and rate limits. Frameworks such as FastAPI
# write the contract as types. The course's server, `course_lib/serving/`, can be read in an evening.
#
# ## Further reading
#
# - C. Olston et al., *TensorFlow-Serving: Flexible, High-Performance ML Serving*, arXiv:1712.06139, 2017.
# - D. Crankshaw et al., *Clipper: A Low-Latency Online Prediction Serving System*, NSDI 2017: adaptive batching.
# - TensorFlow Serving, `tensorflow_serving/g3doc/api_rest.md`: the REST API.
# - RFC 9110, *HTTP Semantics*, 2022: methods, idempotence, statuses, `Retry-After`. RFC 6585: status 429.
# - B. Beyer et al. (editors), *Site Reliability Engineering*, O'Reilly 2016: *Handling Overload*, *Addressing Cascading
#   Failures*.
