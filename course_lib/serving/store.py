"""The folder of models: what it holds, loaded, and kept up to date while requests go on.

FOLDER/NAME/VERSION/model.onnx      a version; immutable, a change is a new version
FOLDER/NAME/VERSION/contract.json   optional, see course_lib.pipeline
FOLDER/NAME/serving.json            optional: {"labels": {"stable": 1, "canary": 2}, "max_batch_size": 8}
FOLDER/SHA256SUMS                   optional, as `sha256sum` writes it
"""

import re
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.serving.models import Model, ModelError, read_checksums, read_settings
from course_lib.serving.telemetry import Log

Fingerprint = tuple[tuple[str, int, int], ...]
"""The files of a version: name, size, time of change."""


@dataclass(frozen=True)
class Served:
    """One model as it is served. versions: the latest first. refused: version -> why it is not served."""

    versions: dict[int, Model] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    max_batch_size: int | None = None

    def find(self, version: int | None) -> Model | None:
        """The version of that number, or the latest one; None where there is no such thing."""
        return self.versions.get(next(iter(self.versions)) if version is None else version)


class Store:
    """All models of a folder. `models` (name -> Served) is replaced as a whole, never changed: whoever reads it needs
    no lock, and whoever got a Model from it keeps that version until the request is answered."""

    def __init__(
        self, folder: Path, load: Callable[[str, int, Path, str | None], Model], latest: int, log: Log
    ) -> None:
        """load: makes a Model of name, version, file and checksum. latest: how many versions of each model to serve,
        beside those that labels name; 0 for all. Raises ModelError where the folder holds nothing that can be served."""
        self.folder, self.models = folder, {}
        self._load, self._latest, self._log = load, latest, log
        self._seen: dict[tuple[str, int], Fingerprint] = {}
        self._told: set[object] = set()
        if not folder.is_dir():
            raise ModelError(f"--models {folder} is not a folder; expected one that holds NAME/VERSION/model.onnx")
        self.scan(first=True)
        for name, served in self.models.items():
            if not served.versions:
                raise ModelError(f"no version of {name} can be served: {next(iter(served.refused.values()))}")
        if not self.models:
            raise ModelError(f"--models {folder} holds no NAME/VERSION/model.onnx with VERSION a positive whole number")

    def __str__(self) -> str:
        told = [f"{name} {list(served.versions)}" for name, served in self.models.items()]
        return ", ".join(told) or "no model"

    def scan(self, first: bool = False) -> None:
        """Looks at the folder, loads what is new, lets go of what is gone. May run beside requests, not beside itself.

        What is new and not there from the beginning is loaded when two looks in a row find it unchanged: until then
        somebody may still be writing it. A version that cannot be loaded is refused; while a model has no other, the
        last one that could goes on answering.
        """
        found: dict[str, dict[int, Path]] = {}
        for path in sorted(self.folder.glob("*/*/model.onnx")):
            name, version = path.parts[-3:-1]
            # Other things may lie beside the versions; a name with a colon cannot stand in the protocols' addresses.
            if re.fullmatch("[1-9][0-9]{0,17}", version) and ":" not in name:
                found.setdefault(name, {})[int(version)] = path
        if not found and not first:  # a volume that is gone, rather than a decision
            return self._tell("error", "models not found", f"{self.folder} holds no model; what was loaded goes on")
        checksums = read_checksums(self.folder)
        models = {name: self._look(name, paths, checksums, first) for name, paths in found.items()}
        before, self.models = self.models, models
        for name in before.keys() - models.keys():
            self._log.write("info", "model removed", model=name)

    def _look(self, name: str, paths: dict[int, Path], checksums: dict[str, str], first: bool) -> Served:
        was = self.models.get(name, Served())
        labels, largest = self._settings(name, was)
        loaded: dict[int, Model] = {}
        refused: dict[int, str] = {}
        for version in sorted(paths, reverse=True):
            if self._latest and len(loaded) >= self._latest and version not in labels.values():
                continue
            fingerprint = _fingerprint(paths[version])
            settled = first or self._seen.get((name, version)) == fingerprint
            if model := was.versions.get(version):
                loaded[version] = model
                if not settled:
                    self._tell(
                        "warning",
                        "version changed",
                        f"{name}/{version} changed on disk: publish a new version",
                        fingerprint,
                    )
            elif version in was.refused and settled:
                refused[version] = was.refused[version]
            elif settled:
                self._try(name, version, paths[version], checksums, loaded, refused)
            else:
                self._seen[name, version] = fingerprint
            if first or version in refused:
                self._seen[name, version] = fingerprint
        if not loaded and was.versions:
            loaded = dict([next(iter(was.versions.items()))])
        kept = {label: version for label, version in labels.items() if version in loaded}
        for label in labels.keys() - kept.keys():  # a label stays where it was, rather than name nothing
            problem = f"{name} has no version {labels[label]} for the label {label}"
            self._tell("error", "label refused", problem, problem)
            if was.labels.get(label) in loaded:
                kept[label] = was.labels[label]
        if kept != was.labels:
            self._log.write("info", "labels set", model=name, labels=kept)
        return Served(loaded, kept, refused, largest)

    def _settings(self, name: str, was: Served) -> tuple[dict[str, int], int | None]:
        try:
            settings = read_settings(self.folder / name)
        except ModelError as error:
            self._tell("error", "settings refused", str(error), str(error))
            return was.labels, was.max_batch_size
        return settings.get("labels", {}), settings.get("max_batch_size")

    def _try(self, name: str, version: int, path: Path, checksums: dict[str, str], loaded: dict, refused: dict) -> None:
        begin = time.perf_counter()
        try:
            model = self._load(name, version, path, checksums.get(f"{name}/{version}/model.onnx"))
        except ModelError as error:
            refused[version] = str(error)
            self._log.write("error", "version refused", model=name, version=version, reason=str(error))
            return
        loaded[version] = model
        took = round(1000 * (time.perf_counter() - begin), 1)
        self._log.write("info", "version loaded", model=name, version=version, duration_ms=took)
        # The last request that computes with it lets go of it.
        weakref.finalize(model, self._log.write, "info", "version unloaded", model=name, version=version).atexit = False

    def _tell(self, level: str, event: str, problem: str, once: object = None) -> None:
        """Writes to the log, once for each state of affairs, however often the folder is looked at."""
        if (event, problem, once) not in self._told:
            self._told.add((event, problem, once))
            self._log.write(level, event, reason=problem)


def _fingerprint(path: Path) -> Fingerprint:
    files = [path, path.with_name("contract.json")]
    stats = [(file.name, file.stat()) for file in files if file.exists()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
