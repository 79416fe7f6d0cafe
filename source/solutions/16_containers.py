# %% [markdown]
# # 16 Containers: exercises
#
# Three things to have at hand before an image is published. None of them needs an engine. Fill in what is missing, run the
# cell, then its check.

# %%
import base64
import math

from course_lib.idioms import begin, check

scratch = begin("16")

# %% [markdown]
# ## 16.1 The cheapest order ★★☆ · 15 minutes
#
# Forty machines pull every new version of your image. Its steps could stand in any order. You know each step's size, and how
# often a week it changes. When a step changes, it and all after it are sent again. "What changes least goes first" is the usual
# advice. Is that the cheapest?


# %%
def cheapest_order(steps):
    """The order of an image's steps that sends the fewest bytes a week.

    steps: a list of (name, size in bytes, changes a week), size and changes from 0, in any order,
    names different; there may be hundreds. Changes come one at a time, each to one step: it and all
    steps after it are sent again.
    Returns (names, bytes): a list of all names, first step first, and what this order sends in a
    week. Of several cheapest orders any will do. Leaves `steps` as it is.
    """
    # SOLUTION
    order = sorted(steps, key=lambda each: each[2] / each[1] if each[1] else math.inf)
    sent = sum(
        changes * sum(size for _, size, _ in order[i:]) for i, (_, _, changes) in enumerate(order)
    )
    return [name for name, _, _ in order], sent


# %%
check("16.1", cheapest_order)

# %% [markdown] tags=["solution"]
# Look at two neighbours $a$ and $b$, with sizes $s$ and changes $c$; what stands before or after them costs the same either
# way. With $a$ first, a change of $a$ sends both: $c_a (s_a + s_b) + c_b s_b$. With $b$ first it is $c_b (s_a + s_b) + c_a s_a$.
# The first is smaller where $c_a s_b < c_b s_a$, that is where $c_a / s_a < c_b / s_b$. So changes *for each byte* decide. A
# large step that changes twice a week may belong before a small one that changes once. If you exchange neighbours until none is
# in the wrong order, you have sorted the list by $c/s$, so that order is best. In scheduling this is Smith's rule. In a
# Dockerfile some steps also need others, which must then stand before them.

# %% [markdown]
# ## 16.2 Mend a Dockerfile ★★☆ · 20 minutes
#
# A colleague asks you to look over this before it goes out.
#
# ```dockerfile
# FROM python:latest
# ENV INDEX_TOKEN=gh-1f6a9c
# COPY . /app
# RUN pip install --extra-index-url https://$INDEX_TOKEN@pypi.example.com/simple -r /app/requirements.txt
# EXPOSE 80
# CMD cd /app && python app.py --host 127.0.0.1 --port 8080
# ```
#
# `app.py` needs the packages of `requirements.txt`, and the folder `model/` beside it. It answers `GET /health`, and writes
# nothing. It stops cleanly on SIGINT and has no handler for SIGTERM. You found out that no package comes from the private index
# any more. The base should be an official Python 3.13 image.


# %%
def mended():
    """The mended Dockerfile, as one text.

    It runs `python app.py --host … --port …` with Python 3.13, reachable from outside on port
    8080, not as root, with a health check that fails where `/health` answers 500 or nothing. A
    change of `app.py` or of the model installs no package anew, `docker stop` ends it cleanly, and
    the image holds no token. One stage or several, BuildKit's mounts or not, as you like.
    """
    # SOLUTION
    return """\
FROM python:3.13-slim-trixie
WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
COPY model model
COPY app.py ./
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGINT
HEALTHCHECK --interval=10s --timeout=3s \\
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health')"]
CMD ["python", "app.py", "--host", "0.0.0.0", "--port", "8080"]
"""


# %%
check("16.2", mended)

# %% [markdown] tags=["solution"]
# Each line answers a failure of the lesson. Three are easily missed. The health check asks `127.0.0.1`, which is right
# there, since it runs *inside*. Its exit code must be that of the request: after `|| true` it is always 0, and `curl` without
# `--fail` returns 0 for an answer of 500. And `STOPSIGNAL` is needed, because exec form makes Python process 1, which SIGTERM
# does not end.
#
# The token was published with every image so far. It must be replaced, whether you mend the Dockerfile or not. A second way to
# stop it cleanly is a handler for SIGTERM in `app.py`. Where a container's environment names a proxy (HTTP_PROXY), `urlopen`
# asks the proxy for 127.0.0.1, and the check fails. `docker/service.Dockerfile` has the opener that asks directly.
#
# With a stage of its own for the packages, copy what pip installed, and tell Python where it is:
#
# ```dockerfile
# FROM python:3.13-slim-trixie AS packages
# COPY requirements.txt /tmp/
# RUN python -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir -r /tmp/requirements.txt
# FROM python:3.13-slim-trixie
# COPY --from=packages /opt/venv /opt/venv
# ENV PATH=/opt/venv/bin:$PATH
# ```

# %% [markdown]
# ## 16.3 Who left the key in there? ★★★ · 20 minutes
#
# Before an image is published, a job searches it for the company's secrets, by their values. Write the search. It must look
# where the lesson found tokens, also in files that a later layer deleted.


# %%
def leaks(image, secrets):
    """The secrets that an image holds, and where.

    image: {"env": ["NAME=value", …], "history": [the text of each step, …], "layers": [layer, …]};
    a layer, lowest first, is a dict from path to content: bytes, or None for a mark that the path
    was deleted there. secrets: {name: value}; values are strings, and an empty one is no secret.
    A secret counts as found in two forms: its value in UTF-8, and what `base64.b64encode` makes of
    that.
    Returns a sorted list of (name, place), each once: "env", "history", or "layer 2: tmp/token"
    for a file in the layer of index 2.
    """
    # SOLUTION
    places = [("env", line.encode()) for line in image["env"]]
    places += [("history", line.encode()) for line in image["history"]]
    for index, layer in enumerate(image["layers"]):
        places += [(f"layer {index}: {path}", content or b"") for path, content in layer.items()]
    found = set()
    for name, value in secrets.items():
        if value:
            forms = value.encode(), base64.b64encode(value.encode())
            found |= {
                (name, place) for place, content in places if any(f in content for f in forms)
            }
    return sorted(found)


# %%
check("16.3", leaks)

# %% [markdown] tags=["solution"]
# Everything becomes bytes once, and one loop compares. Files need not be text. A container shows the sum of the
# layers, without the deleted file, so a search of a running container does not find it. A search by value finds what you know. Scanners
# for what you do not know (gitleaks, TruffleHog, Trivy) go by form: a prefix such as `ghp_`, a private key's first line, high
# entropy. Base64 of a *longer* text that contains the secret looks different at three alignments. A real scanner decodes what
# looks like base64, then searches.
