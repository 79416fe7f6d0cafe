"""Drills: something real runs and is broken, and the learner finds out what, proves it, and repairs it.

`frame.py` is what all drills share, `records.py` what is kept of them; `drill_N.py` is a drill. Programs that a drill
starts lie beside it.
"""

from course_lib.drills.frame import Drill, begin_drill

__all__ = ["Drill", "begin_drill"]
