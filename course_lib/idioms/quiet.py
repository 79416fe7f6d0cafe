"""The one place where the frameworks' needless messages are switched off, each with its reason."""

import logging
import os
import warnings


def frameworks() -> None:
    """Silences start-up chatter of TensorFlow and of PyTorch's exporter. Call it before they are imported."""
    # TensorFlow and absl announce the processor's features and missing GPUs on stderr.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow says on stderr that oneDNN's kernels are on, before it reads any log level: only switching them off
    # keeps it silent. They round otherwise on each processor and make the course's small networks no faster.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # PyTorch's exporter reports at each start that torchvision, which the course does not use, is not installed.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    # PyTorch 2.13's exporter copies a tree with a spelling that PyTorch 2.13 itself deprecates.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*", category=FutureWarning)
