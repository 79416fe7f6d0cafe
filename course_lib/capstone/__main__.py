"""`./course capstone`: new, examine, sign, verify."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from course_lib import places
from course_lib.capstone import projects

KEYS = places.KEPT / "capstone"
REFERENCE = "reference"


def main(words: list[str] | None = None) -> int:
    """Does what the words say. Returns the exit code: 0, 1 where points are missing or a record is none, 2 for a mistake."""
    asked = _parser().parse_args(words)
    try:
        return asked.do(asked)
    except (projects.Refused, OSError) as wrong:
        print(f"course capstone: {wrong}", file=sys.stderr)
        return 2


def _new(asked: argparse.Namespace) -> int:
    folder = projects.new(asked.name, asked.case)
    print(f"{folder} runs already, and is mediocre on purpose. Read its README.md, then:\n"
          f"  ./course capstone examine {asked.name}")  # fmt: skip
    return 0


def _examine(asked: argparse.Namespace) -> int:
    from course_lib.capstone import report
    from course_lib.capstone.examine import examine

    with tempfile.TemporaryDirectory() as made:
        if asked.name == REFERENCE and not (projects.PROJECTS / REFERENCE).exists():
            if not (projects.SOURCE / REFERENCE).is_dir():
                raise projects.Refused(
                    "this edition of the course holds no reference solution; examine your own project"
                )
            folder, out = projects.reference(Path(made) / REFERENCE), KEYS / REFERENCE
        else:
            folder = projects.find(asked.name)
            out = folder / "report"
        result = examine(folder, folder.name, asked.only, engine=not asked.no_engine)
    page = report.write(result, out)
    print(f"\n{report.total(report.as_data(result))} in {result.seconds:.0f} s")
    for note in report.notes(result):
        print(f"  {note}")
    print(f"The report: {page}\nThe record: {page.with_name('record.json')}")
    return int(result.points < result.of)


def _sign(asked: argparse.Namespace) -> int:
    folder = projects.find(asked.name)
    key = Path(asked.key) if asked.key else KEYS / f"{folder.name}.pem"
    lines = projects.sign(folder, key).count("\n")
    print(f"Signed {lines} files: models/SHA256SUMS, models/SHA256SUMS.sig, trust.pem. The private key stays in {key}")
    return 0


def _verify(asked: argparse.Namespace) -> int:
    from course_lib.capstone import report

    folder = projects.find(asked.name)
    path = Path(asked.record) if asked.record else folder / "report/record.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as wrong:
        raise projects.Refused(f"{path}: expected a record, as `examine` writes it; {wrong}") from None
    wrong = report.verify(record, folder)
    for each in wrong:
        print(f"✗ {each}")
    if not wrong:
        print(f"✓ {report.total(record)} on {record['date']}, in exactly these files")
    return int(bool(wrong))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("./course capstone", description=__doc__)
    parts = parser.add_subparsers(required=True, metavar="new | examine | sign | verify")
    new = parts.add_parser("new", help="make a project in capstone/projects")
    new.add_argument("name")
    new.add_argument("--case", required=True, metavar="|".join(projects.cases()), help="what it starts from")
    examine = parts.add_parser("examine", help="attack a copy of it and write a report")
    examine.add_argument("--only", nargs="+", default=(), metavar="CRITERION", help="look at these alone, by name")
    examine.add_argument("--no-engine", action="store_true", help="leave the containers out")
    sign = parts.add_parser("sign", help="list and sign its models")
    sign.add_argument("--key", help="the private key; made where it is missing (default: in .course/capstone)")
    verify = parts.add_parser("verify", help="hold a record against a project's files")
    verify.add_argument("--record", help="default: the project's report/record.json")
    for each, do in ((new, _new), (examine, _examine), (sign, _sign), (verify, _verify)):
        each.set_defaults(do=do)
        if each is not new:
            each.add_argument("name", help="a project's name, or its folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
