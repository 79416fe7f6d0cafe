"""The folder of models: what it holds, loaded, and kept up to date while requests go on.

FOLDER/NAME/VERSION/model.onnx      a version; immutable, a change is a new version
FOLDER/NAME/VERSION/contract.json   optional, see course_lib.pipeline
FOLDER/NAME/serving.json            optional: {"labels": {"stable": 1, "canary": 2}, "max_batch_size": 8}
FOLDER/SHA256SUMS                   optional, as `sha256sum` writes it
"""

import contextlib
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
        return self.versions.get(next(iter(self.versions), None) if version is None else version)


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
        self._checksums: dict[str, str] = {}
        self._told: set[tuple[str, str]] = set()
        self._telling: set[tuple[str, str]] = set()
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
            # Other things may lie beside the versions; a name with a colon cannot stand in the protocols' addresses, and
            # one that is no text (bytes that are no UTF-8, say) in no answer either.
            if re.fullmatch("[1-9][0-9]{0,17}", version) and ":" not in name and name.isprintable():
                found.setdefault(name, {})[int(version)] = path
        if not found and not first:  # a volume that is gone, rather than a decision
            self._tell("error", "models not found", f"{self.folder} holds no model; what was loaded goes on")
        elif (checksums := self._read_checksums(first)) is not None:
            models = {name: self._look(name, paths, checksums, first) for name, paths in found.items()}
            before, self.models, self._checksums = self.models, models, checksums
            for name in before.keys() - models.keys():
                self._log.write("info", "model removed", model=name)
            self._seen = {
                (name, version): _fingerprint(path) for name in found for version, path in found[name].items()
            }
        self._told, self._telling = self._telling, set()

    def _read_checksums(self, first: bool) -> dict[str, str] | None:
        """None where they cannot be read: then nothing is loaded, since it would be unchecked."""
        try:
            return read_checksums(self.folder)
        except ModelError as error:
            if first:
                raise
            self._tell("error", "checksums refused", str(error))
            return None

    def _look(self, name: str, paths: dict[int, Path], checksums: dict[str, str], first: bool) -> Served:
        """One model as it is to be served from now on."""
        was = self.models.get(name, Served())
        labels, largest = self._settings(name, was)
        labelled = {*labels.values(), *was.labels.values()}
        loaded: dict[int, Model] = {}
        refused: dict[int, str] = {}
        for version in sorted(paths, reverse=True):
            if self._latest and len(loaded) >= self._latest and version not in labelled:
                continue
            settled = first or self._seen.get((name, version)) == _fingerprint(paths[version])
            if model := was.versions.get(version):
                loaded[version] = model
                if not settled or ("version changed", f"{name}/{version}") in self._told:
                    # A version never changes: what is loaded goes on, and a change is published as a new version.
                    self._tell("warning", "version changed", f"{name}/{version}")
            elif settled and version in was.refused and checksums == self._checksums:
                refused[version] = was.refused[version]
            elif settled:
                self._try(name, version, paths[version], checksums, loaded, refused)
        if not loaded and was.versions:
            loaded = dict([next(iter(was.versions.items()))])
        return Served(loaded, self._attach(name, labels, was.labels, loaded), refused, largest)

    def _attach(
        self, name: str, labels: dict[str, int], was: dict[str, int], loaded: dict[int, Model]
    ) -> dict[str, int]:
        """The labels, each on a version that is loaded: one that would name nothing stays where it was."""
        attached = {}
        for label, version in labels.items():
            if version in loaded:
                attached[label] = version
                continue
            self._tell("error", "label refused", f"{name} has no version {version} for the label {label}")
            if was.get(label) in loaded:
                attached[label] = was[label]
        if attached != was:
            self._log.write("info", "labels set", model=name, labels=attached)
        return attached

    def _settings(self, name: str, was: Served) -> tuple[dict[str, int], int | None]:
        try:
            settings = read_settings(self.folder / name)
        except ModelError as error:
            self._tell("error", "settings refused", str(error))
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

    def _tell(self, level: str, event: str, problem: str) -> None:
        """Writes a state of affairs to the log, once for as long as it lasts."""
        self._telling.add((event, problem))
        if (event, problem) not in self._told:
            self._log.write(level, event, reason=problem)


def _fingerprint(path: Path) -> Fingerprint:
    found = []
    for file in (path, path.with_name("contract.json")):
        with contextlib.suppress(OSError):
            stat = file.stat()
            found.append((file.name, stat.st_size, stat.st_mtime_ns))
    return tuple(found)
