"""Drills: something real runs and is broken, and the learner finds out what, proves it, and repairs it.

`frame.py` is what all drills share; `evidence.py` is what a diagnosis is compared with, `records.py` what is kept. Drill N
is `drill_N.py`, its words are `words/drill_N.md`, and `programs/` holds what drills start. `cluster.py`, `manifests.py` and
`recordings/` are drill 4's.
"""

from course_lib.drills.frame import Drill, begin_drill

__all__ = ["Drill", "begin_drill"]
