"""What is left of an examination: a page to read, JSON for programs, and a record of completion that can be checked."""

import hashlib
import html
import json
import time
from pathlib import Path

from course_lib import __version__
from course_lib.capstone import cage, projects
from course_lib.capstone.examine import Result, criteria

PROVES = "On the day named, a program attacked exactly the files with this SHA-256, and saw what each line says."
PROVES_NOT = (
    "It does not prove who wrote them: anyone who has the course can write such a record by hand. An instructor who must "
    "know examines the same files again. The data is public, so a project may have trained on the held-out rows. "
    "capstone/RUBRIC.md lists what a program does not see."
)


def as_data(result: Result) -> dict:
    """The examination as JSON can hold it."""
    lines = [
        {"name": line.criterion.name, "title": line.criterion.title, "points": line.criterion.points,
         "passed": line.passed, "seen": line.seen, "read": line.criterion.read}
        for line in result.lines
    ]  # fmt: skip
    return {
        "project": result.name, "case": result.case, "sha256": result.digest, "points": result.points, "of": result.of,
        "date": time.strftime("%Y-%m-%d"), "course": __version__, "seconds": round(result.seconds, 1),
        "walls": result.walls, "notes": notes(result), "criteria": lines,
    }  # fmt: skip


def total(told: dict) -> str:
    """The points of an examination as data, and of how many criteria they are: a few that were asked for are no full marks."""
    looked = sum(line["passed"] is not None for line in told["criteria"])
    return f"{told['points']} of {told['of']} points; {looked} of {len(criteria())} criteria examined"


def notes(result: Result) -> list[str]:
    """How the exam was done, where that changes what it says."""
    found = list(result.notes)
    if "network" not in result.walls:
        found.append("This machine cannot cut a process off the network: the project's code could reach it.")
    if "processes" not in result.walls:
        found.append(
            "This machine cannot hold processes together: a process of the project's may still run. Look for it yourself."
        )
    found.append(
        "The project's code ran as your user, in a copy. It could read and write what you can, outside that copy too."
    )
    if missing := [line for line in result.lines if line.passed is None]:
        points = sum(line.criterion.points for line in missing)
        found.append(f"{points} points were not examined here. They are neither won nor lost.")
    return found


def record_of(result: Result) -> dict:
    """The record of completion: what was examined and found, and a checksum over all of it."""
    told = as_data(result) | {"proves": PROVES, "does_not_prove": PROVES_NOT, "examiner": _examiner()}
    return told | {"record_sha256": _sum(told)}


def verify(record: dict, folder: Path) -> list[str]:
    """What keeps a record from being one of the files in `folder`, a sentence each; [] where nothing does."""
    wrong = []
    if not isinstance(record, dict) or record.get("record_sha256") != _sum(
        {key: value for key, value in record.items() if key != "record_sha256"}
    ):
        return ["the record was changed after it was written: its own checksum does not fit"]
    if record.get("sha256") != (found := projects.digest(folder)):
        wrong.append(
            f"the files are not those that were examined ({str(record.get('sha256'))[:12]}… then, {found[:12]}… now): examine "
            "again, or bring those files back"
        )
    if record.get("examiner") != _examiner():
        wrong.append("another version of the examiner wrote it: examine again to see what this version says")
    try:
        points = sum(line["points"] for line in record["criteria"] if line["passed"] is True)
    except (KeyError, TypeError):
        points = None
    if points is None or record.get("points") != points:
        wrong.append("its points are not the sum of its lines")
    return wrong


def _sum(told: dict) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _examiner() -> str:
    """A checksum over the examiner's own code."""
    files = sorted(Path(cage.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(each.read_bytes() for each in files)).hexdigest()


def write(result: Result, folder: Path) -> Path:
    """Writes report.html, report.json and record.json into `folder`; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(as_data(result), indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / "record.json").write_text(json.dumps(record_of(result), indent=1, ensure_ascii=False), encoding="utf-8")
    page = folder / "report.html"
    page.write_text(_page(result), encoding="utf-8")
    return page


COLOURS = {True: "#0072B2", False: "#D55E00", None: "#999999"}
WORDS = {True: "met", False: "not met", None: "not examined here"}


def picture(result: Result) -> str:
    """An SVG: a bar for each criterion, as long as its points, blue where it is met."""
    rows, most = [], max(line.criterion.points for line in result.lines)
    for at, line in enumerate(result.lines):
        y, width = 24 * at + 6, 300 * line.criterion.points / most
        fill = COLOURS[line.passed] if line.passed else "none"
        title = html.escape(line.criterion.name)
        rows.append(
            f'<text x="150" y="{y + 13}" text-anchor="end">{title}</text>'
            f'<rect x="160" y="{y}" width="{width:.0f}" height="16" fill="{fill}" stroke="{COLOURS[line.passed]}" stroke-width="2"/>'
            f'<text x="{168 + width:.0f}" y="{y + 13}">{line.criterion.points}, {WORDS[line.passed]}</text>'
        )
    alt = "; ".join(f"{line.criterion.name} {line.criterion.points}, {WORDS[line.passed]}" for line in result.lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {24 * len(rows) + 12}" width="640" role="img" '
        f'font-family="sans-serif" font-size="13" fill="currentColor"><title>Points of each criterion: {html.escape(alt)}'
        f"</title>{''.join(rows)}</svg>"
    )


def _page(result: Result) -> str:
    say = html.escape
    rows = "".join(
        f"<tr><td><b>{line.criterion.name}</b>: {say(line.criterion.title)}</td><td>{line.criterion.points if line.passed else 0} of "
        f"{line.criterion.points}</td><td>{WORDS[line.passed]}</td><td>{say(line.seen)}</td>"
        f"<td>{say(line.criterion.read)}</td></tr>"
        for line in result.lines
    )
    told, whole = "".join(f"<li>{say(each)}</li>" for each in notes(result)), total(as_data(result))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{say(result.name)}: {result.points} of {result.of} points</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }} td:nth-child(4), p {{ overflow-wrap: anywhere }} td:nth-child(2) {{ white-space: nowrap }} td, th {{ border: 1px solid #8888; padding: .3rem .6rem; text-align: left; vertical-align: top }}
caption {{ text-align: left; font-weight: bold }} svg {{ max-width: 100%; height: auto }}
</style>
<h1>{say(result.name)}: {whole}</h1>
<p>Case: {say(result.case)}. Examined on {time.strftime("%Y-%m-%d")} in {result.seconds:.0f} s. The files' SHA-256: {result.digest}.</p>
{picture(result)}
<table><caption>What was looked at, and what was seen</caption>
<tr><th>criterion</th><th>points</th><th>result</th><th>what was seen</th><th>read lessons</th></tr>{rows}</table>
<h2>How to read this</h2><ul>{told}</ul>
<p>{PROVES} {PROVES_NOT}</p>
</html>
"""
