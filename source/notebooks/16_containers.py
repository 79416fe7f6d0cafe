# %% [markdown]
# # 16 Containers
#
# At 3 a.m. a container is dead with exit code 137. Did it ask for too much memory, or did it not listen when it was
# told to end? While you find out, forty machines each download two gigabytes, because one line has changed.
#
# ## You will be able to
#
# - look at one process from inside and outside its container, and say what is separate and what is not;
# - write a Dockerfile whose service listens, ends when told, and does not run as root;
# - order it so that a change of code costs a small layer and no secret stays behind;
# - set limits of memory and CPU, see both hit, and make the service keep to them;
# - say what an image holds, byte by byte and package by package, and which image it is.
#
# ## Before you start
#
# Lesson 01 builds the course's image once, and lesson 14 explains the server in it. If a Docker engine is available,
# everything here is really built, run and killed. If not, you see what happened on a real one. The `docker` package
# sends the same requests as the `docker` command.

# %%
import base64
import contextlib
import gzip
import hashlib
import importlib.metadata
import io
import json
import os
import re
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import matplotlib.pyplot as plt
import numpy as np
import onnx
from dockerfile_parse import DockerfileParser
from onnx import TensorProto, helper

from course_lib import places
from course_lib.idioms import begin, claim, claim_gone, live, observe, own, path, show

scratch = begin("16")
path.picture(here="16")

# %%
BASE = "python:3.13-slim-trixie"
SERVICE = own("digits-service:lesson-16")
OURS = {"course-lesson": own("16")}  # a label on all that this lesson makes
print(SERVICE)

# %% [markdown]
# `own` adds a hyphen and a few letters to a name. The letters belong to your copy of the course. So you can share an
# engine with others, and nobody removes what somebody else made.

# %% [markdown]
# ## What does the article's recipe build?
#
# An *image* is the files and settings that a container starts from; a *Dockerfile* is the recipe for it; an *engine*
# builds an image from a Dockerfile.
#
# **Where this goes wrong.** One of the articles that this course grew from deploys a model with this recipe:

# %%
ARTICLE = """\
FROM pytorch/pytorch:1.8-cpu
RUN pip install torch torchvision torchaudio
COPY ./app /app
CMD ["python", "/app/app.py"]
"""

# %% [markdown]
# `FROM` names the image to start from, `RUN` runs a command in it, `COPY` brings files in, and `CMD` says what a
# container of the image runs. The engine gets these files, the *build context*, as one archive:


# %%
def build(client, tag, dockerfile, files=None, **settings):
    """Builds an image of ours; returns it, the build's log, and the seconds."""
    from course_lib.ops.docker import build_image

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in {"Dockerfile": dockerfile, **(files or {})}.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    settings |= {"fileobj": io.BytesIO(packed.getvalue()), "custom_context": True}
    settings |= {"tag": own(tag), "labels": OURS, "rm": True, "forcerm": True}
    start = time.perf_counter()
    image, log = build_image(client, **settings)
    lines = "".join(line.get("stream", "") for line in log)
    return image, lines, time.perf_counter() - start


# %%
@live("docker")
def article_build():
    import docker

    from course_lib.ops.docker import clear, docker_client

    client = docker_client()
    clear(client, OURS, SERVICE)  # what an earlier run left, if it broke off
    try:
        build(client, "digits-16:article", ARTICLE, {"app/app.py": "print('hello')"})
    except docker.errors.DockerException as failed:
        said = re.sub(r" on [0-9.:]+", "", str(failed))  # whose name server it was is no matter
        return {"built": False, "said": said}
    return {"built": True, "said": ""}


# %%
article = article_build()

# %%
print(article["said"])
claim("the article's image cannot be built", not article["built"])

# %% [markdown]
# Read what the engine says. "manifest unknown" or "not found" means that the registry, the server from which images
# are fetched, knows no such image: PyTorch's makers never published a tag `1.8-cpu`. "no such host" or a time-out
# means that no registry was reached; then the build would fail even for an image that exists. Either way it fails at
# its first line. What would the rest do? We put the last three lines on a base that exists, leave the framework out,
# and add an application. The article shows none. Its model, in section 4.3, is a script that computes and ends, so our
# first application is such a script; the other two are servers. The article's Deployment uses port 8080. (The line
# that we leave out would install the framework a second time, beside the one in the base, in the newest version of
# that day.)

# %%
APP = """\
import http.server, os, signal, sys
def end(*_):
    print("told to end", flush=True)
    sys.exit(0)
if "{kind}" == "a script":
    sys.exit(print("computed"))
if "{kind}" == "a server, and ends on SIGTERM":
    signal.signal(signal.SIGTERM, end)
host = "127.0.0.1" if "{kind}" == "a server on 127.0.0.1" else "0.0.0.0"
server = http.server.HTTPServer((host, 8080), http.server.SimpleHTTPRequestHandler)
print("listens", flush=True)
server.serve_forever()
"""
ON_A_BASE = f"""\
FROM {BASE}
COPY . /app
EXPOSE 8080
CMD ["python3", "/app/app.py"]
"""
KINDS = ["a script", "a server on 127.0.0.1", "a server on 0.0.0.0"]

# %% [markdown]
# Two helpers come first. One runs a container and removes it whatever happens. The other waits until it has printed a
# word. Then we build and run all three, publish port 8080 of each, and send it a request.


# %%
@contextlib.contextmanager
def running(client, image, *command, **settings):
    """A container of ours, removed in the end whatever happens."""
    command = list(command) or None
    container = client.containers.run(image, command, detach=True, labels=OURS, **settings)
    try:
        yield container
    finally:
        container.remove(force=True)


# %%
def has_printed(container, word, seconds=30):
    until = time.monotonic() + seconds
    while word not in container.logs().decode():
        if time.monotonic() > until:
            raise TimeoutError(f"{word!r} did not come: {container.logs().decode()[-500:]}")
        time.sleep(0.02)


# %%
@live("docker")
def who_listens():
    from course_lib.ops.docker import address, docker_client
    from course_lib.ops.http import answers

    client, seen = docker_client(), {}
    for kind in KINDS:
        image, _, _ = build(client, "digits-16:app", ON_A_BASE, {"app.py": APP.format(kind=kind)})
        with running(client, image, ports={"8080/tcp": ("127.0.0.1", None)}) as container:
            has_printed(container, "computed" if kind == KINDS[0] else "listens")
            if kind == KINDS[0]:
                container.wait(timeout=30)
                heard, user = False, ""
            else:
                until = time.monotonic() + (1 if kind == KINDS[1] else 10)
                url = address(container, 8080)
                while not (heard := answers(url)) and time.monotonic() < until:
                    time.sleep(0.02)
                user = container.exec_run(["id", "-u"]).output.decode().strip()
            container.reload()
            seen[kind] = {"status": container.status, "answers": heard, "user": user}
    return seen


# %%
listeners = who_listens()

# %%
show.table(
    ["the application", "the container", "answers on 8080", "runs as user"],
    [[kind, *each.values()] for kind, each in listeners.items()],
)

# %%
claim(
    "a script's container has ended; of the two servers, only the one on 0.0.0.0 is reached",
    listeners["a script"]["status"] == "exited"
    and [listeners[kind]["answers"] for kind in KINDS[1:]] == [False, True],
)

# %%
claim(
    "where the recipe says nothing of it, the process runs as user 0, root",
    [listeners[kind]["user"] for kind in KINDS[1:]] == ["0", "0"],
)

# %% [markdown]
# - A container lives as long as its first process. The article's `CMD` starts no server, so there is nothing to reach.
# - `127.0.0.1` inside a container is the container's own. A server that listens there cannot be reached from outside,
#   although it "works on my machine". Listen on `0.0.0.0`, all addresses.
# - `EXPOSE` opens nothing. It is a note for readers; what publishes a port is `docker run -p`, and in a cluster a
#   Service. We published port 8080 for all three, but that does not make a program listen.
# - Without a `USER` the process runs as root. A later section shows what that allows.
#
# ## What is a container, then?
#
# It is a process, not a small machine. The process only sees other names for things. We build the course's own image,
# run it, and look at its one process from two sides.


# %%
@live("docker")
def service_image():
    from course_lib.ops.docker import build_service, docker_client

    client = docker_client()
    start = time.perf_counter()
    image = build_service(client, scratch / "context", places.MODELS, tag=SERVICE)
    seen = {"seconds": time.perf_counter() - start, "bytes": image.attrs["Size"]}
    seen["layers"] = [[step["Size"], step["CreatedBy"]] for step in image.history()]
    seen["base_bytes"] = client.images.get(BASE).attrs["Size"]
    return seen


# %%
image = service_image()
print(f"built in {image['seconds']:.1f} s: {show.bytes_text(image['bytes'])}")

# %% [markdown]
# Inside, we ask the kernel with a few lines of Python, run *in* the container. Outside, we ask for the same process
# with the same lines: from a second container. That one shares the process numbers and the host name of the engine's
# machine, and may look at other processes.

# %%
LOOK = """
import json, os, platform, sys
from pathlib import Path
who = Path("/proc") / sys.argv[1]
status = dict(line.split(":", 1) for line in (who / "status").read_text().splitlines())
seen = {key: status[key].split() for key in ("NSpid", "Uid", "CapEff")}
names = ("pid", "net", "mnt", "uts", "ipc", "user")
seen["namespaces"] = {name: os.readlink(who / "ns" / name) for name in names}
seen["host"], seen["kernel"] = platform.node(), platform.release().split("-")[0]
seen["processes"] = sum(name.isdigit() for name in os.listdir("/proc"))
seen["cpus"] = os.cpu_count()
seen["memory"] = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
seen["limits"] = {}
for file in ("memory.max", "cpu.max", "memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us"):
    if (at := Path("/sys/fs/cgroup") / file).exists():
        seen["limits"][file] = at.read_text().strip()
print(json.dumps(seen))
"""
LIMITED = {
    "read_only": True,
    "mem_limit": "256m",
    "nano_cpus": 500_000_000,  # half a CPU
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}


# %%
@live("docker")
def two_sides():
    from course_lib.ops.docker import docker_client, wait_until_ready

    client = docker_client()
    published = {"8501/tcp": ("127.0.0.1", None)}
    start = time.perf_counter()
    with running(client, SERVICE, ports=published, **LIMITED) as container:
        wait_until_ready(container)
        seen = {"ready_s": time.perf_counter() - start}
        container.reload()
        number = container.attrs["State"]["Pid"]
        ask = "from course_lib.serving.limits import cpu_limit; print(cpu_limit())"
        seen["server_counts"] = int(container.exec_run(["python", "-c", ask]).output)
        seen["inside"] = json.loads(container.exec_run(["python", "-c", LOOK, "1"]).output)
        look, see_all = ["python3", "-c", LOOK], {"pid_mode": "host", "userns_mode": "host"}
        see_all |= {"uts_mode": "host", "cap_add": ["SYS_PTRACE"], "remove": True, "labels": OURS}
        seen["outside"] = json.loads(client.containers.run(BASE, [*look, str(number)], **see_all))
        seen["neighbour"] = json.loads(client.containers.run(BASE, [*look, "self"], **see_all))
    return seen


# %%
sides = two_sides()
inside, outside, neighbour = sides["inside"], sides["outside"], sides["neighbour"]

# %%
show.table(
    ["the same process", "from inside", "from outside"],
    [
        ["its number", inside["NSpid"][-1], outside["NSpid"][0]],
        ["its user", inside["Uid"][0], outside["Uid"][0]],
        ["processes in sight", inside["processes"], outside["processes"]],
        ["the host's name", inside["host"], outside["host"]],
        ["the kernel", inside["kernel"], outside["kernel"]],
        ["CPUs and memory in sight", f"{inside['cpus']}, {show.bytes_text(inside['memory'])}",
         f"{outside['cpus']}, {show.bytes_text(outside['memory'])}"],
    ],
)  # fmt: skip

# %%
claim(
    "one process has two numbers: 1 inside, another one outside",
    outside["NSpid"][-1] == inside["NSpid"][-1] == "1" and outside["NSpid"][0] != "1",
    outside["NSpid"],
)

# %%
claim(
    "inside, it sees itself and what was started beside it; outside, there are more",
    inside["processes"] <= 3 < outside["processes"],
    f"{inside['processes']} and {outside['processes']}",
)

# %%
observe(
    "limited to half a CPU and all, it is ready within 2 seconds of its start",
    sides["ready_s"] < 2,
    f"{sides['ready_s']:.2f} s",
    of=sides,
)

# %%
claim("the kernel is the same one", inside["kernel"] == outside["kernel"], inside["kernel"])

# %% [markdown]
# A *namespace* gives a process other names for things. Linux has one kind for process numbers, one for the network,
# one for mounted file systems, one for the host's name, and so on. Each namespace has a number, and two processes with
# the same number share it. Here are the numbers of the service, and beside them those of the second container, which
# shares the process numbers and the host name of the engine's machine:

# %%
WHAT = {"pid": "process numbers", "net": "network", "mnt": "files", "uts": "host name"}
WHAT |= {"ipc": "shared memory", "user": "user numbers"}
show.table(
    ["namespace", "service", "the other container", "result"],
    [
        [what, inside["namespaces"][name], neighbour["namespaces"][name],
         "shared" if inside["namespaces"][name] == neighbour["namespaces"][name] else "its own"]
        for name, what in WHAT.items()
    ],
)  # fmt: skip

# %%
separate = ("pid", "net", "mnt", "uts", "ipc")
claim(
    "process numbers, network, files, host name and shared memory are the container's own",
    all(inside["namespaces"][name] != neighbour["namespaces"][name] for name in separate),
)

# %%
observe(
    "user numbers are shared: whoever is root in a container is user 0 outside too",
    inside["namespaces"]["user"] == neighbour["namespaces"]["user"],
    inside["namespaces"]["user"],
    of=sides,
    either=True,
)

# %% [markdown]
# (An engine can be set up to give containers user numbers of their own, or to run without root itself. Then root
# inside is another user outside.)
#
# Namespaces decide what a process *sees*. A different mechanism, the *control group* (cgroup), limits how much it may
# *use*. We gave the container 256 MiB and half a CPU, and the kernel counts what it takes. The limit is in a file,
# whose name depends on the version of cgroups (1 or 2) on the engine's machine.

# %%
for file, limit in inside["limits"].items():
    print(f"/sys/fs/cgroup/{file}: {limit}")
memory = {"memory.max", "memory/memory.limit_in_bytes"} & set(inside["limits"])
claim(
    "the limit of 256 MiB is there to read, and /proc/meminfo tells of the machine all the same",
    [int(inside["limits"][each]) for each in memory] == [256 * 2**20] and inside["memory"] > 2**29,
    f"the machine has {show.bytes_text(inside['memory'])}",
)

# %% [markdown]
# The last line causes much trouble. `free`, `os.cpu_count()` and many libraries report the whole machine, not the
# limit. Below we run into both limits.
#
# ## Why does it take ten seconds to stop?
#
# To end a container, the engine sends SIGTERM to its first process, waits for the *grace period* (10 s by default),
# then kills. A well-behaved server finishes what it has begun and ends with code 0. `CMD` can be written in *exec
# form*, a JSON list that is run as it stands, or in *shell form*, a line that `/bin/sh -c` runs. We start the same
# server in six ways and tell each to stop. The grace period is 3 s. Predict which of them end with code 0.

# %%
SHELL, EXEC = "CMD python3 /app/app.py", 'CMD ["python3", "/app/app.py"]'
PLAIN, HANDLES = "a server on 0.0.0.0", "a server, and ends on SIGTERM"
STOPS = {
    "shell form, handles SIGTERM": (SHELL, HANDLES, False),
    "shell form and an init, handles SIGTERM": (SHELL, HANDLES, True),
    "exec form, no handler": (EXEC, PLAIN, False),
    "exec form and an init, no handler": (EXEC, PLAIN, True),
    "exec form, STOPSIGNAL SIGINT, no handler": (f"STOPSIGNAL SIGINT\n{EXEC}", PLAIN, False),
    "exec form, handles SIGTERM": (EXEC, HANDLES, False),
}  # fmt: skip
GRACE_S = 3


# %%
@live("docker")
def stops():
    from course_lib.ops.docker import docker_client

    client = docker_client()
    made = {}
    for number, (name, (command, kind, _)) in enumerate(STOPS.items()):
        recipe = f"FROM {BASE}\nCOPY . /app\n{command}\n"
        files = {"app.py": APP.format(kind=kind)}
        made[name], _, _ = build(client, f"digits-16:stop-{number}", recipe, files)

    def stop(name):
        with running(client, made[name], init=STOPS[name][2]) as container:
            has_printed(container, "listens")
            first = container.exec_run(["cat", "/proc/1/comm"]).output.decode().strip()
            start = time.perf_counter()
            container.stop(timeout=GRACE_S)
            seen = {"seconds": time.perf_counter() - start, "first": first}
            heard = "told to end" in container.logs().decode()
            return {**seen, "code": container.wait()["StatusCode"], "heard": heard}

    with ThreadPoolExecutor(2) as two:
        return dict(zip(STOPS, two.map(stop, STOPS)))


# %%
stopped = stops()

# %%
colours = {0: show.GREEN, 137: show.RED}
white = {"fc": "white", "ec": "none", "pad": 1}
plt.axvline(GRACE_S, color=show.GREY, linestyle=":")
plt.text(GRACE_S + 0.06, 5.6, f"grace period, {GRACE_S} s", va="center", fontsize=8)
for row, each in enumerate(stopped.values()):
    plt.barh(row, each["seconds"], color=colours.get(each["code"], show.ORANGE))
    label = f"{each['seconds']:.1f} s, exit code {each['code']}, process 1: {each['first']}"
    plt.text(each["seconds"] + 0.06, row, label, va="center", fontsize=8, bbox=white)
plt.yticks(range(len(stopped)), stopped, fontsize=8)
plt.ylim(5.9, -0.6)
plt.xlim(0, 2.5 * GRACE_S)
plt.xlabel("from `docker stop` to the end (s)")
in_order = [name for name, each in stopped.items() if each["code"] == 0]
words = [f"{name}: {each['seconds']:.1f} s, code {each['code']}" for name, each in stopped.items()]
show.finding(
    f"Of {len(stopped)} ways to start a server, {len(in_order)} ends in order",
    alt=f"Bars of the seconds from docker stop to the end. {'; '.join(words)}.",
)

# %%
code = {name: each["code"] for name, each in stopped.items()}
claim(
    "the shell form takes the whole grace period and is killed, although the server handles "
    "SIGTERM",
    code["shell form, handles SIGTERM"] == 137
    and stopped["shell form, handles SIGTERM"]["seconds"] > 0.95 * GRACE_S,
)

# %%
claim(
    "so is the exec form where the server has no handler",
    code["exec form, no handler"] == 137
    and stopped["exec form, no handler"]["seconds"] > 0.95 * GRACE_S,
)

# %%
claim(
    "only in exec form does the server's handler run, and only with it is the code 0",
    in_order == [name for name, each in stopped.items() if each["heard"]]
    and in_order == ["exec form, handles SIGTERM"],
)

# %% [markdown]
# In shell form, process 1 is the shell. The signal goes to it alone, and the server never hears of it. (Other shells
# may do otherwise: bash puts a single command in its own place. Do not count on it.) The second failure is stranger.
# Outside a container, a program without a handler dies of SIGTERM. Process 1 does not. If the first process of a
# namespace ends, all others in it are killed, so the kernel ignores signals to it for which it has no handler. That
# also holds for the shell.
#
# There are two partial remedies. An *init* (`docker run --init`) is a tiny first process that passes signals on. The
# program dies of the signal: code 143, which is 128 + 15, SIGTERM's number. `STOPSIGNAL SIGINT` makes the engine send
# another signal. Python has a handler for it, which raises KeyboardInterrupt: code 130, 128 + 2. Both end *quickly*,
# and a request under way would be cut off. And look at the second bar. The init passes the signal to the shell, which
# dies of it. Then the init has nothing left to wait for and ends. With process 1 gone, the kernel kills the rest: the
# server, whose handler never ran.
#
# So use the exec form, and a server with a handler, such as ours (lesson 14 shows the drain). Code 137 is 128 + 9:
# killed. The code does not say why; the section on memory meets it again, with another cause.
#
# ## What does a change of one line cost?
#
# Each instruction that changes files makes a *layer*, and the engine keeps it. At the next build it compares from the
# top: as long as the instruction and what it copies are the same, it uses the kept layer. From the first difference
# on, it makes every layer again. So the order matters. Here are two orders of the same lines; for each, we build,
# change one line of the application, and build again. (NumPy stands for the packages; the virtual environment is made
# first in both, and `LABEL` makes sure that neither finds the layers of an earlier run.)

# %%
TOP = f"FROM {BASE}\nRUN python3 -m venv /opt/app\nLABEL run={{run}}\n"
INSTALL = "RUN /opt/app/bin/pip install --no-cache-dir -r /app/requirements.txt\n"
ORDERS = {
    "code first": f"{TOP}COPY . /app\n{INSTALL}",
    "packages first": f"{TOP}COPY requirements.txt /app/\n{INSTALL}COPY . /app\n",
}


# %%
@live("docker")
def cache_order():
    from course_lib.ops.docker import docker_client

    client, seen = docker_client(), {}
    pinned = (places.CHECKOUT / "docker/service-requirements.txt").read_text()
    needs = re.search(r"^numpy==[\d.]+", pinned, re.M)[0] + "\n"
    build(client, "digits-16:cache", TOP.format(run="warm-up"))
    for name, recipe in ORDERS.items():
        recipe, seen[name] = recipe.format(run=time.time_ns()), []
        for code in ("print('version 1')", "print('version 2')"):
            files = {"requirements.txt": needs, "app.py": code}
            image, log, seconds = build(client, "digits-16:cache", recipe, files)
            steps = [
                [each["Created"], each["CreatedBy"], each["Size"]] for each in image.history()
            ]
            before = seen[name][-1]["steps"] if seen[name] else []
            fresh = sum(step[-1] for step in steps if step not in before)
            found = {"seconds": seconds, "cached": log.count("Using cache"), "new_bytes": fresh}
            seen[name].append({**found, "steps": steps})
    return seen


# %%
orders = cache_order()

# %%
again = {name: builds[1] for name, builds in orders.items()}
show.table(
    ["order", "first build", "after the change", "steps taken from the cache", "new bytes"],
    [
        [name, f"{first['seconds']:.1f} s", f"{second['seconds']:.1f} s", second["cached"],
         show.bytes_text(second["new_bytes"])]
        for name, (first, second) in orders.items()
    ],
)  # fmt: skip

# %%
claim(
    "with packages first, the change takes more steps from the cache, and makes under a "
    "thousandth of the new bytes",
    again["packages first"]["cached"] > again["code first"]["cached"]
    and again["packages first"]["new_bytes"] * 1000 < again["code first"]["new_bytes"],
    f"{again['packages first']['new_bytes']} bytes against {again['code first']['new_bytes']:,}",
)

# %%
observe(
    "and the second build is more than five times as quick",
    again["code first"]["seconds"] > 5 * again["packages first"]["seconds"],
    f"{again['code first']['seconds']:.1f} s against {again['packages first']['seconds']:.1f} s",
    of=orders,
)

# %% [markdown]
# Only the builder pays the seconds. Every machine that runs the image pays the bytes: it fetches each layer that it
# does not have yet. With code first that includes NumPy again, or a whole framework, for a change of one line. So put
# last what changes most often.
#
# ## What is in it, and how large?
#
# An image's layers, one upon the other, make its file system. The engine tells for each which instruction made it.


# %%
def instruction(created_by):
    """The instruction of a Dockerfile, out of what an engine's history has of it."""
    text = re.sub(r"^/bin/sh -c (#\(nop\) *)?", "", created_by).strip()
    text = re.sub(r"(dir|file|multi):[0-9a-f]{64}", lambda found: found[1], text)
    return re.sub(r" +", " ", text.replace("# buildkit", "")).strip()


# %%
layers = [[size, instruction(text)] for size, text in image["layers"] if size]
show.table(["bytes", "made by"], [[f"{size:,}", text[:70] or "the base"] for size, text in layers])

# %%
ours = 1 + next(i for i, (_, text) in enumerate(layers) if "/opt/service" in text)
added = sum(size for size, _ in layers[:ours])  # the layers above the base, newest first
claim("the service adds less than 200 MB to its base", added < 200e6, show.bytes_text(added))

# %%
models_bytes = sum(size for size, text in layers if text.endswith("models"))
code_bytes = sum(size for size, text in layers if "course_lib" in text)
claim(
    "the course's own code and all its models are less than a hundredth of the image",
    code_bytes + models_bytes < image["bytes"] / 100,
    f"{show.bytes_text(code_bytes)} and {show.bytes_text(models_bytes)}",
)

# %% [markdown]
# So most of the size is not the model, but what runs it. That is why the recipe has stages, one for each `FROM`. The
# first installs packages and removes what a server never runs, pip included. The second sets the rights of the
# course's own files. The last one copies both results, and everything else stays behind. And it holds ONNX Runtime
# rather than the framework that trained the model. What would the framework cost? We cannot build that image in a
# lesson's time, so as a stand-in for its layer we count the bytes that each package has installed *here*, in this
# environment.


# %%
def installed_bytes(*packages):
    files = [file for name in packages for file in importlib.metadata.files(name) or []]
    return sum(file.locate().stat().st_size for file in files if file.locate().is_file())


# %%
here = {each.name.replace("_", "-") for each in importlib.metadata.distributions()}
TENSORFLOW = next(name for name in ("tensorflow-cpu", "tensorflow") if name in here)
packages = {"ONNX Runtime": ["onnxruntime"], "PyTorch": ["torch"], "TensorFlow": [TENSORFLOW]}
sizes = {name: installed_bytes(*each) for name, each in packages.items()}

# %%
apart = {"base": image["base_bytes"], "service, over its base": added, **sizes}
for row, (name, size) in enumerate(apart.items()):
    plt.barh(row, size / 1e6, color=show.ORANGE if name in sizes else show.BLUE)
    plt.text(size / 1e6, row, f" {show.bytes_text(size)}", va="center", fontsize=9)
plt.yticks(range(len(apart)), [f"{name}, installed" if name in sizes else name for name in apart])
plt.gca().invert_yaxis()
plt.xlim(0, 1.2 * max(apart.values()) / 1e6)
plt.xlabel("size (MB)")
large = sizes["TensorFlow"] / added
show.finding(
    f"TensorFlow alone is {large:.0f} times what the whole service adds to its base",
    alt="; ".join(f"{name} {show.bytes_text(size)}" for name, size in apart.items()),
)

# %%
observe(
    "each framework alone is larger than all that the service adds to its base",
    min(sizes["PyTorch"], sizes["TensorFlow"]) > added > sizes["ONNX Runtime"],
    ", ".join(f"{name} {show.bytes_text(size)}" for name, size in sizes.items()),
)

# %% [markdown]
# These are the builds for CPUs. PyTorch's default build on Linux brings CUDA packages of several gigabytes along, on
# machines without a GPU too.
#
# ## Is a secret gone when it is removed?
#
# The build needs a token, to fetch packages from the company's own index. There are four ways to pass it in. Which of
# the four images can you publish? We search their settings, their history, and the files in each layer above the base,
# as `docker save` hands them out to everybody who has the image. And we look as most people would: with `env` and
# `cat`, in a container.

# %%
TOKEN = "token-for-lesson-16"
FETCH = "echo fetching"  # stands for pip install --index-url https://$TOKEN@…
LEAKS = {
    "ENV": f"FROM {BASE}\nENV TOKEN={TOKEN}\nRUN {FETCH}\n",
    "ARG": f"FROM {BASE}\nARG TOKEN\nRUN {FETCH}\n",
    "COPY, then rm": f"FROM {BASE}\nCOPY token /tmp/token\nRUN {FETCH} && rm /tmp/token\n",
    "COPY in another stage": f"FROM {BASE} AS first\nLABEL course-lesson={OURS['course-lesson']}\n"
    f"COPY token /tmp/token\nRUN {FETCH} && mkdir /out && echo done > /out/package\n"
    f"FROM {BASE}\nCOPY --from=first /out /out\n",
}


# %%
def saved(image):
    """What `docker save` writes: the layers' archives, lowest first."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(image.save()))) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        packed = [archive.extractfile(name).read() for name in manifest["Layers"]]
    return [gzip.decompress(each) if each[:2] == b"\x1f\x8b" else each for each in packed]


def files_with(word, layer):
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        files = [entry for entry in archive if entry.isfile() and entry.size < 10_000]
        return [file.name for file in files if word.encode() in archive.extractfile(file).read()]


# %%
@live("docker")
def leaks():
    from course_lib.ops.docker import docker_client

    client, seen = docker_client(), {}
    of_base = len(client.images.get(BASE).attrs["RootFS"]["Layers"])
    for number, (name, recipe) in enumerate(LEAKS.items()):
        given = {"buildargs": {"TOKEN": TOKEN}} if name == "ARG" else {}
        image, _, _ = build(client, f"digits-16:leak-{number}", recipe, {"token": TOKEN}, **given)
        look = ["sh", "-c", "env; cat /tmp/token 2> /dev/null || true"]
        in_container = client.containers.run(image, look, remove=True, labels=OURS).decode()
        history = [step["CreatedBy"] for step in image.history()]
        layers = saved(image)[of_base:]
        seen[name] = {
            "a container of it": TOKEN in in_container,
            "settings": TOKEN in " ".join(image.attrs["Config"]["Env"] or []),
            "history": any(TOKEN in step for step in history),
            "layers": sorted({file for layer in layers for file in files_with(TOKEN, layer)}),
        }
    return seen


# %%
leaked = leaks()

# %%
where = ["a container of it", "settings", "history", "layers"]
show.table(
    ["the token is given by", *where],
    [[name, *[str(each[place] or "–") for place in where]] for name, each in leaked.items()],
)

# %%
claim("by ENV it is in the settings", leaked["ENV"]["settings"])

# %%
claim(
    "by ARG it is in the history, though no container sees it",
    leaked["ARG"]["history"] and not leaked["ARG"]["a container of it"],
)

# %%
claim(
    "copied and removed it is in a layer, though no container sees it",
    leaked["COPY, then rm"]["layers"] == ["tmp/token"]
    and not leaked["COPY, then rm"]["a container of it"],
)

# %%
claim(
    "only the image whose other stage used it is free of it",
    [name for name, each in leaked.items() if not any(each.values())] == ["COPY in another stage"],
)

# %% [markdown]
# A layer is never changed. `rm` in a later instruction adds a mark, "this file is gone". The file stays in the layer
# below, and anyone can unpack it. So if others have an image with the secret in it, the secret is known: replace the
# secret, not only the image.
#
# A separate stage keeps the secret out of the published image, but not out of the builder, which keeps that stage in
# its cache. The right tool is BuildKit, the builder of recent versions of `docker build`:
#
# ```dockerfile
# # syntax=docker/dockerfile:1
# RUN --mount=type=secret,id=token pip install --index-url "https://$(cat /run/secrets/token)@…" -r requirements.txt
# ```
#
# Such an image is built with `docker build --secret id=token,src=token.txt .`, and the file is there while that one
# instruction runs, and in no layer. A test of the course builds one this way, and searches it. The engine's older
# builder, which the `docker` package speaks to and which this lesson uses, does not know `RUN --mount`. Secrets of the
# *running* service are another question: they come from outside when it starts (lesson 17).
#
# ## What happens at the limit of memory?
#
# A program asks for 512 MiB in a container whose limit is 64. Guess: is the request refused, is there an exception,
# and when?

# %%
LIMIT_MIB = 64
GREEDY = """
import mmap
asked = mmap.mmap(-1, 512 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
print("given", 512, flush=True)
try:
    for mib in range(1, 513):
        asked.write(b"x" * 2**20)
        print("written", mib, flush=True)
except BaseException as error:
    print("noticed", type(error).__name__, flush=True)
"""


# %%
@live("docker")
def out_of_memory():
    from course_lib.ops.docker import docker_client

    most = {"mem_limit": f"{LIMIT_MIB}m", "memswap_limit": f"{LIMIT_MIB}m"}  # and no swap
    with running(docker_client(), BASE, "python3", "-c", GREEDY, **most) as container:
        code = container.wait(timeout=60)["StatusCode"]
        container.reload()
        said = container.logs().decode().split("\n")[:-1]
        return {"code": code, "killed": container.attrs["State"]["OOMKilled"], "said": said}


# %%
greedy = out_of_memory()

# %%
print(*greedy["said"][:2], "…", *greedy["said"][-2:], sep="\n")
written = int(greedy["said"][-1].split()[1])
claim(
    "it is given 512 MiB, and dies while it writes to them, before it has written 64",
    greedy["said"][0] == "given 512"
    and greedy["said"][-1] == f"written {written}"
    and written < 64,
    f"{written} MiB written",
)

# %%
claim(
    "nothing was refused and nothing raised: it was killed, with exit code 137",
    greedy["code"] == 137 and not any(line.startswith("noticed") for line in greedy["said"]),
    greedy["code"],
)

# %%
observe("and the engine notes OOMKilled", greedy["killed"], greedy["killed"], of=greedy)

# %% [markdown]
# Asking costs nothing. The kernel gives out memory when a *page* (usually 4 KiB) is first written, and then it is too
# late for an exception. So the limit must fit the peak under load, not the size after the start. This answers the
# question from the beginning. 137 with `OOMKilled` means memory. 137 without it usually means that the process ignored
# the stop, or that somebody used `kill -9`. `docker inspect` shows it; in a cluster, `kubectl describe pod`.
#
# ## What does half a CPU do to a thread pool?
#
# A limit on CPU is a *quota*: so much processor time in each period of 100 ms. A container that has used it up stands
# still until the next period. The quota does not reduce the number of processors that a program sees, and ONNX Runtime
# sizes its pool by what it sees (issue 29510 in its repository). With a quota of half a CPU, how many threads are
# best? We measure with a chain of matrix products, large enough to be worth sharing, in containers of the service's
# image. The weights are made inside the model, by `ConstantOfShape`, so that the whole model is small enough to travel
# on a command line.

# %%
SIDE, LINKS = 512, 8
one = helper.make_tensor("v", TensorProto.FLOAT, [1], [1e-3])
nodes = [helper.make_node("ConstantOfShape", ["shape"], ["W"], value=one)]
names = ["x", *[f"h{i}" for i in range(LINKS - 1)], "y"]
nodes += [helper.make_node("MatMul", [a, "W"], [b]) for a, b in zip(names, names[1:])]
ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [128, SIDE]) for n in ("x", "y")]
shape = helper.make_tensor("shape", TensorProto.INT64, [2], [SIDE, SIDE])
graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], [shape])
chain = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
onnx.checker.check_model(chain)

# %% [markdown]
# The program in the container calls the model for two seconds, and records when each call began and how long it took.
# First it makes twenty calls a second, which need only a part of the quota with one thread. Then it makes as many as
# it can. Before and after, it reads two counters of its cgroup: `nr_periods` counts the periods in which it wanted to
# run, and `nr_throttled` those in which it was stopped. It also counts the threads that ONNX Runtime makes.

# %%
PRESS = """
import base64, json, os, sys, time
from pathlib import Path
import numpy, onnxruntime
threads, seconds, apart = int(sys.argv[1]), 2.0, float(sys.argv[2])
def counters():
    for file in ("cpu.stat", "cpu/cpu.stat"):
        if (at := Path("/sys/fs/cgroup") / file).exists():
            found = dict(line.split() for line in at.read_text().splitlines())
            if "nr_periods" in found:
                return [int(found["nr_periods"]), int(found["nr_throttled"])]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
before = len(os.listdir("/proc/self/task"))
session = onnxruntime.InferenceSession(base64.b64decode(sys.argv[3]), options)
made = len(os.listdir("/proc/self/task")) - before + 1
x = {"x": numpy.ones((128, 512), numpy.float32)}
session.run(None, x)
time.sleep(0.2)
first, begin, calls = counters(), time.perf_counter(), []
while time.perf_counter() - begin < seconds:
    time.sleep(max(0, begin + len(calls) * apart - time.perf_counter()))
    start = time.perf_counter()
    session.run(None, x)
    took = time.perf_counter() - start
    calls.append([round(1000 * (start - begin), 1), round(1000 * took, 2)])
periods, throttled = [b - a for a, b in zip(first, counters())]
seen = {"threads": made, "sees": os.cpu_count(), "periods": periods, "throttled": throttled}
print(json.dumps({**seen, "calls": calls}))
"""


# %%
@live("docker")
def throttled():
    from course_lib.ops.docker import docker_client

    client, seen = docker_client(), []
    model = base64.b64encode(chain.SerializeToString()).decode()
    limits = {"nano_cpus": 500_000_000, "mem_limit": "512m", "remove": True}  # half a CPU
    for apart in (0.05, 0.0):  # seconds from a call to the next
        for threads in (1, 0, 8):
            command = ["python", "-c", PRESS, str(threads), str(apart), model]
            found = json.loads(client.containers.run(SERVICE, command, labels=OURS, **limits))
            seen.append({"cpus": 0.5, "asked": threads, **found})
    return seen


# %%
press = throttled()

# %%
label = {1: "1 thread", 0: "as it chooses", 8: "8 threads"}
mark = {1: (show.GREEN, "o"), 0: (show.ORANGE, "s"), 8: (show.RED, "^")}
by = {(load, each["asked"]): each for load, each in zip(["light"] * 3 + ["full"] * 3, press)}
taken = {key: np.array([ms for _, ms in each["calls"]]) for key, each in by.items()}
p50, p99 = ({k: np.quantile(ms, q) for k, ms in taken.items()} for q in (0.5, 0.99))

# %%
for asked, (colour, shape) in mark.items():
    at, ms = np.array(by["light", asked]["calls"]).T
    name = label[asked] + (f" ({by['light', asked]['threads']})" if asked == 0 else "")
    plt.semilogy(at / 1000, ms, shape, color=colour, markersize=4, label=name)
plt.xlabel("time (s)")
plt.ylabel("latency of a call (ms)")
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
words = [f"{label[asked]}: p99 {p99['light', asked]:.0f} ms" for asked in label]
show.finding(
    f"A limit of {by['light', 1]['cpus']:g} CPU: p99 is {p99['light', 1]:.0f} ms with 1 thread, "
    f"{p99['light', 8]:.0f} ms with 8",
    alt=f"Latency of each call over time, on a logarithmic scale. {'; '.join(words)}.",
)

# %%
show.table(
    ["load", "limit", "threads", "periods", "throttled", "calls", "p50 (ms)", "p99 (ms)"],
    [
        [load, each["cpus"], f"{each['threads']}" + " (its default)" * (asked == 0),
         each["periods"], each["throttled"], len(each["calls"]), f"{p50[load, asked]:.1f}",
         f"{p99[load, asked]:.0f}"]
        for (load, asked), each in by.items()
    ],
)  # fmt: skip

# %% [markdown]
# With so few calls, the p99 of eight threads is nearly their maximum. `throttled` counts the periods in which the
# container was stopped before it was done.

# %%
observe(
    "left alone, ONNX Runtime makes more threads than the limit lets run: it goes by the machine",
    by["full", 0]["threads"] > by["full", 0]["cpus"] + 0.5,
    f"{by['full', 0]['threads']} threads, on a machine of {by['full', 0]['sees']} processors",
    of=press,
)

# %%
one, eight = by["light", 1], by["light", 8]
observe(
    "under the light load one thread is hardly ever throttled, eight are in most periods",
    one["throttled"] * 10 <= one["periods"] and eight["throttled"] * 2 > eight["periods"],
    f"{one['throttled']} of {one['periods']} and {eight['throttled']} of {eight['periods']}",
    of=press,
    either=True,
)

# %%
observe(
    "and eight threads have more than twice the p99 of one",
    p99["light", 8] > 2 * p99["light", 1],
    f"{p99['light', 8]:.0f} ms against {p99['light', 1]:.0f} ms",
    of=press,
)

# %%
observe(
    "under the full load eight threads get through less than half of the calls of one",
    2 * len(by["full", 8]["calls"]) < len(by["full", 1]["calls"]),
    f"{len(by['full', 8]['calls'])} against {len(by['full', 1]['calls'])}",
    of=press,
)

# %% [markdown]
# If eight threads are hardly throttled either, the machine was busy: other programs left the container less than its
# quota. Then it is slow for another reason.
#
# How long is a pause? It can be computed. Let $q$ be the quota in CPUs, $P$ = 100 ms the period, and $b$ the number of
# threads that really run at once, at most the number of threads and of processors. Together they use up $b$ ms of
# processor time in each ms, and have $qP$ in all, so they run for $qP/b$ and then stand still for the rest:
#
# $$t_{\text{pause}} = P\left(1 - \frac{q}{b}\right) \quad\text{where } b > q, \qquad 0 \text{ otherwise.}$$
#
# A call that meets the pause takes that much longer. Does p99 show it, under the full load?

# %%
rows = []
for asked in label:
    each = by["full", asked]
    busy = min(each["threads"], each["sees"])
    pause = 100 * max(0, 1 - each["cpus"] / busy)
    rows.append([each["threads"], pause, p99["full", asked] - p50["full", asked]])
show.table(
    ["threads", "pause, computed (ms)", "p99 less p50, measured (ms)"],
    [[threads, f"{pause:.0f}", f"{extra:.0f}"] for threads, pause, extra in rows],
)

# %%
few = [abs(extra - pause) for _, pause, extra in rows[:2]]
observe(
    "with as many threads as processors or fewer, it is the pause, to within 20 ms",
    max(few) < 20,
    f"off by up to {max(few):.0f} ms",
    of=press,
    either=True,
)

# %% [markdown]
# The formula is off if a call meets two pauses, or if other programs take their part of the processors. By the
# formula, one thread never uses up a quota of one CPU. With half a CPU even one thread stands still for 50 ms whenever
# it has computed for 50. That is fine for a model that takes a tenth of a millisecond now and then, and bad for one
# that computes for long. Pauses alone would cost no throughput, since the processor time is the same for any number of
# threads. But eight threads complete far fewer calls. They likely spend the time waiting for each other: ONNX
# Runtime's threads spin for a while when they wait, and spinning counts against the quota, too. In the same way eight
# threads use up the quota with only twenty short calls a second. On a server of 64 processors the default is far more
# than eight.
#
# So the course's server reads its limit from the cgroup's file and uses one thread for each *whole* CPU, but at least
# one:

# %%
claim(
    "limited to half a CPU, the server counts one CPU for itself",
    sides["server_counts"] == 1,
    f"the machine has {inside['cpus']}",
)

# %% [markdown]
# ## What can it write, and as whom?
#
# An attacker who breaks into a service can do what its process can. So take away what it never needs: the *user* (a
# number other than 0), the *capabilities* (root's power in pieces, such as opening raw sockets; `cap_drop`), and
# *writing* (`read_only`). What breaks?

# %%
TRY = """
import json, tempfile
from pathlib import Path
def attempt(what):
    try:
        what()
        return "works"
    except OSError as refused:
        return refused.strerror.split(" found")[0]
held = dict(line.split(":", 1) for line in Path("/proc/1/status").read_text().splitlines())
print(json.dumps({
    "change a program": attempt(lambda: Path("/usr/bin/added").write_text("x")),
    "write beside its code": attempt(lambda: Path("service.log").write_text("x")),
    "a temporary file": attempt(tempfile.TemporaryFile),
    "capabilities": int(held["CapEff"], 16).bit_count(),
}))
"""
READ_ONLY = {"read_only": True, "cap_drop": ["ALL"]}
WAYS = {
    "root": {"user": "0:0"},
    "root, read-only": {"user": "0:0", **READ_ONLY},
    "its own user": {},
    "read-only": READ_ONLY,
    "read-only, and a tmpfs": {**READ_ONLY, "tmpfs": {"/tmp": "size=16m"}},
}


# %%
@live("docker")
def what_it_may():
    from course_lib.ops.docker import docker_client

    client, seen = docker_client(), {}
    for name, how in WAYS.items():
        command = ["python", "-c", TRY]
        seen[name] = json.loads(
            client.containers.run(SERVICE, command, remove=True, labels=OURS, **how)
        )
    return seen


# %%
may = what_it_may()

# %%
show.table(
    ["the user may", *may], [[row, *[each[row] for each in may.values()]] for row in may["root"]]
)

# %%
claim(
    "root may change the programs themselves; the service's own user may not",
    may["root"]["change a program"] == "works"
    and may["its own user"]["change a program"] == "Permission denied",
)

# %%
claim(
    "root has capabilities by default, and none once they are dropped",
    may["root"]["capabilities"] > 0 == may["root, read-only"]["capabilities"],
    f"{may['root']['capabilities']} and {may['root, read-only']['capabilities']}",
)

# %%
claim(
    "on a read-only root none of the three works, temporary files included; a tmpfs on /tmp mends "
    "these, and these alone",
    "works" not in may["read-only"].values()
    and [row for row, each in may["read-only, and a tmpfs"].items() if each == "works"]
    == ["a temporary file"],
    may["read-only"]["a temporary file"],
)

# %% [markdown]
# A *tmpfs* is a file system in memory. It disappears with the container, and its files count towards the container's
# memory limit. There is always one: the engine mounts `/dev/shm`, for shared memory, and it stays writable. To find
# out what a library wants to write, switch `read_only` on in a test, not in production. Our server writes no file, so
# it runs read-only without a tmpfs, as the first container of this lesson's service did.
#
# ## Does anybody notice when it hangs?
#
# A process that hangs is still a process, so its container "runs". `HEALTHCHECK` in the Dockerfile is a command that
# the engine runs in the container from time to time. Ours asks `/v2/health/ready`, here twice a second. We freeze the
# server from outside: SIGSTOP stops a process without ending it, SIGCONT lets it go on.


# %%
@live("docker")
def frozen():
    from course_lib.ops.docker import docker_client

    def until(container, wanted, since):
        while time.perf_counter() - since < 60:
            container.reload()
            state = container.attrs["State"]
            if state["Health"]["Status"] == wanted:
                return [wanted, state["Status"], time.perf_counter() - since]
            time.sleep(0.05)
        raise TimeoutError(f"expected {wanted}: {container.attrs['State']}")

    check = {"interval": 500_000_000, "timeout": 1_000_000_000, "retries": 2}  # in nanoseconds
    with running(docker_client(), SERVICE, healthcheck=check) as container:
        seen = [until(container, "healthy", time.perf_counter())]
        container.kill("SIGSTOP")
        seen.append(until(container, "unhealthy", time.perf_counter()))
        container.kill("SIGCONT")
        return [*seen, until(container, "healthy", time.perf_counter())]


# %%
health = frozen()

# %%
show.table(
    ["after", "its health", "its state", "seconds"],
    [
        [event, *each[:2], f"{each[2]:.1f}"]
        for event, each in zip(("its start", "SIGSTOP", "SIGCONT"), health)
    ],
)

# %%
claim(
    "frozen, it becomes unhealthy and stays running; let go, it is healthy again",
    [each[:2] for each in health]
    == [["healthy", "running"], ["unhealthy", "running"], ["healthy", "running"]],
)

# %% [markdown]
# The engine records the state, and does nothing. It does not restart the container: a restart policy looks at exits,
# not at health. Kubernetes ignores `HEALTHCHECK` and has probes of its own (lesson 17). The state is shown by
# `docker ps`, and used by Compose, where one service can wait until another one is healthy.
#
# ## What is in there, package by package?
#
# On a morning in December 2021, companies everywhere asked one question: *where do we run Log4j, and in which
# version?* Those who had a list could look it up. Such a list is a *software bill of materials* (SBOM). For our image
# we make one from two sources: the metadata of the Python packages in the service's environment, and Debian's package
# database. We write it as CycloneDX, one of the two common formats (the other is SPDX); a *purl* (package URL) names
# each package with its ecosystem and version.

# %%
SCAN = """
import importlib.metadata, json, subprocess
python = [[each.name, each.version] for each in importlib.metadata.distributions()]
ask = ["dpkg-query", "-W", "-f", "${Package} ${Version}\\\\n"]
debian = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
print(json.dumps({"pypi": sorted(python), "deb": [line.split() for line in debian.splitlines()]}))
"""


# %%
@live("docker")
def scan():
    from course_lib.ops.docker import docker_client

    return json.loads(
        docker_client().containers.run(SERVICE, ["python", "-c", SCAN], remove=True, labels=OURS)
    )


# %%
contents = scan()


# %%
def component(kind, name, version):
    known = name.lower().replace("_", "-") if kind == "pypi" else name
    purl = f"pkg:{'pypi' if kind == 'pypi' else 'deb/debian'}/{known}@{quote(version)}"
    return {"type": "library", "name": name, "version": version, "purl": purl}


# %%
bom = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "version": 1,
    "metadata": {"component": {"type": "container", "name": SERVICE}},
    "components": [component(kind, *each) for kind in contents for each in contents[kind]],
}
(scratch / "sbom.json").write_text(json.dumps(bom, indent=1))
for each in bom["components"][:2] + bom["components"][-2:]:
    print(each["purl"])

# %%
pins = dict(
    line.split("==")
    for line in (places.CHECKOUT / "docker/service-requirements.txt").read_text().split()
    if "==" in line
)

# %%
claim(
    "the service's environment holds exactly the packages that are pinned, in these versions",
    {name.lower().replace("_", "-"): version for name, version in contents["pypi"]} == pins,
    f"{len(pins)} from PyPI, {len(contents['deb'])} from Debian",
)

# %%
claim(
    "there are more than five of the base's packages for each of ours",
    len(contents["deb"]) > 5 * len(pins),
    f"{len(contents['deb']) / len(pins):.0f}",
)

# %% [markdown]
# Most of these packages came with the base; we did not choose them. A smaller base saves bytes, but above all it has
# fewer packages to keep up to date. Such a list has gaps. The official Python image compiles Python itself, so
# Debian's database does not know it. The image also has a pip of its own, outside the service's environment.
#
# An advisory says that a message with too many levels can crash the pure-Python version of protobuf (CVE-2025-4565).
# Fixed versions are 6.31.1 and, of the older series, 5.29.5 and 4.25.8. So we search for versions before 6.31.1.


# %%
def numbers(version):
    return [int(part) for part in re.findall(r"\d+", version)]


def affected(bom, name, before):
    found = [each for each in bom["components"] if each["name"] == name]
    return [each["purl"] for each in found if numbers(each["version"]) < numbers(before)]


# %%
print("protobuf before 6.31.1:", affected(bom, "protobuf", "6.31.1"))
print("protobuf before 99:", affected(bom, "protobuf", "99"))

# %% [markdown]
# Our image is not affected. The second line shows that the search does find protobuf. Comparing version numbers is
# enough here, though it would also report 5.29.5, which is fixed. Scanners such as Trivy or Grype know the rules of
# each ecosystem. They also know when a distribution has fixed an old version, so that an advisory does not apply.
# Lesson 22 signs what was built.
#
# ## Which image was it?
#
# "We run `digits-service:1.4`." Which one? A tag is a name that can be moved. We build two images under one tag, and
# run the tag and both IDs.


# %%
@live("docker")
def same_tag():
    from course_lib.ops.docker import docker_client

    client, tag = docker_client(), "digits-16:moved"
    recipe = f'FROM {BASE}\nCOPY app.py /app.py\nCMD ["python3", "/app.py"]\n'
    first, _, _ = build(client, tag, recipe, {"app.py": "print('version 1')"})
    second, _, _ = build(client, tag, recipe, {"app.py": "print('version 2')"})
    say = {"remove": True, "labels": OURS}
    names = {"the tag": own(tag), "the first ID": first.id, "the second ID": second.id}
    layers = [hashlib.sha256(layer).hexdigest() for layer in saved(first)]
    return {
        "ids": [first.id, second.id],
        "said": {k: client.containers.run(v, **say).decode().strip() for k, v in names.items()},
        "layers": [each.removeprefix("sha256:") for each in first.attrs["RootFS"]["Layers"]],
        "hashed": layers,
    }


# %%
moved = same_tag()

# %%
print(moved["said"])
claim(
    "one tag, two images: the tag now says what the second says, the first is there by its ID",
    list(moved["said"].values()) == ["version 2", "version 1", "version 2"],
    " and ".join(each[:19] for each in moved["ids"]),
)

# %%
claim(
    "a layer's name is the SHA-256 of its unpacked bytes, computed here anew",
    moved["hashed"] == moved["layers"],
    moved["layers"][-1][:19],
)

# %% [markdown]
# That is why a layer need not be fetched twice, and why a *digest*, `name@sha256:…`, cannot be moved: other bytes have
# another name. Pin by digest what must not change, above all the base. Let a robot (Renovate, Dependabot) propose the
# next digest, or you keep the base's old security holes, too:
#
# ```bash
# docker build -f docker/service.Dockerfile --build-arg BASE_IMAGE=python:3.13-slim-trixie@sha256:… .
# ```
#
# With most engines an image has a digest only after it came from a registry or was pushed to one. This page was
# recorded where no registry can be reached, so the recipe here names the tag. The article's `latest` is the other
# extreme: a tag that moves with every release. Two nodes that pulled it on different days run different programs under
# one name.
#
# ## What goes to the engine?
#
# `docker build .` packs the whole folder and sends it before the first instruction runs: data, `.git`, and the
# environment with the frameworks in it. `COPY . .` then copies all of it into the image. (BuildKit fetches only what
# the instructions name; `COPY . .` names everything.) Files that `.dockerignore` names are not sent. How many bytes
# does that save here?


# %%
def bytes_under(folder):
    total = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # another program's, gone meanwhile
                total += os.lstat(os.path.join(parent, file)).st_size
    return total


# %%
from docker.utils.build import exclude_paths

rules = (places.CHECKOUT / ".dockerignore").read_text().splitlines()
kept = [places.CHECKOUT / name for name in exclude_paths(str(places.CHECKOUT), rules)]
context = {
    "the packages that a .venv here would add": bytes_under(Path(np.__file__).parents[1]),
    "the checkout": bytes_under(places.CHECKOUT),
    "with .dockerignore": sum(each.stat().st_size for each in kept if each.is_file()),
}
show.table(["what would be sent", "bytes"], [[k, f"{v:,}"] for k, v in context.items()])

# %%
claim(
    "with .dockerignore, less than a fifth of the checkout is sent",
    context["with .dockerignore"] * 5 < context["the checkout"],
    f"{context['with .dockerignore'] / context['the checkout']:.1%}",
)

# %% [markdown]
# A list of exceptions from "nothing" (`*`, then `!models`) is safer than a list of what to leave out: a `.env` that
# somebody adds tomorrow stays out.
#
# ## The recipe, line by line
#
# First come the steps of `docker/service.Dockerfile`. Then a table shows what the article's lines have become, and
# which failure each change prevents.

# %%
RECIPE = places.CHECKOUT / "docker" / "service.Dockerfile"
parsed = DockerfileParser(str(RECIPE)).structure
steps = [[each["instruction"], each["value"]] for each in parsed]
steps = [[word, rest] for word, rest in steps if word != "COMMENT"]
for word, rest in steps:
    print(word, " ".join(rest.split())[:85])

# %%
last = max(i for i, (word, _) in enumerate(steps) if word == "FROM")
has, copies = dict(steps[last:]), [rest for word, rest in steps[last:] if word == "COPY"]
needs = (RECIPE.parent / "service-requirements.txt").read_text()
command = json.loads(has["CMD"])
pinned = [line for line in needs.splitlines() if not line.startswith(("#", " "))]
hashed = "--require-hashes" in RECIPE.read_text() and "--hash=sha256:" in needs
order = "/opt/service" in copies[0] and copies[-1].endswith(" models")
large = show.bytes_text(sizes["PyTorch"])
wasted = show.bytes_text(again["code first"]["new_bytes"])

# %%
mended = [
    ["a base that exists, by version", "nothing was built", steps[0][1].endswith(BASE)],
    ["the runtime, no framework", f"{large} for PyTorch", "torch" not in needs],
    ["versions are pinned", "the newest of the day", all("==" in line for line in pinned)],
    ["and the bytes, by hash", "the newest of the day", hashed],
    ["stages", "what only builds it stays", sum(word == "FROM" for word, _ in steps) > 1],
    ["packages first, models last", f"{wasted} for one line", order],
    ["it starts a server, in exec form", "ended at once; 137", command[0] == "python"],
    ["EXPOSE names its port", "nobody listened", command[-1] == has["EXPOSE"]],
    ["a numbered user, not root", "programs were changed", has["USER"] == "10001:10001"],
    ["a health check", "frozen, it ran on", "/v2/health/ready" in has["HEALTHCHECK"]],
    [
        "no token, in no ARG or ENV",
        "found in history and layers",
        "TOKEN" not in RECIPE.read_text(),
    ],
]
show.table(["the mend", "the failure", "is in the file"], mended)

# %%
claim("every mend is in the file", all(there for *_, there in mended), f"{len(mended)} mends")

# %% [markdown]
# ## How do several containers run together?
#
# `docker/compose.yaml` describes four, for one machine: the service, lesson 15's gateway in front of it, Redis, which
# keeps the gateway's answers, and Prometheus, which reads the counters of both servers (lesson 20). This command
# builds and starts them, and returns once all are healthy:
#
# ```bash
# docker compose -f docker/compose.yaml up --build --wait
# ```
#
# Two of the images come from a registry, and this page was made where none can be reached. So here we read the file.
# The course's tests run it; without a registry they use Prometheus and Redis from Debian's packages.

# %%
import yaml

compose = yaml.safe_load((places.CHECKOUT / "docker" / "compose.yaml").read_text())
services = compose["services"]
show.table(
    ["service", "image", "memory", "CPUs", "what its health check asks"],
    [
        [name, each["image"], each["deploy"]["resources"]["limits"]["memory"],
         each["deploy"]["resources"]["limits"]["cpus"],
         re.findall(r"http[^' ]*|ping", each["healthcheck"]["test"][-1])[0]]
        for name, each in services.items()
    ],
)  # fmt: skip

# %%
limits = [each["deploy"]["resources"]["limits"] for each in services.values()]
claim(
    "each has a tag that is not latest, limits, no capability, a read-only root, a health check",
    all(
        not each["image"].endswith((":latest", each["image"].split(":")[0]))
        and each["cap_drop"] == ["ALL"]
        and each["read_only"]
        and "healthcheck" in each
        for each in services.values()
    )
    and all({"cpus", "memory"} <= set(limit) for limit in limits),
)

# %%
ports = [port for each in services.values() for port in each.get("ports", [])]
claim(
    "and is reached from this machine alone, or from the gateway alone, as Redis is",
    all(port.startswith("127.0.0.1:") for port in ports),
    ", ".join(ports),
)

# %% [markdown]
# The folder also holds `docker/workshop.Dockerfile`, the image of this course for a room of learners: large, because
# it has the frameworks, and yet pinned, without root, and in exec form.
#
# ## Clean up
#
# Everything that we built has our label or a name of our own. So the next cell finds it. If this run breaks off, the
# next run's first live cell does. The builder's cache stays, such as the first stage of the service, and makes the
# next build quick. `docker image prune` removes it, together with every other image on the engine that has no name and
# no container.


# %%
@live("docker")
def remove_ours():
    from course_lib.ops.docker import clear, docker_client

    return clear(docker_client(), OURS, SERVICE)


# %%
claim_gone("no container and no image of this lesson is left", remove_ours())

# %% [markdown]
# ## What we measured

# %%
show.table(
    ["what", "figure"],
    [
        ["the service's image, and what it adds to its base",
         f"{show.bytes_text(image['bytes'])}, {show.bytes_text(added)}"],
        ["rebuilt after a change, code first and packages first",
         " and ".join(f"{each['seconds']:.1f} s" for each in again.values())],
        ["new bytes for it",
         " and ".join(show.bytes_text(each["new_bytes"]) for each in again.values())],
        [f"stopped with a grace of {GRACE_S} s: shell form, exec form with a handler",
         f"{stopped['shell form, handles SIGTERM']['seconds']:.1f} s, "
         f"{stopped['exec form, handles SIGTERM']['seconds']:.1f} s"],
        [f"written at a limit of {LIMIT_MIB} MiB, until it was killed", f"{written} MiB"],
        ["p99 under the limit of CPU, light load, 1 and 8 threads",
         f"{p99['light', 1]:.0f} and {p99['light', 8]:.0f} ms"],
        ["packages in the image, from PyPI and from Debian",
         f"{len(contents['pypi'])} and {len(contents['deb'])}"],
    ],
)  # fmt: skip

# %% [markdown]
# ## What to remember
#
# - A container is a process with other names for things and a share of the machine. It still sees all the processors,
#   so tell every library how many threads it may use.
# - Exec form and a handler for SIGTERM; a user that is not root; nothing writable that need not be. Exit code 137 is a
#   kill: `OOMKilled` says whether memory was the cause.
# - Put last what changes most often. A file that was ever in a layer stays in it. The digest identifies an image,
#   the tag does not.
#
# ## Where this breaks down
#
# One engine, one machine, one architecture: an image for x86-64 does not run on an ARM processor unless it was built
# for both. All containers share one kernel, so a hole in it concerns all of them. To run strangers' code, put more
# between (gVisor, Kata Containers, or a virtual machine for each). The sizes are unpacked; what travels is compressed.
# Our figures under the CPU limit come from a machine of few processors; on a larger machine the default number of
# threads is even worse. And the SBOM lists what package managers know: a library that was copied in by hand is in no
# list.
#
# ## What real teams use
#
# BuildKit (`docker buildx`), for secrets, cache mounts and images for several architectures; in clusters also Buildah,
# which builds without an engine that runs all the time. Distroless or Chainguard bases, most of them without a shell.
# Trivy or Grype for SBOMs and known holes, hadolint for Dockerfiles, cosign for signatures, Renovate for digests. In a
# cluster containerd or CRI-O runs the containers, not Docker: the image format is a standard, and any of them runs
# what any of them built.
#
# ## Further reading
#
# - Open Container Initiative, *Image Format Specification* and *Runtime Specification*.
# - *namespaces(7)*, *cgroups(7)*, *capabilities(7)*, *pid_namespaces(7)*: the Linux manual pages.
# - Linux kernel documentation, *CFS Bandwidth Control* and *Control Group v2*.
# - Docker documentation, *Dockerfile reference*, *Build secrets*, *Building best practices*.
# - M. Souppaya, J. Morello, K. Scarfone, *Application Container Security Guide*, NIST SP 800-190, 2017.
# - OWASP CycloneDX, *Bill of Materials Specification*, ECMA-424.
# - L. Rice, *Container Security*, O'Reilly 2020.
