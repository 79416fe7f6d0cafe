"""Makes a small model of the large one: `python calibrate.py --pictures calibration/FILE.npy --version N`.

Takes models/digits_small/1 (32-bit floating point), runs the pictures through it to note the range of each activation,
and writes version N with 8-bit weights and activations. A version that is there already is not touched.
"""

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from course_lib import onnx_files


class Pictures(CalibrationDataReader):
    """Hands out pictures, (N, 1, 8, 8), one by one."""

    def __init__(self, pictures: np.ndarray) -> None:
        self._left = iter(pictures.astype(np.float32))

    def get_next(self) -> dict | None:
        one = next(self._left, None)
        return None if one is None else {"pixels": one[None]}


def small(large: Path, pictures: np.ndarray, target: Path) -> None:
    """Writes the 8-bit form of the file `large` to `target`, its ranges taken from the pictures, (N, 1, 8, 8)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".draft")
    draft.write_bytes(large.read_bytes())
    onnx_files.remove_notes(draft)
    logging.disable(logging.WARNING)  # advice to preprocess the model, which its export has done
    try:
        quantize_static(draft, draft, Pictures(pictures), activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                        per_channel=True, reduce_range=True,  # or old processors saturate (lesson 10)
                        calibration_providers=["CPUExecutionProvider"])  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    draft.replace(target)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument(
        "--pictures", type=Path, required=True, help="in this folder: numbers from 0 to 1, (N, 1, 8, 8)"
    )
    parser.add_argument("--version", type=int, required=True, help="the new version's number")
    asked, here = parser.parse_args(), Path(__file__).parent
    target = here / f"models/digits_small/{asked.version}/model.onnx"
    if target.parent.exists():
        print(f"version {asked.version} is there already: a change is a new version", file=sys.stderr)
        return 2
    if not (here / asked.pictures).is_file():
        there = ", ".join(sorted(path.relative_to(here).as_posix() for path in here.glob("calibration/*.npy")))
        print(f"no file {asked.pictures.as_posix()} here; there are {there}", file=sys.stderr)
        return 2
    small(here / "models/digits_small/1/model.onnx", np.load(here / asked.pictures), target)
    print(f"wrote version {asked.version}, {target.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
