"""`./course progress`, `./course class`, `./course room` and `./course slides`."""

import argparse
import os
import sys
from pathlib import Path

from course_lib.teaching.export import Refused


def main(words: list[str]) -> int:
    """Does what the words say; returns the exit code: 0; 1 where it could not be done; 2 where a word was wrong."""
    command, *rest = words
    try:
        return {"progress": progress, "class": class_, "room": room, "slides": slides}[command](rest)
    except Refused as refused:
        print(f"course {command}: {refused}", file=sys.stderr)
        return 1


def progress(words: list[str]) -> int:
    from course_lib.teaching import export

    parser = argparse.ArgumentParser("./course progress", description="Shows what you have solved and guessed.")
    parser.add_argument("--export", metavar="FILE", help="writes it into this file too, for your instructor")
    parser.add_argument("--name", help="your name, if it is to stand in the file; left out, no name does")
    asked = parser.parse_args(words)
    if asked.name is not None and asked.export is None:
        parser.error("--name goes with --export FILE")
    if asked.export is None:
        from course_lib.progress import progress as page

        print(page())
        return 0
    path = _callers(asked.export)
    content = export.write(path, asked.name or "")
    solved = sum(each["solved"] is not None for each in content["exercises"].values())
    under = f"under the name {content['name']}" if content["name"] else "under no name"
    print(
        f"Wrote {path}: exercises solved: {solved}, guesses: {len(content['guesses'])}, {under}. It was sent nowhere."
    )
    return 0


def class_(words: list[str]) -> int:
    from course_lib.teaching import classroom, reading

    parser = argparse.ArgumentParser("./course class", description="A class's exports (`./course progress --export`).")
    parser.add_argument("folder", metavar="FOLDER", help="the folder that holds the files, in subfolders or not")
    parser.add_argument("--csv", metavar="FILE", help="a new file for a grade book: a row for each learner")
    parser.add_argument("--picture", metavar="FILE", help="a new file, PNG: who is where, tries, guesses")
    asked = parser.parse_args(words)
    table, picture = (_new(each) if each else None for each in (asked.csv, asked.picture))
    if table and table == picture:
        raise Refused(f"expected two files, got {table} for --csv and for --picture. Nothing was written")
    learners, skipped = reading.folder(_callers(asked.folder))
    print(classroom.tables(learners, skipped) or f"{asked.folder} holds no file.")
    if not learners:
        raise Refused(f"no export was found under {asked.folder}. Learners make one: ./course progress --export FILE")
    try:
        if table:  # with a mark by which a spreadsheet knows that it is UTF-8
            table.write_text(classroom.grade_book(learners), encoding="utf-8-sig", newline="")
            print(f"\nWrote {table}")
        if picture:
            classroom.picture(learners, picture)
            print(f"\nWrote {picture}")
    except OSError as refused:
        raise Refused(f"{refused.filename} cannot be written: {refused.strerror or refused}") from None
    return 0


def room(words: list[str]) -> int:
    from tools.teaching import room as edition

    parser = argparse.ArgumentParser("./course room", description="A copy of the course without solutions.")
    parser.add_argument("folder", metavar="FOLDER", help="a new or an empty folder")
    asked = parser.parse_args(words)
    print(edition.make(_callers(asked.folder)))
    return 0


def slides(words: list[str]) -> int:
    from course_lib import syllabus
    from tools.teaching import slides as decks

    parser = argparse.ArgumentParser(
        "./course slides", description="Slides with notes, cut from built lessons, as HTML."
    )
    parser.add_argument("lessons", nargs="*", metavar="NN", help="lessons; left out, all that are built")
    asked, course = parser.parse_args(words), syllabus.load()
    try:
        chosen = [course.lesson(number) for number in asked.lessons]
    except LookupError as unknown:
        parser.error(unknown.args[0])
    chosen = chosen or [each for each in course.lessons if each.notebook().exists()]
    print("\n".join(decks.make(chosen)))
    print("In the browser: → and ← turn the page, s opens the speaker's window with the notes.")
    return 0


def _callers(word: str) -> Path:
    """A path as it is seen from the folder in which `./course` was called."""
    return Path(os.environ.get("COURSE_CALLER") or os.getcwd(), Path(word).expanduser())


def _new(word: str) -> Path:
    path = _callers(word)
    if path.exists():
        raise Refused(f"{path} is there already. Nothing was written; remove it, or choose another name")
    if not path.parent.is_dir():
        raise Refused(f"expected a folder that is there, got {path.parent}; make it first")
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
