# %% [markdown]
# # 16b What a container is
#
# At 3 a.m. a container is dead with exit code 137. Did it ask for too much memory, or did it ignore the order to
# stop? The container beside it still runs, but its latency has grown tenfold, although the machine is half idle.
#
# ## You will be able to
#
# - look at one process from inside and outside its container, and say what is separate and what is not;
# - say which way of starting a server lets it stop cleanly, and what each exit code means;
# - explain what happens at the memory limit, and find out whether it happened;
# - compute how long a container pauses at its CPU limit, and choose the number of threads;
# - list the packages of an image, and search the list.
#
# ## Before you start
#
# Lesson 16 builds and runs images. Everything here happens on Linux. If you use Docker Desktop, that is the Linux in
# its virtual machine. A grey block shows each step as you would type it, and the cell below it sends the same request
# from Python.

# %%
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import matplotlib.pyplot as plt
import numpy as np

from course_lib import places
from course_lib.idioms import (
    begin,
    claim,
    claim_gone,
    guess,
    live,
    observe,
    own,
    path,
    reveal,
    show,
)  # fmt: skip

scratch = begin("16b")
path.picture(here="16b")

# %%
BASE = "python:3.13-slim-trixie"
SERVICE = own("digits-service:lesson-16b")
OURS = {"course-lesson": own("16b")}  # a label on everything that this lesson makes

# %% [markdown]
# ## Is a container a small virtual machine?
#
# No. It is one process or a few, and the machine's own kernel runs them. Inside, a process gets its own process
# numbers, files and network. We start the course's service with limits, and look at its only process from two sides.
# As typed:
#
# ```bash
# docker build --file docker/service.Dockerfile --tag digits-service:0.1.0 .
# docker run --detach --name digits --read-only --memory 256m --cpus 0.5 --cap-drop ALL digits-service:0.1.0
# docker inspect --format "{{.State.Pid}}" digits    # its process number outside
# docker exec digits cat /proc/1/status              # from inside
# docker run --rm --pid host python:3.13-slim-trixie cat /proc/PID/status    # from outside, PID as printed above
# ```
#
# To look from inside, we run a few lines of Python *in* the container, which ask the kernel. To look from outside, we
# run the same lines in a second container. The second container shares the process numbers and the host name of the
# engine's machine, so it can see the first one's process.

# %%
LOOK = """
import json, os, platform, sys
from pathlib import Path
who = Path("/proc") / sys.argv[1]
status = dict(line.split(":", 1) for line in (who / "status").read_text().splitlines())
seen = {key: status[key].split() for key in ("NSpid", "Uid", "CapEff")}
names = ("pid", "net", "mnt", "uts", "ipc", "user")
seen["namespaces"] = {name: os.readlink(who / "ns" / name) for name in names}
seen["host"], seen["kernel"] = platform.node(), platform.release().split("-")[0]
seen["processes"] = sum(name.isdigit() for name in os.listdir("/proc"))
seen["cpus"] = os.cpu_count()
seen["memory"] = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
seen["limits"] = {}
for file in ("memory.max", "cpu.max", "memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us"):
    if (at := Path("/sys/fs/cgroup") / file).exists():
        seen["limits"][file] = at.read_text().strip()
print(json.dumps(seen))
"""
LIMITED = {
    "read_only": True,
    "mem_limit": "256m",
    "nano_cpus": 500_000_000,  # half a CPU
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}


# %%
@live("docker")
def service_image():
    from course_lib.ops.docker import build_service, clear, docker_client

    client = docker_client()
    clear(client, OURS, SERVICE)  # what an earlier run left, if it broke off
    return {"id": build_service(client, scratch / "context", places.MODELS, tag=SERVICE).id}


# %%
print(service_image()["id"])


# %% [markdown]
# Now we run the service, limited to 256 MiB and half a CPU, and look from both sides.


# %%
@live("docker")
def two_sides():
    from course_lib.ops.docker import docker_client, running, wait_until_ready

    client = docker_client()
    published = {"8501/tcp": ("127.0.0.1", None)}
    with running(client, SERVICE, labels=OURS, ports=published, **LIMITED) as container:
        wait_until_ready(container)
        container.reload()
        number = container.attrs["State"]["Pid"]
        ask = "from course_lib.serving.limits import cpu_limit; print(cpu_limit())"
        seen = {"server_counts": int(container.exec_run(["python", "-c", ask]).output)}
        seen["inside"] = json.loads(container.exec_run(["python", "-c", LOOK, "1"]).output)
        look, see_all = ["python3", "-c", LOOK], {"pid_mode": "host", "userns_mode": "host"}
        see_all |= {"uts_mode": "host", "cap_add": ["SYS_PTRACE"], "remove": True, "labels": OURS}
        seen["outside"] = json.loads(client.containers.run(BASE, [*look, str(number)], **see_all))
        seen["neighbour"] = json.loads(client.containers.run(BASE, [*look, "self"], **see_all))
    return seen


# %% [markdown]
# What does each side see?

# %%
sides = two_sides()
inside, outside, neighbour = sides["inside"], sides["outside"], sides["neighbour"]

# %%
show.table(
    ["the same process", "from inside", "from outside"],
    [
        ["its number", inside["NSpid"][-1], outside["NSpid"][0]],
        ["its user", inside["Uid"][0], outside["Uid"][0]],
        ["processes in sight", inside["processes"], outside["processes"]],
        ["the host's name", inside["host"], outside["host"]],
        ["the kernel", inside["kernel"], outside["kernel"]],
        ["CPUs and memory in sight", f"{inside['cpus']}, {show.bytes_text(inside['memory'])}",
         f"{outside['cpus']}, {show.bytes_text(outside['memory'])}"],
    ],
    caption="One process, seen from two sides",
)  # fmt: skip

# %%
claim(
    "one process has two numbers: 1 inside, a different one outside; the kernel is the same",
    outside["NSpid"][-1] == inside["NSpid"][-1] == "1" != outside["NSpid"][0]
    and inside["kernel"] == outside["kernel"],
    outside["NSpid"],
)

# %% [markdown]
# How many processes does each side see?

# %%
claim(
    "inside, at most three processes are in sight; outside, there are more",
    inside["processes"] <= 3 < outside["processes"],
    f"{inside['processes']} and {outside['processes']}",
)

# %% [markdown]
# A *namespace* gives a process its own view of one kind of thing, such as process numbers. Linux has one kind for
# process numbers, one for the network, one for mounted file systems, one for the host's name, and so on. Each
# namespace has a number, and two processes with the same number share it. Here are the numbers of the service's
# namespaces, and beside them those of the second container:

# %%
WHAT = {"pid": "process numbers", "net": "network", "mnt": "files", "uts": "host name"}
WHAT |= {"ipc": "shared memory", "user": "user numbers"}
show.table(
    ["namespace", "service", "the other container", "result"],
    [
        [what, inside["namespaces"][name], neighbour["namespaces"][name],
         "shared" if inside["namespaces"][name] == neighbour["namespaces"][name] else "its own"]
        for name, what in WHAT.items()
    ],
    caption="The namespaces of two containers",
)  # fmt: skip

# %%
claim(
    "process numbers, network, files, host name and shared memory are the container's own",
    all(inside["namespaces"][name] != neighbour["namespaces"][name] for name in [*WHAT][:5]),
)

# %%
observe(
    "user numbers are shared: root in a container is user 0 outside too",
    inside["namespaces"]["user"] == neighbour["namespaces"]["user"],
    inside["namespaces"]["user"],
    of=sides,
    either=True,
)

# %% [markdown]
# You can set up an engine to give containers their own user numbers, or to run without root itself. Then root inside
# is an ordinary user outside. If the user numbers are shared, a process that breaks out of its container as root is
# root on the machine.
#
# Namespaces decide what a process *sees*. A different mechanism, the *control group* (cgroup), limits how much it may
# *use*. We gave the container 256 MiB and half a CPU, and the kernel counts what it takes. The limit is in a file.
# Its name depends on the version of cgroups (1 or 2) on the engine's machine.

# %%
for file, limit in inside["limits"].items():
    print(f"/sys/fs/cgroup/{file}: {limit}")
memory = {"memory.max", "memory/memory.limit_in_bytes"} & set(inside["limits"])
claim(
    "the limit of 256 MiB can be read, but /proc/meminfo still shows the whole machine",
    [int(inside["limits"][each]) for each in memory] == [256 * 2**20] and inside["memory"] > 2**29,
    f"the machine has {show.bytes_text(inside['memory'])}",
)

# %% [markdown]
# This difference causes much trouble. `free`, `os.cpu_count()` and many libraries report the whole machine, not the
# limit. The sections on memory and CPU below show what happens at both limits.
#
# ## Why does `docker stop` take ten seconds?
#
# To stop a container, the engine sends SIGTERM to its first process. If the process still runs after the *grace
# period* (10 s by default), the engine kills it. Lesson 16 stopped the same server in two forms. In exec form (a JSON
# list) it was the first process, and ended with code 0. In shell form (a line for `/bin/sh -c`) it was killed. The
# server had a *handler*, a function that a program registers for a signal. Is the form enough, or does it take the
# handler, too? And what helps if you can change neither? We start the server in six ways and stop each, with a grace
# period of 3 s:
#
# ```bash
# docker run --detach --name server [--init] digits-16b:stop-0
# docker stop -t 3 server
# docker inspect --format "{{.State.ExitCode}}" server
# ```

# %%
SERVER = """\
import http.server, signal, sys
def end(*_):
    print("told to end", flush=True)
    sys.exit(0)
if "{kind}" == "handles SIGTERM":
    signal.signal(signal.SIGTERM, end)
server = http.server.HTTPServer(("0.0.0.0", 8080), http.server.SimpleHTTPRequestHandler)
print("listens", flush=True)
server.serve_forever()
"""
SHELL, EXEC = "CMD python3 /app/app.py", 'CMD ["python3", "/app/app.py"]'
PLAIN, HANDLES, GRACE_S = "no handler", "handles SIGTERM", 3
STOPS = {
    "shell form, handles SIGTERM": (SHELL, HANDLES, False),
    "shell form and an init, handles SIGTERM": (SHELL, HANDLES, True),
    "exec form, no handler": (EXEC, PLAIN, False),
    "exec form and an init, no handler": (EXEC, PLAIN, True),
    "exec form, STOPSIGNAL SIGINT, no handler": (f"STOPSIGNAL SIGINT\n{EXEC}", PLAIN, False),
    "exec form, handles SIGTERM": (EXEC, HANDLES, False),
}  # fmt: skip

# %%
guess("in_order", "How many of the six end with exit code 0?", low=0, high=6)


# %%
@live("docker")
def stops():
    from course_lib.ops.docker import build_files, docker_client, running, wait_until_printed

    client, made = docker_client(), {}
    for number, (name, (command, kind, _)) in enumerate(STOPS.items()):
        files = {"Dockerfile": f"FROM {BASE}\nCOPY . /app\n{command}\n"}
        files["app.py"] = SERVER.format(kind=kind)
        tag = own(f"digits-16b:stop-{number}")
        made[name], _ = build_files(client, scratch / "stop", files, tag=tag, labels=OURS)

    def stop(name):
        with running(client, made[name], labels=OURS, init=STOPS[name][2]) as container:
            wait_until_printed(container, "listens")
            first = container.exec_run(["cat", "/proc/1/comm"]).output.decode().strip()
            start = time.perf_counter()
            container.stop(timeout=GRACE_S)
            seen = {"seconds": time.perf_counter() - start, "first": first}
            heard = "told to end" in container.logs().decode()
            return {**seen, "code": container.wait()["StatusCode"], "heard": heard}

    with ThreadPoolExecutor(2) as two:
        return dict(zip(STOPS, two.map(stop, STOPS)))


# %% [markdown]
# `heard` says whether the server's handler ran.

# %%
stopped = stops()
in_order = [name for name, each in stopped.items() if each["code"] == 0]
reveal("in_order", len(in_order))

# %%
colours = {0: show.GREEN, 137: show.RED}
plt.gcf().set_size_inches(7.6, 4.4)
for row, each in enumerate(stopped.values()):
    plt.barh(row, each["seconds"], height=0.4, color=colours.get(each["code"], show.ORANGE))
    label = f"{each['seconds']:.1f} s, code {each['code']}, process 1: {each['first']}"
    plt.text(0.03, row - 0.36, label, va="center", fontsize=8)
plt.yticks(range(len(stopped)), stopped, fontsize=8)
plt.ylim(len(stopped) - 0.4, -0.7)
plt.xlabel(f"from the stop to the end (s), with a grace period of {GRACE_S} s")
words = [f"{name}: {each['seconds']:.1f} s, code {each['code']}" for name, each in stopped.items()]
show.finding(
    f"Of {len(stopped)} ways to start a server, {len(in_order)} stops cleanly",
    alt=f"Bars of the seconds from docker stop to the end. {'; '.join(words)}.",
)

# %% [markdown]
# A bar that reaches the grace period is a server that was killed.

# %%
late = [name for name, each in stopped.items() if each["seconds"] > 0.95 * GRACE_S]
claim(
    "two are killed after the whole grace period: the shell form, although the server handles "
    "SIGTERM, and the exec form without a handler",
    {"shell form, handles SIGTERM", "exec form, no handler"} <= set(late)
    and stopped["shell form, handles SIGTERM"]["code"] == 137
    and stopped["exec form, no handler"]["code"] == 137,
)

# %%
claim(
    "only one server's handler runs, in exec form, and only there is the exit code 0",
    in_order == [name for name, each in stopped.items() if each["heard"]]
    and in_order == ["exec form, handles SIGTERM"],
)

# %% [markdown]
# In shell form, process 1 is the shell. Only the shell gets the signal, and the server does not. (Other shells may
# behave differently: bash, given a single command, replaces itself with that command. If you need a shell, write
# `exec` before the command.)
#
# The second failure is stranger. Outside a container, SIGTERM ends a program without a handler. Process 1 is
# different. If the first process of a namespace ends, the kernel kills all others in it. So the kernel protects
# process 1: it drops SIGTERM if process 1 has no handler for it. The shell, as process 1, is protected in the same
# way.
#
# There are two partial remedies. An *init* (`docker run --init`) is a tiny first process that passes signals on. The
# program is no longer process 1, so the signal ends it: code 143, which is 128 + 15, SIGTERM's number. With
# `STOPSIGNAL SIGINT`, the engine sends another signal. Python has a handler for it, which raises KeyboardInterrupt:
# code 130, 128 + 2. Both remedies end the server *quickly*, but they cut off a request under way. With
# `STOPSIGNAL SIGINT`, the program can prevent that by catching the exception.
#
# Look at the second bar. The init passes the signal to the shell, and the shell ends. The init ends as soon as the
# program that it started has ended. With process 1 gone, the kernel kills the rest: the server, whose handler never
# ran.
#
# So use the exec form, and a server with a handler. Code 137 is 128 + 9: killed. The code does not say why. In the
# next section, the same code has another cause.
#
# ## What happens when a container reaches its memory limit?
#
# A program asks for 512 MiB in a container whose limit is 64 MiB:
#
# ```bash
# docker run --name greedy --memory 64m --memory-swap 64m python:3.13-slim-trixie python3 -c "…"
# docker inspect --format "{{.State.OOMKilled}} {{.State.ExitCode}}" greedy
# ```

# %%
LIMIT_MIB = 64
GREEDY = """
import mmap
asked = mmap.mmap(-1, 512 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
print("given", 512, flush=True)
try:
    for mib in range(1, 513):
        asked.write(b"x" * 2**20)
        print("written", mib, flush=True)
except BaseException as error:
    print("noticed", type(error).__name__, flush=True)
"""
END = ["the request is refused", "an exception while it writes", "killed while it writes"]
guess("memory", "What happens to the program?", choices=END)


# %%
@live("docker")
def out_of_memory():
    from course_lib.ops.docker import docker_client, running

    client = docker_client()
    most = {"mem_limit": f"{LIMIT_MIB}m", "memswap_limit": f"{LIMIT_MIB}m"}  # and no swap
    with running(client, BASE, "python3", "-c", GREEDY, labels=OURS, **most) as container:
        code = container.wait(timeout=60)["StatusCode"]
        container.reload()
        said = container.logs().decode().split("\n")[:-1]
        return {"code": code, "killed": container.attrs["State"]["OOMKilled"], "said": said}


# %% [markdown]
# Its output says how much it could write.

# %%
greedy = out_of_memory()
print(*greedy["said"][:2], "…", *greedy["said"][-2:], sep="\n")
noticed = [line for line in greedy["said"] if line.startswith("noticed")]
written = sum(line.startswith("written") for line in greedy["said"])
reveal("memory", END[0] if not written else END[1] if noticed else END[2])

# %%
claim(
    "the request for 512 MiB succeeds; the program is killed, with exit code 137 and without an "
    "exception, before it has written 64 MiB",
    greedy["said"][0] == "given 512"
    and written < LIMIT_MIB
    and greedy["code"] == 137
    and not noticed,
    f"{written} MiB written",
)

# %%
observe("the engine notes OOMKilled", greedy["killed"], greedy["killed"], of=greedy, either=True)

# %% [markdown]
# A request for memory takes none yet. The kernel gives out memory when a *page* (usually 4 KiB) is first written. At
# that point there is no call that could fail, so the program gets no exception. The limit must therefore fit the peak
# under load, not the size after the start. This answers the question from the beginning. 137 with `OOMKilled` means
# memory. 137 without it usually means that the process ignored the stop, or that somebody used `kill -9`. If your
# engine does not note `OOMKilled` above, look into the kernel's log. In a cluster, `kubectl describe pod` shows the
# reason. **Now do exercise 16b.1.**
#
# ## Why is a container slow although the machine is idle?
#
# A CPU limit is a *quota*: an amount of processor time for each period of 100 ms. A container that has used up its
# quota is *throttled*: it stands still until the next period. The quota does not reduce the number of processors that
# a program sees. ONNX Runtime takes the size of its thread pool from that number, not from the limit (issue 29510 in
# its repository). We give a container a quarter of a CPU, 25 ms in each period, and let it predict ten batches of
# 1,024 images a second:
#
# ```bash
# docker run --rm --cpus 0.25 --memory 512m digits-service:0.1.0 python -c "…"
# cat /sys/fs/cgroup/cpu.stat    # in the container: how often it was throttled
# ```
#
# The program records how long each call took. Before and after the calls, it reads two counters of its cgroup:
# `nr_periods` counts the periods in which the container wanted to run, and `nr_throttled` those in which it was
# throttled. The program also counts the threads that ONNX Runtime makes.

# %%
PREPARE = """
import json, os, sys, time
from pathlib import Path
import numpy, onnxruntime
threads, spin, seconds, apart = int(sys.argv[1]), sys.argv[2], 3.0, 0.1
def counters():
    for file in ("cpu.stat", "cpu/cpu.stat"):
        if (at := Path("/sys/fs/cgroup") / file).exists():
            found = dict(line.split() for line in at.read_text().splitlines())
            if "nr_periods" in found:
                return [int(found["nr_periods"]), int(found["nr_throttled"])]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
options.add_session_config_entry("session.intra_op.allow_spinning", spin)
before = len(os.listdir("/proc/self/task"))
session = onnxruntime.InferenceSession("models/digits_cnn/3/model.onnx", options)
made = len(os.listdir("/proc/self/task")) - before + 1
x = {"pixels": numpy.zeros((1024, 1, 8, 8), numpy.float32)}
session.run(None, x)
time.sleep(0.3)
"""

# %% [markdown]
# That prepares the session. The rest of the program calls the session for three seconds, and prints what it measured.

# %%
MEASURE = """
first, used, begin, calls = counters(), time.process_time(), time.perf_counter(), []
while time.perf_counter() - begin < seconds:
    time.sleep(max(0, begin + len(calls) * apart - time.perf_counter()))
    start = time.perf_counter()
    session.run(None, x)
    took = time.perf_counter() - start
    calls.append([round(1000 * (start - begin), 1), round(1000 * took, 2)])
cpus = (time.process_time() - used) / (time.perf_counter() - begin)
periods, throttled = [b - a for a, b in zip(first, counters())]
seen = {"threads": made, "sees": os.cpu_count(), "periods": periods, "throttled": throttled}
print(json.dumps({**seen, "cpus": round(cpus, 3), "calls": calls}))
"""
QUOTA = 0.25
POOLS = {"1 thread": (1, "1"), "its default": (0, "1"), "8 threads": (8, "1"),
         "8 threads that do not spin": (8, "0")}  # fmt: skip

# %%
guess("slower", "The median call with 8 threads: how many times as long as with 1?",
      low=0.1, high=100)  # fmt: skip


# %%
@live("docker")
def throttled():
    from course_lib.ops.docker import docker_client

    client, seen = docker_client(), {}
    limits = {"nano_cpus": int(QUOTA * 1e9), "mem_limit": "512m", "remove": True}
    for name, (threads, spin) in POOLS.items():
        command = ["python", "-c", PREPARE + MEASURE, str(threads), spin]
        seen[name] = json.loads(client.containers.run(SERVICE, command, labels=OURS, **limits))
    return seen


# %% [markdown]
# We run the program with four thread pools, and compare the calls.

# %%
press = throttled()
taken = {name: np.array([ms for _, ms in each["calls"]]) for name, each in press.items()}
p50 = {name: float(np.median(ms)) for name, ms in taken.items()}
reveal("slower", p50["8 threads"] / p50["1 thread"])

# %%
show.table(
    ["pool", "threads", "CPUs", "periods", "throttled", "calls", "median (ms)", "slowest (ms)"],
    [
        [name, each["threads"], f"{each['cpus']:.2f}", each["periods"], each["throttled"],
         len(each["calls"]), f"{p50[name]:.0f}", f"{taken[name].max():.0f}"]
        for name, each in press.items()
    ],
    caption=f"Ten calls a second under a limit of {QUOTA:g} CPU, for three seconds",
)  # fmt: skip

# %% [markdown]
# The same calls over time:

# %%
for (name, each), mark, colour in zip(
    press.items(), "os^v", (show.GREEN, show.ORANGE, show.RED, show.BLUE)
):
    at, ms = np.array(each["calls"]).T
    plt.semilogy(at / 1000, ms, mark, color=colour, markersize=4, label=name)
plt.xlabel("time (s)")
plt.ylabel("latency of a call (ms)")
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
words = [f"{name}: median {p50[name]:.0f} ms" for name in press]
show.finding(
    f"With {QUOTA:g} CPU, the median call takes {p50['1 thread']:.0f} ms with 1 thread, "
    f"{p50['8 threads']:.0f} ms with 8",
    alt=f"Latency of each call over time, on a logarithmic scale. {'; '.join(words)}.",
)

# %%
observe(
    "by default, ONNX Runtime makes more than one thread, although the limit is below one CPU",
    press["its default"]["threads"] > 1,
    f"{press['its default']['threads']} threads, on a machine of "
    f"{press['its default']['sees']} processors",
    of=press,
    either=True,
)

# %% [markdown]
# How often were the containers throttled, and how much slower were the calls?

# %%
one, eight = press["1 thread"], press["8 threads"]
observe(
    "one thread is throttled in less than half of its periods, eight in more than half",
    one["throttled"] * 2 < one["periods"] and eight["throttled"] * 2 > eight["periods"],
    f"{one['throttled']} of {one['periods']} and {eight['throttled']} of {eight['periods']}",
    of=press,
    either=True,
)

# %%
observe(
    "with eight threads, the median call takes more than twice as long",
    p50["8 threads"] > 2 * p50["1 thread"],
    f"{p50['8 threads']:.0f} ms against {p50['1 thread']:.0f} ms",
    of=press,
    either=True,
)

# %% [markdown]
# Compare the columns "CPUs" and "throttled" from row to row. Every call does the same work. If eight threads used the
# whole quota and one thread did not, the difference was spent on waiting. A thread of ONNX Runtime that has nothing to
# do *spins* for a while: it asks again and again whether there is work. Spinning counts against the quota. The last row
# shows the same eight threads with spinning switched off. If its median is near that of one thread, or below, then
# spinning made the calls slow.
#
# A throttled pool need not be slow. Look at the row "its default": it may be throttled in every period, and still be
# fast. Then its calls end before the quota is used up. Afterwards the threads spin until it is, and the container
# stands still while no request waits.
#
# Your machine may show smaller differences. The column "CPUs" is what the calls used. If it stays below the limit in
# all rows, and `throttled` stays near 0, the quota was not the cause. On a busy machine, other programs may have left
# the container less than its quota. On a fast processor, even eight threads may need less than the quota.
#
# ## How long is a pause, and how many threads should I set?
#
# The pause can be computed. Let $q$ be the quota in CPUs, $P$ = 100 ms the period, and $b$ the number of threads that
# really run at once: at most the number of threads and of processors. In each millisecond they use up $b$ ms of
# processor time together. Their quota for one period is $qP$. If they compute without a break, they run for $qP/b$ and
# stand still for the rest of the period:
#
# $$t_{\text{pause}} = P\left(1 - \frac{q}{b}\right) \quad\text{where } b > q, \qquad 0 \text{ otherwise.}$$

# %%
PERIOD_MS = 100
for q, b in [(0.25, 1), (0.25, 2), (1, 1), (1, 2), (2, 64)]:
    pause = PERIOD_MS * max(0, 1 - q / b)
    print(
        f"quota {q:4} CPU, {b:2} threads at once: stands still for {pause:.0f} ms of {PERIOD_MS}"
    )

# %%
longest = {name: taken[name].max() - p50[name] for name in ("1 thread", "its default")}
observe(
    "the slowest call takes at most one period longer than the median",
    all(extra <= PERIOD_MS for extra in longest.values()),
    ", ".join(f"{name}: {extra:.0f} ms" for name, extra in longest.items()),
    of=press,
    either=True,
)

# %% [markdown]
# A call during which the quota runs out takes longer by the pause. A call that needs more than one period's quota
# contains several pauses. Other programs on the machine can make calls longer still. They explain the slowest call of
# a pool that was not throttled. By the formula, one thread does not pause under a quota of one CPU. Two threads under
# a quota of one CPU stand still for half of the time whenever both compute. On a server of 64 processors, a pool of
# 64 threads under a quota of two CPUs runs for 3 ms of each 100.
#
# Pauses alone cost no throughput, since the quota is the same for any number of threads. Spinning does cost
# throughput. So give a pool one thread for each *whole* CPU of its limit, but at least one. The course's server reads
# its limit from the cgroup's file and does that:

# %%
claim(
    "limited to half a CPU, the server counts one CPU for itself",
    sides["server_counts"] == 1,
    f"the machine has {inside['cpus']}",
)

# %% [markdown]
# **Now do exercises 16b.2 and 16b.3**: read the limit, and compute how long a call takes under it.
#
# ## Which packages are in my image?
#
# In December 2021, companies everywhere asked one question: *where do we run Log4j, and in which version?* A company
# with a list of the packages in each image could look it up. Such a list is a *software bill of materials* (SBOM).
# For our image we make one from two sources: the metadata of the Python packages, and Debian's package database. You
# would read the second by typing:
#
# ```bash
# docker run --rm digits-service:0.1.0 dpkg-query --show
# ```

# %%
SCAN = """
import importlib.metadata, json, subprocess
python = [[each.name, each.version] for each in importlib.metadata.distributions()]
ask = ["dpkg-query", "-W", "-f", "${Package} ${Version}\\\\n"]
debian = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
print(json.dumps({"pypi": sorted(python), "deb": [line.split() for line in debian.splitlines()]}))
"""


# %%
@live("docker")
def scan():
    from course_lib.ops.docker import docker_client

    return json.loads(
        docker_client().containers.run(SERVICE, ["python", "-c", SCAN], remove=True, labels=OURS)
    )


# %% [markdown]
# We write it as CycloneDX, one of the two common formats. (The other is SPDX.) A *purl* (package URL) names each package
# with its ecosystem and version.


# %%
def component(kind, name, version):
    known = name.lower().replace("_", "-") if kind == "pypi" else name
    purl = f"pkg:{'pypi' if kind == 'pypi' else 'deb/debian'}/{known}@{quote(version)}"
    return {"type": "library", "name": name, "version": version, "purl": purl}


# %%
contents = scan()
parts = [component(kind, *each) for kind in contents for each in contents[kind]]
bom = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": parts}
(scratch / "sbom.json").write_text(json.dumps(bom, indent=1))
for each in parts[:2] + parts[-2:]:
    print(each["purl"])

# %%
needs = (places.CHECKOUT / "docker/service-requirements.txt").read_text()
pins = dict(line.split("==") for line in needs.split() if "==" in line)
claim(
    "the list has exactly the pinned Python packages, and over five times as many from Debian",
    {name.lower().replace("_", "-"): version for name, version in contents["pypi"]} == pins
    and len(contents["deb"]) > 5 * len(pins),
    f"{len(pins)} from PyPI, {len(contents['deb'])} from Debian",
)

# %% [markdown]
# Most packages come with the base; we did not choose them. A smaller base saves bytes, but above all it has fewer
# packages to keep up to date. The list has gaps. The official Python image compiles Python from source, so Debian's
# database does not list it. The base also has its own pip, outside the service's environment, and our search does not
# find that one.
#
# An advisory says that a message with too many levels can crash the pure-Python version of protobuf (CVE-2025-4565).
# It is fixed in 6.31.1 and, in the older series, in 5.29.5 and 4.25.8. So we search for versions before 6.31.1.


# %%
def numbers(version):
    return [int(part) for part in re.findall(r"\d+", version)]


def affected(name, before):
    found = [each for each in parts if each["name"] == name]
    return [each["purl"] for each in found if numbers(each["version"]) < numbers(before)]


print("protobuf before 6.31.1:", affected("protobuf", "6.31.1"))
print("protobuf before 99:", affected("protobuf", "99"))

# %% [markdown]
# The second line shows that the search does find protobuf. Comparing numbers is enough here, though it would also
# report 5.29.5, which is fixed. Scanners such as Trivy or Grype know the rules of each ecosystem. They also know when
# a distribution has repaired an old version. In lesson 22 you sign what you build.
#
# ## Clean up


# %%
@live("docker")
def remove_ours():
    from course_lib.ops.docker import clear, docker_client

    return clear(docker_client(), OURS, SERVICE)


# %%
claim_gone("no container and no image of this lesson is left", remove_ours())

# %% [markdown]
# ## What we measured

# %%
show.table(
    ["what", "figure"],
    [
        [f"stopped with a grace of {GRACE_S} s: shell form, exec form with a handler",
         f"{stopped['shell form, handles SIGTERM']['seconds']:.1f} s, "
         f"{stopped['exec form, handles SIGTERM']['seconds']:.1f} s"],
        [f"written at a limit of {LIMIT_MIB} MiB, until it was killed", f"{written} MiB"],
        [f"median call with {QUOTA:g} CPU, 1 and 8 threads",
         f"{p50['1 thread']:.0f} and {p50['8 threads']:.0f} ms"],
        ["packages in the image, from PyPI and from Debian",
         f"{len(contents['pypi'])} and {len(contents['deb'])}"],
    ],
    caption="The service in its container",
)  # fmt: skip

# %% [markdown]
# ## What to remember
#
# - A container is a process with its own namespaces and a limited share of the machine. It still sees all the
#   processors, so tell every library how many threads it may use.
# - Process 1 gets the stop signal, and the kernel drops it if there is no handler. So use exec form, and a handler
#   for SIGTERM.
# - Exit code 137 means killed. `OOMKilled` says whether memory was the cause.
#
# ## Where this breaks down
#
# All containers of a machine share one kernel, so a hole in it affects all of them. To run code that you do not
# trust, separate it more strongly: with gVisor, Kata Containers, or a virtual machine for each container. Our figures
# under the CPU limit come from a machine with few processors and from a small model. The formula for the pause
# assumes that all threads run all the time, and that no other program wants the processors. Finally, the SBOM lists
# only what package managers know. It does not contain a library that was copied in by hand.
#
# ## What real teams use
#
# Kubernetes sets the same two limits from `resources.limits` (lesson 17). Some teams set a CPU request and no CPU
# limit, so that idle processors can be used. Their libraries still have to be told the number of threads. `tini` or
# `dumb-init` serve as init. cAdvisor, which is part of Kubernetes' kubelet, exports the counter
# `container_cpu_cfs_throttled_periods_total`, and Prometheus can raise an alert on it. Trivy and Syft make SBOMs.
# Trivy and Grype search them.
#
# ## Further reading
#
# - *namespaces(7)*, *cgroups(7)*, *capabilities(7)*, *pid_namespaces(7)*: the Linux manual pages.
# - Linux kernel documentation, *CFS Bandwidth Control* and *Control Group v2*.
# - Open Container Initiative, *Runtime Specification*.
# - ONNX Runtime documentation, *Thread management*.
# - OWASP CycloneDX, *Bill of Materials Specification*, ECMA-424.
# - L. Rice, *Container Security*, second edition, O'Reilly.
