"""Checks of lesson 24b, what is desired stands in git."""

import copy
import io
import random
import tarfile
import time
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np

from course_lib.checks import Register
from course_lib.idioms.exercises import Property

EXERCISES = Register()

GONE = object()


def applied(last: object, desired: dict, there: dict) -> dict:
    """The three-way merge, key by key."""
    result = {}
    for key in {**there, **desired}:
        now, wish = there.get(key, GONE), desired.get(key, GONE)
        before = last.get(key, GONE) if isinstance(last, dict) else GONE
        if wish is GONE:
            if before is GONE:
                result[key] = now
        elif isinstance(wish, dict) and isinstance(now, dict):
            result[key] = applied(before, wish, now)
        else:
            result[key] = wish
    return copy.deepcopy(result)


@EXERCISES.add("24b.1", "Whose field is it?")
def merge(answer: Callable) -> Iterator[Property]:
    """answer(last, desired, there) -> dict."""

    def says(last: dict, desired: dict, there: dict) -> bool:
        found = answer(*copy.deepcopy((last, desired, there)))
        return isinstance(found, dict) and found == applied(last, desired, there)

    yield ("git's value replaces what was changed by hand", lambda: (
        says({"image": "a:1"}, {"image": "a:2"}, {"image": "a:9"}) and says({}, {"image": "a:2"}, {})
    ), [
        "What does git say now?",
        "Each field of desired gets its value from desired.",
        "result[key] = desired[key]",
    ])  # fmt: skip
    yield ("a field that git never named stays", lambda: says(
        {"image": "a"}, {"image": "a"}, {"image": "a", "replicas": 5, "status": {"ready": 5}}
    ), [
        "An autoscaler has set replicas. Git says nothing about it, and never did.",
        "Start from what is there.",
        "result = dict(there)",
    ])  # fmt: skip
    yield ("a field that git named at the last apply and names no more is removed", lambda: (
        says({"a": 1, "debug": 1}, {"a": 1}, {"a": 1, "debug": 1}) and says({"debug": 1}, {}, {"debug": 7, "b": 2})
        and says({"gone": 1}, {}, {}) and says({"s": {"a": 1}}, {}, {"s": {"a": 1, "b": 2}, "c": 3})
    ), [
        "Somebody removed a line from the file.",
        "The field is in last, and not in desired.",
        "{key: value for key, value in there.items() if key in desired or key not in last}",
    ])  # fmt: skip
    yield ("a value that does not change is still git's: it comes back if it was deleted by hand", lambda: says(
        {"a": 1, "b": 0}, {"a": 1, "b": 0}, {"c": 3}
    ), [
        "Somebody deleted a field from the cluster.",
        "Do not look only for differences between last and desired.",
        "for key, value in desired.items(): result[key] = value",
    ])  # fmt: skip
    yield ("dicts are merged by the same rules, at any depth", lambda: (
        says({"s": {"a": 1, "b": {"x": 1, "y": 2}}}, {"s": {"a": 2, "b": {"x": 1}}}, {"s": {"a": 1, "b": {"x": 0, "y": 2, "z": 3}, "c": 4}})
        and says({}, {"s": {"t": {"u": 1}}}, {"s": {"t": {"v": 2}}}) and says({"s": {"a": 1}}, {"s": {}}, {"s": {"a": 1, "b": 2}})
    ), [
        "env.DEBUG was set by hand, inside a dict that git also names.",
        "If both values are dicts, call the function for them, with the part of last that belongs to them.",
        "merged(last.get(key, {}), desired[key], there[key])",
    ])  # fmt: skip
    yield ("if only one of the two is a dict, git's value comes whole; last may have held something else", lambda: (
        says({"s": 1}, {"s": {"a": 1}}, {"s": 5}) and says({"s": {"a": 1}}, {"s": 2}, {"s": {"a": 1, "b": 2}})
        and says({"s": 3}, {"s": {"a": 1}}, {"s": {"a": 0, "b": 1}}) and says({"s": [1]}, {"s": {"a": 1}}, {"s": {"b": 1}})
    ), [
        "At the last apply the field was a number, now it is a dict.",
        "Ask with isinstance, for last too.",
        "before if isinstance(before, dict) else {}",
    ])  # fmt: skip
    yield ("lists are replaced whole; 0, \"\", [] and None are values like others", lambda: (
        says({"l": [1, 2]}, {"l": [1]}, {"l": [1, 2, 3]}) and says({"n": 1}, {"n": 0, "t": "", "l": []}, {"n": 1, "t": "x", "l": [1], "z": None})
        and says({"z": None}, {}, {"z": None, "a": 1}) and says({}, {"z": None}, {"z": 1})
    ), [
        "Is 0 a value that git wants, or no value?",
        "Ask `key in desired`, not `desired.get(key)`.",
        "if key in desired or key not in last",
    ])  # fmt: skip

    def untouched() -> bool:
        arguments = ({"s": {"a": 1}, "old": 1}, {"s": {"b": 2}, "l": [1]}, {"s": {"a": 1, "c": 3}, "old": 1})
        kept = copy.deepcopy(arguments)
        found = answer(*arguments)
        return found == applied(*kept) and arguments == kept and found is not arguments[2]

    yield ("the arguments stay as they were", untouched, [
        "Print there before and after.",
        "there is the cluster's dict. Make a new one, also inside.",
        "Build result = {…}, and do not write result[key].update(…).",
    ])  # fmt: skip


@EXERCISES.add("24b.2", "Never backwards")
def forward(answer: Callable) -> Iterator[Property]:
    """answer(parents, running, proposed) -> bool."""
    line = {"a": [], "b": ["a"], "c": ["b"], "d": ["c"]}

    def says(parents: dict, running: str | None, proposed: str, expected: bool) -> bool:
        found = answer(copy.deepcopy(parents), running, proposed)
        return isinstance(found, bool | np.bool_) and bool(found) is expected

    yield ("in a line: forward yes, backward no", lambda: (
        says(line, "b", "c", True) and says(line, "a", "d", True) and says(line, "c", "b", False) and says(line, "d", "a", False)
    ), [
        "Start at the proposed commit and walk to its parents.",
        "True if you meet the running commit on the way.",
        "left = [proposed]; while left: …; left += parents.get(commit, [])",
    ])  # fmt: skip
    yield ("the same commit, and the first of all, may come", lambda: (
        says(line, "c", "c", True) and says(line, None, "a", True) and says({}, None, "x", True) and says({}, "x", "x", True)
    ), [
        "What if nothing runs yet?",
        "running is proposed counts as forward, and so does running None.",
        "if running in (None, commit): return True",
    ])  # fmt: skip
    fork = {"a": [], "b": ["a"], "x": ["a"], "y": ["x"], "m": ["b", "y"]}
    yield ("a commit beside the running one would lose it; a merge of both does not", lambda: (
        says(fork, "b", "y", False) and says(fork, "y", "b", False) and says(fork, "b", "m", True) and says(fork, "x", "m", True)
        and says(fork, "m", "y", False)
    ), [
        "Two people started from a. Does y contain b?",
        "Look at all parents of a merge, not only at the first.",
        "left += parents.get(commit, [])",
    ])  # fmt: skip
    yield ("unknown commits have no parents", lambda: (
        says({"b": ["a"]}, "a", "b", True) and says({"b": ["a"]}, "z", "b", False) and says(line, "b", "nowhere", False)
        and says(line, "nowhere", "d", False)
    ), [
        "The copy of the history may be cut off: a parent need not be a key.",
        "Use parents.get(commit, []).",
        "left += parents.get(commit, [])",
    ])  # fmt: skip
    long = {f"{i}": [f"{i - 1}"] if i else [] for i in range(10_000)}
    yield ("ten thousand commits in a line", lambda: says(long, "0", "9999", True) and says(long, "9999", "0", False), [
        "A function that calls itself ten thousand times meets Python's limit.",
        "Use a list of commits that are still to be looked at.",
        "while left: commit = left.pop()",
    ])  # fmt: skip
    many = {"0": []} | {f"{i}": [f"{i - 1}", f"{i - 1}"] for i in range(1, 60)}
    yield ("sixty merges in a row, within a second", lambda: says(many, "none", "59", False), [
        "How often do you look at the same commit?",
        "Each merge doubles the number of ways back.",
        "Keep a set of those that you have seen.",
    ])  # fmt: skip


@EXERCISES.add("24b.3", "An archive without accidents")
def archive(answer: Callable) -> Iterator[Property]:
    """answer(files) -> bytes."""
    files = {
        "b.txt": b"two",
        "a/app.py": b"print('digits')\n" * 40,
        "empty": b"",
        "a/a.bin": bytes(range(256)) * 9,
        "B.txt": b"capital",
        "a.txt": b"before a/\0\0",
        "long/" * 17 + "name": b"deep",
    }

    def opened(found: object) -> list[tarfile.TarInfo]:
        with tarfile.open(fileobj=io.BytesIO(found), mode="r:") as tar:
            return tar.getmembers()

    def contents() -> bool:
        found = answer(dict(files))
        if not isinstance(found, bytes):
            return False
        with tarfile.open(fileobj=io.BytesIO(found), mode="r:") as tar:
            return {each.name: tar.extractfile(each).read() for each in tar if each.isfile()} == files

    yield ("the archive opens as an uncompressed tar and holds each file's content", contents, [
        "tarfile.open(fileobj=io.BytesIO(), mode=\"w\") writes into memory.",
        "A TarInfo needs its size before addfile.",
        "entry.size = len(content); tar.addfile(entry, io.BytesIO(content))",
    ])  # fmt: skip
    yield ("no files give an archive without entries", lambda: opened(answer({})) == [], [
        "Try {}.",
        "Take the bytes after the archive is closed: closing writes its end.",
        "return archive.getvalue() below the with block",
    ])  # fmt: skip
    yield ("the entries are sorted by name, and are these files alone", lambda: (
        [each.name for each in opened(answer(dict(files)))] == sorted(files)
    ), [
        "Print the names in the archive.",
        "No entries for folders, no \"./\" before the names. Names are sorted as texts: \"a.txt\" is before \"a/a.bin\".",
        "for name in sorted(files):",
    ])  # fmt: skip

    def bare() -> bool:
        return all(
            (each.type, each.mode, each.mtime, each.uid, each.gid, each.uname, each.gname, each.pax_headers)
            == (tarfile.REGTYPE, 0o644, 0, 0, 0, "", "", {})
            for each in opened(answer(dict(files)))
        )

    yield ("time, user and group are 0, their names empty, the mode is 0o644", bare, [
        "Print each entry's get_info().",
        "gettarinfo and tar.add ask the disk. A fresh TarInfo does not.",
        "tarfile.TarInfo(name) has these values already.",
    ])  # fmt: skip

    def any_order() -> bool:
        draw, first = random.Random(1), answer(dict(files))
        return all(answer(dict(draw.sample(list(files.items()), len(files)))) == first for _ in range(6))

    yield ("the order of the dict does not matter", any_order, [
        "Give the same files in another order.",
        "Sort the names first.",
        "for name in sorted(files):",
    ])  # fmt: skip

    def later() -> bool:
        first = answer(dict(files))
        with mock.patch("time.time", lambda: 2e9), mock.patch("os.getuid", lambda: 1234, create=True):
            second = answer(dict(files))
        start = time.monotonic()
        while time.monotonic() < start + 1.1:
            time.sleep(0.05)
        return first == second == answer(dict(files))

    yield ("nor does the time", later, [
        "Call it again a second later.",
        "Is a time written anywhere? Compressed archives have one in their header.",
        "mode=\"w\", not \"w:gz\"; and no time.time()",
    ])  # fmt: skip

    def tells_apart() -> bool:
        other = {**files, "b.txt": b"twO"}
        return answer(dict(files)) != answer(other) and answer({"a": b"bc"}) != answer({"ab": b"c"})

    yield ("another content gives another archive", tells_apart, [
        "Change a byte of a file.",
        "Is a content left in your function that does not come from files?",
        "io.BytesIO(files[name])",
    ])  # fmt: skip
