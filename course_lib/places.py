"""Where things lie in the checkout. Standard library only: the doctor reads this before anything is installed."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SYLLABUS = CHECKOUT / "syllabus.toml"
MODELS = CHECKOUT / "models"
RECORDINGS = CHECKOUT / "source" / "recordings"

KEPT = CHECKOUT / ".course"
"""What the course keeps for one learner (progress, scratch folders); git ignores it."""

SCRATCH = KEPT / "scratch"
"""Lessons write here and nowhere else, each to a folder of its own; `./course clean` removes it."""

PROGRESS = Path(os.environ["COURSE_PROGRESS"]) if os.environ.get("COURSE_PROGRESS") else KEPT / "progress.json"
"""Which checks the learner has solved. COURSE_PROGRESS moves it, so that tests leave the learner's own alone."""
