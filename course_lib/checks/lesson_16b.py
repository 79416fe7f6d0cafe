"""Checks of lesson 16b."""

from collections.abc import Callable, Iterator

from course_lib.checks import Register
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("16b.1", "What killed it?")
def exit_codes(answer: Callable) -> Iterator[Property]:
    """answer(state) -> str."""

    def says(word: str, code: int, killed: bool = False, status: str = "exited") -> bool:
        return answer({"Status": status, "ExitCode": code, "OOMKilled": killed}) == word

    yield ("exit code 0 means ended", lambda: says("ended", 0), [
        "What does a program return when all is well?",
        "Exit code 0, and the container no longer runs.",
        'if state["ExitCode"] == 0: return "ended"',
    ])  # fmt: skip
    yield ("a container that runs has not ended", lambda: says("running", 0, status="running") and says("running", 0, True, "running"), [
        "Which exit code does a running container show?",
        "Ask for the status first.",
        'if state["Status"] == "running": return "running"',
    ])  # fmt: skip
    yield ("137 alone is a kill, 137 with the engine's note is memory", lambda: says("killed", 137) and says("out of memory", 137, True), [
        "Two causes, one code.",
        "OOMKilled tells them apart.",
        'if state["OOMKilled"]: return "out of memory", before the codes.',
    ])  # fmt: skip
    yield ("memory counts whatever the code is", lambda: says("out of memory", 1, True) and says("out of memory", 0, True), [
        "A worker was killed for its memory, and process 1 gave up with code 1.",
        "Ask for OOMKilled before you look at the code.",
        "Only the status comes before it.",
    ])  # fmt: skip
    yield ("another signal is named by its number", lambda: says("signal 15", 143) and says("signal 2", 130) and says("signal 11", 139) and says("signal 64", 192)
           and says("signal 50", 178), [
        "143 is 128 + 15.",
        "The signal's number is the code less 128.",
        'f"signal {code - 128}"',
    ])  # fmt: skip
    yield ("any other code is an error, 128 and 255 too", lambda: all(says(f"error {code}", code) for code in (1, 2, 9, 15, 127, 128, 193, 255)), [
        "There is no signal 0 and no signal 127.",
        "Signals have the numbers 1 to 64.",
        "if 128 < code <= 192",
    ])  # fmt: skip
    yield ("a container that is dead or restarting does not run", lambda: says("killed", 137, status="dead") and says("error 1", 1, status="restarting"), [
        "Only one status is called running.",
        "A container has more than two statuses.",
        'Compare with "running", not with "exited".',
    ])  # fmt: skip


@EXERCISES.add("16b.2", "How many threads may I have?")
def pools(answer: Callable) -> Iterator[Property]:
    """answer(files, processors) -> int."""
    quota, period = "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"

    def gives(number: int, files: dict, processors: int = 64) -> bool:
        found = answer(dict(files), processors)
        return found == number and isinstance(found, int) and not isinstance(found, bool)

    yield ("two CPUs by cpu.max", lambda: gives(2, {"cpu.max": "200000 100000\n"}) and gives(3, {"cpu.max": "150000 50000\n"}), [
        "200000 microseconds in each 100000.",
        "Quota by period. Periods differ.",
        "int(quota) // int(period)",
    ])  # fmt: skip
    yield ("rounded down, and never to 0", lambda: gives(1, {"cpu.max": "150000 100000\n"}) and gives(1, {"cpu.max": "50000 100000\n"}) and gives(2, {"cpu.max": "299999 100000\n"}), [
        "With 1.5 CPUs a second thread stands still half of its time.",
        "Half a CPU still needs one thread.",
        "max(1, quota // period)",
    ])  # fmt: skip
    yield ("no more than there are processors", lambda: gives(4, {"cpu.max": "800000 100000\n"}, 4) and gives(1, {"cpu.max": "800000 100000\n"}, 1), [
        "A limit of eight CPUs on a machine of four.",
        "The smaller of the two.",
        "min(processors, …)",
    ])  # fmt: skip
    yield ("no limit: all processors", lambda: gives(64, {"cpu.max": "max 100000\n"}) and gives(7, {}, 7), [
        'What does cpu.max hold without a limit?',
        '"max", which is no number; and on a laptop no file may be there at all.',
        'if quota == "max": return processors',
    ])  # fmt: skip
    yield ("version 1, with its two files", lambda: gives(2, {quota: "200000\n", period: "100000\n"}) and gives(1, {quota: "50000\n", period: "100000\n"})
           and gives(64, {quota: "-1\n", period: "100000\n"}), [
        "The same two numbers, in two files.",
        "-1 is no limit.",
        'if quota in ("max", "-1"): return processors',
    ])  # fmt: skip
    yield ("where both are there, version 2 counts", lambda: gives(2, {quota: "400000\n", period: "100000\n", "cpu.max": "200000 100000\n"})
           and gives(64, {quota: "400000\n", period: "100000\n", "cpu.max": "max 100000\n"}), [
        "Which one do you look at first?",
        'A "max" in version 2 is an answer, too.',
        "Return at once where cpu.max was read.",
    ])  # fmt: skip
    yield ("what cannot be read is no limit", lambda: all(gives(8, files, 8) for files in (
        {"cpu.max": "\n"}, {"cpu.max": "many 100000\n"}, {"cpu.max": "100000\n"}, {quota: "200000\n"}, {period: "100000\n"}, {"cpu.max": "100000 0\n"})), [
        "An empty file, one number, one of the two files alone, a period of 0.",
        "Catch what int() and // raise.",
        "except (ValueError, ZeroDivisionError): return processors",
    ])  # fmt: skip


@EXERCISES.add("16b.3", "How long does a call take under a limit?")
def pauses(answer: Callable) -> Iterator[Property]:
    """answer(work_ms, quota, threads, period_ms=100) -> milliseconds."""

    def takes(wanted: float, *given: float) -> bool:
        return abs(float(answer(*given)) - wanted) < 1e-6 * max(1, wanted)

    yield ("within the first period's quota it only runs", lambda: takes(30, 30, 0.5, 1) and takes(15, 30, 0.5, 2) and takes(5, 20, 1, 4), [
        "Half a CPU allows 50 ms of work in the first period.",
        "Two threads do two milliseconds of work in each millisecond.",
        "work_ms / threads",
    ])  # fmt: skip
    yield ("what is left over waits for the next period", lambda: takes(110, 60, 0.5, 1) and takes(105, 60, 0.5, 2) and takes(220, 120, 0.5, 1), [
        "60 ms of work, 50 ms in the first period: when does the second one begin?",
        "Each period whose quota is used up counts with its full length.",
        "full * period_ms + (work_ms - full * quota * period_ms) / threads",
    ])  # fmt: skip
    yield ("a call that ends with its quota needs no further period", lambda: takes(50, 50, 0.5, 1) and takes(150, 100, 0.5, 1) and takes(25, 50, 0.5, 2), [
        "50 ms of work, 50 ms of quota.",
        "How many periods are full *before* the one in which it ends?",
        "math.ceil(work_ms / allowed) - 1",
    ])  # fmt: skip
    yield ("no more threads than CPUs are never stopped", lambda: takes(300, 300, 1, 1) and takes(150, 300, 2, 2) and takes(100, 300, 4, 3) and takes(1000, 1000, 1.5, 1), [
        "One thread cannot use more than one CPU.",
        "The pause is 0 where the threads do not exceed the quota.",
        "if threads <= quota: return work_ms / threads",
    ])  # fmt: skip
    yield ("a quota above one CPU can be used up too", lambda: takes(125, 200, 1.5, 2) and takes(100 + 50 / 64, 250, 2, 64), [
        "Two threads under 1.5 CPUs run for 75 ms of each 100.",
        "allowed = quota * period_ms, whatever the quota is.",
        "Compare threads with the quota, not the quota with 1.",
    ])  # fmt: skip
    yield ("other periods", lambda: takes(22.5, 12.5, 0.5, 1, 20) and takes(10, 10, 0.5, 1, 20), [
        "A period may have 20 ms.",
        "Nothing in the formula is 100.",
        "Use period_ms.",
    ])  # fmt: skip
