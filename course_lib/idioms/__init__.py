"""The six idioms that every lesson uses, `begin`, which every lesson starts with, and `own` for names on an engine.

They import no framework. What each one does is shown in lesson 00 and documented where it is defined.
"""

from course_lib import show
from course_lib.idioms import ledger
from course_lib.idioms.claims import ClaimFailed, claim, claim_gone, observe
from course_lib.idioms.exercises import check
from course_lib.idioms.guesses import guess, reveal
from course_lib.idioms.lesson import begin, own
from course_lib.idioms.live import live
from course_lib.show import path

__all__ = [
    "ClaimFailed", "begin", "check", "claim", "claim_gone", "guess", "ledger", "live", "observe", "own", "path", "reveal",
    "show",
]  # fmt: skip
