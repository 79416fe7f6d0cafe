# %% [markdown]
# # 17 Kubernetes: exercises
#
# Three small functions and a manifest. None needs a cluster: what you write is parsed, held against today's schemas,
# and tried on cases. Fill in what is missing, run the cell, then its check.

# %%
from course_lib.idioms import begin, check

scratch = begin("17")

# %% [markdown]
# ## 17.1 How many pods during an update? ★☆☆ · 10 minutes
#
# The quota of a namespace allows ten pods. Your Deployment has ten, with `maxUnavailable: 0`. Since the quota came, no
# update has got further than its first step. A colleague raises the quota to eleven. Now updates finish, but a new pod
# is refused at each step. Compute which limits an update keeps to, and how many pods it may need at one moment.


# %%
def pods_during(replicas, max_surge="25%", max_unavailable="25%"):
    """What a rolling update keeps to, and what it may need.

    replicas: whole number from 0. max_surge, max_unavailable: a whole number from 0, or a string
    such as "25%": that share of replicas, rounded up for max_surge and down for max_unavailable.
    Where both come out as 0, an update could not begin: max_unavailable then counts as 1.
    Returns (fewest, most, everything), ints:
    fewest: the fewest available pods, no fewer than 0;
    most: the most pods that were not told to end; the new ones are never more than replicas;
    everything: the most pods at one moment, with those that are ending. A quota counts these.
    Suppose that no pod that was told to end is gone before the update is over, and that none was
    ending before it.
    Raises ValueError for negative numbers, for another string, for a max_unavailable above
    "100%", and where both are given as 0 or "0%".
    """
    # SOLUTION
    given = []
    for each in (max_surge, max_unavailable):
        share = isinstance(each, str)
        if share and not (each.endswith("%") and each[:-1].isdecimal()):
            raise ValueError(f"expected a whole number or a percentage, got {each!r}")
        given.append((int(each[:-1]) if share else each, share))
    (surge, surge_share), (missing, missing_share) = given
    if min(replicas, surge, missing) < 0 or surge == missing == 0:
        raise ValueError("expected numbers from 0, and not both of them 0")
    if missing_share and missing > 100:
        raise ValueError(f"expected at most 100%, got {max_unavailable}")
    surge = -(-replicas * surge // 100) if surge_share else surge
    missing = replicas * missing // 100 if missing_share else missing
    if surge == missing == 0:
        missing = 1
    return max(0, replicas - missing), replicas + min(surge, replicas), 2 * replicas


# %%
check("17.1", pods_during)

# %% [markdown] tags=["solution"]
# With `maxUnavailable: 0` an update of ten pods needs an eleventh. A quota of ten holds it up until somebody changes
# one of the two, and only the events say why. By default (25 % of both), at most 13 pods stay and at least 8 are
# available.
#
# Pods that are ending come on top. At the end of a quick update all ten old ones may still be ending beside ten new
# ones: twenty, whatever `maxSurge` says. With a quota of eleven, each step waits until a pod has ended.
#
# The roundings are chosen for safety: one pod too many is better than one missing. Whole numbers keep them exact:
# `math.ceil(100 * 0.07)` is 8, since 0.07 is not quite 0.07 in floating point. `fractions.Fraction` is a second way.


# %% [markdown]
# ## 17.2 Probes for a model that loads for minutes ★★☆ · 15 minutes
#
# A language model loads for ninety seconds on a good day. Its liveness probe was copied from the digits service, and
# the pod has been restarted 214 times. Compute the probes from what is known and what is promised.


# %%
def probes(load_s, unready_s, hung_s):
    """The three probes of a container that serves the Open Inference Protocol on its port "http".

    load_s: the slowest load that was seen, seconds, from 0. unready_s: within so many seconds of
    the moment from which a pod answers "not ready", it must count as not ready. hung_s: within so
    many seconds of the moment from which it answers nothing at all, its restart must begin.
    Whole numbers of seconds throughout.

    Startup: a try each second, time-out 1 s, the smallest failureThreshold, at least 1, that
    gives twice load_s. Readiness: two failures in a row, time-out 1 s, the longest period.
    Liveness: three failures in a row, time-out 2 s, the longest period. The first failing try may
    begin a whole period after the trouble, and a try may last until its time-out. A period is at
    least as long as its time-out, since a try waits until the one before it has ended.
    Returns {"startupProbe": {...}, "readinessProbe": {...}, "livenessProbe": {...}}, with
    httpGet, periodSeconds, timeoutSeconds and failureThreshold. Raises ValueError where a promise
    would take a shorter period than that, and for a negative load_s.
    """
    # SOLUTION
    readiness, liveness = (unready_s - 1) // 2, (hung_s - 2) // 3
    if load_s < 0 or readiness < 1 or liveness < 2:
        raise ValueError("expected a load from 0 s, 3 s or more for readiness, 8 s for liveness")
    kinds = {
        "startupProbe": ("ready", 1, 1, max(1, 2 * load_s)),
        "readinessProbe": ("ready", readiness, 1, 2),
        "livenessProbe": ("live", liveness, 2, 3),
    }
    return {
        name: {
            "httpGet": {"path": f"/v2/health/{question}", "port": "http"},
            "periodSeconds": period,
            "timeoutSeconds": timeout,
            "failureThreshold": threshold,
        }
        for name, (question, period, timeout, threshold) in kinds.items()
    }


# %%
check("17.2", probes)

# %% [markdown] tags=["solution"]
# In the worst case, the trouble begins just after a try. A whole period passes until the first failing try, then
# `failureThreshold − 1` more periods until the last, which takes its time-out to fail: $f \cdot p + t$. So
# $p = \lfloor (promise - t) / f \rfloor$, as long as $p \ge t$. With a period of 1 s and a time-out of 2 s, the tries
# of a server that hangs would come every two seconds. Three of them take 7 s, not 5. Only the startup probe makes short
# periods for the others possible. Without it, the liveness probe would have to wait out the slowest load each time, by
# `initialDelaySeconds`.

# %% [markdown]
# ## 17.3 Mend the manifest ★★★ · 25 minutes
#
# It comes from a tutorial and lies in your repository. Write what the digits service needs instead: a Deployment and a
# Service, as the text of a YAML file with two documents.

# %%
FROM_A_TUTORIAL = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: model_deploy}
spec:
  template:
    metadata: {labels: {app: model}}
    spec:
      containers:
      - {name: model_deploy, image: "model_deploy:latest", ports: [{containerport: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: 2nd_model_svc}
spec:
  selector: {app: model_deploy}
  ports: [{port: 8501, targetPort: 8080}]
"""


# %%
def manifest(image):
    """The YAML text of a Deployment and of its Service, in a file with two documents.

    image: the image with its tag. The pods have one container, which runs it by the image's own
    command: neither command nor args. The server listens on port 8501; the Service answers on
    port 80, in the same namespace, and leads to pods that are ready. Both keep to the schemas of
    Kubernetes 1.37, without a field that those do not know.
    Names: lower-case letters, digits and hyphens, first a letter, last no hyphen, at most 63.
    Two pods or more, and never fewer than asked for during an update, also when the API server's
    defaults change. Probes: readiness asks /v2/health/ready, liveness /v2/health/live.
    Resources: cpu is requested, more than 0 and at most 2, and no more than its limit, if it has
    one. Memory is requested, from 128Mi to 1Gi, and limited to its request.
    """
    # SOLUTION
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: digits}}
spec:
  replicas: 2
  strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
  selector: {{matchLabels: {{app: digits}}}}
  template:
    metadata: {{labels: {{app: digits}}}}
    spec:
      containers:
      - name: service
        image: "{image}"
        ports: [{{name: http, containerPort: 8501}}]
        readinessProbe: {{httpGet: {{path: /v2/health/ready, port: http}}, periodSeconds: 2}}
        livenessProbe: {{httpGet: {{path: /v2/health/live, port: http}}}}
        resources: {{requests: {{cpu: 100m, memory: 256Mi}}, limits: {{memory: 256Mi}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: digits}}
spec:
  selector: {{app: digits}}
  ports: [{{port: 80, targetPort: http}}]
"""


# %%
check("17.3", manifest)

# %% [markdown] tags=["solution"]
# These things were wrong: underscores in names, no `selector`, a port on which nobody listens, `latest`, one pod, no
# probe, no resources. `containerport` in lower case is noticed only by a strict check. The Service selects a label that
# no pod has. A cluster accepts this, and the Service's list of endpoints stays empty. A request above its limit, or a
# Service in another namespace, would pass the schema, too. The Service refers to the port by its *name*, so that the
# number stands in one place. Building the objects as dicts and writing them with `yaml.safe_dump_all` is a second way,
# and safer where a value such as an image comes from outside.

# %% [markdown]
# ## 17.4 Is there time for a goodbye? ★★☆ · 15 minutes
#
# Each release loses four requests in ten thousand, and nobody knows how. Find it in the manifest: how may requests be
# lost when a pod of this server is deleted?


# %%
def goodbye(pod, spread_s, longest_s):
    """How requests may be lost when a pod is deleted.

    pod: a pod's spec: {"containers": [...], "terminationGracePeriodSeconds": n}, the latter 30
    where it is not given. Each container runs our server. spread_s: how long it takes until no
    new request comes after the deletion. longest_s: the longest that a request takes.

    Both begin at the deletion. A container's preStop, if it has one, goes first:
    {"exec": {"command": ["sleep", "3"]}} or {"sleep": {"seconds": 3}}; then comes SIGTERM. The
    server takes requests for as long again as "--drain-seconds=2" in its args says (also as two
    args, "--drain-seconds", "2"; 0 without), closes its door, and finishes what it has, for at
    most 10 s. At the end of the grace period, counted from the deletion, it is killed.
    Returns a set: "refused", where a container closes its door before spread_s; "cut off", where
    it may be killed, or give up, before a request accepted at the last moment has been answered,
    that is, where that takes more than 10 s, or ends at the grace period's end or later.
    Raises ValueError for another preStop.
    """
    # SOLUTION
    lost = set()
    for container in pod["containers"]:
        hook = container.get("lifecycle", {}).get("preStop")
        match hook:
            case None:
                open_s = 0.0
            case {"exec": {"command": ["sleep", seconds]}} | {"sleep": {"seconds": seconds}}:
                open_s = float(seconds)
            case _:
                raise ValueError(f"expected a preStop that sleeps, got {hook}")
        words = " ".join(container.get("args", [])).replace("=", " ").split()
        if "--drain-seconds" in words:
            open_s += float(words[words.index("--drain-seconds") + 1])
        if open_s < spread_s:
            lost.add("refused")
        grace_s = pod.get("terminationGracePeriodSeconds", 30)
        if longest_s > 10 or open_s + longest_s >= grace_s:
            lost.add("cut off")
    return lost


# %%
check("17.4", goodbye)

# %% [markdown] tags=["solution"]
# Two clocks start at the deletion, and the server must accept requests until the slower one has ended. The usual
# mistake is to add the grace period to `preStop`. The grace period contains it. `preStop: sleep` as a field of its own
# came with Kubernetes 1.30 and needs no `sleep` in the image; `--drain-seconds` does the same in the server, for images
# without a shell, or outside of Kubernetes.
