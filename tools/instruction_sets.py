"""Settings under which this machine computes like others do: older instruction sets, other kernels, other threads.

They only ever ask for less than the machine has, except that "avx2" wants a processor of 2013 or later. What rounds
differently on a learner's machine than on the author's does so under one of them too.
"""

import platform

SETTINGS = {
    "sse4.1, 1 thread": {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "DNNL_MAX_CPU_ISA": "SSE41",  # its name before oneDNN was called so
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",  # the least that MKL knows
        "OPENBLAS_CORETYPE": "Nehalem",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "OMP_NUM_THREADS": "1",
    },
    "avx2, 2 threads": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "OMP_NUM_THREADS": "2",
    },
    "avx512, 1 thread": {  # at the most. ATen and OpenBLAS would use what they are told without having it: left alone
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "DNNL_MAX_CPU_ISA": "AVX512_CORE",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "OMP_NUM_THREADS": "1",
    },
}
"""Environment variables by the name of the setting: those of oneDNN, PyTorch, MKL, NumPy's OpenBLAS, TensorFlow."""


def reason() -> str:
    """Why no other instruction set can be asked for here, in a clause; empty where it can."""
    machine = platform.machine()
    return "" if machine.lower() in ("x86_64", "amd64") else f"x86-64 processors alone have them; this one is {machine}"
