"""Criteria on a project's files and functions: contract, alerts, explanation, drift, tests, manifests, card."""

import hashlib
import json
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.capstone import projects
from course_lib.capstone.running import Failed, ask, body_of, finish

WINDOW, CLEAN, EACH = 60, 20, 10
"""Rows in a window of the drift stream; windows without drift; windows of each kind of drift."""
FALSE_ALARMS, NOTICED = 2, 9
"""How many of the clean windows may raise an alarm, and how many of each kind's must."""


def contract(exam) -> str:
    """The served version's contract: its file, names, meanings, ranges, labels, and an example that the service confirms."""
    reply = exam.server.predict(body_of(exam.case.rows[:1]))
    version = reply.headers.get("x-model-version", "")
    folder = exam.folder / "models" / exam.settings.model / (version if version.isdecimal() else "1")
    try:
        told = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
        fields, labels = [*told["inputs"], *told["outputs"]], told["labels"]
        sent, promised = told["example"]["inputs"], told["example"]["outputs"]
        said = [str(each.get("meaning", "")) for each in fields]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise Failed(
            f"{folder.name}/contract.json cannot be read as one: {type(wrong).__name__}: {wrong}"[:200]
        ) from None
    if told.get("sha256") != hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest():
        raise Failed("the contract's sha256 is not that of model.onnx")
    if vague := [each["name"] for each, meaning in zip(fields, said) if len(meaning.split()) < 4]:
        raise Failed(
            f"the contract does not say what {', '.join(vague)} means, in four words or more, with unit and order"
        )
    answer = exam.server.ask("POST", f"/v1/models/{exam.settings.model}/versions/{folder.name}:predict",
                             json.dumps({"inputs": sent}).encode(), {"Content-Type": "application/json"}).json()  # fmt: skip
    outputs = answer.get("outputs") if isinstance(answer, dict) else None
    promised = next(iter(promised.values())) if isinstance(outputs, list) and promised else promised
    try:
        right = np.allclose(np.array(outputs, float), np.array(promised, float), rtol=1e-3, atol=1e-3)
    except (TypeError, ValueError):
        right = False
    if not right or not labels or len(labels) != exam.served.shape[1]:
        raise Failed("the service does not answer the contract's example as promised, or has other columns than labels")
    return f"version {folder.name}: {len(fields)} fields explained, {len(labels)} labels, the example is answered as promised"


def alerts(exam) -> str:
    """alerts.yml: rules for failures, latency and absence, each complete, over metrics that the running server has."""
    rules = [
        rule for group in _yaml(exam.folder / "alerts.yml")[0].get("groups", []) for rule in group.get("rules", [])
    ]
    found = [rule for rule in rules if "alert" in rule]
    exam.server.predict(b"{")
    exam.server.predict(body_of(exam.case.rows[:1]))
    text = exam.server.get("/metrics").body.decode("utf-8", "replace")
    there = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line and line[0] != "#"} | {"up"}
    there |= {str(rule["record"]) for rule in rules if "record" in rule}
    for rule in found:
        name = str(rule["alert"])
        asked = set(
            re.findall(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*[{\[]", re.sub(r'"[^"]*"', '""', str(rule.get("expr", ""))))
        )
        if not asked:
            raise Failed(f"{name} asks for no metric: {str(rule.get('expr', ''))[:80]!r}")
        if missing := sorted(asked - there):
            raise Failed(f"{name} asks for {', '.join(missing)}, which the server does not have: it can never fire")
        notes = rule.get("annotations") or {}
        if not (rule.get("labels") or {}).get("severity") or not notes.get("summary") or not notes.get("runbook"):
            raise Failed(
                f"{name} lacks one of severity, summary and runbook: whoever is woken by it does not know what to do"
            )
    exprs = " ".join(str(rule["expr"]) for rule in found)
    wanted = {"failed requests": r"5\.\.|code", "latency": "_bucket", "a service that is gone": r"\bup\b|absent"}
    if missing := [what for what, sign in wanted.items() if not re.search(sign, exprs)]:
        raise Failed(f"{len(found)} alerts, and none for {', '.join(missing)}")
    return f"{len(found)} alerts, all over metrics that the running server has"


UNUSED = 0.25
"""The share of an explanation that may fall on numbers that the model does not use: a patch may reach over the edge."""


def explanation(exam) -> str:
    """explain.py: removing what it names lowers the score more than chance does; of a blind model it says nothing."""
    rows, base = exam.case.rows[:12].astype(np.float32), exam.case.background.astype(np.float32)
    found = ask(exam.folder, "explain", 45, rows=rows, background=base)
    told, blind = found["attributions"], found["blind"]
    if told.shape != rows.shape or blind.shape != rows.shape or not np.isfinite(told).all():
        raise Failed(f"expected a finite attribution for each number, {rows.shape}, got {told.shape}")
    if abs(blind).max() > 1e-6:
        raise Failed("a model that ignores its input got attributions: the explanation shows the input, not the model")
    middle, shares = base.size // 2, []
    for name, part in (("no_first", slice(None, middle)), ("no_second", slice(middle, None))):
        each = abs(found[name].reshape(len(found[name]), -1))
        shares.append(each[:, part].sum() / (each.sum() or 1))
    if not np.mean(shares) <= UNUSED:  # what does not ask the model gives its halves 1 in all, so 0.5 on the average
        raise Failed(
            f"where a model ignores half of the numbers, that half got {np.mean(shares):.0%} of the attributions, allowed "
            f"are {UNUSED:.0%}: ask `predict` how the answer changes when a number is replaced by the background's"
        )
    size, generator = rows[0].size, np.random.default_rng(0)
    quarter = max(1, size // 4)
    top = np.argsort(-told.reshape(len(rows), size), axis=1)[:, :quarter]
    chance = [np.array([generator.permutation(size)[:quarter] for _ in rows]) for _ in range(8)]

    def without(columns: np.ndarray) -> np.ndarray:
        changed = rows.reshape(len(rows), size).copy()
        np.put_along_axis(changed, columns, np.broadcast_to(base.ravel(), changed.shape)[:, :quarter] * 0, axis=1)
        for at, own in enumerate(columns):
            changed[at, own] = base.ravel()[own]
        return changed.reshape(rows.shape)

    scores = exam.server.probabilities(np.concatenate([rows, without(top), *map(without, chance)]))
    scores = scores.reshape(2 + len(chance), len(rows), -1)
    best = scores[0].argmax(axis=1)
    of = scores[:, np.arange(len(rows)), best]
    drop, other = float((of[0] - of[1]).mean()), float((of[0] - of[2:]).mean())
    if drop < 0.02 or drop < 1.5 * other:
        raise Failed(
            f"without the quarter that it names the score falls by {drop:.3f}, without a random quarter by {other:.3f}"
        )
    return f"without the quarter that it names the score falls by {drop:.2f}, without a random one by {other:.2f}"


def drift(exam) -> str:
    """drift.py over a stream of windows, some of which have drifted."""
    generator = np.random.default_rng(7)

    def windows(rows: np.ndarray, count: int) -> list[np.ndarray]:
        return [rows[generator.permutation(len(rows))[:WINDOW]] for _ in range(count)]

    kinds = {
        "": windows(exam.case.rows, CLEAN),
        **{name: windows(rows, EACH) for name, rows in exam.case.drifted.items()},
    }
    stream = [(name, each) for name, found in kinds.items() for each in found]
    order = generator.permutation(len(stream))
    alarms = ask(exam.folder, "drift", windows=np.stack([stream[at][1] for at in order]))["alarms"]
    if alarms.shape != (len(stream),):
        raise Failed(f"drift.py answered {alarms.shape} for {len(stream)} windows")
    counts = dict.fromkeys(kinds, 0)
    for at, alarm in zip(order, alarms):
        counts[stream[at][0]] += bool(alarm)
    false = counts.pop("")
    if false > FALSE_ALARMS:
        raise Failed(f"{false} of {CLEAN} windows without drift raised an alarm; {FALSE_ALARMS} may")
    if missed := [f"{name} ({count} of {EACH})" for name, count in counts.items() if count < NOTICED]:
        raise Failed(
            f"not noticed: {'; '.join(missed)}. Of each kind {NOTICED} of {EACH} windows must raise an alarm, of the {CLEAN} "
            f"clean ones {FALSE_ALARMS} may, and {false} did"
        )
    return f"{sum(counts.values())} of {EACH * len(counts)} drifted windows raised an alarm, and {false} of {CLEAN} clean ones"


def tests(exam) -> str:
    """`python -m pytest tests` passes, with three tests or more, and fails once the model answers the wrong classes."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    code, said = finish(words, exam.folder, 90)
    count = re.findall(r"(\d+) passed", said)
    if code or not count or int(count[-1]) < 3:
        raise Failed(
            f"expected 3 tests or more that pass; pytest ended with {code}: {(said.strip().splitlines() or ['nothing'])[-1][:150]}"
        )
    broken = exam.place / "broken"
    shutil.copytree(exam.folder, broken)
    for path in (broken / "models" / exam.settings.model).glob("*/model.onnx"):
        _roll(path)
    projects.list_sums(broken / "models")
    code, _ = finish(words, broken, 90)
    if code == 0:
        raise Failed(
            f"all {count[-1]} tests pass, and they still pass when the model answers each class with the next one's probability"
        )
    return f"{count[-1]} tests pass; when the model answers each class with the next one's probability, they fail"


def _roll(path: Path) -> None:
    """Makes a model answer each class with the next one's probability, and its contract agree to that file."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    output = model.graph.output[0]
    width = output.type.tensor_type.shape.dim[-1].dim_value
    for node in model.graph.node:
        for at, name in enumerate(node.output):
            if name == output.name:
                node.output[at] = "before_the_roll"
    model.graph.initializer.append(numpy_helper.from_array(np.roll(np.arange(width), 1), "roll"))
    model.graph.node.append(helper.make_node("Gather", ["before_the_roll", "roll"], [output.name], axis=1))
    path.write_bytes(model.SerializeToString())
    beside = path.with_name("contract.json")
    if beside.is_file():
        told = json.loads(beside.read_text(encoding="utf-8")) | {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest()
        }
        beside.write_text(json.dumps(told), encoding="utf-8")


def manifests(exam) -> str:
    """k8s/*.yaml: a Deployment that survives updates and intruders, and a Service that finds its pods."""
    docs = [doc for path in sorted((exam.folder / "k8s").glob("*.yaml")) for doc in _yaml(path)]
    kinds: dict[str, list[dict]] = {}
    for doc in docs:
        kinds.setdefault(str(doc.get("kind")), []).append(doc)
    if not kinds.get("Deployment") or not kinds.get("Service"):
        raise Failed(f"expected a Deployment and a Service in k8s/*.yaml, found {', '.join(kinds) or 'nothing'}")
    spec = kinds["Deployment"][0]["spec"]
    pod, labels = spec["template"]["spec"], spec["template"]["metadata"]["labels"]
    box, server = pod["containers"][0], tomllib.loads((exam.folder / "server.toml").read_text(encoding="utf-8"))
    safe = (pod.get("securityContext") or {}) | (box.get("securityContext") or {})
    image, limits = str(box.get("image")), box.get("resources", {}).get("limits", {})
    path = lambda probe: (box.get(probe) or {}).get("httpGet", {}).get("path")  # noqa: E731
    hook = ((box.get("lifecycle") or {}).get("preStop") or {}).get("exec", {}).get("command", [])
    wait = sum(float(word) for word in hook if re.fullmatch(r"\d+(\.\d+)?", str(word)))
    needed = wait + float(server.get("drain-seconds", 0)) + 10
    ports = [port.get("containerPort") for port in box.get("ports", [])]
    checks = {
        "two replicas or more": spec.get("replicas", 1) >= 2,
        "an image with a tag, not latest": ":" in image.rpartition("/")[2] and not image.endswith(":latest"),
        "maxUnavailable 0": spec.get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable") == 0,
        "a startup probe": bool(box.get("startupProbe")),
        "readiness asks /v2/health/ready": path("readinessProbe") == "/v2/health/ready",
        "liveness asks /v2/health/live": path("livenessProbe") == "/v2/health/live",
        "requests for CPU and memory": {"cpu", "memory"} <= set(box.get("resources", {}).get("requests", {})),
        "a limit for memory": "memory" in limits,
        "runAsNonRoot": safe.get("runAsNonRoot") is True,
        "allowPrivilegeEscalation: false": safe.get("allowPrivilegeEscalation") is False,
        "readOnlyRootFilesystem": safe.get("readOnlyRootFilesystem") is True,
        "capabilities: drop ALL": "ALL" in (safe.get("capabilities") or {}).get("drop", []),
        "seccompProfile: RuntimeDefault": (safe.get("seccompProfile") or {}).get("type") == "RuntimeDefault",
        f"a grace period above {needed:g} s (preStop, drain, 10 s to answer)": pod.get("terminationGracePeriodSeconds", 30) > needed,
        "the server's port": server.get("port", 8501) in ports,
        "a Service that selects the pods": all(labels.get(key) == value for key, value in kinds["Service"][0]["spec"]["selector"].items()),
        "names of small letters, digits and hyphens": all(
            re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", str(doc["metadata"]["name"])) for doc in docs if "metadata" in doc
        ),
    }  # fmt: skip
    if missing := [what for what, holds in checks.items() if not holds]:
        raise Failed(f"{len(missing)} of {len(checks)} settings are missing: {'; '.join(missing)}")
    return f"all {len(checks)} settings of a Deployment and its Service hold"


def _yaml(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file. Raises Failed."""
    import yaml

    try:
        docs = [doc for doc in yaml.safe_load_all(path.read_text(encoding="utf-8")) if doc is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as wrong:
        raise Failed(f"{path.name} cannot be read: {' '.join(str(wrong).split())[:200]}") from None
    if not docs or not all(isinstance(doc, dict) for doc in docs):
        raise Failed(f"{path.name} holds nothing that could be examined")
    return docs


SECTIONS = {"use": 15, "data": 15, "accuracy": 5, "limits": 15, "contact": 2}
"""The sections of a card, by a word of their heading, and how many words each holds at least."""


def card(exam) -> str:
    """CARD.md has its sections, none empty, and states the measure that the examiner finds."""
    path = exam.folder / "CARD.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    parts = {head.lower(): body for head, body in re.findall(r"^##+ (.+)\n((?:(?!##).*\n?)*)", text, re.M)}
    for word, least in SECTIONS.items():
        own = [body for head, body in parts.items() if word in head]
        if not own or len(own[0].split()) < least or "TODO" in own[0]:
            raise Failed(
                f"CARD.md says too little under a heading with the word {word!r}: expected {least} words, and no TODO"
            )
    stated = [
        float(each)
        for each in re.findall(r"\b[01]\.\d+", next(body for head, body in parts.items() if "accuracy" in head))
    ]
    measured = exam.case.score(exam.served)
    if not any(abs(each - measured) <= 0.02 for each in stated):
        raise Failed(
            f"under its heading on accuracy CARD.md states {', '.join(map(str, stated)) or 'no number'}; on held-out rows the "
            f"{exam.case.measure} was {measured:.3f}, and 0.02 off is allowed"
        )
    return (
        f"its {len(SECTIONS)} sections are filled, and the {exam.case.measure} that it states was found: {measured:.3f}"
    )
