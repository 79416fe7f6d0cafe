"""What cannot be run here is checked by rule: Windows can hold the checkout, run its code, and its learners the commands."""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from course_lib.places import CHECKOUT

RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
LONGEST = 120
"""Characters of a path below the checkout: Windows allows 260 in all, and someone's Desktop takes its share."""

MODULES = {"crypt", "curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
CALLS = {
    "os": "fork forkpty getuid geteuid getgid getegid setuid setgid setsid getpgid setpgid killpg wait wait3 wait4 nice "
    "sched_getaffinity sched_setaffinity getloadavg mkfifo chown lchown chroot uname sysconf statvfs openpty",
    "signal": "SIGKILL SIGHUP SIGALRM SIGUSR1 SIGUSR2 SIGQUIT SIGCHLD SIGSTOP SIGCONT SIGTSTP SIGPIPE alarm setitimer "
    "getitimer pause pthread_kill pthread_sigmask sigwait siginterrupt",
    "socket": "AF_UNIX socketpair",
}
POSIX_ONLY = {f"{module}.{name}" for module, names in CALLS.items() for name in names.split()}
"""What Python does not have on Windows."""

ASKS = ("hasattr", "os.name", "WINDOWS", "sys.platform", "fcntl")
"""Words of a condition that asks where it runs."""

NOT_THERE = {
    ("course_lib/idioms/time_limit.py", "by_alarm"): "taken only where the signal is; by_thread elsewhere",
    ("course_lib/ops/leash.py", "_become"): "taken where a process can become another; _run_beside elsewhere",
    ("course_lib/ops/leash.py", "_watch"): "called by _become",
    ("tools/offline.py", "cut"): "started on Linux alone, says `reason`",
}
"""Functions that are called on other systems alone."""

CODE = [CHECKOUT / "course", *sorted([*CHECKOUT.glob("course_lib/**/*.py"), *CHECKOUT.glob("tools/**/*.py")])]

TEXTS = ["README.md", "TROUBLESHOOTING.md"]
LESSONS = sorted(path.relative_to(CHECKOUT).as_posix() for path in CHECKOUT.glob("source/*/*.py"))
SHELLS = ("bash", "sh", "shell", "console", "")
SETS = re.compile(r"(?:^|`)(?:[A-Z][A-Z_]+=[^\s`|]+ +)+[./a-z]|\bexport [A-Z]|\bunset [A-Z]", re.M)
"""A variable as only a Unix shell sets it."""


def committed() -> list[str]:
    if not shutil.which("git") or not (CHECKOUT / ".git").exists():
        pytest.skip("no git checkout")
    command = ["git", "ls-files", "-z"]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


def test_windows_can_hold_every_file():
    names = committed()
    for name in names:
        assert not re.search(r'[<>:"|?*\\\x00-\x1f]', name) and len(name) <= LONGEST, name
        for part in name.split("/"):
            assert part.partition(".")[0].lower() not in RESERVED and part[-1] not in " .", name


def test_no_two_files_differ_in_their_case_alone():
    folders = {str(parent) for name in committed() for parent in Path(name).parents}
    names = [*committed(), *folders]
    assert len({name.lower() for name in names}) == len(names)


def unguarded(path: Path) -> Iterator[str]:
    """What this file takes from POSIX without asking whether it is there."""
    name = path.relative_to(CHECKOUT).as_posix()

    def visit(node: ast.AST, guarded: bool) -> Iterator[str]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            leaves = any(isinstance(each, ast.If) and asks(each.test) for each in node.body)  # `if os.name …: return`
            guarded = guarded or leaves or (name, node.name) in NOT_THERE
        elif isinstance(node, ast.If | ast.IfExp):
            guarded = guarded or asks(node.test)
        elif isinstance(node, ast.BoolOp):
            guarded = guarded or asks(node)
        elif isinstance(node, ast.Try):
            caught = " ".join(ast.unparse(each.type) for each in node.handlers if each.type)
            guarded = guarded or any(
                error in caught for error in ("ImportError", "AttributeError", "NotImplementedError")
            )
        imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        called = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if not guarded:
            yield from (f"{name}:{node.lineno}: {each}" for each in imported if each in MODULES)
            if called in POSIX_ONLY:
                yield f"{name}:{node.lineno}: {called}"
        for child in ast.iter_child_nodes(node):
            yield from visit(child, guarded)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), False)


def asks(test: ast.AST) -> bool:
    return any(word in ast.unparse(test) for word in ASKS)


def test_no_code_takes_from_posix_what_windows_lacks_without_asking():
    assert not [found for path in CODE for found in unguarded(path)]


def test_the_rule_finds_what_it_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.house.test_windows.CHECKOUT", tmp_path)
    code = tmp_path / "code.py"
    code.write_text(
        "import os, resource\nos.killpg(1, 2)\nif hasattr(os, 'fork'):\n    os.fork()\n"
        "def f():\n    if os.name == 'nt':\n        return\n    os.getuid()\n"
        "try:\n    import fcntl\nexcept ImportError:\n    fcntl = None\n"
    )
    assert list(unguarded(code)) == ["code.py:1: resource", "code.py:2: os.killpg"]


def markdown(name: str) -> str:
    """A page's text, or what a source of a lesson says outside of its code."""
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    if name.endswith(".md"):
        return text
    return "\n".join(line[2:] for line in text.splitlines() if line.startswith("# ") or line == "#")


def sections(name: str) -> dict[str, str]:
    """The text below each heading of a page."""
    parts = re.split(r"^(#{1,4} .*)$", markdown(name), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def typed(name: str) -> list[str]:
    """The lines of a text's fenced commands."""
    lines, shell = [], None
    for line in markdown(name).splitlines():
        if line.startswith("```"):
            shell = line[3:].strip() in SHELLS if shell is None else None
        elif shell:
            lines.append(line)
    return lines


@pytest.mark.parametrize("name", [*TEXTS, *LESSONS])
def test_a_command_is_one_line_without_single_quotes(name: str):
    """Neither cmd nor PowerShell goes on after a backslash, and cmd hands single quotes on."""
    for line in typed(name):
        assert not line.rstrip().endswith("\\") and "'" not in line.partition("  #")[0], line


@pytest.mark.parametrize("name", TEXTS)
def test_where_a_variable_is_set_the_forms_for_powershell_and_the_command_prompt_are_beside_it_or_linked(name: str):
    for heading, text in sections(name).items():
        if SETS.search(text):
            assert ("$env:" in text and 'set "' in text) or "#set-a-variable)" in text, heading


@pytest.mark.parametrize("name", TEXTS)
def test_a_page_says_how_course_is_called_on_windows_and_where_its_python_lies(name: str):
    assert re.search(r"Windows.{0,40} `py course`|`py course`.{0,20} Windows|\| `py course lab` \|", markdown(name))
    for heading, text in sections(name).items():
        assert ".venv/bin/" not in text or ".venv\\Scripts\\" in text, heading


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_said_to_be_for_windows_is_no_unix_command(name: str):
    rows = [line for line in markdown(name).splitlines() if re.match(r"\| (Windows|PowerShell|command prompt)", line)]
    listed = [item for item in re.split(r"^- ", sections(name).get("## Windows", ""), flags=re.M) if "WSL" not in item]
    for text in [*rows, *listed]:
        assert "./course" not in text and not SETS.search(text) and not re.search(r"`(rm|cp|which|sudo) ", text), text


def test_the_welcome_tells_windows_users_their_form():
    text = markdown("source/notebooks/00_welcome.py")
    assert text.count("`./course ") == text.count("`py course ")
