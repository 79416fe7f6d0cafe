"""The one place where the frameworks' needless messages are switched off, each with its reason."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def frameworks() -> None:
    """Silences start-up chatter of TensorFlow and of PyTorch's exporter. Call it before they are imported."""
    # TensorFlow and absl announce the processor's features and missing GPUs on stderr.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow says on stderr that oneDNN's kernels are on, before it reads any log level: only switching them off
    # keeps it silent. They round otherwise on each processor and make the course's small networks no faster.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # TensorFlow tells each folder that it has saved a model to, in notebooks alone, and as if it were an error.
    logging.getLogger("tensorflow").addFilter(_is_no_report_of_saving)
    # PyTorch's exporter reports at each start that torchvision, which the course does not use, is not installed.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    # PyTorch 2.13's exporter copies a tree with a spelling that PyTorch 2.13 itself deprecates.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*", category=FutureWarning)
    # Keras's ONNX exporter asks NumPy whether it still has `np.object`, and NumPy announces a change of that name.
    warnings.filterwarnings("ignore", message=r"In the future `np\.object` will be defined", category=FutureWarning)


def _is_no_report_of_saving(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Assets written to")


@contextmanager
def native() -> Iterator[None]:
    """Drops what compiled code writes to the process's standard error meanwhile; the calls' errors are raised as ever.

    For libraries that announce there, through no logger, what is no problem: LiteRT, at a process's first model, which
    of its parts will compute.
    """
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
