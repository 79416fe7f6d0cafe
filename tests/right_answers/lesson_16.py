"""Right answers to lesson 16's exercises that differ from the solutions."""

import base64
import functools
import itertools
import math
from fractions import Fraction

from tests.wrong_answers.lesson_16 import CHECK, GOOD, _but, _staged

# 16.1


def with_fractions(steps):
    order = sorted(steps, key=lambda each: (each[1] == 0, Fraction(each[2], each[1]) if each[1] else 0))
    tail, sent = 0, 0
    for _, size, changes in reversed(order):
        tail += size
        sent += changes * tail
    return [name for name, _, _ in order], sent


def without_the_empty_ones(steps):
    some, none = [e for e in steps if e[1]], [e for e in steps if not e[1]]
    some = sorted(some, key=functools.cmp_to_key(lambda a, b: a[2] * b[1] - b[2] * a[1]))
    order = some + none
    return tuple(each[0] for each in order), float(
        sum(c * sum(e[1] for e in order[i:]) for i, (_, _, c) in enumerate(order))
    )


def from_the_end(steps):
    left = sorted(steps, key=lambda each: -(each[2] / each[1]) if each[1] else -math.inf)
    sums = list(itertools.accumulate(size for _, size, _ in left))
    return [each[0] for each in left[::-1]], sum(each[2] * total for each, total in zip(left, sums))


# 16.2

COMMAND = '["python", "app.py", "--host", "0.0.0.0", "--port", "8080"]'
VENV = "RUN python -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir"
OF_VENV = "COPY --from=packages /opt/venv /opt/venv\nENV PATH=/opt/venv/bin:$PATH\n"
CURL = "RUN apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/*\n"

MENDED = [
    _but("as_it_is"),
    _but("a_named_user", ("USER 10001:10001", "RUN useradd --uid 10001 --no-create-home app\nUSER app")),
    _but("a_user_that_debian_has", ("USER 10001:10001", "USER nobody")),
    _but("a_cache_mount", ("RUN pip install --no-cache-dir", "RUN --mount=type=cache,target=/root/.cache/pip pip install")),
    _but("a_bind_mount", ("COPY requirements.txt ./\nRUN pip install --no-cache-dir -r requirements.txt", "RUN --mount=type=bind,source=requirements.txt,target=/tmp/requirements.txt pip install --no-cache-dir -r /tmp/requirements.txt")),
    _but("a_shell_that_replaces_itself", (COMMAND, '["sh", "-c", "exec python app.py --host 0.0.0.0 --port 8080"]')),
    _but("exec_in_shell_form", (COMMAND, "exec python app.py --host 0.0.0.0 --port 8080")),
    _but("cd_and_exec", (COMMAND, "cd /app && exec python app.py --host 0.0.0.0 --port 8080")),
    _but("entrypoint", ("CMD " + COMMAND, 'ENTRYPOINT ["python", "/app/app.py"]\nCMD ["--host=0.0.0.0", "--port=8080"]')),
    _staged("a_venv_from_a_stage", VENV, OF_VENV),
    _staged("a_target_from_a_stage", "RUN pip install --target /deps", "COPY --from=packages /deps /deps\nENV PYTHONPATH=/deps\n"),
    _staged("a_prefix_from_a_stage", "RUN pip install --prefix=/install", "COPY --from=packages /install /usr/local\n"),
    _staged("all_of_usr_local", "RUN pip install", "COPY --from=0 /usr/local /usr/local\n"),
    _but("a_stage_that_goes_on", ("-trixie\n", "-trixie AS base\n"), ("COPY model model", "FROM base AS final\nCOPY model model")),
    _but("everything_after_the_packages", ("COPY model model\nCOPY app.py ./\n", "COPY . .\n")),
    _but("curl_that_fails", (CHECK, CURL + "HEALTHCHECK CMD curl -fsS http://localhost:8080/health || exit 1\n")),
    _but("http_client", (CHECK, "HEALTHCHECK CMD python -c \"import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8080, timeout=2); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)\"\n")),
    _but("official_by_its_full_name", ("FROM python:3.13-slim-trixie", "ARG TAG=3.13-slim\nFROM docker.io/library/python:${TAG}")),
    _but("official_from_a_mirror", ("FROM python", "FROM public.ecr.aws/docker/library/python")),
    _but("with_an_init", ("WORKDIR /app\n", "RUN apt-get update && apt-get install -y tini\nWORKDIR /app\n"), (COMMAND, '["tini", "--", "python", "app.py", "--host", "0.0.0.0", "--port", "8080"]')),
]  # fmt: skip

assert all("HEALTHCHECK" in each() for each in MENDED) and GOOD


# 16.3


def place_by_place(image, secrets):
    def holds(content, value):
        coded = base64.b64encode(value.encode())
        return content.find(value.encode()) >= 0 or content.find(coded) >= 0

    found = []
    for name in sorted(secrets):
        value = secrets[name]
        if not value:
            continue
        if any(holds(line.encode(), value) for line in image["env"]):
            found.append((name, "env"))
        if any(holds(line.encode(), value) for line in image["history"]):
            found.append((name, "history"))
        for index, layer in enumerate(image["layers"]):
            found += [
                (name, f"layer {index}: {path}") for path, content in layer.items() if content and holds(content, value)
            ]
    return sorted(set(found))


def as_lists(image, secrets):
    return [list(each) for each in place_by_place(image, secrets)]


RIGHT = {
    "16.1": [with_fractions, without_the_empty_ones, from_the_end],
    "16.2": MENDED,
    "16.3": [place_by_place, as_lists],
}
