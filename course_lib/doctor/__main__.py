"""`python -m course_lib.doctor`: what `./course doctor` runs."""

import sys

from course_lib.doctor import main

sys.exit(main())
