"""New versions of a model, under load: one after the other is published, labelled and withdrawn, now and then a broken one.

As a careful team does it: a version is written elsewhere and moved into place, a label moves once its version is loaded,
and what is withdrawn no label names any more.
"""

import asyncio
import json
import os
import shutil
import time
from http.client import HTTPException
from pathlib import Path

from tools.bench.servers import ask

LOADED_SECONDS = 15
"""How long a version may take until the server tells of it."""
KEEP = 3
BROKEN_EVERY = 3


class Releases:
    """One model's versions in the folder that a server looks at. problems: what the server did not do, a sentence each."""

    def __init__(self, folder: Path, name: str, file: Path, port: int) -> None:
        self.home, self.name, self.file, self.port = folder / name, name, file, port
        self.versions = sorted(int(path.name) for path in self.home.iterdir() if path.name.isdecimal())
        self.number = max(self.versions)
        self.labels: dict[str, int] = {}
        self.published, self.refused, self.withdrawn = 0, 0, 0
        self.problems: list[str] = []
        self.slowest_seconds = 0.0

    def label(self, labels: dict[str, int]) -> None:
        """Names versions: `serving.json`, replaced as a whole."""
        self.labels = labels
        beside = self.home / "serving.json.new"
        beside.write_text(json.dumps({"labels": labels}), encoding="utf-8")
        os.replace(beside, self.home / "serving.json")

    def publish(self, content: bytes) -> int:
        """Puts a version with this model.onnx in its place; returns its number."""
        self.number += 1
        beside = self.home / f".incoming-{self.number}"
        beside.mkdir()
        (beside / "model.onnx").write_bytes(content)
        beside.rename(self.home / str(self.number))
        return self.number

    async def state(self, version: int, wanted: str) -> bool:
        """Waits until the server tells this state of the version, AVAILABLE or END; whether it came."""
        began = time.monotonic()
        while time.monotonic() - began < LOADED_SECONDS:
            if await asyncio.to_thread(self._tells, version) == wanted:
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
                return True
            await asyncio.sleep(0.2)
        self.problems.append(f"version {version} was not {wanted} within {LOADED_SECONDS} s")
        return False

    def _tells(self, version: int) -> str:
        try:
            status, _, body = ask(self.port, "GET", f"/v1/models/{self.name}")
            states = json.loads(body)["model_version_status"] if status == 200 else []
            return {each["version"]: each["state"] for each in states}.get(str(version), "")
        except (OSError, HTTPException, ValueError, KeyError):
            return ""

    async def step(self, count: int) -> None:
        """One release: a version comes, the labels move on, the oldest goes; each third time a broken one comes first."""
        if count % BROKEN_EVERY == BROKEN_EVERY - 1:
            broken = self.publish(b"this is no model")
            self.refused += await self.state(broken, "END")
            shutil.rmtree(self.home / str(broken))
        version = self.publish(self.file.read_bytes())
        if not await self.state(version, "AVAILABLE"):
            return
        self.published += 1
        self.versions.append(version)
        self.label({"stable": self.versions[-2], "canary": version})
        while len(self.versions) > KEEP:
            shutil.rmtree(self.home / str(self.versions.pop(0)))
            self.withdrawn += 1

    async def run(self, every_seconds: float, until: float) -> None:
        """A step every so often, until that moment of the monotonic clock."""
        count = 0
        while (began := time.monotonic()) + every_seconds < until:
            await self.step(count)
            count += 1
            await asyncio.sleep(max(0.0, began + every_seconds - time.monotonic()))
