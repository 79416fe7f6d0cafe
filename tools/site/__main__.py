"""usage: ./course site

Makes the course's web book of what is built, under .course/site/html. The first call installs Sphinx (270 MB) into an
environment of its own. Nothing of the course is run.
"""

import argparse
import sys
import time

from course_lib import syllabus
from course_lib.places import KEPT
from tools.environments import NotInstalled
from tools.site import check, pages, run, sections
from tools.site.book import Book
from tools.site.landing import Missing

SITE = KEPT / "site"
HTML = SITE / "html"


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./course site", description=__doc__.partition("\n\n")[2])
    parser.parse_args(words)
    began = time.monotonic()
    course = syllabus.load()
    try:
        problems = pages.lay_out(Book(course), SITE / "pages", SITE / "files")
        python = run.python()
        run.MATHJAX.fetched(SITE / "files", python)
    except (NotInstalled, run.Unreachable, Missing) as why:
        print(f"site: {why}", file=sys.stderr)
        return 1
    code = run.sphinx(SITE / "pages", HTML, SITE / "doctrees", python, course.repository)
    pages.swept(HTML, SITE / "pages", SITE / "extra")
    sections.write(HTML)
    problems += check.problems(HTML)
    for problem in problems:
        print(f"off:  {problem}")
    if code or problems:
        print("site: not as it should be; what is off stands above", file=sys.stderr)
        return 1
    print(f"{len(list(HTML.rglob('*.html')))} pages in {time.monotonic() - began:.0f} s: open {HTML / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
