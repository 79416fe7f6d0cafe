"""The folder of models: what it holds, loaded, and kept up to date while requests go on.

FOLDER/NAME/VERSION/model.onnx      a version; immutable, a change is a new version
FOLDER/NAME/VERSION/contract.json   optional, see course_lib.pipeline
FOLDER/NAME/serving.json            optional: {"labels": {"stable": 1, "canary": 2}, "max_batch_size": 8}
FOLDER/SHA256SUMS                   optional, see checksums.py; then a file without a sum is not read

Each model's folder is looked at by a thread of its own, so that one which hangs (a network's volume may) stops no other.
"""

import contextlib
import os
import re
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.serving.checksums import Verify, read_checksums
from course_lib.serving.errors import ModelError
from course_lib.serving.models import Model, read_settings
from course_lib.serving.telemetry import Log

LOOK_SECONDS, START_SECONDS = 10, 60
"""How long the others wait for a model's folder to be looked at and its versions loaded: later, and at the start."""
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


class Notices:
    """States of affairs for the log, each told once for as long as it lasts."""

    def __init__(self, log: Log) -> None:
        self.log, self._told, self._telling = log, set(), set()

    def tell(self, level: str, event: str, problem: str) -> None:
        self._telling.add((event, problem))
        if not self.told(event, problem):
            self.log.write(level, event, reason=problem)

    def told(self, event: str, problem: str) -> bool:
        """Whether the last look told it."""
        return (event, problem) in self._told

    def begin(self) -> None:
        """Another look begins: what it does not tell is over."""
        self._told, self._telling = self._telling, set()


class Folder:
    """One model's folder. served: what the last look found, None before the first version. thread: the one that looks."""

    def __init__(self, path: Path, load: "Load", latest: int, log: Log) -> None:
        self._path, self._load, self._latest = path, load, latest
        self.served: Served | None = None
        self._notices = Notices(log)
        self._seen: dict[int, Fingerprint] = {}
        self._checksums: dict[str, str] | None = {}
        self.thread = threading.Thread()

    @property
    def busy(self) -> bool:
        """Whether a look goes on."""
        return self.thread.is_alive()

    def look(self, checksums: dict[str, str] | None, first: bool, then: Callable[[], None], seconds: float) -> None:
        """Looks at the folder, beside the caller, who waits for so many seconds at most. then: called after it."""
        if not self.busy:
            own = checksums and {path: sha for path, sha in checksums.items() if path.split("/")[0] == self._path.name}
            self.thread = threading.Thread(target=self._try_to_look, args=(own, first, then), daemon=True)
            self.thread.start()
            self.thread.join(seconds)

    def _try_to_look(self, checksums: dict[str, str] | None, first: bool, then: Callable[[], None]) -> None:
        try:
            self._notices.begin()
            paths = self._versions()
            if paths:
                self.served = self._look(paths, checksums, first)
                self._checksums, self._seen = checksums, {each: _fingerprint(path) for each, path in paths.items()}
            elif self.served:  # a volume that is gone, rather than a decision
                self._notices.tell(
                    "error", "model not found", f"{self._path} holds no version; what was loaded goes on"
                )
            then()
        except OSError as error:
            self._notices.tell("error", "model not looked at", f"{self._path}: {error.strerror}")
        except Exception as error:
            self._notices.log.failure("model not looked at", error, model=self._path.name)

    def _versions(self) -> dict[int, Path]:
        """The versions that the folder holds; what else looks like one is named in the log."""
        found = {}
        for name in _folders(self._path):
            path = self._path / name / "model.onnx"
            if not re.fullmatch("[1-9][0-9]{0,17}", name):
                self._skip(name, "is no version: expected a whole number from 1")
            elif not os.path.lexists(path):
                self._skip(name, "holds no model.onnx")
            else:
                found[int(name)] = path
        if not found and not self.served:
            self._notices.tell("warning", "folder skipped", f"{self._path.name} holds no VERSION/model.onnx")
        return found

    def _skip(self, name: str, why: str) -> None:
        self._notices.tell("warning", "folder skipped", f"{self._path.name}/{_text(name)} {why}")

    def _look(self, paths: dict[int, Path], checksums: dict[str, str] | None, first: bool) -> Served:
        """The model as it is to be served from now on."""
        name, was = self._path.name, self.served or Served()
        labels, largest = self._settings(was)
        labelled = {*labels.values(), *was.labels.values()}
        for listed in sorted(checksums or {}):
            if not os.path.lexists(self._path.parent / listed):
                self._notices.tell("warning", "checksum of nothing", f"SHA256SUMS lists {listed}, which is not there")
        loaded: dict[int, Model] = {}
        refused: dict[int, str] = {}
        for version in sorted(paths, reverse=True):
            if self._latest and len(loaded) >= self._latest and version not in labelled:
                continue
            settled = first or self._seen.get(version) == _fingerprint(paths[version])
            if model := was.versions.get(version):
                loaded[version] = model
                if not settled or self._notices.told("version changed", f"{name}/{version}"):
                    # A version never changes: what is loaded goes on, and a change is published as a new version.
                    self._notices.tell("warning", "version changed", f"{name}/{version}")
            elif settled and version in was.refused and checksums == self._checksums:
                refused[version] = was.refused[version]
            elif settled:
                self._load_one(version, paths[version], checksums, loaded, refused)
        if not loaded and was.versions:
            loaded = dict([next(iter(was.versions.items()))])
        return Served(loaded, self._attach(labels, was.labels, loaded), refused, largest)

    def _attach(self, labels: dict[str, int], was: dict[str, int], loaded: dict[int, Model]) -> dict[str, int]:
        """The labels, each on a version that is loaded: one that would name nothing stays where it was."""
        attached, name = {}, self._path.name
        for label, version in labels.items():
            if version in loaded:
                attached[label] = version
                continue
            self._notices.tell("error", "label refused", f"{name} has no version {version} for the label {label}")
            if was.get(label) in loaded:
                attached[label] = was[label]
        if attached != was:
            self._notices.log.write("info", "labels set", model=name, labels=attached)
        return attached

    def _settings(self, was: Served) -> tuple[dict[str, int], int | None]:
        try:
            settings = read_settings(self._path)
        except ModelError as error:
            self._notices.tell("error", "settings refused", str(error))
            return was.labels, was.max_batch_size
        return settings.get("labels", {}), settings.get("max_batch_size")

    def _load_one(
        self, version: int, path: Path, checksums: dict[str, str] | None, loaded: dict, refused: dict
    ) -> None:
        begin, name, write = time.perf_counter(), self._path.name, self._notices.log.write
        try:
            model = self._load(name, version, path, checksums)
        except ModelError as error:
            refused[version] = str(error)
            write("error", "version refused", model=name, version=version, reason=str(error))
            return
        loaded[version] = model
        took = round(1000 * (time.perf_counter() - begin), 1)
        write("info", "version loaded", model=name, version=version, duration_ms=took)
        # The last request that computes with it lets go of it.
        weakref.finalize(model, write, "info", "version unloaded", model=name, version=version).atexit = False


Load = Callable[[str, int, Path, dict[str, str] | None], Model]
"""Makes a Model of name, version, file, and the checksums by path from the folder (None where there are none)."""


class Store:
    """All models of a folder. `models` (name -> Served) is replaced as a whole, never changed: whoever reads it needs
    no lock, and whoever got a Model from it keeps that version until the request is answered. `looked_at`: when all of
    the folder was last looked at, in seconds since 1970."""

    def __init__(self, folder: Path, load: Load, latest: int, log: Log, verify: Verify | None = None) -> None:
        """latest: how many versions of each model to serve, beside those that labels name; 0 for all. verify: of the key
        that must have signed the checksums. Raises ModelError where the folder holds nothing that can be served; a part
        that cannot be is told in the log."""
        self.folder, self.models, self.looked_at, self._verify = folder, {}, 0.0, verify
        self._load, self._latest, self._log = load, latest, log
        self._folders: dict[str, Folder] = {}
        self._publishing, self._notices = threading.Lock(), Notices(log)
        if not folder.is_dir():
            raise ModelError(f"--models {folder} is not a folder; expected one that holds NAME/VERSION/model.onnx")
        self.scan(first=True)
        for each in self._folders.values():
            if not any(served.versions for served in self.models.values()):
                each.thread.join()
        if not self.models:
            raise ModelError(f"--models {folder} holds no NAME/VERSION/model.onnx with VERSION a positive whole number")
        if not any(served.versions for served in self.models.values()):
            name, served = next(iter(self.models.items()))
            raise ModelError(f"no version of {name} can be served: {next(iter(served.refused.values()))}")

    def __str__(self) -> str:
        told = [f"{name} {list(served.versions)}" for name, served in self.models.items()]
        return ", ".join(told) or "no model"

    def scan(self, first: bool = False) -> None:
        """Looks at the folder, loads what is new, lets go of what is gone. May run beside requests, not beside itself.

        What is new and not there from the beginning is loaded when two looks in a row find it unchanged: until then
        somebody may still be writing it. A version that cannot be loaded is refused; while a model has no other, the
        last one that could goes on answering.
        """
        self._notices.begin()
        names = self._names()
        if not names and not first:  # a volume that is gone, rather than a decision
            self._notices.tell("error", "models not found", f"{self.folder} holds no model; what was loaded goes on")
            return
        try:
            checksums = read_checksums(self.folder, self._verify)
        except ModelError as error:  # nothing is loaded, since it would be unchecked
            if first:
                raise
            self._notices.tell("error", "checksums refused", str(error))
            return
        for listed in sorted(checksums or {}):
            if listed.split("/")[0] not in names and not (self.folder / listed.split("/")[0]).is_file():
                self._notices.tell("warning", "checksum of nothing", f"SHA256SUMS lists {listed}, which is not there")
        for name in self._folders.keys() - names:
            del self._folders[name]
            if name in self.models:
                self._log.write("info", "model removed", model=name)
        self._publish()
        for name in names:
            folder = self._folders.get(name) or Folder(self.folder / name, self._load, self._latest, self._log)
            self._folders[name] = folder
            folder.look(checksums, first, self._publish, START_SECONDS if first else LOOK_SECONDS)
        late = [name for name, each in self._folders.items() if each.busy]
        for name in late:
            self._notices.tell("error", "model not looked at", f"{name}: its folder hangs, or a version loads for long")
        if not late:
            self.looked_at = time.time()

    def _names(self) -> list[str]:
        """The models' names. One with a colon cannot stand in the protocols' addresses, one that is no text (bytes that
        are no UTF-8, say) in no answer either; those with a dot in front are files of the system, or not yet whole."""
        try:
            names = _folders(self.folder)
        except OSError:
            return []
        for name in names:
            if not _is_name(name):
                why = "cannot be a model's name: expected text without a colon, and without a dot in front"
                self._notices.tell("warning", "folder skipped", f"{_text(name)} {why}")
        return list(filter(_is_name, names))

    def _publish(self) -> None:
        with self._publishing:
            self.models = {name: each.served for name, each in self._folders.copy().items() if each.served}


def _is_name(name: str) -> bool:
    return ":" not in name and name.isprintable() and not name.startswith(".")


def _folders(path: Path) -> list[str]:
    """What is a folder in `path`, or a link, which alone does not tell what it leads to without being followed."""
    with os.scandir(path) as entries:
        return sorted(each.name for each in entries if each.is_symlink() or each.is_dir(follow_symlinks=False))


def _text(name: str) -> str:
    """A name as text, whatever it holds."""
    return name if name.isprintable() else ascii(name)


def _fingerprint(path: Path) -> Fingerprint:
    found = []
    for file in (path, path.with_name("contract.json")):
        with contextlib.suppress(OSError):
            stat = file.stat()
            found.append((file.name, stat.st_size, stat.st_mtime_ns))
    return tuple(found)
