"""usage: ./course build [NN …] [drills] [--check] [--require-live]

Rebuilds the lessons whose source changed, or those named; --check changes nothing and fails where something is off.
--require-live refuses to replay recordings, and so renews all of them.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import nbformat

from course_lib import places
from course_lib.syllabus import Drill, Lesson, Syllabus, load
from tools.build import check, execute, pages, source
from tools.build import executed as where


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./course build", description=__doc__.partition("\n\n")[2])
    parser.add_argument("lessons", nargs="*", metavar="NN", help="lessons to rebuild, changed or not")
    parser.add_argument("--check", action="store_true", help="say what differs from its source, change nothing")
    parser.add_argument("--require-live", action="store_true", help="fail rather than replay a recording")
    asked = parser.parse_args(words)
    syllabus = load()
    try:
        wanted = [syllabus.lesson(number) for number in asked.lessons if number != source.DRILLS]
    except LookupError as unknown:
        parser.error(unknown.args[0])
    if asked.check:
        return _report(check.everything(syllabus))
    try:
        for kind, lesson in source.everything(syllabus):
            named = lesson in wanted or kind in asked.lessons
            if named or not asked.lessons:
                build(kind, lesson, syllabus, force=named, require_live=asked.require_live)
    except (execute.BuildFailed, source.SourceError) as failed:
        print(f"not built: {failed}", file=sys.stderr)
        return 1
    for changed in pages.write(syllabus):
        print(f"wrote   {changed}")
    return _report(check.everything(syllabus))


def build(kind: str, lesson: Lesson | Drill, syllabus: Syllabus, force: bool, require_live: bool) -> None:
    """Builds one notebook where its source changed, or where `force` says so."""
    fresh = source.read(kind, lesson, syllabus)
    path = lesson.notebook(kind)
    name = path.relative_to(places.CHECKOUT)
    reused, executed = False, None
    if path.exists():
        built = nbformat.read(path, as_version=4)
        untouched = built.metadata.get("course", {}).get("fingerprint") == source.fingerprint(built)
        executed = built.metadata.get("course", {}).get("executed")
        if untouched and not force and source.same_cells(built, fresh):
            if kind == "notebooks" and execute.redraw_map(built, lesson.number, path.parent):
                built.metadata["course"]["fingerprint"] = source.fingerprint(built)
                nbformat.write(built, path)
                print(f"redrew  {name}, its map")
            return
        if not untouched:
            print(f"kept    {_set_aside(path)}: your edits of {name}, which the build writes anew")
        # An edit of the text, or another lesson in a link, runs nothing anew: outputs and models stay as they are.
        reused = untouched and not force and source.take_outputs(fresh, built)
    path.parent.mkdir(exist_ok=True)
    if kind not in source.UNRUN and not reused:
        print(f"running {name} …", flush=True)
        # A name that stays, so that what is built differs only where something has changed.
        env = {"COURSE_RECORD": "1", "COURSE_NAME": os.environ.get("COURSE_NAME") or "example"}
        if kind == "solutions":
            env["COURSE_STRICT"] = "1"  # a solution that its check refuses is not built
        if require_live:
            env["COURSE_REQUIRE_LIVE"] = "1"
        with _undone_on_failure(places.MODELS, places.RECORDINGS), tempfile.TemporaryDirectory() as empty:
            execute.execute(fresh, path.parent, {**env, "COURSE_PROGRESS": f"{empty}/progress.json"})
        executed = where.here()
    if kind == "notebooks" and reused:
        execute.redraw_map(fresh, lesson.number, path.parent)
    fresh.metadata["course"] = {"fingerprint": source.fingerprint(fresh)}
    if kind == "notebooks" and executed:
        fresh.metadata["course"]["executed"] = executed
    nbformat.validate(fresh)
    nbformat.write(fresh, path)  # as JupyterLab writes it: a notebook that is opened and saved stays as it is
    print(f"built   {name}, {path.stat().st_size // 1000} kB")


@contextmanager
def _undone_on_failure(*folders: Path) -> Iterator[None]:
    """Puts the folders back as they were where a lesson that keeps models and recordings does not reach its end."""
    with tempfile.TemporaryDirectory() as aside:
        for folder in folders:
            shutil.copytree(folder, Path(aside) / folder.name) if folder.exists() else None
        try:
            yield
        except BaseException:
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
                if (Path(aside) / folder.name).exists():
                    shutil.copytree(Path(aside) / folder.name, folder)
            raise


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
