"""Wrong answers to lesson 24b, as people write them."""

import copy
import io
import socket
import tarfile
import tempfile
import time
from pathlib import Path, PurePosixPath

# 24b.1


def git_alone(last, desired, there):
    return copy.deepcopy(desired)


def two_way(last, desired, there):
    result = dict(there)
    for key, value in desired.items():
        both = isinstance(value, dict) and isinstance(there.get(key), dict)
        result[key] = two_way({}, value, there[key]) if both else value
    return result


def only_what_changed(last, desired, there):
    result = {key: value for key, value in there.items() if key in desired or key not in last}
    return result | {key: value for key, value in desired.items() if last.get(key) != value or key in there}


def flat(last, desired, there):
    return {key: value for key, value in there.items() if key not in last} | desired


def trusts_last(last, desired, there):
    result = {key: value for key, value in there.items() if key in desired or key not in last}
    for key, value in desired.items():
        both = isinstance(value, dict) and isinstance(there.get(key), dict)
        result[key] = trusts_last(last.get(key, {}), value, there[key]) if both else value
    return result


def removes_only_what_it_named(last, desired, there):
    result = dict(there)
    for key in (last.keys() - desired.keys()) & there.keys():
        both = isinstance(last[key], dict) and isinstance(there[key], dict)
        result[key] = removes_only_what_it_named(last[key], {}, there[key]) if both else None
        if not result[key]:
            del result[key]
    for key, value in desired.items():
        both = isinstance(value, dict) and isinstance(there.get(key), dict)
        before = last.get(key)
        inner = before if isinstance(before, dict) else {}
        result[key] = removes_only_what_it_named(inner, value, there[key]) if both else value
    return result


def an_empty_dict_wins(last, desired, there):
    result = {key: value for key, value in there.items() if key in desired or key not in last}
    for key, value in desired.items():
        before = last.get(key)
        if value and isinstance(value, dict) and isinstance(there.get(key), dict):
            result[key] = an_empty_dict_wins(before if isinstance(before, dict) else {}, value, there[key])
        else:
            result[key] = value
    return result


def zero_is_nothing(last, desired, there):
    result = {key: value for key, value in there.items() if desired.get(key) or not last.get(key)}
    for key, value in desired.items():
        before = last.get(key)
        if isinstance(value, dict) and isinstance(there.get(key), dict):
            result[key] = zero_is_nothing(before if isinstance(before, dict) else {}, value, there[key])
        elif value or key not in there:
            result[key] = value
    return result


def in_place(last, desired, there):
    for key in last.keys() - desired.keys():
        there.pop(key, None)
    for key, value in desired.items():
        before = last.get(key)
        if isinstance(value, dict) and isinstance(there.get(key), dict):
            in_place(before if isinstance(before, dict) else {}, value, there[key])
        else:
            there[key] = value
    return there


# 24b.2


def only_the_parents(parents, running, proposed):
    return running in (None, proposed) or running in parents.get(proposed, [])


def the_first_parent(parents, running, proposed):
    while proposed != running and running is not None:
        if not parents.get(proposed):
            return False
        proposed = parents[proposed][0]
    return True


def the_other_way(parents, running, proposed):
    left, seen = [running], set()
    while left:
        commit = left.pop()
        if commit == proposed:
            return True
        if commit not in seen:
            seen.add(commit)
            left += parents.get(commit, [])
    return False


def needs_something_running(parents, running, proposed):
    left, seen = [proposed], set()
    while left:
        commit = left.pop()
        if commit == running:
            return True
        if commit not in seen:
            seen.add(commit)
            left += parents.get(commit, [])
    return False


def all_are_known(parents, running, proposed):
    left, seen = [proposed], set()
    while left:
        commit = left.pop()
        if running in (None, commit):
            return True
        if commit not in seen:
            seen.add(commit)
            left += parents[commit]
    return False


def recursive(parents, running, proposed):
    if running in (None, proposed):
        return True
    return any(recursive(parents, running, each) for each in set(parents.get(proposed, [])))


def without_memory(parents, running, proposed):
    left = [proposed]
    while left:
        commit = left.pop()
        if running in (None, commit):
            return True
        left += parents.get(commit, [])
    return False


# 24b.3


def _pack(files, names, **more):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=more.pop("mode", "w")) as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            for field, value in more.items():
                setattr(entry, field, value)
            tar.addfile(entry, io.BytesIO(files[name]))
    return archive.getvalue()


def as_they_come(files):
    return _pack(files, files)


def now(files):
    return _pack(files, sorted(files), mtime=int(time.time()))


def with_gzip(files):
    return _pack(files, sorted(files), mode="w:gz")


def executable(files):
    return _pack(files, sorted(files), mode="w") if not files else _mode(files)


def _mode(files):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o755
            tar.addfile(entry, io.BytesIO(files[name]))
    return archive.getvalue()


def from_the_disk(files):
    archive = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=archive, mode="w") as tar:
        for name in sorted(files):
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_bytes(files[name])
            tar.add(Path(folder) / name, arcname=name)
    return archive.getvalue()


def by_folder(files):
    return _pack(files, sorted(files, key=PurePosixPath))


def ends_with_zeros(files):
    return _pack({name: content.rstrip(b"\0") for name, content in files.items()}, sorted(files))


def short_names(files):
    return _pack({name[:60]: content for name, content in files.items()}, sorted(name[:60] for name in files))


def says_who(files):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.pax_headers = len(files[name]), {"comment": socket.gethostname() or "here"}
            tar.addfile(entry, io.BytesIO(files[name]))
    return archive.getvalue()


def without_sizes(files):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in sorted(files):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO(files[name]))
    return archive.getvalue()


def before_its_end(files):
    archive = io.BytesIO()
    tar = tarfile.open(fileobj=archive, mode="w")  # noqa: SIM115
    for name in files:
        entry = tarfile.TarInfo(name)
        entry.size = len(files[name])
        tar.addfile(entry, io.BytesIO(files[name]))
    return archive.getvalue()


WRONG = {
    "24b.1": {
        git_alone: "a field that git never named stays",
        two_way: "a field that git named at the last apply and names no more is removed",
        only_what_changed: "a value that does not change is still git's: it comes back if it was deleted by hand",
        removes_only_what_it_named: "a field that git named at the last apply and names no more is removed",
        an_empty_dict_wins: "dicts are merged by the same rules, at any depth",
        flat: "dicts are merged by the same rules, at any depth",
        trusts_last: "if only one of the two is a dict, git's value comes whole; last may have held something else",
        zero_is_nothing: 'lists are replaced whole; 0, "", [] and None are values like others',
        in_place: "the arguments stay as they were",
    },
    "24b.2": {
        only_the_parents: "in a line: forward yes, backward no",
        the_first_parent: "a commit beside the running one would lose it; a merge of both does not",
        the_other_way: "in a line: forward yes, backward no",
        needs_something_running: "the same commit, and the first of all, may come",
        all_are_known: "unknown commits have no parents",
        recursive: "ten thousand commits in a line",
        without_memory: "sixty merges in a row, within a second",
    },
    "24b.3": {
        as_they_come: "the entries are sorted by name, and are these files alone",
        now: "time, user and group are 0, their names empty, the mode is 0o644",
        with_gzip: "the archive opens as an uncompressed tar and holds each file's content",
        executable: "time, user and group are 0, their names empty, the mode is 0o644",
        from_the_disk: "time, user and group are 0, their names empty, the mode is 0o644",
        by_folder: "the entries are sorted by name, and are these files alone",
        ends_with_zeros: "the archive opens as an uncompressed tar and holds each file's content",
        short_names: "the archive opens as an uncompressed tar and holds each file's content",
        says_who: "time, user and group are 0, their names empty, the mode is 0o644",
        without_sizes: "the archive opens as an uncompressed tar and holds each file's content",
        before_its_end: "no files give an archive without entries",
    },
}
