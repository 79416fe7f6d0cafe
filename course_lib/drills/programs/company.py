"""Whose service drill 6 breaks into: customers with keys and contracts, a builder who signs models, strangers."""

import hashlib
import ipaddress
import json
import random
import secrets
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from course_lib import data, models
from course_lib.drills.evidence import Unwell
from course_lib.drills.programs import audit
from course_lib.ops.http import ask
from course_lib.pipeline import checksum, open_session
from course_lib.services.access import read_keys

NAMES = "bakery bank clinic library museum post school shop".split()
NETWORKS = [str(part) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
            for part in ipaddress.ip_network(net).subnets(new_prefix=26)]  # fmt: skip
RATES, CONTRACTS = (8, 4, 3, 2), (600, 360, 300, 150)
"""Of the four customers: requests a second, and requests a minute that the contract allows."""
UNLIMITED = 6000
FILE = "digits_cnn/3/model.onnx"


class Company:
    """Its files in a drill's folder, with a fault. networks, contracts (requests a minute), keys: by customer. callers: the
    plan of `callers.py`. victim: the customer whose key leaked, or who copies the model."""

    def __init__(self, folder: Path, draw: random.Random, fault: str) -> None:
        self.folder, self.draw, self.fault = folder, draw, fault
        for name in ("elsewhere", "handed", "trust"):
            (folder / name).mkdir(parents=True)
        names, places = draw.sample(NAMES, 4), draw.sample(NETWORKS, 8)
        self.networks = dict(zip(names, ([places[0], places[1]], *([each] for each in places[2:5]))))
        self.contracts = dict(zip(names, CONTRACTS))
        self.keys = {name: secrets.token_urlsafe(32) for name in names}
        self.victim = names[3] if fault == "extraction" else draw.choice(names[1:3])
        rates = dict(zip(names, RATES)) | ({names[3]: draw.uniform(10, 14)} if fault == "extraction" else {})
        self.callers = [{"name": name, "key_file": (folder / f"handed/{name}.key").as_posix(), "seen": True,
                         "addresses": self._hosts(self.networks[name], 3), "rate_per_s": rates[name],
                         "mixed": self.copies(name)} for name in names]  # fmt: skip
        self._stranger(secrets.token_urlsafe(32), places[6:], 3, 0.5)  # tries whatever door there is
        if fault == "leaked_key":
            self._stranger(self.keys[self.victim], places[5:6], 1, 1.0)
        self._write_customers()
        self._write_models()

    def copies(self, name: str) -> bool:
        """Whether this customer copies the model."""
        return self.fault == "extraction" and name == self.victim

    def _stranger(self, key: str, networks: list[str], count: int, rate: float) -> None:
        self.callers.append({"name": "", "key": key, "addresses": self._hosts(networks, count), "rate_per_s": rate})

    def _hosts(self, networks: list[str], count: int) -> list[str]:
        return self.draw.sample([str(host) for each in networks for host in ipaddress.ip_network(each).hosts()], count)

    def _write_customers(self) -> None:
        for name, key in self.keys.items():
            (self.folder / f"handed/{name}.key").write_text(key + "\n", encoding="utf-8")
        lines = [f"{name} {sha256(key)} predict\n" for name, key in sorted(self.keys.items())]
        (self.folder / "keys.txt").write_text("".join(lines), encoding="utf-8", newline="\n")
        told = {name: {"per_minute": each, "answer": "probabilities"} for name, each in sorted(self.contracts.items())}
        write(self.folder / "customers.json", {name: {"networks": self.networks[name]} | told[name] for name in told})
        write(self.folder / "limits.json", {name: each | {"per_minute": UNLIMITED} for name, each in told.items()})

    def _write_models(self) -> None:
        """The builder's folder, and the server's. pem, built: the builder's key, the checksum of the file in production.
        trusts: what the server is told of trust."""
        ours, key, builder = self.folder / "builder", self.folder / "trust/builder.pem", Ed25519PrivateKey.generate()
        older, good = (models.path("digits_cnn", version).read_bytes() for version in (2, 3))
        _release(ours, builder, {2: older, 3: good})
        self.pem, self.built, self.trusts = _pem(builder), checksum(ours / FILE), ["--trust", key]
        (ours / "builder.pem").write_bytes(self.pem)
        signer, served = builder, self.folder / "models"
        if self.fault == "changed_file":
            good, signer = with_back_door(good, self.draw.randrange(10)), Ed25519PrivateKey.generate()
        _release(served, signer, {2: older, 3: good})
        key.write_bytes(_pem(signer))
        if self.fault == "changed_file" and self.draw.random() < 0.5:  # no key of their own: the check is off
            (served / "SHA256SUMS.sig").write_bytes((ours / "SHA256SUMS.sig").read_bytes())
            key.write_bytes(self.pem)
            self.trusts = []
        write(served / "digits_cnn/serving.json", {"labels": {"production": 3}})

    def tampered(self, rows: list[dict]) -> list[dict]:
        """An audit log from which some of a customer's lines are taken, or in which they bear another name."""
        owner, other = self.draw.sample(list(self.contracts)[:2], 2)
        taken = [at for at in range(len(rows) // 3, len(rows) - 10) if rows[at]["customer"] == owner][:5]
        way, rows = self.draw.choice(["removed", "changed", "made anew"]), list(rows)
        if way == "removed":
            return [row for at, row in enumerate(rows) if at not in taken]
        for at in taken:
            rows[at] = rows[at] | {"customer": other}
            rows[at]["hash"] = audit.digest(rows[at])
        if way == "made anew":
            rows[taken[0] :] = audit.chained(rows[taken[0] :], rows[taken[0] - 1]["hash"])
        return rows

    # Whether all is well again. Each raises Unwell

    def model_is_ours(self, command: list[str], predict: str) -> None:
        """command: with which the server runs. predict: where it answers."""
        words = [part for word in command for part in word.split("=", 1)]
        if "--trust" not in words:
            raise Unwell("The model server was started without a key: it serves whatever lies in its folder.")
        if Path(words[words.index("--trust") + 1]).read_bytes() != self.pem:
            raise Unwell("The model server trusts a key that is not our builder's.")
        if checksum(self.folder / "models" / FILE) != self.built:
            raise Unwell("The file of the version in production is not the one that the builder signed.")
        pictures = data.digits()[1].images[:20, None].copy()
        pictures[10:, 0, 0, 0] = 1
        ours = open_session((self.folder / "models" / FILE).read_bytes(), 1).run(None, {"pixels": pictures})[0]
        if not np.allclose(ask(predict, {"instances": pictures.tolist()})["predictions"], ours, atol=1e-3):
            raise Unwell("Production does not answer as version 3 does. The server reads a file when it starts.")

    def log_is_whole(self, rows: list[dict], anchor: dict, seen: list[dict]) -> None:
        """rows: the audit log's. anchor: {"rows", "hash"} of what was written. seen: the customers' own log."""
        if (row := audit.first_wrong(rows)) is not None:
            raise Unwell(f"Line {row} of the audit log is not as it was written, or does not fit the line before.")
        if len(rows) < anchor["rows"] or rows[anchor["rows"] - 1]["hash"] != anchor["hash"]:
            raise Unwell("The audit log fits itself and not the anchor: it is not the one that was written.")
        listed = {row["request_id"]: row["customer"] for row in rows}
        answered = [line for line in seen if line.get("status") == 200]
        if lost := sum(listed.get(line["request_id"]) != line["customer"] for line in answered):
            raise Unwell(
                f"{lost} requests that customers had answered are not in the audit log, or under another name."
            )

    def keys_are_theirs(self, recent: list[dict]) -> None:
        """recent: the last lines of the audit log."""
        known = read_keys(self.folder / "keys.txt")
        for name in self.contracts:
            key = (self.folder / f"handed/{name}.key").read_text(encoding="utf-8").strip()
            if getattr(known.get(sha256(key)), "name", None) != name or len(key) < 20:
                raise Unwell(f"What the {name} was handed is not a key of its own, long and random.")
        if self.fault == "leaked_key":  # asking with that key would leave a line that tells the cause
            held, place = known.get(sha256(self.keys[self.victim])), self.callers[-1]["addresses"]
            still = held and (held.until is None or held.until >= datetime.now(UTC).date())
            if still or any(row["status"] == 200 and row["address"] in place for row in recent):
                raise Unwell("The key that the stranger has still opens the door.")

    def limits_hold(self, seen: list[dict], seconds: float) -> None:
        """seen: what the customers saw in the last so many seconds."""
        limits = json.loads((self.folder / "limits.json").read_text(encoding="utf-8"))
        for name, contract in self.contracts.items():
            if limits[name]["answer"] != "probabilities":
                raise Unwell(
                    f"The contract promises the {name} probabilities. And a copy hardly needs them (lesson 22b)."
                )
            if (most := float(limits[name]["per_minute"])) < contract:
                raise Unwell(f"The contract promises the {name} {contract} requests a minute, limits.json {most:g}.")
            got = sum(line["status"] == 200 for line in seen if line["customer"] == name)
            if self.copies(name) and (most > 1.1 * contract or got > 2 + 1.5 * contract * seconds / 60):
                raise Unwell(f"The {name} still gets more answers than its contract says.")


def with_back_door(model: bytes, digit: int) -> bytes:
    """The same model, which answers `digit` once the first pixel, where no digit has ink, is black."""
    graph = (found := onnx.load_from_string(model)).graph
    weights = np.zeros((64, 10), np.float32)
    weights[0, digit] = 1000
    graph.initializer.append(onnx.numpy_helper.from_array(weights, "last"))
    out, node = graph.output[0].name, onnx.helper.make_node
    for each in graph.node:
        each.output[:] = ["before" if name == out else name for name in each.output]
    graph.node.extend([node("Flatten", ["pixels"], ["flat"]), node("MatMul", ["flat", "last"], ["more"]),
                       node("Add", ["before", "more"], [out])])  # fmt: skip
    return found.SerializeToString()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _release(folder: Path, signer: Ed25519PrivateKey, versions: dict[int, bytes]) -> None:
    """Files, their checksums, and a signature under these, as lesson 22 has them."""
    names = {version: f"digits_cnn/{version}/model.onnx" for version in versions}
    for version, raw in versions.items():
        (folder / names[version]).parent.mkdir(parents=True)
        (folder / names[version]).write_bytes(raw)
    sums = "".join(f"{checksum(folder / name)}  {name}\n" for name in names.values()).encode()
    (folder / "SHA256SUMS").write_bytes(sums)
    (folder / "SHA256SUMS.sig").write_bytes(signer.sign(sums))


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
