"""Drill 2: the small model that got worse. Its words stand in `words/drill_2.md`."""

import inspect
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx

from course_lib import data, models
from course_lib.drills.drill_1 import NAMES, drawings, exchanged
from course_lib.drills.evidence import NotShown, Unwell, agrees
from course_lib.drills.frame import Drill
from course_lib.drills.programs import calibrate, reader
from course_lib.ops.http import DIRECT, ask
from course_lib.pipeline import checksum

PICTURES, PALE = 300, np.float32(0.25)
POLICY = {"bytes_at_most": 25_000, "canary_requests_at_least": 1000, "different_at_most": 0.03}
NEW = 3
"""The version of 02:40. Version 1 is the large model, version 2 the small one before."""


class TheDrill(Drill):
    number = 2
    title = "The small model that got worse"
    faults: ClassVar = ("calibration", "swapped_file", "early_canary")
    watched: ClassVar = 20
    """How many answers `examine` waits for."""

    def build(self, fault: str) -> None:
        train, test = data.digits()
        self.pictures, labels = test.images[:PICTURES, None], test.labels[:PICTURES]
        self.bitmaps = drawings(test.images[:PICTURES])
        self.shelf, own = self.folder / "models/digits_small", self.folder / "reader"
        for path in (self.shelf / "1", own, self.folder / "calibration", self.folder / "released"):
            path.mkdir(parents=True)
        kept = self.random.sample(range(len(train.images)), 60)
        seen = {"phone": train.images[kept, None], "scanner": PALE * train.images[kept, None]}
        for name, pictures in seen.items():
            np.save(self.folder / f"calibration/{name}.npy", pictures)
        used = "scanner" if fault == "calibration" else "phone"
        large, target = self.shelf / "1/model.onnx", self.shelf / f"{NEW}/model.onnx"
        large.write_bytes(models.path("digits_cnn", 3).read_bytes())
        calibrate.small(large, seen[used][:40], self.shelf / "2/model.onnx")
        source = self.folder / "pruned.onnx"
        source.write_bytes(pruned(large.read_bytes(), 0.48) if fault == "early_canary" else large.read_bytes())
        calibrate.small(source, seen[used], target)
        source.unlink()
        releases = {}
        for version in (1, 2, NEW):
            raw = (self.shelf / f"{version}/model.onnx").read_bytes()
            canary = {"requests": self.random.randint(1100, 1900), "different": self.random.randint(4, 12)}
            if fault == "early_canary" and version == NEW:
                canary = {"requests": self.random.randint(25, 45), "different": 1}
            picked = None if version == 1 else f"calibration/{used}.npy"
            sha = checksum(self.shelf / f"{version}/model.onnx")
            releases[version] = {"sha256": sha, "calibrated_on": picked, "canary": canary}
            (self.folder / f"released/{sha[:12]}.onnx").write_bytes(raw)
        if fault == "swapped_file":
            target.write_bytes(exchanged(target.read_bytes(), *self.random.choice([(3, 8), (4, 9), (1, 7)])))
        for path, content in {
            self.folder / "releases.json": releases,
            self.folder / "policy.json": POLICY,
            self.shelf / "serving.json": {"labels": {"production": NEW}},
            own / "contract.json": {"full_block": 16},
        }.items():
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (own / "names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
        (own / "reader.py").write_text(inspect.getsource(reader), encoding="utf-8")
        (self.folder / "calibrate.py").write_text(inspect.getsource(calibrate), encoding="utf-8")
        server = self.service("model", "course_lib.serving", "--models", self.folder / "models", "--reload-seconds", 1)
        self.model = f"{server.url}/v1/models/digits_small"
        self.url = self.service(
            "reader", "reader/reader.py", "--predict", f"{self.model}/labels/production:predict"
        ).url
        asked = [{"body": {"bitmap": b.tolist()}, "label": NAMES[y]} for b, y in zip(self.bitmaps, labels)]
        self.users({"url": self.url, "path": "/read", "rate_per_s": 20, "at_once": 120, "requests": asked})
        self.wait_for_users(120)

    def alert(self) -> str:
        share = np.mean(["correction" in line for line in self.log("users")])
        return (f"Users correct {share:.0%} of the answers since the small model of 02:40 (version {NEW}); usual is 1 %. "
                "No request fails. The large model, version 1, reads the same drawings well.")  # fmt: skip

    # What the learner has beside the frame

    def answers(self, version: int) -> np.ndarray:
        """The digits that a version gives for the users' pictures, (300,), asked of the model server."""
        found = ask(f"{self.model}/versions/{version}:predict", {"instances": self.pictures.tolist()})
        return np.argmax(found["predictions"], axis=1)

    # The evidence, all of it about version 3

    def proves_calibration(self, calibrated_on: str, represents: float, largest: float) -> None:
        """
        calibrated_on: the file of pictures that version 3 was calibrated on, by releases.json
        represents: the largest pixel that version 3 can represent: `pixels_scale` in its file, times 255
        largest: the largest pixel that the users send, by `/pixels` of the reader or in `drill.pictures`
        """
        if Path(str(calibrated_on)).name != Path(self._release(NEW)["calibrated_on"]).name:
            raise NotShown(
                f"The reading does not agree with the system: releases.json names another file for version {NEW}."
            )
        there, sent = largest_pixel(self.shelf / f"{NEW}/model.onnx"), float(self.pictures.max())
        agrees("the largest pixel that the file represents", represents, there)
        agrees("the users' largest pixel", largest, sent)
        if sent < 1.1 * there:
            raise NotShown(f"The file represents pixels up to {there:.2f}, and users send at most {sent:.2f}. Its range "
                           "fits what comes.")  # fmt: skip

    def proves_swapped_file(self, sha256: str, released: str) -> None:
        """
        sha256: the SHA-256 of version 3's file, as it lies there now
        released: the SHA-256 that releases.json has for version 3
        """
        there, listed = checksum(self.shelf / f"{NEW}/model.onnx"), self._release(NEW)["sha256"]
        for what, said, found in (("the file there", sha256, there), ("releases.json", released, listed)):
            if str(said).strip().lower() != found:
                raise NotShown(f"The reading does not agree with the system: {what} has another SHA-256. It wants all 64 "
                               "digits.")  # fmt: skip
        if there == listed:
            raise NotShown(f"Both begin with {there[:12]}: the file that is served is the file that was released.")

    def proves_early_canary(self, requests: int, required: int, different: float) -> None:
        """
        requests: how many requests the canary of version 3 saw, by releases.json
        required: how many it has to see, by policy.json
        different: the share of `drill.pictures` that versions 3 and 1 answer differently, asked of the model server
        """
        agrees("the canary's requests", requests, self._release(NEW)["canary"]["requests"])
        agrees("the requests that the policy requires", required, POLICY["canary_requests_at_least"])
        agrees("the share of different answers", different, np.mean(self.answers(NEW) != self.answers(1)))
        if requests >= required:
            raise NotShown(f"The canary saw {requests:,} requests, and {required:,} are required. It was not promoted too "
                           "early. What it saw was fine, so something has changed since.")  # fmt: skip

    def _releases(self) -> dict[str, dict]:
        return json.loads((self.folder / "releases.json").read_text(encoding="utf-8"))

    def _release(self, version: int) -> dict:
        return self._releases()[str(version)]

    # The repair

    def examine(self) -> None:
        try:
            with DIRECT.open(f"{self.url}/v2/health/ready", timeout=5):
                pass
        except OSError:
            raise Unwell("The reader does not answer: nobody is served.") from None
        if failed := sum(line["status"] != 200 for line in self.wait_for_users(self.watched)):
            raise Unwell(f"{failed} of the users' last requests failed.")
        answer = ask(f"{self.url}/read", {"bitmap": self.bitmaps[0].tolist()})
        version = int(answer["version"])
        file = self.shelf / f"{version}/model.onnx"
        if (size := file.stat().st_size) > POLICY["bytes_at_most"]:
            raise Unwell(f"Version {version} answers. It has {size:,} bytes, and the phones that load it too have room for "
                         f"{POLICY['bytes_at_most']:,}. A small model was asked for.")  # fmt: skip
        different = np.mean(self.answers(version) != self.answers(1))
        symptom = (f"Version {version} answers {different:.0%} of the pictures differently from the large model; "
                   f"{POLICY['different_at_most']:.0%} are allowed.")  # fmt: skip
        if different > POLICY["different_at_most"] and not self.diagnosed:  # more would tell the cause
            raise Unwell(symptom)
        if (there := largest_pixel(file)) < 0.9:
            raise Unwell(f"Version {version} answers, and it cuts off every pixel above {there:.2f}.")
        for listed, release in self._releases().items():
            present = self.shelf / f"{listed}/model.onnx"
            if present.exists() and checksum(present) != release["sha256"]:
                raise Unwell(f"Version {listed} is still another file than the one that was released under this number. The next "
                             "one who moves the label there gets it. A change is a new version.")  # fmt: skip
        if different > POLICY["different_at_most"]:
            raise Unwell(symptom)
        seen = self._releases().get(str(version), {}).get("canary", {}).get("requests", 0)
        if self._fault == "early_canary" and seen < POLICY["canary_requests_at_least"]:
            raise Unwell(f"Version {version} answers well, and it was promoted with a canary of {seen} requests. That is how "
                         "tonight began. Which small version has had a whole canary?")  # fmt: skip


def largest_pixel(file) -> float:
    """The largest pixel that an 8-bit model can represent; infinite for one in floating point."""
    scales = [each for each in onnx.load(file).graph.initializer if each.name == "pixels_scale"]
    return 255 * float(onnx.numpy_helper.to_array(scales[0])) if scales else float("inf")


def pruned(model: bytes, share: float) -> bytes:
    """The model with this share of each layer's weights set to 0, the smallest, and not trained again."""
    found = onnx.load_from_string(model)
    for each in found.graph.initializer:
        weights = onnx.numpy_helper.to_array(each).copy()
        if weights.ndim > 1 and weights.dtype == np.float32:
            weights[np.abs(weights) < np.quantile(np.abs(weights), share)] = 0
            each.CopyFrom(onnx.numpy_helper.from_array(weights, each.name))
    return found.SerializeToString()
