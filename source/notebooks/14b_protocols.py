# %% [markdown]
# # 14b Protocols
#
# At 3 a.m. an app shows a zero for every digit. Nobody has touched the app, and every answer has status 200. The
# evening before, somebody added a second output to the model, because a dashboard needed probabilities as well.
#
# ## You will be able to
#
# - ask a server that speaks the Open Inference Protocol what a model takes, and write a client that works for many
#   models;
# - send tensors as bytes instead of text, and say what that saves;
# - write a protocol buffers message by hand, and say when gRPC is worth its price;
# - tell which part of a small request's time another server could save;
# - find the changes of a model that break its clients, before the clients do.
#
# ## Before you start
#
# You need lesson 14: TensorFlow Serving's REST API, statuses, and the course's model server. Lesson 14's requests had a
# body in *JSON*, which writes numbers as text. Here we also send bytes.

# %%
import json

import matplotlib.pyplot as plt
import numpy as np

from course_lib import data, measure, models, onnx_files
from course_lib.idioms import begin, claim, guess, observe, path, reveal, show
from course_lib.measure import load
from course_lib.ops.service import start_service
from course_lib.pipeline import open_session

scratch = begin("14b")
path.picture(here="14b")

# %% [markdown]
# ## How do I ask a model that I know nothing about?
#
# Ask the server. The *Open Inference Protocol*, version 2, was agreed on by KServe, NVIDIA's Triton, MLServer and
# others. In its requests and answers, each tensor comes with its name, its shape and its type. You can also ask for the
# description of a model. The course's server speaks it under `/v2`.

# %%
train, test = data.digits()
folder = scratch / "models"
target = folder / "digits" / "1" / "model.onnx"
target.parent.mkdir(parents=True, exist_ok=True)
target.write_bytes(models.path("digits_cnn", 3).read_bytes())
server = start_service(folder, scratch / "server.log")
ask = load.Wires(server.url).ask

# %%
told = json.loads(ask("/v2/models/digits").body)
print(*(f"{key}: {value}" for key, value in told.items()), sep="\n")

# %% [markdown]
# ```bash
# python -m course_lib.serving --models models --port 8501
# curl http://localhost:8501/v2/models/digits
# ```
#
# `FP32` means float32, and a size of −1 means any size. That is enough for a client that works for every model with one
# input, as long as its types are among these three:


# %%
DTYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}


def infer(name, rows):
    """The outputs of any model with one input, as arrays by name."""
    (wanted,) = json.loads(ask(f"/v2/models/{name}").body)["inputs"]
    array = np.asarray(rows, DTYPES[wanted["datatype"]])
    tensor = {"name": wanted["name"], "datatype": wanted["datatype"], "shape": array.shape}
    request = {"id": "7", "inputs": [tensor | {"data": array.ravel().tolist()}]}
    reply = json.loads(ask(f"/v2/models/{name}/infer", json.dumps(request).encode()).body)
    return {
        each["name"]: np.array(each["data"], DTYPES[each["datatype"]]).reshape(each["shape"])
        for each in reply["outputs"]
    }


# %%
images = test.images[:, None]  # (450, 1, 8, 8)
answers = infer("digits", images[:10])
rows = json.dumps({"instances": images[:10].tolist()}).encode()
same = json.loads(ask("/v1/models/digits:predict", rows).body)["predictions"]
claim(
    "the client that knew nothing gets what a client of /v1 gets",
    list(answers) == ["logits"] and np.allclose(answers["logits"], same, atol=1e-5),
    f"{answers['logits'].argmax(axis=1).tolist()}; the labels are {test.labels[:10].tolist()}",
)

# %% [markdown]
# ```bash
# curl -X POST http://localhost:8501/v2/models/digits/infer -d @request.json
# ```
#
# `request.json` holds this, with all 64 numbers:
#
# ```json
# {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.0, 0.0, 0.3125]}]}
# ```
#
# The data may be nested or flat, in *row-major* order: the last axis runs fastest. The server sends an `id` back. Here
# are the protocol's addresses beside TensorFlow Serving's:
#
# | question | TensorFlow Serving | Open Inference Protocol |
# | --- | --- | --- |
# | Is the process alive? Should it get requests? | – | `GET /v2/health/live`, `/v2/health/ready` |
# | What does the model take? | `GET /v1/models/M/metadata` | `GET /v2/models/M` |
# | Is this model ready? | `GET /v1/models/M` | `GET /v2/models/M/ready` |
# | Compute | `POST /v1/models/M:predict` | `POST /v2/models/M/infer` |
# | A certain version | `/v1/models/M/versions/N:predict` | `/v2/models/M/versions/N/infer` |
# | Shape and type of a tensor | follow from the nested lists and the model | stated with each tensor |
# | Output names | left out, if there is one output | always stated |
# | Errors | a status, `{"error": "…"}` | the same |
#
# Keep one difference in mind, because we come back to it: this protocol always states names and types. For the health
# addresses, look at the status alone, since bodies differ between servers.
#
# ## How many bytes does a number take?
#
# Our pixels are multiples of 1/16, so they are short as text. Most numbers in real requests have more digits. We
# *standardise* 64 pictures: mean 0, standard deviation 1. As float32 each number takes 4 bytes. How many does it take
# as JSON?

# %%
guess(
    "text", "How many bytes does such a number take as JSON, with comma and space?", low=1, high=40
)

# %%
many = images[:64]
standard = ((many - many.mean()) / many.std()).astype(np.float32)
text = json.dumps(standard.ravel().tolist())
reveal("text", len(text) / standard.size, text[:66] + " …")

# %% [markdown]
# Python turns each float32 into a float64, and writes all the digits that a float64 needs. Nine digits would be enough
# to read the same float32 again. The protocol's *binary extension* (from Triton) avoids the text. The JSON only
# describes the tensors. Their bytes follow, *little-endian*: the least significant byte first. An HTTP header says
# where the JSON ends.


# %%
def as_binary(array):
    raw = array.astype("<f4").tobytes()
    tensor = {"name": "pixels", "datatype": "FP32", "shape": array.shape}
    tensor["parameters"] = {"binary_data_size": len(raw)}
    said = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    head = json.dumps(said).encode()
    return head + raw, {"Inference-Header-Content-Length": str(len(head))}


# %%
packed = ask("/v2/models/digits/infer", *as_binary(images[:10]))
at = int(packed.headers["inference-header-content-length"])
print(packed.body[:at].decode(), f"… and {len(packed.body) - at} bytes")
claim(
    "in binary the answer is the same",
    np.allclose(np.frombuffer(packed.body[at:], "<f4").reshape(10, 10), same, atol=1e-5),
    f"10 × 10 numbers of 4 bytes: {4 * 10 * 10}",
)

# %% [markdown]
# The protocol's type for texts is `BYTES`. In such a tensor, each text has its length before it, in four bytes. Binary
# answers can also hold `NaN`, which JSON cannot write.
#
# All these lengths come from strangers: the header, the size, the shape. A server that does not check them may read the
# wrong bytes, or reserve a terabyte of memory. In exercise 14b.3 you read such a body, whose lengths may be wrong.
# Proxies on the way must pass the header on. Without it, nobody can read the body.
#
# ## What does gRPC send?
#
# *gRPC* calls functions on another machine. It sends *protocol buffers* (protobuf), Google's binary form of messages,
# over *HTTP/2*, which carries many requests at the same time on one connection. A protobuf message is a sequence of
# fields. Each field begins with a *key*: the field's number times 8, plus a *kind* (its *wire type*, in protobuf's
# documentation). Kind 2 means that a length follows, and then that many bytes. Keys and lengths are *varints*: seven
# bits in each byte, and the eighth bit says that another byte follows. That is enough to write the request of the Open
# Inference Protocol by hand:


# %%
def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


# %%
def infer_request(array):
    tensor = field(1, b"pixels") + field(2, b"FP32") + field(3, b"".join(map(varint, array.shape)))
    return field(1, b"digits") + field(5, tensor) + field(7, array.astype("<f4").tobytes())


# %% [markdown]
# The numbers come from the protocol's `.proto` file. `ModelInferRequest` has `model_name` = 1, `inputs` = 5 and
# `raw_input_contents` = 7, and a tensor has `name` = 1, `datatype` = 2 and `shape` = 3. Is our writer right? ONNX files
# are protobuf, too, and `onnx` reads them with Google's library. So we write ONNX's message for a tensor, a
# `TensorProto`, and let that library read it. Its shape is field 1, its type is field 2, and its bytes are field 9. The
# type has kind 0, which is a varint without a length, and 1 stands for float32.

# %%
import onnx
from onnx import numpy_helper

shape = b"".join(map(varint, standard.shape))
message = field(1, shape) + varint(2 << 3) + varint(1) + field(9, standard.tobytes())
read = numpy_helper.to_array(onnx.TensorProto.FromString(message))
claim(
    "Google's library reads what we wrote by hand",
    np.array_equal(read, standard),
    f"{read.dtype} {read.shape}, the first bytes are {message[:8].hex(' ')}",
)

# %% [markdown]
# **Now do exercise 14b.1**: read such a message.
#
# ## Is binary smaller than JSON, and gRPC smaller than both?
#
# We count what goes onto the wire, the head of the HTTP request included. For gRPC we count the message, 5 bytes of
# gRPC before it, and 9 bytes of HTTP/2 for each *frame* of at most 16,384 bytes. HTTP/2 compresses its headers, and the
# result depends on earlier requests. We leave them out, so our count for gRPC is a little too low.


# %%
def on_the_wire(path, body, headers):
    lines = [f"POST {path} HTTP/1.1", "Host: digits.example", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return len("\r\n".join([*lines, "", ""])) + len(body)


def v2_json(array):
    tensor = {"name": "pixels", "datatype": "FP32", "shape": array.shape}
    return json.dumps({"inputs": [tensor | {"data": array.ravel().tolist()}]}).encode()


# %%
def bytes_of(array):
    message = len(infer_request(array)) + 5
    v1 = json.dumps({"instances": array.tolist()}).encode()
    JSON = {"Content-Type": "application/json"}
    return {
        "v1, JSON": on_the_wire("/v1/models/digits:predict", v1, JSON),
        "v2, JSON": on_the_wire("/v2/models/digits/infer", v2_json(array), JSON),
        "v2, binary": on_the_wire("/v2/models/digits/infer", *as_binary(array)),
        "gRPC": message + 9 * -(-message // 16_384),
    }


# %% [markdown]
# First one picture of the short numbers, then 1 to 64 of the standardised ones:

# %%
short = bytes_of(images[:1])  # one picture of multiples of 1/16
counts = [1, 2, 4, 8, 16, 32, 64]
sizes = {n: bytes_of(standard[:n]) for n in counts}
# %%
looks = {"v1, JSON": (show.ORANGE, "o-"), "v2, JSON": (show.RED, "s--"),
         "v2, binary": (show.BLUE, "^-"), "gRPC": (show.GREEN, "D:")}  # fmt: skip
for form, (colour, mark) in looks.items():
    plt.loglog(counts, [sizes[n][form] for n in counts], mark, ms=5, color=colour, label=form)
plt.xticks(counts, counts)
plt.minorticks_off()
plt.xlabel("pictures in a request (logarithmic)")
plt.ylabel("bytes on the wire (logarithmic)")
plt.legend()
times = sizes[64]["v1, JSON"] / sizes[64]["v2, binary"]
show.finding(
    f"For 64 pictures JSON takes {times:.1f} times the bytes; binary and gRPC hardly differ",
    alt="Bytes of a request against the number of standardised pictures, both logarithmic. At 64: "
    + ", ".join(f"{form} {size:,}" for form, size in sizes[64].items()),
)

# %% [markdown]
# In numbers:

# %%
claim(
    "64 pictures take more than 3 times the bytes in JSON; gRPC saves less than a twentieth of "
    "binary; for one picture with short numbers text and binary differ by less than a tenth",
    times > 3
    and sizes[64]["gRPC"] > 0.95 * sizes[64]["v2, binary"]
    and 0.9 < short["v1, JSON"] / short["v2, binary"] < 1.1,
    f"{times:.1f} times; one short picture: {short['v1, JSON']} and {short['v2, binary']} bytes",
)

# %% [markdown]
# For one picture of short numbers, the description of the tensor costs as much as the binary form saves. For many
# numbers, most of the gain comes from sending bytes instead of text. The step from binary over HTTP/1.1 to gRPC then
# saves little more. But size is only one part of the cost: text must also be written and read. In the next table, both
# requests are written before the clock starts. So "request to answer" holds the server's reading, but not our writing.

# %%
as_text, (as_bytes, length) = v2_json(standard), as_binary(standard)
INFER = "/v2/models/digits/infer"
steps = {
    "JSON: write": lambda: v2_json(standard),
    "JSON: read": lambda: np.array(json.loads(as_text)["inputs"][0]["data"], np.float32),
    "JSON: request to answer": lambda: ask(INFER, as_text),
    "binary: write": lambda: as_binary(standard),
    "binary: read": lambda: np.frombuffer(as_bytes[-standard.nbytes :], "<f4"),
    "binary: request to answer": lambda: ask(INFER, as_bytes, length),
}
times_ms = measure.latencies_ms(steps, rounds=40)

# %%
show.table(
    ["64 pictures", "ms, median (quartiles)"],
    [[name, str(measure.spread(ms))] for name, ms in times_ms.items()],
    caption="Writing and reading in this process; the server reads JSON with a faster parser",
)

# %%
text_ms, bytes_ms = (
    np.median(times_ms[f"{form}: request to answer"]) for form in ("JSON", "binary")
)
observe(
    "for 64 pictures the binary request is answered sooner than the same in JSON",
    bytes_ms < text_ms,
    f"{bytes_ms:.2f} and {text_ms:.2f} ms",
)

# %% [markdown]
# ## When is gRPC worth it?
#
# The course installs no gRPC server, so nothing in this table is measured:
#
# | question | REST over HTTP/1.1, JSON or binary | gRPC over HTTP/2 |
# | --- | --- | --- |
# | Can a person use it with `curl`? | yes | needs a tool and the `.proto` file |
# | Can a browser use it? | yes | only through a proxy (gRPC-Web) |
# | Where is the form of a request defined? | in a document; each server checks it | in generated code, typed on both sides |
# | Many requests on one connection? | one after the other | at the same time |
# | Streams? | the answer, in chunks | in both directions |
# | Deadlines, cancelling? | headers that each server defines | part of the protocol |
# | Load balancing? | by connection or by request | must be by request |
# | Caches, proxies, logs on the way? | can read it | need the `.proto` file to read it |
#
# The row on load balancing surprises many teams. A Kubernetes Service balances *connections*. A gRPC client usually
# opens one connection and keeps it, so all of its requests go to one replica. A new replica gets none of them. HTTP/1.1
# has the same problem, since its clients keep connections open, too (*keep-alive*). But they open several, and a server
# may close them at any time. The cure is a balancer that reads requests (Envoy, for example), or a client that chooses
# a replica for each request.
#
# Set a deadline in every gRPC call. By default gRPC sets none, and a call may wait forever.
#
# ## Would a server in Rust make my requests faster?
#
# Our digits network is small, so most of a request's time is spent outside of the model. We time the parts of a request
# in this process. The course's server reads HTTP with *httptools*, a Python interface to Node.js's parser, so we use
# the same.

# %%
import httptools

digits = open_session(models.path("digits_cnn", 3).read_bytes(), threads=1)
one, lists = images[:1], images[:1].tolist()
body = json.dumps({"instances": lists}).encode()
head = f"POST /v1/models/digits:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
logits = digits.run(None, {"pixels": one})[0]

# %%
parts = {
    "HTTP: parse": lambda: httptools.HttpRequestParser(None).feed_data(head.encode() + body),
    "JSON: read": lambda: json.loads(body),
    "lists to an array": lambda: np.array(lists, np.float32),
    "the model": lambda: digits.run(None, {"pixels": one}),
    "JSON: write": lambda: json.dumps({"predictions": logits.tolist()}),
    "the whole, over HTTP": lambda: ask("/v1/models/digits:predict", body),
}

# %%
took = measure.latencies_ms(parts, rounds=300)
us = {name: 1000 * float(np.median(ms)) for name, ms in took.items()}
show.table(
    ["part of a request for one picture", "µs, median"],
    [[name, f"{each:.0f}"] for name, each in us.items()],
    caption="Each part alone, and the whole request",
)

# %% [markdown]
# The parts are short, and their sum is far below the whole. The rest has no single cause. The operating system sends
# and receives, two processes wake each other, and our client needs time, too. The server finds the version, keeps the
# queue, and writes headers, log and metrics.
#
# Let $f$ be the share of a request's time that the server's own code takes. A server that takes no time at all would
# answer at most $1/(1-f)$ times as many requests (*Amdahl's law*). We do not know $f$, but it is at most everything
# except the model. How large is the gain if all of that were free?

# %%
free = us["the model"] / us["the whole, over HTTP"]  # 1 − f
observe(
    "the model is less than half of a request for one small picture",
    free < 0.5,
    f"{100 * free:.0f} %, so at most {1 / free:.1f} times as many requests; with a model of 50 ms "
    f"at most {(50_000 + us['the whole, over HTTP'] - us['the model']) / 50_000:.2f} times",
)

# %% [markdown]
# So a faster web server can help small models, and hardly helps large ones. If a server in Rust leaves the computing to
# Python processes, handing each request over costs time as well. Batching often saves more, because the requests of a
# batch share one call and one change of thread.
#
# ## When do I need no server at all?
#
# The cheapest request is the one that nobody sends. Suppose that all 450 pictures are there from the start, as in a
# nightly job over yesterday's uploads. We read them in three ways: one request for each, requests of 64 in binary, and
# one call in this process.


# %%
def one_by_one():
    for image in images:
        sent = json.dumps({"instances": [image.tolist()]}).encode()
        ask("/v1/models/digits:predict", sent)


def by_64():
    for i in range(0, 450, 64):
        ask(INFER, *as_binary(images[i : i + 64]))


# %%
ways = {
    "a request for each, JSON": one_by_one,
    "requests of 64, binary": by_64,
    "one call, in this process": lambda: digits.run(None, {"pixels": images}),
}
ways_ms = measure.latencies_ms(ways, rounds=3, warm_up=1)
per_second = {name: 450_000 / float(np.median(ms)) for name, ms in ways_ms.items()}
show.table(
    ["way", "pictures a second"],
    [[name, f"{each:,.0f}"] for name, each in per_second.items()],
    caption="The same model, the same pictures",
)

# %%
online, _, offline = per_second.values()
observe(
    "without a server, one call reads at least ten times as many pictures a second",
    offline > 10 * online,
    f"{offline / online:.0f} times",
)

# %% [markdown]
# The larger factor lies between the first two rows: many pictures in one request, sent as bytes. Leaving out the server
# as well gains much less. Your application can use one of four forms:
#
# - *Batch job*: the inputs are known before, and nobody waits. Use a program over a file. It needs no queue and no
#   deadline. If it fails, it runs again.
# - *In process*: one application uses the model, in a language that has a runtime for it. A library call has no
#   time-outs. The price: model and application are released together.
# - *On the device*: the picture must not leave the phone, or there is no network. Lessons 06 and 07 make the files. The
#   price: old versions live for years on devices that you do not control.
# - *Online service*: many applications share one model that changes more often than they do, or they share costly
#   hardware. The rest of this part is about such services.
#
# ## Which change of a model breaks its clients?
#
# Back to the incident. A new version can compute correctly and still break its clients. Clients depend on names, shapes
# and types. Together these are the model's *schema*. We make five changes that look harmless. The comments give the
# reasons that people have for them. The model is one layer, fitted to the digits, in ONNX's text form:

# %%
flat = train.images.reshape(-1, 64)
gram = flat.T @ flat + 10 * np.eye(64, dtype=np.float32)
w = np.linalg.solve(gram, flat.T @ np.eye(10, dtype=np.float32)[train.labels])
BASE = """digits (float[batch, 1, 8, 8] pixels) => (float[batch, 10] logits) {
    flat = Flatten(pixels)
    logits = MatMul(flat, w)
}"""
PROBABLE = "logits = MatMul(flat, w)  probabilities = Softmax(logits)"
DOUBLE = "sums = MatMul(flat, w)  logits = Cast <to = 11> (sums)"

# %%
CHANGES = {
    "none": BASE,
    "output added": BASE.replace(  # "the dashboard wants probabilities as well"
        "10] logits", "10] logits, float[batch, 10] probabilities"
    ).replace("logits = MatMul(flat, w)", PROBABLE),
    "output renamed": BASE.replace("logits", "scores"),  # "a better name"
    "input renamed": BASE.replace("pixels", "image"),  # "as in the paper"
    "channel axis gone": BASE.replace("1, 8, 8", "8, 8"),  # "there is only one"
    "output in float64": BASE.replace("float[batch, 10]", "double[batch, 10]").replace(
        "logits = MatMul(flat, w)", DOUBLE
    ),  # "more precise"
}

# %%
shelf = scratch / "schemas"
for name, model in CHANGES.items():
    place = shelf / name.replace(" ", "_") / "1"
    place.mkdir(parents=True, exist_ok=True)
    (place / "model.onnx").write_bytes(onnx_files.from_text(model, w=w))
changed = start_service(shelf, scratch / "schemas.log")
ask_changed = load.Wires(changed.url).ask

# %% [markdown]
# All six models run. Now we write four clients, as people write them every day. Each reads the digits of ten pictures.


# %%
class Refused(Exception):
    """The server refused the request."""


def reply_to(address, sent, headers=None):
    reply = ask_changed(address, sent, headers)
    if reply.status != 200:
        raise Refused(reply.body)
    return reply


# %%
def by_rows(name):
    sent = json.dumps({"instances": images[:10].tolist()}).encode()
    told = json.loads(reply_to(f"/v1/models/{name}:predict", sent).body)
    return [int(np.argmax(row)) for row in told["predictions"]]


# %% [markdown]
# The first client, above, sends rows and takes the answer as it comes. The second names its input, and takes the answer
# as it comes. The third looks up its output by name. The fourth reads bytes.


# %%
def by_columns(name):
    sent = json.dumps({"inputs": {"pixels": images[:10].tolist()}}).encode()
    told = json.loads(reply_to(f"/v1/models/{name}:predict", sent).body)
    return np.argmax(told["outputs"], axis=1).tolist()


# %%
def by_names(name):
    told = json.loads(reply_to(f"/v2/models/{name}/infer", v2_json(images[:10])).body)
    (logits,) = [each for each in told["outputs"] if each["name"] == "logits"]
    return np.reshape(logits["data"], logits["shape"]).argmax(axis=1).tolist()


# %%
def by_bytes(name):
    reply = reply_to(f"/v2/models/{name}/infer", *as_binary(images[:10]))
    at = int(reply.headers["inference-header-content-length"])
    logits = np.frombuffer(reply.body[at:], "<f4")
    return logits[:100].reshape(10, 10).argmax(axis=1).tolist()


# %% [markdown]
# Each of them works with the unchanged model. Five changes and four clients make 20 combinations.

# %%
question = "In how many of the 20 combinations does the client still get the right digits?"
guess("combinations", question, low=0, high=20)

# %% [markdown]
# There are four outcomes. The client works, the server refuses its request, the client fails on the answer, or it goes
# on with wrong digits, which is the worst. `fares` says which one it is:

# %%
right = (images[:10].reshape(10, 64) @ w).argmax(axis=1).tolist()


def fares(client, name):
    try:
        return "works" if client(name.replace(" ", "_")) == right else "WRONG, in silence"
    except Refused:
        return "refused (400)"
    except Exception as wrong:
        return f"client fails: {type(wrong).__name__}"


# %% [markdown]
# All clients with all changes:

# %%
clients = {
    "v1 rows": by_rows,
    "v1 columns": by_columns,
    "v2 names": by_names,
    "v2 binary": by_bytes,
}
fared = {name: [fares(client, name) for client in clients.values()] for name in CHANGES}
# %%
work = sum(each == "works" for name, row in fared.items() if name != "none" for each in row)
reveal("combinations", work)
show.table(
    ["change", *clients], [[name, *row] for name, row in fared.items()],
    caption="How four clients fare after each change",
)  # fmt: skip

# %%
silent = [name for name, row in fared.items() if "WRONG, in silence" in row]
claim(
    "an added output gives the v1 row client wrong digits without an error, and float64 does so to "
    "the binary one",
    fared["output added"][0] == fared["output in float64"][3] == "WRONG, in silence"
    and set(fared["none"]) == {"works"},
    f"wrong in silence after: {', '.join(silent)}",
)

# %% [markdown]
# This is the incident. The row form leaves out the output's name if there is only one output. With a second output each
# row becomes an object, `{"logits": […], "probabilities": […]}`. `np.argmax` of such an object is 0, so every digit is
# a zero. An additional output is harmless only for clients that look up outputs by name, as the third one does. (The
# fourth is lucky: it reads the first 100 numbers, and `logits` still comes first.)
#
# The binary client reads float64 as float32. It gets meaningless numbers and no error, because it does not look at the
# type that the answer states.
#
# ## How do I find such a change before the clients do?
#
# Compare the schemas of both versions before the release. A server of this protocol gives them to you.


# %%
def schema(name):
    told = json.loads(ask_changed(f"/v2/models/{name.replace(' ', '_')}").body)
    sides = ("inputs", "outputs")
    return {(s, t["name"]): (t["datatype"], tuple(t["shape"])) for s in sides for t in told[s]}


# %%
def differences(old, new):
    """What a client could stumble over, a line each."""
    told = {key: (old.get(key, "absent"), new.get(key, "absent")) for key in sorted({*old, *new})}
    return [f"{side[:-1]} {n}: {a} → {b}" for (side, n), (a, b) in told.items() if a != b]


# %% [markdown]
# We compare each changed model with the unchanged one:

# %%
found = {name: differences(schema("none"), schema(name)) for name in CHANGES}
show.table(
    ["change", "found"], [[name, "; ".join(each) or "–"] for name, each in found.items()],
    caption="Differences between two schemas",
)  # fmt: skip

# %%
broken = [name for name, row in fared.items() if set(row) != {"works"}]
claim(
    "each change that broke a client shows in the schemas, and the unchanged model shows none",
    all(found[name] for name in broken) and not found["none"],
    f"{len(broken)} changes broke somebody",
)

# %% [markdown]
# A simple gate asks a person about each difference, and that is often good enough. A finer gate knows the direction of
# a change. An input may become *wider* (accept more than before), and an output may become *narrower* (vary less than
# before). The reverse breaks clients. **Now do exercise 14b.2**, which writes such a gate.
#
# Some changes cannot be made without breaking clients. Then give the model another *name*, such as `digits-v2`. Keep
# the old one beside it until its last client has moved. The server's metrics count the requests for each model, so you
# know when that is. Use a new *version* under the old name for changes that clients notice only in the quality of the
# answers (lesson 19).
#
# ## What we measured

# %%
show.table(
    ["question", "answer here"],
    [
        ["bytes of a float32 as JSON", f"{len(text) / standard.size:.1f} instead of 4"],
        ["JSON over binary, 64 pictures, bytes", f"{times:.1f} times"],
        ["JSON over binary, 64 pictures, request to answer", f"{text_ms / bytes_ms:.1f} times"],
        ["the model's share of a small request", f"{100 * free:.0f} %"],
        ["changed schema: clients that still work", f"{work} of 20"],
    ],
    caption="This lesson in five rows",
)

# %% [markdown]
# ## What to remember
#
# - The Open Inference Protocol states each tensor's name, shape and type. A client can ask for them, and should check
#   them.
# - For many numbers, send bytes. gRPC adds typed code, streams and deadlines, and needs a balancer that reads requests.
# - Compare schemas before each release. An additional output can break a client without a single error.
#
# ## Where this breaks down
#
# Client and server share one machine, so our times contain no network. Bytes cost more on a slow link, and compression
# (which our server does not offer) changes the comparison. Our messages are small. For requests of many megabytes,
# memory counts more than parsing. A schema says nothing about meaning: pixels of 0 to 255 have the same schema as
# pixels of 0 to 1. Contracts (lesson 08) and a shadow (lesson 19) can find such a change.
#
# ## What real teams use
#
# NVIDIA Triton, KServe, MLServer and OpenVINO Model Server speak the Open Inference Protocol, over REST and gRPC.
# Triton's client library `tritonclient` sends binary tensors unless told otherwise. TensorFlow Serving has gRPC beside
# its REST API. Inside a cluster, many teams use gRPC between services, with a service mesh that balances requests. For
# browsers and partners they use REST. Tools such as `buf` find breaking changes of protobuf files in a pull request.
#
# ## Further reading
#
# - KServe, *Open Inference Protocol*: `kserve/open-inference-protocol`, `specification/protocol/inference_rest.md` and
#   `open_inference_grpc.proto`.
# - NVIDIA Triton Inference Server, `docs/protocol/extension_binary_data.md`: the binary extension.
# - Protocol Buffers documentation, *Encoding*: varints, keys and kinds.
# - gRPC documentation, *gRPC over HTTP2*: the five bytes before a message. RFC 9113, *HTTP/2*, 2022: frames.
# - G. M. Amdahl, *Validity of the single processor approach to achieving large scale computing capabilities*, AFIPS
#   1967.
