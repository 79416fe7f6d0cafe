# %% [markdown]
# # 24b Desired state in git: exercises
#
# Three functions behind a reconciler and a reproducible build: who owns a field, which commit may follow which, and an
# archive that depends only on names and contents. None needs git, an engine or a cluster. Fill in what is missing, run
# the cell, then its check.

# %%
import io
import tarfile

from course_lib.idioms import begin, check

scratch = begin("24b")

# %% [markdown]
# ## 24b.1 Whose field is it? ★★☆ · 15 minutes
#
# "I set a variable by hand, and no apply removes it." "I removed a variable from git, and the next apply deleted it."
# One rule explains both: the three-way merge. Write it for the fields of one object.


# %%
def merged(last, desired, there):
    """The fields of an object after an apply.

    last: dict, what git said at the last apply. desired: dict, what git says now. there: dict, what
    the cluster has. Keys are texts. Values are numbers, texts, lists, or dicts of the same kind.
    - A field that git names now gets git's value. If both git's value now and the cluster's value
      are dicts, they are merged by these same rules (with {} as `last` where the last apply had no
      dict).
    - A field that git named at the last apply and does not name now is removed.
    - All other fields stay as the cluster has them.
    Returns a new dict. The arguments, and the dicts and lists in them, stay as they are. The order
    of the keys does not matter.
    """
    # SOLUTION
    result = {key: value for key, value in there.items() if key in desired or key not in last}
    for key, value in desired.items():
        now = there.get(key)
        if isinstance(value, dict) and isinstance(now, dict):
            before = last.get(key)
            result[key] = merged(before if isinstance(before, dict) else {}, value, now)
        else:
            result[key] = value
    return result


# %%
check("24b.1", merged)

# %% [markdown] tags=["solution"]
# `kubectl apply` keeps `last` as an annotation on the object itself. A field that somebody set by hand, and that git
# never named, is in neither `last` nor `desired`, so it stays. If the annotation is lost, a removed field stays too:
# with `last = {}` nothing is removed. Server-side apply replaces the annotation by a list of fields with their owners.

# %% [markdown]
# ## 24b.2 Never backwards ★☆☆ · 10 minutes
#
# The loop has deployed a commit. Then a git server was restored from an old backup, and offered last week's commit as
# the newest. The loop deployed it, and customers noticed first. Write the check: a commit may follow only if it
# *contains* the one that runs.


# %%
def moves_forward(parents, running, proposed):
    """Whether the loop may go from one commit to another.

    parents: dict of commit (str) -> list of the commits (str) that it was made from: none for the
    first, two for a merge. A commit that is not a key has unknown parents: treat it as having none.
    A history may have ten thousand commits in a line.
    running: the commit that runs, or None before the first. proposed: the commit that git offers.
    Returns True if running is proposed or one of its ancestors, or None; else False.
    """
    # SOLUTION
    left, seen = [proposed], set()
    while left:
        commit = left.pop()
        if running in (None, commit):
            return True
        if commit not in seen:
            seen.add(commit)
            left += parents.get(commit, [])
    return False


# %%
check("24b.2", moves_forward)

# %% [markdown] tags=["solution"]
# git has this as `git merge-base --is-ancestor RUNNING PROPOSED`, and refuses a push that fails it
# ("non-fast-forward"). A revert passes: it is a new commit whose *content* is old. A recursive answer meets Python's
# limit of recursion in a long history. Without `seen`, a history with many merges takes exponential time.

# %% [markdown]
# ## 24b.3 An archive without accidents ★★☆ · 15 minutes
#
# Two build machines made the same release, and the checksums differ. The auditor asks which of the two was attacked.
# Neither was. Write the packing so that only names and contents count.


# %%
def packed(files):
    """The files as an uncompressed tar archive, equal to the byte whenever names and contents are.

    files: dict of name (str, with "/" between folders, at most 90 ASCII characters) -> content
    (bytes). The order of the dict must not matter, nor the time, the machine or the user.
    In the archive each file is a regular file with exactly its name and content, mode 0o644, time
    0, user and group number 0 with empty names. The entries are sorted by name, with no others.
    Returns the archive as bytes. It opens with `tarfile`.
    """
    # SOLUTION
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)  # mode 0o644, time 0, user and group 0
            entry.size = len(files[name])
            tar.addfile(entry, io.BytesIO(files[name]))
    return archive.getvalue()


# %%
check("24b.3", packed)

# %% [markdown] tags=["solution"]
# A new `TarInfo` already has all the fixed values. Times, owners and modes come in with `tar.add` and `gettarinfo`,
# which read them from the disk. If you compress the archive, pass `mtime=0` to `gzip.GzipFile`: gzip writes the time
# into its header. And the compressed bytes may change with the version of zlib, so compare the archives before
# compression.
