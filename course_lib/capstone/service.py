"""Criteria on the running service: what it answers, what it refuses, how it starts, ends and goes back."""

import json
import os
import shutil
import sys
import time
import tomllib
from pathlib import Path

import numpy as np

from course_lib.capstone import projects
from course_lib.capstone.running import Failed, Load, Skipped, ask, body_of

CLOSE = 1e-3
"""How far a served probability may lie from the original's."""
SLOWER = 2
"""How many times the baseline's median a request may take; both are measured in turns, in the same run."""
LOOK_AWAY_SECONDS = 1.5
"""How long requests still come after SIGTERM: a load balancer needs that long to notice."""


def runs(exam) -> str:
    """The server starts and answers held-out rows with probabilities."""
    server = exam.server
    found = server.probabilities(exam.case.rows[:20])
    if abs(found.sum(axis=1) - 1).max() > 0.01 or found.min() < -1e-6:
        raise Failed("20 rows were answered, but not with probabilities that sum to 1")
    return f"ready after {server.start_s:.1f} s; 20 rows got probabilities for {found.shape[1]} classes"


def quality(exam) -> str:
    """The service is as good on held-out rows as the case asks for, and better than the commonest answer."""
    case, rows = exam.case, len(exam.served)
    score = case.score(exam.served)
    if score < case.floor:
        raise Failed(f"{case.measure} {score:.3f} on {rows} held-out rows; this case asks for {case.floor}")
    return f"{case.measure} {score:.3f} on {rows} held-out rows"


def newer_than(exam, version: str) -> str:
    """A sentence about a version in the project that is newer than the one that answered; "" where there is none."""
    kept = [
        int(each.name) for each in (exam.folder / "models" / exam.settings.model).iterdir() if each.name.isdecimal()
    ]
    if not version.isdecimal() or max(kept, default=0) <= int(version):
        return ""
    return (
        f"; version {version} answered, and version {max(kept)} was not served: if you sign, sign again after training"
    )


def parity(exam) -> str:
    """Served answers equal the original model's, on rows that neither has seen."""
    rows = exam.case.rows[:450]
    served = exam.served
    original = ask(exam.folder, "original", rows=rows)["probabilities"]
    if original.shape != served.shape or not np.isfinite(original).all():
        raise Failed(f"original.py answers the shape {original.shape}, the service {served.shape}")
    if np.ptp(served, axis=0).max() < 0.1:
        raise Failed("the service gives every row nearly the same answer: agreement would say nothing")
    far = abs(served - original).max()
    if far > CLOSE:
        said = f"over {len(rows)} rows the largest difference is {far:.2g}, allowed is {CLOSE:g}"
        raise Failed(said + newer_than(exam, exam.server.predict(body_of(rows[:1])).headers.get("x-model-version", "")))
    return f"over {len(rows)} rows the largest difference is {far:.1g}"


def bad_inputs(exam) -> str:
    """Twelve bad requests get 4xx and no 5xx; a good one is still answered after them."""
    server, row = exam.server, exam.case.rows[:1]
    wild, lost = row.copy(), row.copy()
    wild.flat[0], lost.flat[0] = 1e30, np.nan
    negative = -abs(row) - 1e6
    asked = {
        "no JSON": b"{",
        "an empty list": b'{"instances": []}',
        "text for numbers": json.dumps({"instances": ["Ada Example"]}).encode(),
        "ragged rows": b'{"instances": [[1, 2], [3]]}',
        "one number too few": json.dumps({"instances": [row[0].ravel()[1:].tolist()]}).encode(),
        "a number of 1e30": body_of(wild),
        "NaN": body_of(lost),
        "negative measures": body_of(negative),
        "both forms at once": b'{"instances": [1], "inputs": [1]}',
        "100 nested lists": b'{"instances": ' + b"[" * 100 + b"]" * 100 + b"}",
        "a list in the body's place": b"[1, 2, 3]",
        "9 MB": b'{"instances": [' + b"1," * (9 << 19) + b"1]}",
    }
    taken = {}
    for name, body in asked.items():
        try:
            status = server.predict(body).status
        except (OSError, ValueError) as error:
            status = 413 if name == "9 MB" and server.lives else f"no answer ({type(error).__name__})"
        if not isinstance(status, int) or not 400 <= status < 500 or (name == "9 MB" and status != 413):
            taken[name] = status
    if taken:
        said = "; ".join(
            f"{name} got {status}, not {413 if name == '9 MB' else '4xx'}" for name, status in list(taken.items())[:4]
        )
        more = f"; and {len(taken) - 4} more" if len(taken) > 4 else ""
        raise Failed(f"{len(taken)} of {len(asked)} bad requests were not refused as they should be: {said}{more}")
    if server.predict(body_of(row)).status != 200:
        raise Failed("after the bad requests a good one is refused as well")
    return f"{len(asked)} bad requests got 4xx, and a good one after them its answer"


def latency(exam) -> str:
    """One row at a time, in turns with the start's model behind the server's own defaults."""
    plain = projects.assemble(
        exam.place / "baseline", projects.SOURCE / "base", projects.SOURCE / "cases" / exam.settings.case
    )
    model = projects.settings(plain).model
    words = [sys.executable, "-m", "course_lib.serving", "--models", "models"]
    baseline = exam.serve(plain, "baseline", words)
    if not baseline.ready:
        raise Failed(f"the baseline {baseline.why_not()}; so nothing was measured")
    baseline.model, body = model, body_of(exam.case.rows[:1])
    took = {exam.server: [], baseline: []}
    for _ in range(150):
        for server, found in took.items():
            reply = server.predict(body)
            if reply.status != 200:
                raise Failed(f"a request was answered with {reply.status}")
            found.append(reply.ms)
    baseline.stop()
    own, other = (float(np.median(found)) for found in took.values())
    p99 = sorted(took[exam.server])[148]
    said = f"median {own:.1f} ms, p99 {p99:.1f} ms; with the start's model and the server's defaults the median is {other:.1f} ms"
    if own > SLOWER * other:
        raise Failed(f"{said}; so yours takes {own / other:.1f} times as long, and {SLOWER} are allowed")
    return said


def cost(exam) -> str:
    """costs.toml's arithmetic holds, with room for peaks, and its capacity is not far above what was measured."""
    try:
        told = tomllib.loads((exam.folder / "costs.toml").read_text(encoding="utf-8"))
        keys = ("price_per_cpu_hour", "cpus_per_pod", "answers_per_second", "utilisation", "cost_per_million")
        price, cpus, rate, used, stated = (float(told[key]) for key in keys)
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise Failed(f"costs.toml does not hold five numbers: {type(wrong).__name__}: {wrong}") from None
    if min(price, cpus, rate) <= 0 or not 0 < used <= 0.8:
        raise Failed(
            f"expected positive numbers and a utilisation up to 0.8, got {used}: a pod at its limit has no room for peaks"
        )
    wanted = price * cpus / 3600 / (rate * used) * 1e6
    if not abs(stated - wanted) <= 0.02 * wanted:
        raise Failed(f"costs.toml states {stated:g} per million answers, its own numbers give {wanted:.3g}")
    with Load(exam.server, body_of(exam.case.rows[:1]), threads=8) as load:
        time.sleep(1.5)
    measured = len(load.statuses) / load.seconds
    if rate > 5 * measured:
        raise Failed(f"costs.toml counts on {rate:g} answers a second and pod; here it gave {measured:.0f}")
    return f"{stated:g} per million answers at {rate:g} a second and pod; here one process gave {measured:.0f} a second"


def logs(exam) -> str:
    """A line of JSON for each request, by its id; nothing that a request held about a person."""
    server, secret, row = exam.server, "Ada-Example-1815", exam.case.rows[:1].astype(np.float64)
    row.flat[0] = 1.0625078125
    headers = {"X-Request-Id": "exam-7431", "Authorization": f"Bearer {secret}", "X-User": secret}
    server.predict(body_of(row), headers=headers)
    server.predict(json.dumps({"instances": [secret]}).encode())
    server.predict(json.dumps({"instances": [{secret: 1}], "signature_name": secret}).encode())
    time.sleep(1)
    text = server.log.read_bytes()[-(8 << 20) :].decode("utf-8", "replace")
    found = [what for what in (secret, "1.0625078") if what in text]
    if found:
        line = next(line for line in text.splitlines() if found[0] in line)
        raise Failed(f"the log repeats what a request held: …{line[max(0, line.index(found[0]) - 60) :][:160]}…")
    lines = [line for line in text.splitlines() if "exam-7431" in line]
    try:
        told = json.loads(lines[-1])
        whole = told.get("status") == 200 and any("ms" in key or "seconds" in key for key in told)
    except (IndexError, ValueError, AttributeError):
        whole = False
    if not whole:
        raise Failed("expected a line of JSON with id, status and duration for the request exam-7431; the log has none")
    return "each request has its line, by its id; name, token and numbers of the requests are in none"


def rollback(exam) -> str:
    """Under load, the label `stable` goes back to the version before, and a broken version changes nothing."""
    folder = exam.folder / "models" / exam.settings.model
    path = folder / "serving.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        now = int(told["labels"]["stable"])
    except (OSError, ValueError, KeyError, TypeError):
        raise Failed(
            f"models/{exam.settings.model}/serving.json labels no version `stable`, so no label can go back. It looks like "
            '{"labels": {"stable": 2}}'
        ) from None
    older = [int(each.name) for each in folder.iterdir() if each.name.isdecimal() and int(each.name) < now]
    if not older:
        raise Failed(f"version {now} is stable and none before it is kept: nothing to go back to")
    before = max(older)
    if (folder / f"{now}/model.onnx").read_bytes() == (folder / f"{before}/model.onnx").read_bytes():
        raise Failed(f"versions {before} and {now} are the same model.onnx: going back would change nothing")
    server, kept = exam.serve(name="rollback"), path.read_bytes()
    if not server.ready:
        raise Failed(f"`python serve.py` {server.why_not()}")
    reply = server.predict(body_of(exam.case.rows[:1]), "stable")
    if reply.status != 200:
        raise Failed(
            f"asked for `stable`, the server answered {reply.status}: {reply.body[:150].decode('utf-8', 'replace')}"
        )
    try:
        with Load(server, body_of(exam.case.rows[:1]), "stable") as load:
            time.sleep(0.5)
            broken = folder / str(now + 1)
            broken.mkdir()
            (broken / "model.onnx").write_bytes(b"half a file")
            (folder / "serving.new").write_text(json.dumps(told | {"labels": told["labels"] | {"stable": before}}))
            os.replace(folder / "serving.new", path)
            began = time.monotonic()
            while load.versions[-1:] != [str(before)] and time.monotonic() < began + 15:
                time.sleep(0.05)
            took = time.monotonic() - began
            time.sleep(0.5)
    finally:
        server.stop()
        path.write_bytes(kept)
        shutil.rmtree(folder / str(now + 1), ignore_errors=True)
    said = load.check("during the rollback")
    if load.versions[0] != str(now) or load.versions[-1] != str(before):
        raise Failed(
            f"version {before} did not take over within 15 s of the label's change: does the server look for changes?"
        )
    return f"from version {now} to {before} in {took:.1f} s, beside a broken version; {said}"


def drain(exam) -> str:
    """After SIGTERM readiness falls, requests are still answered until a load balancer has noticed, and the end is clean."""
    if os.name == "nt":
        raise Skipped("Windows has no signal that asks a process to end")
    server = exam.serve(name="drain")
    if not server.ready:
        raise Failed(f"`python serve.py` {server.why_not()}")
    with Load(server, body_of(exam.case.rows[:1])) as load:
        time.sleep(0.5)
        server.process.terminate()
        time.sleep(0.3)
        try:
            ready = server.get("/v2/health/ready", seconds=2).status
        except OSError:
            ready = "no answer"
        time.sleep(LOOK_AWAY_SECONDS - 0.3)
    said = load.check(f"between 0.5 s before SIGTERM and {LOOK_AWAY_SECONDS} s after it")
    if ready != 503:
        raise Failed(f"after SIGTERM readiness says {ready}; a load balancer looks for 503")
    try:
        code = server.process.wait(30)
    except Exception:
        raise Failed("30 s after SIGTERM the process still runs") from None
    if code:
        raise Failed(f"after SIGTERM the process ended with {code}, expected 0")
    return f"{said}; readiness fell, and the process ended with 0"


def signature(exam) -> str:
    """The models are signed with the key that the project trusts, and what is not so signed is not served."""
    from cryptography.exceptions import InvalidSignature

    from course_lib.serving.keys import read_public_key

    models = exam.folder / "models"
    for path in exam.folder.rglob("*"):
        if path.is_file() and path.stat().st_size < 1 << 20 and b"PRIVATE KEY-----" in path.read_bytes():
            raise Failed(f"{path.name} holds a private key: everybody who gets the project can sign in your name")
    try:
        sums = (models / "SHA256SUMS").read_bytes()
        read_public_key(exam.folder / "trust.pem").verify((models / "SHA256SUMS.sig").read_bytes(), sums)
    except (OSError, ValueError) as wrong:
        why = f"{Path(wrong.filename).name} is missing" if getattr(wrong, "filename", None) else str(wrong)[:160]
        raise Failed(f"nothing is signed: {why}. `./course capstone sign NAME` does it") from None
    except InvalidSignature:
        raise Failed("models/SHA256SUMS.sig is no signature of models/SHA256SUMS by trust.pem's key") from None
    if not exam.server.ready:
        raise Failed("the server does not start on its own models")
    forged = exam.place / "forged"
    shutil.copytree(exam.folder, forged)
    contracts = sorted((forged / "models" / exam.settings.model).glob("*/contract.json"))
    if not contracts:
        raise Failed("no version has a contract.json: which labels belong to the answers is not signed")
    for path in contracts:
        told = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(told | {"labels": told["labels"][::-1]}), encoding="utf-8")
    projects.list_sums(forged / "models")
    server = exam.serve(forged, "forged")
    answered = server.ready and server.predict(body_of(exam.case.rows[:1])).status == 200
    server.stop()
    if answered:
        raise Failed(
            "with the labels exchanged and SHA256SUMS made anew, but not signed, the service still answered: does server.toml "
            "name the key, as `trust`?"
        )
    return "signed with the key of trust.pem; with the labels exchanged and the list not signed anew, the server refused to serve"
