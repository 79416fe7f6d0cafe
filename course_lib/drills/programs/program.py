"""`python -m course_lib.drills.programs.program FILE …`: runs a program of a drill's folder, where it can be edited."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
