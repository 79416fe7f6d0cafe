"""usage: ./course build [NN …] [--check] [--require-live]

Rebuilds the lessons whose source changed, or those named; --check changes nothing and fails where something is off.
--require-live refuses to replay recordings, and so renews all of them.
"""

import argparse
import json
import sys
import tempfile
from datetime import datetime

import nbformat

from course_lib import places
from course_lib.syllabus import Lesson, Syllabus, load
from tools.build import check, execute, pages, source


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./course build", description=__doc__.partition("\n\n")[2])
    parser.add_argument("lessons", nargs="*", metavar="NN", help="lessons to rebuild, changed or not")
    parser.add_argument("--check", action="store_true", help="say what differs from its source, change nothing")
    parser.add_argument("--require-live", action="store_true", help="fail rather than replay a recording")
    asked = parser.parse_args(words)
    syllabus = load()
    try:
        wanted = [syllabus.lesson(number) for number in asked.lessons]
    except LookupError as unknown:
        parser.error(unknown.args[0])
    if asked.check:
        return _report(check.everything(syllabus))
    try:
        for lesson in wanted or [each for each in syllabus.lessons if each.written]:
            for kind in source.KINDS:
                if source.source_path(kind, lesson).exists():
                    build(kind, lesson, syllabus, force=bool(wanted), require_live=asked.require_live)
    except (execute.BuildFailed, source.SourceError) as failed:
        print(f"not built: {failed}", file=sys.stderr)
        return 1
    for changed in pages.write(syllabus):
        print(f"wrote   {changed}")
    return _report(check.everything(syllabus))


def build(kind: str, lesson: Lesson, syllabus: Syllabus, force: bool, require_live: bool) -> None:
    """Builds one notebook where its source changed, or where `force` says so."""
    fresh = source.read(kind, lesson, syllabus)
    path = lesson.notebook(kind)
    name = path.relative_to(places.CHECKOUT)
    if path.exists():
        built = nbformat.read(path, as_version=4)
        untouched = built.metadata.get("course", {}).get("fingerprint") == source.fingerprint(built)
        if untouched and not force and source.same_cells(built, fresh):
            return
        if not untouched:
            print(f"kept    {_set_aside(path)}: your edits of {name}, which the build writes anew")
    if kind != "exercises":
        print(f"running {name} …", flush=True)
        places.SCRATCH.mkdir(parents=True, exist_ok=True)
        env = {"COURSE_RECORD": "1", "COURSE_PROGRESS": tempfile.mkdtemp(dir=places.SCRATCH) + "/progress.json"}
        if kind == "solutions":
            env["COURSE_STRICT"] = "1"  # a solution that its check refuses is not built
        if require_live:
            env["COURSE_REQUIRE_LIVE"] = "1"
        execute.execute(fresh, path.parent if path.parent.is_dir() else places.CHECKOUT, env)
    path.parent.mkdir(exist_ok=True)
    fresh.metadata["course"] = {"fingerprint": source.fingerprint(fresh)}
    nbformat.validate(fresh)
    path.write_text(json.dumps(fresh, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    print(f"built   {name}, {path.stat().st_size // 1000} kB")


def _set_aside(path):
    """Keeps a notebook that was edited since it was built, so that a learner's work is never lost."""
    kept = places.KEPT / "kept" / f"{path.parent.name}-{path.stem}-{datetime.now():%Y%m%d-%H%M%S}.ipynb"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(path.read_bytes())
    return kept.relative_to(places.CHECKOUT)


def _report(outcome: check.Outcome) -> int:
    for note in outcome.notes:
        print(f"note: {note}")
    for problem in outcome.problems:
        print(f"off:  {problem}")
    print(f"{len(outcome.problems)} to mend" if outcome.problems else "built and source agree")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
