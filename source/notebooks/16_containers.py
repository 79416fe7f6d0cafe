# %% [markdown]
# # 16 Containers
#
# At 3 a.m. forty machines each download two gigabytes, because one line of code has changed. Then the new containers
# exit at once, and the token that the build used turns out to be in the published image.
#
# ## You will be able to
#
# - write a Dockerfile for a server that clients can reach and that does not run as root;
# - order its steps so that changed code makes a small layer, and keep secrets out of the image;
# - say how large an image is, and what takes the space;
# - check that a container starts fast, stops cleanly and is noticed when it hangs;
# - name an image so that everybody runs the same one.
#
# ## Before you start
#
# Lesson 01 builds the course's image once, and lesson 14 explains the server in it. With a Docker engine, everything
# here is really built and run. Without one, you see recordings of real runs. A grey block shows each step as you
# would type it. The cell below it sends the same request through the `docker` package for Python. Lesson 16b, on the
# second floor, looks inside a running container: namespaces, signals, limits, and the list of packages.

# %%
import importlib.metadata
import io
import json
import os
import re
import tarfile
import time

# %%
import matplotlib.pyplot as plt
import numpy as np
from dockerfile_parse import DockerfileParser

from course_lib import places
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
)  # fmt: skip

scratch = begin("16")
path.picture(here="16")

# %%
BASE = "python:3.13-slim-trixie"
SERVICE = own("digits-service:lesson-16")
OURS = {"course-lesson": own("16")}  # a label on everything that this lesson makes
print(SERVICE)

# %% [markdown]
# `own` adds a few letters of your own to a name, so that you can share an engine with others.
#
# ## How do I build an image?
#
# An *image* is the files and settings that a container starts from. A *Dockerfile* is the recipe for an image. An
# *engine* builds images and runs containers.
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
# `FROM` names the image to start from. `RUN` runs a command in it. `COPY` brings files in. `CMD` says what a container
# of the image runs. You save the recipe as `Dockerfile`, beside the folder `app`, and type:
#
# ```bash
# docker build --tag digits-16:article .
# ```
#
# The dot is the *build context*: the folder whose files the build may copy. `build_files` writes the files to a folder
# and sends the same request.


# %%
def build(client, tag, dockerfile, files=None, **settings):
    """docker build --tag TAG FOLDER; returns the image, the build's log, and the seconds."""
    from course_lib.ops.docker import build_files

    start = time.perf_counter()
    context = {"Dockerfile": dockerfile, **(files or {})}
    settings |= {"tag": own(tag), "labels": OURS}
    image, log = build_files(client, scratch / "context", context, **settings)
    return image, log, time.perf_counter() - start


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
print(article["said"])
claim("the article's image cannot be built", not article["built"])

# %% [markdown]
# Read what the engine says. "manifest unknown" or "not found" means that the *registry*, the server from which images
# are pulled, knows no such image: PyTorch's makers published no tag `1.8-cpu`. "no such host" or a time-out means that
# no registry was reached. Then the build would fail even for an image that exists. Either way it fails at its first
# line.
#
# What would the remaining lines do? We put the last two on a base that exists, leave the framework out, and try three
# applications. The article's application computes and ends, so our first one does the same. The other two are servers:
# one listens on 127.0.0.1, the other on 0.0.0.0.

# %%
APP = """\
import http.server, sys
if "{kind}" == "a script":
    sys.exit(print("computed"))
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
# We build all three, run each with its port 8080 published, and send it a request. As typed:
#
# ```bash
# docker build --tag digits-16:app .
# docker run --detach --name app --publish 127.0.0.1::8080 digits-16:app   # :: lets the engine choose a free port
# docker port app                                                          # and this prints it
# curl http://127.0.0.1:PORT/
# docker exec app id -u
# docker rm --force app
# ```

# %%
ANSWERS = ["none", "the server on 0.0.0.0 alone", "both servers", "all three"]
guess("reached", "Which of the three applications answers the request?", choices=ANSWERS)


# %%
@live("docker")
def who_listens():
    from course_lib.ops.docker import address, docker_client, running, wait_until_printed
    from course_lib.ops.http import answers

    client, seen = docker_client(), {}
    for kind in KINDS:
        image, _, _ = build(client, "digits-16:app", ON_A_BASE, {"app.py": APP.format(kind=kind)})
        published = {"8080/tcp": ("127.0.0.1", None)}
        with running(client, image, labels=OURS, ports=published) as container:
            wait_until_printed(container, "computed" if kind == KINDS[0] else "listens")
            heard, user = False, ""
            if kind == KINDS[0]:
                container.wait(timeout=30)
            else:
                until = time.monotonic() + (1 if kind == KINDS[1] else 10)
                url = address(container, 8080)
                while not (heard := answers(url)) and time.monotonic() < until:
                    time.sleep(0.02)
                user = container.exec_run(["id", "-u"]).output.decode().strip()
            container.reload()
            seen[kind] = {"status": container.status, "answers": heard, "user": user}
    return seen


# %% [markdown]
# Which of them were reached, and as which user did they run?

# %%
listeners = who_listens()
reached = [kind for kind, each in listeners.items() if each["answers"]]
reveal("reached", ANSWERS[len(reached)])
show.table(
    ["the application", "the container", "answers on 8080", "runs as user"],
    [[kind, *each.values()] for kind, each in listeners.items()],
    caption="Three applications in the article's recipe",
)

# %%
claim(
    "the script's container has ended; only the server on 0.0.0.0 can be reached; both servers run "
    "as user 0, root",
    listeners["a script"]["status"] == "exited"
    and [listeners[kind]["answers"] for kind in KINDS[1:]] == [False, True]
    and [listeners[kind]["user"] for kind in KINDS[1:]] == ["0", "0"],
)

# %% [markdown]
# - A container lives as long as its first process. If `CMD` starts no server, there is nothing to reach.
# - Inside a container, `127.0.0.1` is the container itself. A server that listens there cannot be reached from outside.
#   Listen on `0.0.0.0`, which means all addresses.
# - `EXPOSE` opens nothing. It is a note for readers. `docker run --publish` publishes a port, and in a cluster a
#   Service does.
# - Without a `USER` instruction the process runs as root. A later section shows what root may do.
#
# ## How large is the image, and what takes the space?
#
# Now we build the course's own image:
#
# ```bash
# docker build --file docker/service.Dockerfile --tag digits-service:0.1.0 .
# docker history digits-service:0.1.0
# ```
#
# Each instruction that changes files makes a *layer*. The layers, one on top of the other, make the image's file
# system. `docker history` lists each layer's size and its instruction.


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


# %% [markdown]
# The history spells each instruction in the engine's own way. A short function makes it readable.


# %%
def instruction(created_by):
    """A Dockerfile's instruction, made readable from an engine's record of it."""
    text = re.sub(r"^/bin/sh -c (#\(nop\) *)?", "", created_by).strip()
    text = re.sub(r"(dir|file|multi):[0-9a-f]{64}", lambda found: found[1], text)
    return re.sub(r" +", " ", text.replace("# buildkit", "")).strip()


# %%
image = service_image()
layers = [[size, instruction(text)] for size, text in image["layers"] if size]
show.table(
    ["bytes", "made by"],
    [[f"{size:,}", text[:70] or "the base"] for size, text in layers],
    caption=f"Layers of the service's image, the newest first: {show.bytes_text(image['bytes'])}",
)

# %%
ours = 1 + next(i for i, (_, text) in enumerate(layers) if "/opt/service" in text)
added = sum(size for size, _ in layers[:ours])  # the layers above the base
small = sum(size for size, text in layers if "course_lib" in text or text.endswith("models"))
claim(
    "the service adds less than 200 MB; its own code and models are less than 1 % of the image",
    added < 200e6 and small < image["bytes"] / 100,
    f"{show.bytes_text(added)}, {show.bytes_text(small)}",
)

# %% [markdown]
# So the model takes little space, and its packages take most. The recipe keeps them small in two ways. First, it is a
# *multi-stage build*: it has several stages, each with its own `FROM`. The first stage installs packages and removes
# what a server does not need, pip included. The second sets the permissions of the course's files. The last stage
# copies both results. The files of the earlier stages are not part of the image. Second, the image holds ONNX Runtime
# rather than the framework that trained the model.
#
# What would a framework add? As an estimate, we count the bytes of each package installed in *this* environment.


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

# %% [markdown]
# The figure shows the builds of your environment. On Linux, PyTorch's default build also installs several gigabytes
# of CUDA packages, even on machines without a GPU.
#
# ## How do I order a Dockerfile so that rebuilds are fast?
#
# The engine keeps each layer. At the next build it compares from the top. Where the instruction and its copied files
# are unchanged, it takes the kept layer. From the first difference on, it makes every layer again. So the order
# matters. Here are two orders of the same lines. We build each, change one line of the application, and build again.
# NumPy stands for the packages. `LABEL` has a new value in each run, so no layer of an earlier run is reused.

# %%
TOP = f"FROM {BASE}\nRUN python3 -m venv /opt/app\nLABEL run={{run}}\n"
INSTALL = "RUN /opt/app/bin/pip install --no-cache-dir -r /app/requirements.txt\n"
ORDERS = {
    "code first": f"{TOP}COPY . /app\n{INSTALL}",
    "packages first": f"{TOP}COPY requirements.txt /app/\n{INSTALL}COPY . /app\n",
}

# %%
guess("again", "Code first: how many megabytes are new after a change of one line?",
      low=0.0001, high=1000, unit="MB")  # fmt: skip


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


# %% [markdown]
# `fresh` adds up the layers that only the second build has.

# %%
orders = cache_order()
again = {name: builds[1] for name, builds in orders.items()}
reveal("again", again["code first"]["new_bytes"] / 1e6)
show.table(
    ["order", "first build", "after the change", "steps from the cache", "new bytes"],
    [
        [name, f"{first['seconds']:.1f} s", f"{second['seconds']:.1f} s", second["cached"],
         show.bytes_text(second["new_bytes"])]
        for name, (first, second) in orders.items()
    ],
    caption="Two orders of the same steps, rebuilt after one changed line",
)  # fmt: skip

# %%
claim(
    "with packages first, the rebuild takes more steps from the cache, and makes less than a "
    "thousandth of the new bytes",
    again["packages first"]["cached"] > again["code first"]["cached"]
    and again["packages first"]["new_bytes"] * 1000 < again["code first"]["new_bytes"],
    f"{again['packages first']['new_bytes']} bytes against {again['code first']['new_bytes']:,}",
)

# %% [markdown]
# The seconds differ between machines, and only the builder waits for them. Every machine that runs the image
# downloads the bytes: it pulls each layer that it does not have yet. With code first, that includes NumPy again, or a
# whole framework. So put small steps that change often at the end. Now do 16.1, which makes that rule precise.
#
# ## Is a secret gone when I remove it?
#
# A build often needs a token, to fetch packages from a company's own index. Here are four ways to pass it in. In
# which of the four images can the token be found? We search an image's settings, its history, and the files in each
# layer above the base. We also look with `env` and `cat` in a container, as many people would:
#
# ```bash
# docker build --build-arg TOKEN="$TOKEN" --tag digits-16:leak .   # for the way with ARG
# docker inspect digits-16:leak                                    # the settings
# docker history --no-trunc digits-16:leak
# docker save digits-16:leak | tar --extract                       # the layers, an archive each
# docker run --rm digits-16:leak sh -c "env; cat /tmp/token"
# ```

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
guess("leaks", "In what share of the four images can the token be found?", share=True)


# %%
def files_with(word, layer):
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        files = [entry for entry in archive if entry.isfile() and entry.size < 10_000]
        return [file.name for file in files if word.encode() in archive.extractfile(file).read()]


# %% [markdown]
# The next function looks in all four places. `saved_layers` reads what `docker save` writes.


# %%
def searched(client, image):
    """Where in an image the token is."""
    from course_lib.ops.docker import saved_layers

    look = ["sh", "-c", "env; cat /tmp/token /run/secrets/token 2> /dev/null || true"]
    shown = client.containers.run(image, look, remove=True, labels=OURS).decode()
    above = saved_layers(image)[len(client.images.get(BASE).attrs["RootFS"]["Layers"]) :]
    return {
        "a container of it": TOKEN in shown,
        "settings": TOKEN in " ".join(image.attrs["Config"]["Env"] or []),
        "history": any(TOKEN in step["CreatedBy"] for step in image.history()),
        "layers": sorted({file for layer in above for file in files_with(TOKEN, layer)}),
    }


# %%
@live("docker")
def leaks():
    from course_lib.ops.docker import docker_client

    client, seen = docker_client(), {}
    for number, (name, recipe) in enumerate(LEAKS.items()):
        given = {"buildargs": {"TOKEN": TOKEN}} if name == "ARG" else {}
        image, _, _ = build(client, f"digits-16:leak-{number}", recipe, {"token": TOKEN}, **given)
        seen[name] = searched(client, image)
    return seen


# %% [markdown]
# Then we build four images and search each.

# %%
leaked = leaks()
reveal("leaks", sum(any(each.values()) for each in leaked.values()) / len(leaked))
where = ["a container of it", "settings", "history", "layers"]
show.table(
    ["the token is given by", *where],
    [[name, *[str(each[place] or "–") for place in where]] for name, each in leaked.items()],
    caption="Where the token was found",
)

# %%
claim(
    "ENV leaves the token in the settings, ARG in the history, COPY in a layer, even after rm",
    leaked["ENV"]["settings"]
    and leaked["ARG"]["history"]
    and leaked["COPY, then rm"]["layers"] == ["tmp/token"],
)

# %% [markdown]
# What would a look into a running container have found?

# %%
claim(
    "a running container shows only ENV's token; the image with another stage holds no token",
    [name for name, each in leaked.items() if each["a container of it"]] == ["ENV"]
    and not any(leaked["COPY in another stage"].values()),
)

# %% [markdown]
# Later instructions do not change a layer. `rm` adds a mark, "this file is gone", but the file stays in the layer
# below. If you published an image with the secret, others may know the secret. Replace the secret. A new image is not
# enough. Now do 16.3.
#
# A separate stage keeps the secret out of the image, but not out of the builder, which keeps that stage in its cache.
# The right tool is a *secret mount*: a file that exists while one instruction runs, and is in no layer. It needs
# *BuildKit*, the builder behind today's `docker build`. (The `docker` package still uses the older builder, so here
# we run the command itself.)
#
# ```bash
# docker build --secret id=token,src=token.txt --tag digits-16:mount .
# ```

# %%
MOUNT = f"""\
FROM {BASE}
RUN --mount=type=secret,id=token wc -c < /run/secrets/token > /read
"""


# %%
@live("docker")
def with_a_secret():
    from course_lib.ops.docker import docker_client, lacks, typed

    if lacks("buildx"):
        return {"there": False}
    folder, token, tag = scratch / "mount", scratch / "token.txt", own("digits-16:mount")
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(MOUNT)
    token.write_text(TOKEN)
    label = f"course-lesson={OURS['course-lesson']}"
    typed("build", "--secret", f"id=token,src={token}", "--label", label, "--tag", tag, folder)
    client = docker_client()
    read = client.containers.run(tag, ["cat", "/read"], remove=True, labels=OURS)
    return {"there": True, "read": int(read), "found": searched(client, client.images.get(tag))}


# %%
mount = with_a_secret()
claim(
    "the build could read the whole token, and the image does not contain it",
    not mount["there"] or (mount["read"] == len(TOKEN) and not any(mount["found"].values())),
    mount.get("found", "not built: `docker buildx`, a plugin of the command, is missing here"),
)

# %% [markdown]
# Secrets of the *running* service are another question. They come from outside when it starts (lesson 17b).
#
# ## As which user does it run, and what can it write?
#
# An attacker who breaks into a service can do what its process can. So take away what it does not need: the user
# root, *capabilities*, and writing. A capability is one piece of root's power, such as opening raw sockets. As typed:
#
# ```bash
# docker run --read-only --cap-drop ALL --tmpfs /tmp:size=16m digits-service:0.1.0
# ```
#
# Five containers of the service's image try the same three writes.

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
show.table(
    ["the user may", *may],
    [[row, *[each[row] for each in may.values()]] for row in may["root"]],
    caption="Three writes, and the number of capabilities, under five settings",
)

# %% [markdown]
# Root may change the programs themselves, and has capabilities. The service's own user may only write temporary
# files. What can be written on a read-only root?

# %%
claim(
    "root may make all three writes, on a read-only root none; a tmpfs allows temporary files only",
    [*may["root"].values()][:3] == ["works"] * 3
    and may["root"]["capabilities"] > 0 == may["root, read-only"]["capabilities"]
    and may["its own user"]["change a program"] == "Permission denied"
    and "works" not in {*may["read-only"].values(), *may["root, read-only"].values()}
    and [row for row, each in may["read-only, and a tmpfs"].items() if each == "works"]
    == ["a temporary file"],
    may["read-only"]["a temporary file"],
)

# %% [markdown]
# A *tmpfs* is a file system in memory. It disappears with the container, and its files count towards the container's
# memory limit. Test with `--read-only` first: a library may need to write. The course's server writes no file, so it
# needs no tmpfs.
#
# `USER 10001:10001` in the Dockerfile sets the user. Prefer a number to a name: Kubernetes' `runAsNonRoot` refuses an
# image whose user is a name, since it cannot tell whether that name is root.
#
# ## Does it start fast and stop cleanly?
#
# Each update of a service (a *rollout*) and each new copy waits for the start, and each rollout ends the old
# containers. To end a container, `docker stop` sends the signal SIGTERM to its first process. If that still runs after
# the *grace period* (10 s by default), it is killed. `CMD` has two forms: *exec form*, a JSON list that is run
# directly, and *shell form*, a line that `/bin/sh -c` runs. We time both forms of the same server, with a grace period
# of 3 s:
#
# ```bash
# docker run --detach --name digits --publish 127.0.0.1:8501:8501 digits-service:0.1.0
# curl --fail http://127.0.0.1:8501/v2/health/ready   # again, until it succeeds
# docker stop -t 3 digits
# docker inspect --format "{{.State.ExitCode}}" digits
# ```

# %%
SHELL = f"FROM {SERVICE}\nCMD python -m course_lib.serving --models models --port 8501\n"
GRACE_S = 3
guess("stop", "Shell form, grace period 3 s: how long does `docker stop` take?",
      low=0.01, high=10, unit="s")  # fmt: skip


# %%
@live("docker")
def starts_and_stops():
    from course_lib.ops.docker import docker_client, running, wait_until_ready

    client, seen = docker_client(), []
    build(client, "digits-16:shell", SHELL)
    published = {"8501/tcp": ("127.0.0.1", None)}
    for image in [SERVICE] * 3 + [own("digits-16:shell")]:
        start = time.perf_counter()
        with running(client, image, labels=OURS, ports=published, **READ_ONLY) as container:
            wait_until_ready(container)
            ready, first = time.perf_counter(), container.exec_run(["cat", "/proc/1/comm"])
            stop = time.perf_counter()
            container.stop(timeout=GRACE_S)
            took, code = time.perf_counter() - stop, container.wait()["StatusCode"]
        seen.append([ready - start, took, code, first.output.decode().strip()])
    return seen


# %% [markdown]
# The last column of the table names the container's first process.

# %%
lives = starts_and_stops()
reveal("stop", lives[-1][1])
show.table(
    ["CMD", "ready after", "stopped after", "exit code", "process 1"],
    [
        [form, f"{ready:.2f} s", f"{took:.2f} s", code, first]
        for form, (ready, took, code, first) in zip(["exec form"] * 3 + ["shell form"], lives)
    ],
    caption="The service, started and stopped",
)

# %%
claim(
    "in exec form the server ends with code 0; in shell form it is killed, code 137, after the "
    "whole grace period",
    [code for _, _, code, _ in lives] == [0, 0, 0, 137] and lives[-1][1] > 0.95 * GRACE_S,
)

# %%
observe(
    "it is ready within 2 seconds of its start",
    max(ready for ready, *_ in lives[:3]) < 2,
    ", ".join(f"{ready:.2f} s" for ready, *_ in lives[:3]),
    of=lives,
    either=True,
)

# %% [markdown]
# In shell form, the first process is the shell. Only the shell gets the signal. The server does not, and is killed
# with its requests half done. In exec form the first process is the server. It has a *handler* for SIGTERM, a
# function that finishes open requests. A program without a handler is killed too, in both forms. If another signal
# ends it cleanly, name that one in the Dockerfile: `STOPSIGNAL SIGINT`. A shell is fine if the server replaces it:
# `CMD ["sh", "-c", "exec python app.py"]`. Lesson 16b measures six ways and explains them.
#
# To keep the start short, the image contains compiled bytecode and the model, so nothing is downloaded. On a busy
# machine it takes longer.
#
# ## How is a hanging server noticed?
#
# A process that hangs is still a process, so its container "runs". `HEALTHCHECK` in the Dockerfile is a command that
# the engine runs in the container from time to time. Its exit code decides: 0 is healthy, 1 is not. Ours asks
# `/v2/health/ready`, here twice a second. We freeze the server with SIGSTOP, which pauses a process. SIGCONT lets it
# go on.
#
# ```bash
# docker run --detach --name digits --health-interval 500ms --health-timeout 1s --health-retries 2 digits-service:0.1.0
# docker kill --signal SIGSTOP digits
# docker inspect --format "{{.State.Health.Status}}" digits
# ```


# %%
@live("docker")
def frozen():
    from course_lib.ops.docker import docker_client, running

    def until(container, wanted, since):
        while time.perf_counter() - since < 60:
            container.reload()
            state = container.attrs["State"]
            if state["Health"]["Status"] == wanted:
                return [wanted, state["Status"], time.perf_counter() - since]
            time.sleep(0.05)
        raise TimeoutError(f"expected {wanted}: {container.attrs['State']}")

    check = {"interval": 500_000_000, "timeout": 1_000_000_000, "retries": 2}  # in nanoseconds
    with running(docker_client(), SERVICE, labels=OURS, healthcheck=check) as container:
        seen = [until(container, "healthy", time.perf_counter())]
        container.kill("SIGSTOP")
        seen.append(until(container, "unhealthy", time.perf_counter()))
        container.kill("SIGCONT")
        return [*seen, until(container, "healthy", time.perf_counter())]


# %%
health = frozen()
show.table(
    ["after", "its health", "its state", "seconds"],
    [
        [event, *each[:2], f"{each[2]:.1f}"]
        for event, each in zip(("its start", "SIGSTOP", "SIGCONT"), health)
    ],
    caption="A server that is frozen and released",
)

# %%
claim(
    "a frozen server becomes unhealthy but stays running; released, it is healthy again",
    [each[:2] for each in health]
    == [["healthy", "running"], ["unhealthy", "running"], ["healthy", "running"]],
)

# %% [markdown]
# The engine only records the state. It does not restart the container, since a restart policy looks at exits, not at
# health. Kubernetes ignores `HEALTHCHECK` and has its own probes (lesson 17). `docker ps` shows the state, and Compose,
# below, uses it. If `HTTP_PROXY` is set in the container, a plain `urlopen` would ask the proxy for 127.0.0.1, so our
# check switches proxies off. Now do 16.2.
#
# ## Should I name an image by tag or digest?
#
# "We run `digits-service:1.4`." Which one? A tag is a name that can be moved. We build two images under one tag. Then
# we run the tag and both IDs, which `docker images --no-trunc` shows:
#
# ```bash
# docker build --tag digits-16:moved .   # change app.py, then once more
# docker run --rm digits-16:moved
# docker run --rm sha256:…
# ```


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
    return {
        "ids": [first.id, second.id],
        "said": {k: client.containers.run(v, **say).decode().strip() for k, v in names.items()},
    }


# %%
moved = same_tag()

# %%
print(moved["said"])
claim(
    "the tag now runs the second image; the first can still be run by its ID",
    list(moved["said"].values()) == ["version 2", "version 1", "version 2"],
    " and ".join(each[:19] for each in moved["ids"]),
)

# %% [markdown]
# A hash of the bytes is a name that cannot be moved: other bytes have another hash. A layer's name is such a hash, so
# no machine needs to pull it twice. A *digest*, `name@sha256:…`, names a whole image. It is the hash of the image's
# *manifest*, the list of its layers and settings. Pin by digest what must not change, above all the base. The tag
# `latest` is the other extreme: it usually moves with every release. Let a robot (Renovate, Dependabot) propose new
# digests, or you keep old security holes:
#
# ```bash
# docker buildx imagetools inspect python:3.13-slim-trixie    # prints today's digest
# docker build --file docker/service.Dockerfile --build-arg BASE_IMAGE=python:3.13-slim-trixie@sha256:… .
# ```
#
# When does an image have a digest? That depends on the engine's image store. New installations since Docker Engine 29
# use the *containerd image store*. There an image has a digest as soon as it is built, and its ID is that digest. With
# the older store, the ID is the hash of the image's settings, which name its layers. A digest appears when the image is
# pushed to a registry or pulled from one. This page's recordings come from an older store.
#
# ## What does `docker build .` send to the engine?
#
# The dot means the whole folder: data, `.git`, and the environment with its frameworks. `COPY . .` then copies all of
# it into the image. (BuildKit fetches only what the instructions name; `COPY . .` names everything.) Files that
# `.dockerignore` names are not sent. How many bytes does that save here?

# %%
from docker.utils.build import exclude_paths

rules = (places.CHECKOUT / ".dockerignore").read_text().splitlines()
kept = [places.CHECKOUT / name for name in exclude_paths(str(places.CHECKOUT), rules)]
whole = sum(each.lstat().st_size for each in places.CHECKOUT.rglob("*") if os.path.lexists(each))
sent = sum(each.stat().st_size for each in kept if each.is_file())
claim(
    "with .dockerignore, less than a fifth of the checkout is sent",
    sent * 5 < whole,
    f"{sent:,} of {whole:,} bytes",
)

# %% [markdown]
# It is safer to exclude everything (`*`), then name exceptions (`!models`). A `.env` file that somebody adds tomorrow
# stays out.
#
# ## What does the mended Dockerfile look like?
#
# This is the last stage of `docker/service.Dockerfile`. Its first stage installs packages whose versions and hashes are
# pinned.

# %%
RECIPE = places.CHECKOUT / "docker" / "service.Dockerfile"
steps = [[each["instruction"], each["value"]] for each in DockerfileParser(str(RECIPE)).structure]
last = steps[max(i for i, (word, _) in enumerate(steps) if word == "FROM") :]
for word, rest in last:
    if word not in ("COMMENT", "LABEL"):
        print(word, " ".join(rest.split())[:85])

# %%
has, copies = dict(last), [rest for word, rest in last if word == "COPY"]
pinned = (RECIPE.parent / "service-requirements.txt").read_text()
repairs = {
    "no framework": "torch" not in pinned and "tensorflow" not in pinned,
    "packages pinned by hash": "--require-hashes" in RECIPE.read_text() and "--hash=" in pinned,
    "packages first, models last": "/opt/service" in copies[0] and copies[-1].endswith(" models"),
    "a server, in exec form": json.loads(has["CMD"])[0] == "python",
    "a numbered user": has["USER"] == "10001:10001",
    "a health check": "/v2/health/ready" in has["HEALTHCHECK"],
    "no token": "TOKEN" not in RECIPE.read_text(),
}
claim("every repair is in the file", all(repairs.values()), ", ".join(repairs))

# %% [markdown]
# ## How do I run several containers together?
#
# `docker/compose.yaml` describes four containers for one machine: the service, lesson 15's gateway in front of it,
# Redis, a store in memory that keeps the gateway's answers (lesson 15b), and Prometheus, which reads both servers'
# counters (lesson 20). The first command builds and starts them, and returns once all are healthy:
#
# ```bash
# docker compose --file docker/compose.yaml up --build --wait
# docker compose --file docker/compose.yaml ps
# docker compose --file docker/compose.yaml down
# ```
#
# The images of Redis and Prometheus come from a registry. So here we start the service alone. A second file changes
# three settings: our image, our label, and a free port. Compose merges the two. The file's other settings stay. One of
# them is `mode: non-blocking` for the log. Without it, the server waits whenever its log is read too slowly.

# %%
OVERRIDE = f"""\
services:
  service:
    image: {SERVICE}
    labels: {{course-lesson: {OURS["course-lesson"]}}}
    ports: !override ["127.0.0.1::8501"]
networks:
  serving:
    labels: {{course-lesson: {OURS["course-lesson"]}}}
"""


# %%
@live("docker")
def composed():
    from course_lib.ops.docker import lacks, typed
    from course_lib.ops.http import answers

    if lacks("compose"):
        return {"there": False}
    (scratch / "ours.yaml").write_text(OVERRIDE)
    files = ["--file", places.CHECKOUT / "docker/compose.yaml", "--file", scratch / "ours.yaml"]
    compose = ["compose", "--project-name", own("digits-16"), *files]
    start = time.perf_counter()
    try:
        typed(*compose, "up", "--no-build", "--wait", "service")
        seconds = time.perf_counter() - start
        where = "http://" + typed(*compose, "port", "service", "8501").strip()
        state = json.loads(typed(*compose, "ps", "--format", "json").splitlines()[0])
        inspected = json.loads(typed("inspect", state["ID"]))[0]["HostConfig"]
    finally:
        heard = "where" in locals() and answers(f"{where}/v2/health/ready")
        typed(*compose, "down", "--timeout", "15")
    told = {"state": state["State"], "health": state["Health"], "answers": heard}
    told |= {"memory": inspected["Memory"], "read_only": inspected["ReadonlyRootfs"]}
    return {"there": True, "seconds": seconds, **told}


# %%
together = composed()
claim(
    "`up --wait` returns once the service is healthy, with the file's limit and read-only root",
    not together["there"]
    or [together[key] for key in ("state", "health", "answers", "memory", "read_only")]
    == ["running", "healthy", True, 256 * 2**20, True],
    f"after {together['seconds']:.1f} s"
    if together["there"]
    else "not run: the compose plugin is missing",
)

# %% [markdown]
# ## Clean up
#
# Everything that we built has our label or a name of our own, so the next cell finds it. If this run breaks off, the
# next run's first live cell cleans up. The builder's cache stays and makes the next build quick.


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
        ["new bytes after a change, code first and packages first",
         " and ".join(show.bytes_text(each["new_bytes"]) for each in again.values())],
        ["from the start to ready", f"{np.median([ready for ready, *_ in lives[:3]]):.2f} s"],
        [f"stopped with a grace of {GRACE_S} s: exec form, shell form",
         f"{lives[0][1]:.1f} s, {lives[-1][1]:.1f} s"],
    ],
    caption="The service in its container",
)  # fmt: skip

# %% [markdown]
# ## What to remember
#
# - Small steps that change often come last. A deleted file stays in its layer, so give secrets to a build by a mount.
# - Use exec form, so that the server gets the signal. Run as a numbered user, read-only where possible.
# - A digest identifies an image. A tag can be moved.
#
# ## Where this breaks down
#
# We used one engine, one machine and one architecture. An image for x86-64 does not run on an ARM processor unless it
# was built for both. The sizes are unpacked, but downloads are compressed. All containers share one kernel, so a hole
# in it affects all of them (lesson 16b).
#
# ## What real teams use
#
# They build with BuildKit (`docker buildx`), for secrets, cache mounts and several architectures. In clusters,
# Buildah builds without a permanent engine. Distroless or Chainguard bases mostly have no shell. Trivy or Grype find
# known holes in packages, hadolint checks Dockerfiles, cosign signs images, and Renovate updates digests. In a
# cluster, containerd or CRI-O usually runs the containers. The image format is a standard, so they run the same
# images.
#
# ## Further reading
#
# - Open Container Initiative, *Image Format Specification* and *Distribution Specification*.
# - Docker documentation, *Dockerfile reference*, *Build secrets*, *Building best practices*, *containerd image store*.
# - M. Souppaya, J. Morello, K. Scarfone, *Application Container Security Guide*, NIST SP 800-190, 2017.
# - L. Rice, *Container Security*, second edition, O'Reilly.
