# %% [markdown]
# # 15b Middleware
#
# At 3 a.m. one scan out of 40,000 crashes the worker that reads it. The queue gives it to the next worker, and then to
# the next. In the morning all workers are busy restarting, and no other scan has been read.
#
# ## You will be able to
#
# - put work into a queue, kill the worker, and lose nothing;
# - stop jobs that always fail: a maximum of deliveries, and dead letters;
# - say what a cache gains, and what its key must hold;
# - choose between a database file and a server, and share a cache, a rate limit and a queue through Redis.
#
# ## Before you start
#
# Lesson 15 explains the gateway, retries, and what *idempotent* means. The last part runs Redis in a container. Without
# a Docker engine, those cells replay a recording.
#
# *Middleware* is software that stands between programs, so that they need not know each other: queues, caches,
# databases. One of the articles that this course grew from says only "install middleware, databases, message queues,
# caches". This lesson asks when you need which.

# %%
import contextlib
import inspect
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter, OrderedDict

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime

# %%
from course_lib import data, models
from course_lib.idioms import (
    begin,
    claim,
    claim_gone,
    guess,
    live,
    observe,
    own,
    path,
    reveal,
    show,
)
from course_lib.measure import load
from course_lib.ops import leash
from course_lib.ops.service import start_module, start_service

scratch = begin("15b")
path.picture(here="15b")

# %% [markdown]
# First we start the model server and lesson 15's gateway. They do the work behind the queue.

# %%
served = scratch / "models" / "digits_cnn" / "3"
served.mkdir(parents=True, exist_ok=True)
shutil.copy(models.path("digits_cnn", 3), served / "model.onnx")
predictor = start_service(scratch / "models", scratch / "predictor.log")


def start(*arguments):
    log = scratch / f"gateway-{time.monotonic_ns()}.log"
    options = ["--predictor", predictor.url, "--timeout-ms", "5000", *arguments]
    return start_module("course_lib.services.gateway", options, log)


gateway = start()

# %% [markdown]
# ## What if the work takes longer than a client waits?
#
# Reading an archive of scans takes hours, and no client should wait that long. So the service answers at once, with
# status 202, "accepted", and an address where the result will be:
#
# ```text
# POST /jobs       →  202, Location: /jobs/17
# GET  /jobs/17    →  202 while it waits, later 200 {"digit": 3}
# ```
#
# The work waits in a *queue* until a *worker* takes it. The service has promised that accepted work will be done, even
# if a worker dies.
#
# A queue has three operations: put, take, finish. *Take* must not remove the job, because the job would be lost if the
# worker died. Instead, the worker gets a *lease*: for some time, no other worker gets this job. If the worker has not
# finished by then, the job is given to the next worker. So a job may be done twice, but it is not lost. This is
# *at-least-once delivery*. On one machine, a table in SQLite is enough for such a queue:

# %%
TABLE = """CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY, body TEXT, leased_until REAL DEFAULT 0, deliveries INTEGER DEFAULT 0,
    digit INTEGER, dead TEXT)"""
WAITING = "digit IS NULL AND dead IS NULL"


# %%
def take(queue, now_s, lease_s):
    """Leases the oldest job that waits and is not leased; (id, body), or None."""
    return queue.execute(
        "UPDATE jobs SET leased_until = ?, deliveries = deliveries + 1 WHERE id = (SELECT id "
        f"FROM jobs WHERE {WAITING} AND leased_until <= ? ORDER BY id LIMIT 1) RETURNING id, body",
        (now_s + lease_s, now_s),
    ).fetchone()


# %%
def finish(queue, job, digit):
    """Keeps the result. The second time this changes nothing: it is idempotent."""
    queue.execute("UPDATE jobs SET digit = ? WHERE id = ? AND digit IS NULL", (digit, job))


def waiting(queue):
    return queue.execute(f"SELECT count(*) FROM jobs WHERE {WAITING}").fetchone()[0]


# %% [markdown]
# `take` finds a job and leases it in one SQL statement. So two workers cannot take the same job at the same time. The
# worker is a separate program. Many workers look like this one:


# %%
def read_job(url, body):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answer = direct.open(url + "/digits", body.encode(), timeout=10)
    return json.load(answer)["digits"][0]


# %%
def work(queue, url, lease_s, read):
    while waiting(queue):
        time.sleep(0.01)
        if job := take(queue, time.time(), lease_s):
            try:
                finish(queue, job[0], read(url, job[1]))
            except OSError:
                pass  # no answer: the lease ends, and the job comes again


# %% [markdown]
# We write these functions into a file and start it as a process.

# %%
FILE = scratch / "jobs.db"
IMPORTS = "import json, os, sqlite3, time, urllib.error, urllib.request"


def program(name, functions, call):
    """Writes a worker's program from functions of this notebook; returns the file."""
    opened = f"queue = sqlite3.connect({str(FILE)!r}, isolation_level=None, timeout=10)"
    known = f"url, WAITING = {gateway.url!r}, {WAITING!r}"
    text = [IMPORTS, known, *map(inspect.getsource, functions), opened, call]
    (scratch / name).write_text("\n".join(text))
    return scratch / name


# %%
def start_worker(file):
    return leash.start([sys.executable, str(file)])  # ends with this notebook


# %% [markdown]
# The queue holds one job for each scan.

# %%
queue = sqlite3.connect(FILE, isolation_level=None, timeout=10)
queue.execute("PRAGMA journal_mode = WAL")
queue.execute(TABLE)
_, test = data.digits()
scans = [json.dumps({"pixels": image[None, None].tolist()}) for image in test.images]


def fill(bodies):
    queue.execute("DELETE FROM jobs")
    queue.executemany("INSERT INTO jobs (body) VALUES (?)", [(body,) for body in bodies])


# %%
guess(
    "lost", "100 jobs wait, and we kill the worker after 30. How many are lost?", low=0, high=100
)

# %% [markdown]
# We start one worker, and kill it while it holds a job. In a terminal that is `kill -KILL PID`. The queue gets no
# message about it. Then we start a second worker.

# %%
PARTS = [read_job, take, finish, waiting, work]
simple = program("simple.py", PARTS, "work(queue, url, 1.0, read_job)")
fill(scans[:100])
worker, until_s = start_worker(simple), time.monotonic() + 60
held = f"SELECT count(*) FROM jobs WHERE {WAITING} AND deliveries > 0"
while waiting(queue) > 70 and time.monotonic() < until_s:
    time.sleep(0.005)
while not queue.execute(held).fetchone()[0] and time.monotonic() < until_s:
    time.sleep(0.001)  # until it holds a job
worker.kill()
worker.wait()
done_at_kill = 100 - waiting(queue)
_ = start_worker(simple).wait(timeout=60)  # it ends when no job waits

# %%
results = [digit for (digit,) in queue.execute("SELECT digit FROM jobs ORDER BY id")]
deliveries = queue.execute("SELECT sum(deliveries) FROM jobs").fetchone()[0]
session = onnxruntime.InferenceSession(models.path("digits_cnn", 3))
right = session.run(None, {"pixels": test.images[:100, None]})[0].argmax(axis=1).tolist()

# %% [markdown]
# What became of the 100 jobs? We compare their results with the digits that the model gives in this process.

# %%
reveal("lost", results.count(None), f"{done_at_kill} were done when the worker was killed")

# %%
claim("every job has a result, the one that the model gives", results == right, len(results))
observe(
    "one job was delivered twice",
    deliveries == 101,
    f"{deliveries} deliveries for 100 jobs",
    either=True,
)

# %% [markdown]
# The job that the dead worker held is delivered again, unless the worker had just finished it. If a product promises
# "exactly once", read its documentation closely. Often the delivery is at-least-once, and your part of the work must be
# idempotent, as `finish` is.
#
# Choose the length of the lease with care. If it is too short, a second worker starts a job while the first still works
# on it. If it is too long, a dead worker's job waits longer than necessary.
#
# ## What if a job always fails?
#
# A job that fails at every try is called *poison*. **Where this goes wrong:** look at `except OSError` in `work`. It is
# meant for broken connections. What else does it catch?

# %%
claim(
    "urllib's HTTPError is an OSError, so the worker treats status 400 like a broken connection",
    issubclass(urllib.error.HTTPError, OSError),
    " → ".join(each.__name__ for each in urllib.error.HTTPError.__mro__[:3]),
)

# %% [markdown]
# The gateway answers 400 to a picture of the wrong shape, and it will do so at every try. There is a worse kind of
# poison: a job that kills its worker, such as a picture that needs more memory than there is. If the kernel kills the
# process, no `except` clause runs. We let the word "bomb" stand for such a picture. The worker that reads it ends with
# status 137, which a container reports after such a kill (128 + 9, the number of the signal).
#
# Behind these two jobs wait 20 good ones. `supervise` restarts a worker that died, as Kubernetes does, but without its
# growing pauses.


# %%
def read_or_die(url, body):
    if "bomb" in body:
        os._exit(137)
    return read_job(url, body)


# %%
def supervise(file, seconds):
    """Keeps one worker running until no job waits or the time is over; how often it died."""
    until_s, died = time.monotonic() + seconds, 0
    while (left := until_s - time.monotonic()) > 0:
        worker = start_worker(file)
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(left)
        leash.end([worker])
        died += worker.returncode == 137
        if worker.returncode == 0:
            break
    return died


# %% [markdown]
# How far does the careless worker get in three seconds?

# %%
POISON = ['{"pixels": [[[0, 1]]]}', "bomb"]
careless = program("careless.py", [*PARTS, read_or_die], "work(queue, url, 0.05, read_or_die)")
fill([*POISON, *scans[:20]])
died = supervise(careless, 3)
bad, bomb = (row[0] for row in queue.execute("SELECT deliveries FROM jobs ORDER BY id LIMIT 2"))
claim("after 3 s both poison jobs are still in the queue", waiting(queue) >= 2, waiting(queue))

# %%
observe(
    "no good job was read, since each new worker takes the bomb before it comes to one",
    waiting(queue) == 22,
    f"{22 - waiting(queue)} of 20 were read; the bomb killed {died} workers, the bad picture was "
    f"delivered {bad} times",
    either=True,
)

# %% [markdown]
# Two rules prevent this:
#
# 1. **A maximum of deliveries.** The queue counts a delivery when it *gives out* the job. So a delivery counts even if
#    the worker dies and reports nothing. After three deliveries without a result, the job is not given out again.
# 2. **Tell lasting errors from passing ones.** A status from 400 to 499 says that the request itself is wrong. (The
#    exceptions are 408, "too slow", and 429, "too many".) Such a job needs no second try.
#
# Both kinds of job become *dead letters*. No worker reads them, but a person does. Here a dead letter is a row whose
# column `dead` holds the reason. The states of a job:
#
# ```text
# put ──→ waiting ──→ leased ──→ done
#            ↑          │
#            │          ├── refused with 4xx ────────→ dead letter
#            │          └── lease over, third time ──→ dead letter
#            └───────────── lease over, before that
# ```


# %%
def bury(queue, now_s, most):
    """Makes dead letters of jobs that were delivered `most` times and whose last lease is over."""
    queue.execute(
        "UPDATE jobs SET dead = 'delivered ' || deliveries || ' times' "
        f"WHERE {WAITING} AND deliveries >= ? AND leased_until <= ?",
        (most, now_s),
    )


def reject(queue, job, why):
    queue.execute("UPDATE jobs SET dead = ? WHERE id = ? AND digit IS NULL", (why, job))


# %%
def work_carefully(queue, url, lease_s, most, read):
    while waiting(queue):
        time.sleep(0.01)
        bury(queue, time.time(), most)
        if not (job := take(queue, time.time(), lease_s)):
            continue
        try:
            finish(queue, job[0], read(url, job[1]))
        except urllib.error.HTTPError as refused:
            if refused.code // 100 == 4 and refused.code not in (408, 429):
                reject(queue, job[0], f"{refused.code} {json.load(refused)['error'][:120]}")
        except OSError:
            pass  # no answer: the lease ends, and the job comes again


# %% [markdown]
# `HTTPError` stands before `OSError`, because Python runs the first `except` clause that fits. The same jobs again:

# %%
careful = program(
    "careful.py",
    [*PARTS, read_or_die, bury, reject, work_carefully],
    "work_carefully(queue, url, 0.5, 3, read_or_die)",
)
fill([*POISON, *scans[:20]])
died = supervise(careful, 60)
letters = queue.execute("SELECT id, deliveries, dead FROM jobs WHERE dead IS NOT NULL").fetchall()
show.table(["job", "deliveries", "reason"], letters, caption="Dead letters")

# %%
read = [digit for (digit,) in queue.execute("SELECT digit FROM jobs ORDER BY id")]
claim(
    "all good jobs are read; the bad picture is dead after one delivery, the bomb after three",
    read == [None, None, *right[:20]]
    and [n for _, n, _ in letters] == [1, 3] and died == 3,
    f"{len(read) - read.count(None)} read, {died} workers died",
)  # fmt: skip

# %% [markdown]
# Set an alert on the number of dead letters. A person must look at them, repair the worker or the job, and put the job
# back. In SQLite's own shell:
#
# ```bash
# sqlite3 jobs.db "SELECT id, dead FROM jobs WHERE dead IS NOT NULL"
# sqlite3 jobs.db "UPDATE jobs SET dead = NULL, deliveries = 0, leased_until = 0 WHERE id = 2"
# ```
#
# **Now do exercises 15b.1 and 15b.2**: decide what each error means, and write a `take` with a maximum.
#
# ## How long may a queue become?
#
# If more work comes in than goes out, a longer queue only makes everyone wait longer. With $n$ jobs in the queue and
# $\mu$ done a second, a new job waits $n / \mu$ seconds. So give the queue a bound. When it is full, refuse new jobs,
# with status 429 or 503. This is *back-pressure*: the sender learns that it must slow down. We simulate 20 s of
# overload: 120 jobs a second arrive, 100 can be done.

# %%
arrive = load.poisson_arrivals(120, 2400, seed=3)
endless_s = load.simulate(arrive, 0.01).latency_ms / 1000
free_at, waits = 0.0, []
for now in arrive:
    if free_at - now < 0.5:  # at most 50 jobs before it
        free_at = max(now, free_at) + 0.01
        waits.append(free_at - now)

# %%
claim(
    "without a bound the last jobs wait more than 5 times as long as any job with a bound of 50",
    endless_s[-100:].mean() > 5 * max(waits),
    f"{endless_s[-100:].mean():.1f} s and {max(waits):.2f} s; {len(arrive) - len(waits)} of "
    f"{len(arrive)} jobs were refused",
)

# %% [markdown]
# ## What does a cache gain?
#
# A *cache* keeps answers in case the same question comes again. The *hit rate* $h$ is the share of questions that the
# cache can answer. With $t_{hit}$ for an answer from the cache and $t_{miss}$ for the others, the mean time is
#
# $$\bar{T} = h\,t_{hit} + (1 - h)\,t_{miss}.$$
#
# Often a few questions are popular and most are rare. *Zipf's law* describes this: the $i$-th most popular question
# comes $1/i$ times as often as the first. We draw 20,000 questions about our 450 test images by this law. The cache has
# room for 45 answers. When it is full, it throws out the answer that has not been used for the longest time (*LRU*,
# least recently used).

# %%
guess(
    "hits",
    "The cache has room for a tenth of all answers. What share of the questions can it answer?",
    share=True,
)

# %%
popularity = 1 / np.arange(1, 451)
popularity /= popularity.sum()
asked_for = np.random.default_rng(2).choice(450, 20_000, p=popularity).tolist()


# %%
def lru_hits(questions, room):
    kept, hits = OrderedDict(), 0
    for each in questions:
        hits += each in kept
        kept[each] = True
        kept.move_to_end(each)
        if len(kept) > room:
            kept.popitem(last=False)
    return hits


# %% [markdown]
# What is the hit rate with room for 45 answers, and with other sizes?

# %%
rooms = (5, 10, 20, 45, 90, 180, 450)
rates = [lru_hits(asked_for, room) / len(asked_for) for room in rooms]
bounds = [popularity[:room].sum() for room in rooms]
reveal("hits", rates[3])

# %%
plt.plot(
    rooms, 100 * np.array(bounds), "s--", color=show.GREY, label="the most popular ones, kept"
)
plt.plot(rooms, 100 * np.array(rates), "o-", color=show.BLUE, label="LRU")
plt.xscale("log")
plt.xticks(rooms, rooms)
plt.minorticks_off()
plt.ylim(0, 105)
plt.xlabel("room in the cache (answers, of 450)")
plt.ylabel("hit rate (%)")
plt.legend()
show.finding(
    f"Room for a tenth of the answers catches {100 * rates[3]:.0f} % of the questions",
    alt="Hit rate against room: "
    + ", ".join(f"{k}: {100 * r:.0f} %" for k, r in zip(rooms, rates)),
)

# %% [markdown]
# The dashed line is the hit rate of a cache that always keeps the most popular answers. If questions are independent,
# no cache of this size does better on average. LRU does not know which answers are popular.
#
# Our gateway has an LRU cache too, with `--cache 45`. Does it hit as often as the simulation says? The header `X-Cache`
# of each answer says `hit` or `miss`:
#
# ```bash
# curl -i -d @scan.json http://127.0.0.1:8080/digits
# ```

# %%
caching = start("--cache", "45", "--version-seconds", "0.1")
to_cache, by_kind = load.Wires(caching.url), {"hit": [], "miss": []}
for image in asked_for[:400]:
    start_s = time.perf_counter()
    reply = to_cache.ask("/digits", scans[image].encode())
    by_kind[reply.headers["x-cache"]].append(1000 * (time.perf_counter() - start_s))
hits, (hit_ms, miss_ms) = len(by_kind["hit"]), (np.median(each) for each in by_kind.values())

# %%
claim(
    "the gateway's cache hits exactly as often as the simulated one",
    hits == lru_hits(asked_for[:400], 45),
    f"{hits} of 400",
)
observe(
    "a hit is answered faster than a miss", hit_ms < miss_ms, f"{hit_ms:.2f} and {miss_ms:.2f} ms"
)

# %% [markdown]
# ## What must a cache's key hold?
#
# A kept answer becomes out of date when the *model* changes. **Where this goes wrong:** a cache whose key is the
# question alone goes on giving the old model's answers. We keep one answer in such a cache and in the gateway's. Then
# we put another model, one with 8-bit weights, at the same address.

# %%
PREDICT = "/v1/models/digits_cnn:predict"
question = json.dumps({"instances": test.images[:1, None].tolist()}).encode()
careless_cache = {}


# %%
def cached(body):
    if body not in careless_cache:
        careless_cache[body] = predict(predictor.url, body)
    return careless_cache[body]


def predict(url, body):
    return json.loads(load.Wires(url).ask(PREDICT, body).body)


# %%
old = [cached(question), predict(caching.url, question)]

# %% [markdown]
# Both caches hold the old answer now. The new model comes as version 4.

# %%
newer = scratch / "newer" / "digits_cnn" / "4"
newer.mkdir(parents=True, exist_ok=True)
shutil.copy(models.path("digits_cnn", 2), newer / "model.onnx")
predictor.stop()
predictor = start_module(
    "course_lib.serving", ["--models", str(newer.parent.parent)], scratch / "newer.log",
    port=int(predictor.url.rpartition(":")[2]),
)  # fmt: skip
new, until_s = predict(predictor.url, question), time.monotonic() + 10
while predict(caching.url, question) != new and time.monotonic() < until_s:
    time.sleep(0.1)  # the gateway asks for the version ten times a second

# %%
claim(
    "the careless cache still gives the old model's answer; the gateway gives the new one, since "
    "the version is part of its key",
    cached(question) == old[0] != new and predict(caching.url, question) == new != old[1],
    "the gateway's key: server, version, path, body",
)

# %% [markdown]
# For a moment after the change, the gateway may still give an old answer, until it asks for the version again. If that
# is not acceptable, the request itself must name the version (`/versions/4:predict`). **Now do exercise 15b.3**: write
# a cache key that differs whenever the answer may differ.
#
# ## When is a database file enough?
#
# *SQLite* is a library that keeps a database in one file. It needs no server. A crash in the middle of a change must
# not damage the file. By default, SQLite first saves the old content in a second file, the *rollback journal*. With a
# *write-ahead log* (WAL), it appends changes to a log and moves them into the database later, at a *checkpoint*. To
# *sync* means to wait until the disk has written. With WAL, `synchronous = FULL` syncs at each commit, and `NORMAL` at
# checkpoints only.

# %%
guess(
    "wal",
    "How many times as many rows a second does WAL with NORMAL write, compared with the default?",
    low=1,
    high=1000,
)


# %%
def writes_a_second(journal, synchronous, rows_a_commit, commits=200):
    file = scratch / f"writes-{journal}-{synchronous}-{rows_a_commit}.db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as base:
        base.execute(f"PRAGMA journal_mode = {journal}")
        base.execute(f"PRAGMA synchronous = {synchronous}")
        base.execute("CREATE TABLE IF NOT EXISTS feedback (id INTEGER PRIMARY KEY, label INTEGER)")
        start_s = time.perf_counter()
        for _ in range(commits):
            base.execute("BEGIN")
            base.executemany("INSERT INTO feedback (label) VALUES (?)", [(7,)] * rows_a_commit)
            base.execute("COMMIT")
        return commits * rows_a_commit / (time.perf_counter() - start_s)


# %%
kinds = {
    "rollback journal, the default": ("DELETE", "FULL", 1),
    "WAL, FULL": ("WAL", "FULL", 1),
    "WAL, NORMAL": ("WAL", "NORMAL", 1),
    "WAL, NORMAL, 50 rows a commit": ("WAL", "NORMAL", 50),
}
speed = {name: writes_a_second(*kind) for name, kind in kinds.items()}
reveal("wal", speed["WAL, NORMAL"] / speed["rollback journal, the default"])
show.table(
    ["how", "rows a second"],
    [[name, f"{each:,.0f}"] for name, each in speed.items()],
    caption="Feedback written to a SQLite file on this disk",
)

# %% [markdown]
# The ratio depends on the disk and the file system. With NORMAL, a power cut may lose the last rows, but it does not
# damage the file. For feedback that is acceptable; for payments it is not.
#
# What is the limit of a file? It has one writer at a time:

# %%
base = scratch / "two.db"
first, second = (sqlite3.connect(base, isolation_level=None, timeout=0) for _ in range(2))
first.execute("PRAGMA journal_mode = WAL")
first.execute("DROP TABLE IF EXISTS feedback")
first.execute("CREATE TABLE feedback (label INTEGER)")
first.execute("BEGIN IMMEDIATE")
first.execute("INSERT INTO feedback VALUES (7)")
try:
    said = str(second.execute("BEGIN IMMEDIATE"))
except sqlite3.OperationalError as refused:
    said = str(refused)
read_meanwhile = second.execute("SELECT count(*) FROM feedback").fetchone()[0]
_ = first.execute("COMMIT")

# %%
claim(
    "a second writer is refused; a reader goes on, and sees the state before the change",
    said == "database is locked" and read_meanwhile == 0,
    said,
)
for each in (first, second):
    each.close()

# %% [markdown]
# With `timeout=10`, as in our queue, the second writer waits for up to 10 s. Another limit cannot be set away: WAL
# works only between processes on *one machine*, since they share memory. It does not work over a network file system.
#
# ## Which server do I need, and when?
#
# | you need | one machine | several machines |
# | --- | --- | --- |
# | a database | SQLite | PostgreSQL |
# | a queue | a table, as above | RabbitMQ, Redis streams, a PostgreSQL table; Kafka for logs of events |
# | a cache, a rate limit | a dict, if there is one process; else as on the right | Redis, Valkey |
#
# *Redis* is a server that keeps strings, counters and logs in memory. It executes one command at a time, so each is
# *atomic*: no other command runs in the middle of it. (Valkey is a fork of Redis under the earlier, open licence.)
# There is an official image, `redis`. We make a small one from Debian's package, so that you see how it is made:

# %%
DOCKERFILE = """\
FROM python:3.13-slim-trixie
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server \\
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
EXPOSE 6379
CMD ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]
"""
REDIS = own("course-redis:local")
OURS = {"course-lesson": own("15b")}  # a label on the container

# %% [markdown]
# `own` adds a few letters to a name, the same ones everywhere in your copy of the course. So nobody else's copy on the
# same engine uses or removes your image. In a terminal:
#
# ```bash
# docker build -t course-redis:local -f redis.Dockerfile .
# docker run --rm -d -p 127.0.0.1:6379:6379 --read-only --memory 128m --cap-drop ALL course-redis:local
# ```


# %%
@contextlib.contextmanager
def redis_server():
    """A Redis in a container that cannot write to its disk; its port on this machine."""
    import io

    from course_lib.ops.docker import address, build_image, clear, docker_client

    client = docker_client()
    clear(client, OURS, REDIS)  # what an earlier run left, if it broke off
    build_image(client, fileobj=io.BytesIO(DOCKERFILE.encode()), tag=REDIS, rm=True, forcerm=True)
    limits = {"read_only": True, "mem_limit": "128m", "cap_drop": ["ALL"]}
    published = {"6379/tcp": ("127.0.0.1", None)}
    container = client.containers.create(REDIS, ports=published, labels=OURS, **limits)
    try:
        container.start()
        yield int(address(container, 6379).rpartition(":")[2])
    finally:
        container.remove(force=True)


# %% [markdown]
# We use it for three things. First, two gateways share one *cache*:


# %%
def shared_cache(port):
    gates, said = [start("--cache", f"redis://127.0.0.1:{port}") for _ in range(2)], []
    for gate in (gates[0], gates[1], gates[1]):
        said.append(load.Wires(gate.url).ask("/digits", scans[0].encode()).headers["x-cache"])
    for gate in gates:
        gate.stop()
    return said


# %% [markdown]
# Second, a shared *rate limit*: all processes together let 50 requests of a user pass in a minute. In a terminal:
# `redis-cli INCR rate:user-7` and `redis-cli EXPIRE rate:user-7 60 NX`. (`NX`: only if the key has no end yet.)


# %%
def rate_limit(store, name, most):
    """Counts one request; whether it is among the first `most` of its minute."""
    key = f"rate:{name}"
    with store.pipeline(transaction=True) as both:  # both commands or neither
        count, _ = both.incr(key).expire(key, 60, nx=True).execute()
    return count <= most


# %% [markdown]
# Third, a queue. A Redis *stream* gives entries to a *consumer*, our worker, and counts the deliveries. If a consumer
# has not acknowledged an entry (`XACK`) after some time, another may claim it (`XAUTOCLAIM`). But a stream has no
# maximum of deliveries and no dead letters. We program both; the dead letters go into a second stream. One consumer
# takes ten jobs and does nothing more, as if it had died. Job 50 always fails. You may skip the code of `stream`: the
# claims below say what it does. In a terminal:
#
# ```bash
# redis-cli XGROUP CREATE jobs readers 0 MKSTREAM
# redis-cli XADD jobs "*" number 50
# redis-cli XREADGROUP GROUP readers lives COUNT 25 STREAMS jobs ">"
# redis-cli XPENDING jobs readers - + 100
# redis-cli XAUTOCLAIM jobs readers lives 50 0
# ```


# %%
def stream(store):
    store.xgroup_create("jobs", "readers", id="0", mkstream=True)
    for number in range(100):
        store.xadd("jobs", {"number": number})
    store.xreadgroup("readers", "dies", {"jobs": ">"}, count=10)
    done = Counter()

    def handle(entries):
        for key, entry in entries:
            if entry[b"number"] != b"50":
                done[entry[b"number"]] += 1
                store.xack("jobs", "readers", key)

    while new := store.xreadgroup("readers", "lives", {"jobs": ">"}, count=25):
        handle(new[0][1])
    while waiting := store.xpending_range("jobs", "readers", "-", "+", 100):
        time.sleep(0.1)
        for each in waiting:
            if each["times_delivered"] >= 3:
                [[key, entry]] = store.xrange("jobs", each["message_id"], each["message_id"])
                store.xadd("dead", entry)
                store.xack("jobs", "readers", key)
        handle(store.xautoclaim("jobs", "readers", "lives", min_idle_time=50)[1])
    return {"done": len(done), "dead": [int(e[b"number"]) for _, e in store.xrange("dead")]}


# %%
@live("docker")
def middleware():
    import redis

    with redis_server() as port:
        store = redis.Redis(port=port, socket_timeout=5)
        until_s = time.monotonic() + 20
        while True:
            with contextlib.suppress(redis.exceptions.RedisError):
                store.ping()
                break
            if time.monotonic() > until_s:
                raise TimeoutError("Redis did not answer within 20 s")
            time.sleep(0.02)
        seen = {"version": store.info()["redis_version"], "cache": shared_cache(port)}
        both = [redis.Redis(port=port) for _ in range(2)]
        passed = [rate_limit(both[i % 2], "user-7", 50) for i in range(200)]
        ping_ms = float(np.median(load.closed_loop(lambda i: store.ping(), 300).latency_ms))
        return {**seen, "allowed": sum(passed), "ping_ms": ping_ms, "stream": stream(store)}


# %% [markdown]
# All three in one run:

# %%
redis_seen = middleware()

# %%
claim(
    "the second gateway finds in the cache what the first one computed",
    redis_seen["cache"] == ["miss", "hit", "hit"],
    redis_seen["cache"],
)
claim(
    "of 200 requests of one user at two clients, exactly 50 pass",
    redis_seen["allowed"] == 50,
    redis_seen["allowed"],
)
claim(
    "99 of 100 jobs are done, the dead consumer's too; the poison job is a dead letter",
    redis_seen["stream"] == {"done": 99, "dead": [50]},
    redis_seen["stream"],
)

# %%
observe(
    "a command to Redis takes less than a millisecond, over the network of one machine",
    redis_seen["ping_ms"] < 1,
    f"{redis_seen['ping_ms']:.2f} ms, Redis {redis_seen['version']}",
    of=redis_seen,
    either=True,
)

# %% [markdown]
# That is the median of 300 commands on one connection. On a busy machine they take longer.
#
# Three warnings:
#
# - The minute of our rate limit begins with a user's first request. So two bursts, just before and just after its end,
#   may pass almost twice the limit within a few seconds.
# - This Redis keeps nothing on disk, so it loses the queue when it stops. A queue that holds accepted work must write
#   its log to disk (`appendonly yes`; `appendfsync` says how often it syncs).
# - If Redis cannot be reached, our gateway asks the model instead. If a service cannot run without its cache, the cache
#   is a database, and must be run like one.


# %%
@live("docker")
def remove_image():
    from course_lib.ops.docker import clear, docker_client

    return clear(docker_client(), OURS, REDIS)


claim_gone("the container and the image are gone", remove_image())

# %%
queue.close()
for each in (gateway, caching, predictor):
    each.stop()

# %% [markdown]
# ## What we measured

# %%
show.table(
    ["what", "figure"],
    [
        [
            "jobs accepted, results, deliveries with one worker killed",
            f"100, {len(results)}, {deliveries}",
        ],
        ["dead letters, deliveries of each", ", ".join(str(n) for _, n, _ in letters)],
        [
            "longest wait in 20 s of overload: no bound, a bound of 50",
            f"{endless_s.max():.1f} s, {max(waits):.2f} s",
        ],
        ["hit rate with room for a tenth of the answers", f"{100 * rates[3]:.0f} %"],
        [
            "rows a second: default, WAL with NORMAL",
            f"{speed['rollback journal, the default']:,.0f}, {speed['WAL, NORMAL']:,.0f}",
        ],
    ],
    caption="Queue, cache, database",
)

# %% [markdown]
# ## What to remember
#
# - Give jobs out by lease, count each delivery as you do so, and make `finish` idempotent. Look at the dead letters.
# - A cache's key must hold everything that the answer depends on, the model's version too.
# - Begin with a file. Use a server when a second machine needs the same data.
#
# ## Where this breaks down
#
# All our processes read the same clock. On several machines, let the database's clock decide about leases. Even then a
# slow worker may finish after its lease has ended. Two workers then hold one job, so the work must be idempotent. If
# the *service* is down for longer than three leases, a maximum of deliveries makes dead letters of good jobs. So wait
# longer after each failure, or stop taking jobs while the service is down (lesson 15's breaker). Real questions are not
# drawn independently by Zipf's law; measure your own hit rate. And a cache of personal answers is personal data (lesson
# 22b).
#
# ## What real teams use
#
# Amazon SQS, where the lease is the *visibility timeout* and dead letters are a *redrive policy* with
# `maxReceiveCount`; RabbitMQ with *quorum queues*, a `delivery-limit` and a *dead letter exchange*; Kafka for logs
# that several teams read; Celery for jobs in Python. Redis or Valkey for caches and limits. PostgreSQL for data, and
# for queues as well, with `SELECT … FOR UPDATE SKIP LOCKED`.
#
# ## Further reading
#
# - SQLite documentation, *Write-Ahead Logging* and *Appropriate Uses For SQLite*.
# - Redis documentation, *Redis Streams*; commands XREADGROUP, XPENDING and XAUTOCLAIM.
# - G. Hohpe, B. Woolf, *Enterprise Integration Patterns*, Addison-Wesley 2003: Dead Letter Channel.
# - M. Kleppmann, *Designing Data-Intensive Applications*, O'Reilly 2017, chapters 7 and 11.
# - L. Breslau et al., *Web Caching and Zipf-like Distributions*, INFOCOM 1999.
