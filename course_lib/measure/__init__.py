"""Measuring: latencies, memory in a fresh process, load as users make it, agreement of models, intervals. No framework.

`measure.latencies_ms(…)`, and so on; `from course_lib.measure import load` for load on a function or a service.
"""

from course_lib.measure.agreement import Disagreements, Parity, disagreements, parity
from course_lib.measure.fresh import Fresh, fresh_process
from course_lib.measure.intervals import wilson
from course_lib.measure.latency import Spread, latencies_ms, spread

__all__ = [
    "Disagreements", "Fresh", "Parity", "Spread",
    "disagreements", "fresh_process", "latencies_ms", "parity", "spread", "wilson",
]  # fmt: skip
