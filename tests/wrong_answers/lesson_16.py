"""Answers to the exercises of lesson 16 that people write, each with the property at which its check must catch it."""

import base64
import functools
import itertools
import math

# 16.1


def _sent(order):
    return sum(c * sum(size for _, size, _ in order[i:]) for i, (_, _, c) in enumerate(order))


def _sorted(steps, key):
    order = sorted(steps, key=key)
    return [name for name, _, _ in order], _sent(order)


def itself_alone(steps):
    names, _ = _sorted(steps, lambda each: each[2] / each[1] if each[1] else math.inf)
    return names, sum(size * changes for _, size, changes in steps)


def as_it_came(steps):
    return _sorted(steps, lambda each: 0)


def least_changed_first(steps):
    return _sorted(steps, lambda each: each[2])


def largest_first(steps):
    return _sorted(steps, lambda each: -each[1])


def divides_by_nothing(steps):
    return _sorted(steps, lambda each: each[2] / each[1])


def compares_neighbours(steps):
    """Two products in place of two quotients: to a step of no bytes and no changes, every other one is equal."""
    order = sorted(steps, key=functools.cmp_to_key(lambda a, b: a[2] * b[1] - b[2] * a[1]))
    return [name for name, _, _ in order], _sent(order)


def no_bytes_first(steps):
    return _sorted(steps, lambda each: each[2] / each[1] if each[1] else -1)


def least_of_all_orders(steps):
    return (
        min(
            (([name for name, _, _ in order], _sent(order)) for order in itertools.permutations(steps)),
            key=lambda each: each[1],
        )
        if len(steps) < 9
        else _sorted(steps, lambda each: each[2])
    )


def not_for_nothing(steps):
    if not steps:
        raise ValueError("no steps")
    return divides_by_nothing_safely(steps)


def divides_by_nothing_safely(steps):
    return _sorted(steps, lambda each: each[2] / each[1] if each[1] else math.inf)


def sorts_in_place(steps):
    steps.sort(key=lambda each: each[2] / each[1] if each[1] else math.inf)
    return [name for name, _, _ in steps], _sent(steps)


# 16.2

GOOD = """\
FROM python:3.13-slim-trixie
WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
COPY model model
COPY app.py ./
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGINT
HEALTHCHECK --timeout=3s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=2)"]
CMD ["python", "app.py", "--host", "0.0.0.0", "--port", "8080"]
"""


def _but(name, *changes):
    def answer():
        text = GOOD
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        return text

    answer.__name__ = name
    return answer


FETCHES = (
    "RUN pip install --no-cache-dir",
    "RUN pip install --index-url https://$TOKEN@pypi.example.com --no-cache-dir",
)
HEALTH = "a health check asks /health, with what is in the image, and fails where the answer is bad"
CHECK = GOOD[GOOD.index("HEALTHCHECK") : GOOD.index('CMD ["python", "app')]
STAGES = ("WORKDIR /app\nCOPY requirements.txt ./\nRUN pip install --no-cache-dir -r requirements.txt\n",
          "AS packages\nCOPY requirements.txt /tmp/\n{run} -r /tmp/requirements.txt\nFROM python:3.13-slim-trixie\n{copy}WORKDIR /app\n")  # fmt: skip
PACKAGES = "the packages are in the last stage, where its Python looks"


def _staged(name, run, copy):
    old, new = STAGES
    return _but(name, ("-trixie\n" + old, "-trixie " + new.format(run=run, copy=copy)))


DOCKERFILES = {
    _but("no_dockerfile", ("FROM python:3.13-slim-trixie\n", "")): "it is a Dockerfile, with one FROM or more",
    _but("a_shell_script", ("WORKDIR /app", "cd /app")): "it is a Dockerfile, with one FROM or more",
    _but("latest", (":3.13-slim-trixie", ":latest")): "the base is a Python 3.13, by a tag that says so",
    _but("no_tag", (":3.13-slim-trixie", "")): "the base is a Python 3.13, by a tag that says so",
    _but("slim_of_any_version", ("3.13-slim-trixie", "slim")): "the base is a Python 3.13, by a tag that says so",
    _but("token_as_argument", ("WORKDIR", "ARG TOKEN\nWORKDIR"), FETCHES): "no token is in it",
    _but("token_kept", ("WORKDIR", "ENV INDEX_TOKEN=gh-1f6a9c\nWORKDIR")): "no token is in it",
    _but("forgets_the_model", ("COPY model model\n", "")): "everything that the application needs is there",
    _but("copies_what_is_in_the_model", ("COPY model model", "COPY model ./")): "everything that the application needs is there",
    _but("installs_nothing", ("RUN pip install --no-cache-dir -r requirements.txt\n", "")): "everything that the application needs is there",
    _but("copies_all_first", ("COPY requirements.txt ./", "COPY . .")): "a change of code or model installs no package anew",
    _but("model_first", ("COPY model model\n", ""), ("COPY requirements.txt ./", "COPY requirements.txt ./\nCOPY model model")): "a change of code or model installs no package anew",
    _but("root", ("USER 10001:10001\n", "")): "it does not run as root, and the user exists",
    _but("root_by_number", ("USER 10001:10001", "USER 0")): "it does not run as root, and the user exists",
    _but("user_by_name", ("USER 10001:10001", "USER app")): "it does not run as root, and the user exists",
    _but("installs_as_the_user", ("USER 10001:10001\n", ""), ("WORKDIR /app\n", "WORKDIR /app\nUSER 10001:10001\n")): "the packages are installed before the user is no longer root",
    _but("shell_form", ('CMD ["python", "app.py", "--host", "0.0.0.0", "--port", "8080"]', "CMD python app.py --host 0.0.0.0 --port 8080")): "python runs app.py as process 1",
    _but("single_quotes", ('CMD ["python", "app.py", "--host", "0.0.0.0", "--port", "8080"]', "CMD ['python', 'app.py']")): "python runs app.py as process 1",
    _but("a_shell_in_exec_form", ('CMD ["python", "app.py",', 'CMD ["sh", "-c", "python app.py",')): "python runs app.py as process 1",
    _but("no_folder", ("WORKDIR /app\n", "")): "python runs app.py as process 1",
    _but("code_in_another_folder", ("COPY app.py ./", "COPY app.py /srv/"), ("COPY model model", "COPY model /srv/model")): "python runs app.py as process 1",
    _but("listens_to_itself", ('"0.0.0.0"', '"127.0.0.1"')): "it is reached from outside, on the port that EXPOSE names",
    _but("exposes_another_port", ("EXPOSE 8080", "EXPOSE 80")): "it is reached from outside, on the port that EXPOSE names",
    _but("sigterm", ("STOPSIGNAL SIGINT\n", "")): "`docker stop` ends it cleanly",
    _but("sigkill", ("SIGINT", "SIGKILL")): "`docker stop` ends it cleanly",
    _but("no_health_check", (GOOD[GOOD.index("HEALTHCHECK") : GOOD.index("CMD [\"python\", \"app")], "")): HEALTH,
    _but("curl", (GOOD[GOOD.index("HEALTHCHECK") : GOOD.index("CMD [\"python\", \"app")], "HEALTHCHECK CMD curl -f http://127.0.0.1:8080/health\n")): HEALTH,
    _but("asks_nobody", (GOOD[GOOD.index("HEALTHCHECK") : GOOD.index("CMD [\"python\", \"app")], "HEALTHCHECK CMD [\"echo\", \"http://127.0.0.1:8080/health\"]\n")): HEALTH,
    _but("prints_the_address", ("urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=2)", "print('http://127.0.0.1:8080/health')")): HEALTH,
    _but("well_in_any_case", (CHECK, "HEALTHCHECK CMD curl -f http://127.0.0.1:8080/health || true\n"), ("3.13-slim-trixie", "3.13-trixie")): HEALTH,
    _but("curl_without_fail", (CHECK, "HEALTHCHECK CMD curl http://127.0.0.1:8080/health\n"), ("3.13-slim-trixie", "3.13-trixie")): HEALTH,
    _but("swallows_the_error", (CHECK, "HEALTHCHECK CMD python -c \"import urllib.request\\ntry: urllib.request.urlopen('http://127.0.0.1:8080/health')\\nexcept Exception: pass\"\n")): HEALTH,
    _but("asks_another_path", ("/health'", "/'")): HEALTH,
    _staged("left_behind", "RUN pip install", ""): PACKAGES,
    _staged("left_behind_in_a_venv", "RUN python -m venv /opt/venv && /opt/venv/bin/pip install", ""): PACKAGES,
    _staged("copied_where_nobody_looks", "RUN python -m venv /opt/venv && /opt/venv/bin/pip install", "COPY --from=packages /opt/venv /opt/venv\n"): PACKAGES,
    _staged("copies_another_folder", "RUN pip install --target=/deps", "COPY --from=packages /tmp /tmp\n"): PACKAGES,
    _but("mounts_the_whole_context", ("COPY requirements.txt ./\nRUN pip", "RUN --mount=type=bind,target=. pip")): "a change of code or model installs no package anew",
    _but("a_shell_without_exec", ('["python", "app.py", "--host", "0.0.0.0", "--port", "8080"]', '["sh", "-c", "exec python app.py --host 0.0.0.0 --port 8080; true"]')): "python runs app.py as process 1",
    _but("another_makers_python", ("FROM python", "FROM bitnami/python")): "the base is a Python 3.13, by a tag that says so",
    _but("asks_the_old_port", ("127.0.0.1:8080", "127.0.0.1:80")): HEALTH,
}  # fmt: skip


# 16.3


def _leaks(image, secrets, coded=True, empty=False, layers=None, env=True, history=True, encoding="utf-8"):
    places = [("env", line.encode(encoding)) for line in image["env"] if env]
    places += [("history", line.encode(encoding)) for line in image["history"] if history]
    for index, layer in enumerate(image["layers"] if layers is None else layers):
        places += [(f"layer {index}: {path}", content or b"") for path, content in layer.items()]
    found = set()
    for name, value in secrets.items():
        if value or empty:
            forms = [value.encode(encoding)] + [base64.b64encode(value.encode(encoding))] * coded
            found |= {(name, place) for place, content in places if any(form in content for form in forms)}
    return sorted(found)


def names_of_variables(image, secrets):
    return sorted({(name, "env") for name in secrets for line in image["env"] if line.startswith(f"{name}=")})


def settings_alone(image, secrets):
    return _leaks(image, secrets, layers=[], history=False)


def no_layers(image, secrets):
    return _leaks(image, secrets, layers=[])


def from_1(image, secrets):
    return _leaks(image, secrets, layers=[{}, *image["layers"]])


def what_a_container_shows(image, secrets):
    shown = {}
    for index, layer in enumerate(image["layers"]):
        shown |= {path: (index, content) for path, content in layer.items()}
    layers = [{path: content for path, (at, content) in shown.items() if at == i} for i in range(len(image["layers"]))]
    return _leaks(image, secrets, layers=layers)


def reads_text(image, secrets):
    layers = [
        {path: content and content.decode().encode() for path, content in layer.items()} for layer in image["layers"]
    ]
    return _leaks(image, secrets, layers=layers)


def plain_alone(image, secrets):
    return _leaks(image, secrets, coded=False)


def for_urls(image, secrets):
    """The alphabet of urlsafe_b64encode, which has - and _ for + and /."""
    plain = _leaks(image, secrets, coded=False)
    coded = {name: base64.urlsafe_b64encode(value.encode()).decode() for name, value in secrets.items()}
    return sorted({*plain, *_leaks(image, coded, coded=False)})


def all_lines_as_one(image, secrets):
    return _leaks({**image, "env": ["".join(image["env"])]}, secrets)


def each_time_anew(image, secrets):
    found = []
    for name, value in secrets.items():
        for line in image["env"]:
            one = {"env": [line], "history": [], "layers": []}
            found += _leaks(one, {name: value})
        found += _leaks({**image, "env": []}, {name: value})
    return found


def in_the_lists_repr(image, secrets):
    found = _leaks({**image, "env": [], "history": []}, secrets)
    for name, value in secrets.items():
        forms = (value, base64.b64encode(value.encode()).decode()) if value else ()
        found += [(name, place) for place in ("env", "history") if any(form in str(image[place]) for form in forms)]
    return sorted(found)


def in_any_case(image, secrets):
    lower = {place: [line.lower() for line in image[place]] for place in ("env", "history")}
    small = {name: value.lower() for name, value in secrets.items()}
    return sorted({*_leaks(image, secrets), *_leaks({**lower, "layers": []}, small, coded=False)})


def in_lines_of_76(image, secrets):
    coded = {name: base64.encodebytes(value.encode()).decode().strip() for name, value in secrets.items()}
    return sorted({*_leaks(image, secrets, coded=False), *_leaks(image, coded, coded=False)})


def nothing_is_everywhere(image, secrets):
    return _leaks(image, secrets, empty=True)


def latin_1(image, secrets):
    return _leaks(image, secrets, encoding="latin-1")


WRONG = {
    "16.1": {
        itself_alone: "every step once, and the bytes of the order that is given",
        as_it_came: "an ordinary image",
        least_changed_first: "a large step may come before one that changes less",
        largest_first: "a small step may come before one that is larger and changes more",
        divides_by_nothing: "steps of no bytes, and steps that never change",
        compares_neighbours: "steps of no bytes, and steps that never change",
        no_bytes_first: "steps of no bytes, and steps that never change",
        not_for_nothing: "no step at all",
        least_of_all_orders: "three hundred steps, in this life",
        sorts_in_place: "the list that came in is as it was",
    },
    "16.2": DOCKERFILES,
    "16.3": {
        names_of_variables: "in the settings",
        all_lines_as_one: "in the settings",
        in_the_lists_repr: "in the settings",
        in_any_case: "in the settings",
        settings_alone: "in the history",
        no_layers: "in a file of a layer, with the layer's index",
        from_1: "in a file of a layer, with the layer's index",
        what_a_container_shows: "below what was deleted",
        reads_text: "in files that are no text",
        for_urls: "in base64 too, everywhere",
        plain_alone: "in base64 too, everywhere",
        in_lines_of_76: "in base64 too, everywhere",
        each_time_anew: "several secrets, sorted, each place once",
        nothing_is_everywhere: "an empty value is no secret",
        latin_1: "a secret beyond ASCII, and an image of nothing",
    },
}
