"""Drill 1: right answers in the notebook, wrong ones in the service. Its words stand in `words/drill_1.md`."""

import inspect
import json
from typing import ClassVar

import numpy as np
import onnx

from course_lib import data, models
from course_lib.drills.evidence import NotShown, Unwell, agrees
from course_lib.drills.frame import Drill
from course_lib.drills.programs import reader
from course_lib.ops.http import DIRECT, ask

NAMES = "zero one two three four five six seven eight nine".split()
PICTURES = 300
ALARM = 0.05
"""The share of corrected answers above which the page goes out. It does not say how many more: that would tell the fault."""
LISTED = 3
"""The version that the list of releases promotes."""


class TheDrill(Drill):
    number = 1
    title = "Right answers in the notebook, wrong ones in the service"
    faults: ClassVar = ("preprocessing", "contract", "labels", "version")
    watched: ClassVar = 20
    """How many answers `examine` waits for."""

    def build(self, fault: str) -> None:
        _, test = data.digits()
        images, self.labels = test.images[:PICTURES], test.labels[:PICTURES]
        self.bitmaps = drawings(images)
        shelf, own = self.folder / "models" / "digits_cnn", self.folder / "reader"
        for path in (shelf / "3", shelf / "4", own):
            path.mkdir(parents=True)
        good = models.path("digits_cnn", 3).read_bytes()
        (shelf / "3/model.onnx").write_bytes(good)
        self.pair = self.random.choice([(3, 8), (4, 9), (1, 7)])
        (shelf / "4/model.onnx").write_bytes(exchanged(good, *self.pair))
        _write(shelf / "serving.json", {"labels": {"production": 4 if fault == "version" else 3}})
        (self.folder / "releases.txt").write_text(
            f"{LISTED - 1} withdrawn\n{LISTED} promoted to production\n4 canary, 10 % of the clients\n"
            "4 taken back: answers differ\n", encoding="utf-8")  # fmt: skip
        _write(own / "contract.json", {"full_block": 255 if fault == "contract" else 16, "lowest": 0, "highest": 1})
        (own / "names.txt").write_text("\n".join(sorted(NAMES) if fault == "labels" else NAMES) + "\n")
        code = inspect.getsource(reader)
        if fault == "preprocessing":
            order = self.random.choice(['reshape(32, 32, order="F")', "reshape(32, 32)[::-1]"])
            code = code.replace("np.ravel(bitmap).reshape(32, 32)", f"np.ravel(bitmap).{order}")
        (own / "reader.py").write_text(code, encoding="utf-8")
        server = self.service("model", "course_lib.serving", "--models", self.folder / "models", "--reload-seconds", 1)
        predict = f"{server.url}/v1/models/digits_cnn/labels/production:predict"
        self.url = self.service("reader", "reader/reader.py", "--predict", predict).url
        asked = [{"body": {"bitmap": b.tolist()}, "label": NAMES[y]} for b, y in zip(self.bitmaps, self.labels)]
        self.users({"url": self.url, "path": "/read", "rate_per_s": 20, "at_once": 60, "requests": asked})
        self.wait_for_users(60)

    def alert(self) -> str:
        return (f"Users correct more than {ALARM:.0%} of the answers since the release of 02:40; usual is 1 %. No request "
                "fails, latency is normal. The model's authors say that their notebook reads these drawings well.")  # fmt: skip

    # What the learner has beside the frame

    def notebook_pixels(self, bitmap: np.ndarray) -> np.ndarray:
        """The authors' own preprocessing. bitmap: (32, 32). Returns (8, 8)."""
        return data.from_bitmap(np.asarray(bitmap))

    def drawing(self, request: int) -> np.ndarray:
        """The drawing that a user sent, (32, 32). request: as the users' log has it."""
        if not isinstance(request, (int, np.integer)) or not 0 <= request < PICTURES:
            raise NotShown(f"This could not be examined: a drawing's number is a whole number from 0 to {PICTURES - 1}. The "
                           "users' log has it as `request`.")  # fmt: skip
        return self.bitmaps[request]

    # The evidence

    def proves_preprocessing(self, request: int, service: list, notebook: list) -> None:
        """
        request: the users' number of a drawing
        service: the pixels that the service makes of it, 8 × 8
        notebook: the pixels that the notebook makes of it, 8 × 8
        """
        ours, theirs = self._both(request)
        agrees("the service's pixels", service, theirs)
        agrees("the notebook's pixels", notebook, ours)
        if np.allclose(ours, theirs, atol=1e-6):
            raise NotShown("Both pictures are the same: what the model gets is right. Look behind it.")
        if np.allclose(ours / ours.max(), theirs / theirs.max(), atol=1e-6):
            raise NotShown("The two differ by one factor everywhere. The picture is right, its scale is not: that is "
                           "another cause on the list.")  # fmt: skip

    def proves_contract(self, request: int, service: float, promised: float) -> None:
        """
        request: the users' number of a drawing
        service: the largest pixel that the service makes of it
        promised: the largest pixel that the notebook makes of it
        """
        ours, theirs = self._both(request)
        agrees("the service's largest pixel", service, theirs.max())
        agrees("the notebook's largest pixel", promised, ours.max())
        if np.isclose(ours.max(), theirs.max(), atol=1e-6):
            raise NotShown("Both have the same largest pixel: service and model agree on the unit.")

    def proves_labels(self, request: int, model: int, service: str) -> None:
        """
        request: the users' number of a drawing
        model: the digit that the model server gives for the service's pixels, 0 to 9
        service: the name that the service answers
        """
        answer = ask(f"{self.url}/read", {"bitmap": self.drawing(request).tolist()})
        digit = self._model(self._both(request)[1])
        agrees("the model's digit", model, digit)
        if str(service).strip().lower() != answer["answer"]:
            raise NotShown(f"The reading does not agree with the system: “{service}” is not what the service answers for "
                           "this drawing.")  # fmt: skip
        if NAMES[digit] == answer["answer"]:
            raise NotShown(f"The model says {digit}, and the service says “{service}”: that is the right name. If the user "
                           "corrected this answer, the names are in order. If not, take one that was corrected.")  # fmt: skip

    def proves_version(self, request_id: str, version: int, released: int) -> None:
        """
        request_id: of an answer, from the users' log
        version: the one that gave it, from the reader's log
        released: the one that `releases.txt` has in production
        """
        lines = self.log("reader", str(request_id))
        found = [line for line in lines if line.get("event") == "read" and line.get("request_id") == request_id]
        if not found:
            raise NotShown(f"The reader's log has no line “read” with the request id {request_id!r}.")
        agrees("the version in the reader's log", version, int(found[-1]["version"]))
        agrees("the version in production, by releases.txt", released, LISTED)
        if version == released:
            raise NotShown(f"Version {version} answered, and version {released} was released. It is the right one.")

    def _both(self, request: int) -> tuple[np.ndarray, np.ndarray]:
        bitmap = self.drawing(request)
        theirs = ask(f"{self.url}/pixels", {"bitmap": bitmap.tolist()})["pixels"]
        return self.notebook_pixels(bitmap), np.array(theirs)

    def _model(self, pixels: np.ndarray) -> int:
        url = f"{self.services['model'].url}/v1/models/digits_cnn/labels/production:predict"
        return int(np.argmax(ask(url, {"instances": [[pixels.tolist()]]})["predictions"][0]))

    # The repair

    def examine(self) -> None:
        try:
            with DIRECT.open(f"{self.url}/v2/health/ready", timeout=5):
                pass
        except OSError:
            raise Unwell(
                "The reader does not answer. An alert that is silent because nobody is served is no repair."
            ) from None
        seen = self.wait_for_users(self.watched)
        if failed := sum(line["status"] != 200 for line in seen):
            raise Unwell(f"{failed} of the users' last {len(seen)} requests failed.")
        sample = self.random.sample(range(PICTURES), 60)
        answers = [ask(f"{self.url}/read", {"bitmap": self.bitmaps[at].tolist()}) for at in sample]
        wrong = sum(answer["answer"] != NAMES[self.labels[at]] for at, answer in zip(sample, answers))
        symptom = f"{wrong} of {len(sample)} drawings are still read wrong."
        if wrong > 4 and not self.diagnosed:  # more would tell the cause
            raise Unwell(symptom)
        for at, answer in zip(sample[:30], answers):
            if int(answer["version"]) != LISTED:
                raise Unwell(f"Version {answer['version']} answers. It was not released, whatever it answers.")
            ours, theirs = self._both(at)
            if not np.allclose(ours, theirs, atol=1e-6):
                raise Unwell(f"For request {at} the service still gives other pixels to the model than the notebook.")
            if answer["answer"] != NAMES[self._model(ours)]:
                raise Unwell(f"For request {at} the model says {self._model(ours)}, the service “{answer['answer']}”.")
        if wrong > 4:
            raise Unwell(symptom)


def drawings(images: np.ndarray) -> np.ndarray:
    """Drawings whose blocks of 4 × 4 hold as much ink as the images' pixels. images: (N, 8, 8). Returns (N, 32, 32)."""
    points = np.arange(16).reshape(1, 1, 4, 1, 4) < np.round(16 * images)[:, :, None, :, None]
    return points.astype(int).reshape(len(images), 32, 32)


def exchanged(model: bytes, a: int, b: int) -> bytes:
    """The same model with two of its outputs exchanged."""
    graph = onnx.load_from_string(model)
    order = np.arange(10)
    order[[a, b]] = order[[b, a]]
    old, graph.graph.output[0].name = graph.graph.output[0].name, "exchanged"
    graph.graph.initializer.append(onnx.numpy_helper.from_array(order, "order"))
    graph.graph.node.append(onnx.helper.make_node("Gather", [old, "order"], ["exchanged"], axis=1))
    return graph.SerializeToString()


def _write(path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
