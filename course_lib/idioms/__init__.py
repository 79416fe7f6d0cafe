"""The six idioms that every lesson uses, and `begin`, which every lesson starts with.

They import no framework. What each one does is shown in lesson 00 and documented where it is defined.
"""

from course_lib import show
from course_lib.idioms import ledger
from course_lib.idioms.claims import ClaimFailed, claim, observe
from course_lib.idioms.exercises import check
from course_lib.idioms.guesses import guess, reveal
from course_lib.idioms.lesson import begin
from course_lib.idioms.live import live
from course_lib.show import path

__all__ = [
    "ClaimFailed", "begin", "check", "claim", "guess", "ledger", "live", "observe", "path", "reveal", "show",
]  # fmt: skip
