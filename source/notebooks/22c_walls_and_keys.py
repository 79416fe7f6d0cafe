# %% [markdown]
# # 22c Walls and keys
#
# At 3 a.m. every client refuses your service. The service is healthy, but its certificate ended at midnight. The new
# certificate is ready, but half of the clients have never heard of the authority that signed it.
#
# ## You will be able to
#
# - put a proxy with TLS, client certificates and a rate limit in front of a service, and say what each one stops;
# - replace certificates and their authority without losing a request;
# - find out who may read a Secret in a cluster, and whether a NetworkPolicy does anything there;
# - encrypt a model under a key that can be replaced, and load the model without a plain copy on the disk;
# - keep an audit log that shows whether somebody has changed it.
#
# ## Before you start
#
# You need lesson 22 (threats, signatures, API keys), 16 (containers) and 17 (Kubernetes). The live cells need a Docker
# engine and a Kubernetes cluster on your own machine. Without them the notebook replays a recording, and says so.
#
# One of the articles that this course grew from answers "How do I keep a model secure?" with three terms: encryption,
# access control, audit. It does not say against whom. This lesson builds all three, attacks them, and says what they do
# not stop.

# %%
import base64
import hashlib
import hmac
import json
import os
import secrets
import ssl
import time

import matplotlib.pyplot as plt
import numpy as np

# %%
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from course_lib import data, models, places, show
from course_lib.idioms import begin, claim, claim_gone, guess, live, observe, own, path, reveal
from course_lib.ops import proxy, tls
from course_lib.pipeline import open_session

scratch = begin("22c")
path.picture(here="22c")

# %%
SERVICE, GATEWAY = own("digits-service:lesson-22c"), own("digits-gateway:lesson-22c")
PROXY = own("digits-proxy:lesson-22c")
NAMESPACE, NETWORK = own("digits-22c-walls"), own("digits-22c")
OURS = {"course-lesson": own("22c")}  # a label on all that this lesson makes on the engine
_, test = data.digits()

# %% [markdown]
# ## What can somebody on the network read?
#
# Between a client and a server there are routers, load balancers, and sometimes a stranger's wireless network. Each of
# them can read what passes. *TLS* (Transport Layer Security) encrypts a connection and proves to the client who the
# server is. The proof is a *certificate*: a public key and a name, signed by a *certificate authority*, CA for short,
# that the client trusts.
#
# We make a CA of our own, and with it a certificate for the server and one for a client. `issue` makes a key and signs
# a certificate for it, with the `cryptography` package. Each certificate ends tomorrow, and we keep no key.

# %%
NAME = "digits.internal"
authority, stranger = tls.issue("authority-1"), tls.issue("authority-x")
server, client = tls.issue(NAME, authority), tls.issue("client-1", authority)
for each in (authority.certificate, server.certificate, client.certificate):
    print(each.subject.rfc4514_string(), "signed by", each.issuer.rfc4514_string())

# %% [markdown]
# The server is `docker/proxy.Dockerfile`: nginx from Debian's packages, with the configuration `docker/nginx.conf`. It
# stands as a *proxy* in front of lesson 15's gateway: it takes each request and passes it on. We do not write TLS into
# our own servers. We leave encryption, time-outs and limits to a program that many people have attacked and repaired.
# These lines of the file matter here:

# %%
CONF = (places.CHECKOUT / "docker" / "nginx.conf").read_text(encoding="utf-8")
for line in CONF.splitlines():
    if line.strip().startswith(("listen 8443", "ssl_", "limit_req", "proxy_pass")):
        print(line.strip())

# %% [markdown]
# We start the proxy twice: once as it is, and once *open*. In the open one we undo two lines. So each attack meets two
# doors, an open one and ours.

# %%
OPEN, OLD = CONF, "ssl_protocols TLSv1.1 TLSv1.2; ssl_ciphers ALL@SECLEVEL=0;"
for line, undone in {
    "ssl_verify_client on;": "ssl_verify_client off;",
    "ssl_protocols TLSv1.2 TLSv1.3;": OLD,
}.items():
    OPEN = OPEN.replace(line, undone)

# %% [markdown]
# The containers share a Docker network of ours. On it, each has a name, its *alias*. The keys go to a *volume*, a
# folder that is mounted into the container. Only nginx's user may read them. They are never in the image, since
# everybody who can pull an image can read all of it.


# %%
def start(engine, image, alias, port, **more):
    name = own(f"{alias}-22c")
    proxy.start(engine, image, alias, port, name=name, network=NETWORK, labels=OURS, **more)


def container(alias):
    from course_lib.ops.docker import docker_client

    return docker_client().containers.get(own(f"{alias}-22c"))


def port(alias, inside=8443):
    return proxy.port(container(alias), inside)


# %% [markdown]
# A client sends pictures, and an API key in a header (lesson 22). `tls.send` opens a connection, sends what we give it,
# and returns the statuses that came back, or why there are none. `tls.client` holds a client's settings: which CAs it
# trusts, and its own certificate if it has one.

# %%
API_KEY = secrets.token_urlsafe(24)


def request(pictures, more=""):
    body = json.dumps({"instances": pictures[:, None].tolist()})
    head = f"Host: {NAME}\r\nX-API-Key: {API_KEY}\r\nContent-Length: {len(body)}\r\n{more}"
    return f"POST /v1/models/digits_cnn:predict HTTP/1.1\r\n{head}\r\n{body}".encode()


CLOSE = "Connection: close\r\n"
ONE = request(test.images[:1], CLOSE)
friend = tls.client([authority], client)


# %%
@live("docker")
def walls():
    from course_lib.ops import docker
    from course_lib.ops.monitoring import until

    engine, began = docker.docker_client(), time.perf_counter()
    docker.clear(engine, OURS, SERVICE, GATEWAY, PROXY, namespace=NAMESPACE)  # of an earlier run
    docker.build_service(engine, scratch / "context", places.MODELS, SERVICE)
    docker.build_gateway(engine, scratch / "context", GATEWAY)
    docker.build_proxy(engine, scratch / "context", PROXY)
    built_s = time.perf_counter() - began
    engine.networks.create(NETWORK, labels=OURS)
    start(engine, SERVICE, "digits", 8501)
    command = "python -m course_lib.services.gateway --predictor http://digits:8501 --host 0.0.0.0"
    start(engine, GATEWAY, "gateway", 8080, command=f"{command} --port 8080")
    until(lambda: tls.send(port("gateway", 8080), ONE)["statuses"] == [200])
    keys = {**proxy.files(server, authority), "open.conf": OPEN.encode()}
    opened = "nginx -e stderr -c /etc/nginx/keys/open.conf"
    for alias, command in {"walled": None, "open": opened}.items():
        start(engine, PROXY, alias, 8443, keys=keys, command=command)
        until(lambda alias=alias: tls.send(port(alias), ONE, friend)["statuses"])
    return {"built_s": built_s, "image_bytes": engine.images.get(PROXY).attrs["Size"]}


# %%
built = walls()
print(f"three images in {built['built_s']:.0f} s; the proxy: {built['image_bytes'] / 1e6:.0f} MB")

# %% [markdown]
# The same by hand, with certificates and key in a volume `proxy-keys`:
#
# ```bash
# docker build -f docker/proxy.Dockerfile -t digits-proxy:0.1.0 .
# docker run --read-only --tmpfs /tmp --network digits -p 8443:8443 -v proxy-keys:/etc/nginx/keys digits-proxy:0.1.0
# ```
#
# Now somebody listens. `tls.listener` accepts a connection, passes every byte on, and keeps a copy. We send a request
# to the gateway itself, by plain HTTP. Then we send one picture and ten pictures through the proxy, by TLS.

# %%
choices = ["nothing", "the server's name and sizes", "the API key", "the picture"]
guess("heard", "With TLS, what does the listener still learn?", choices=choices)


# %%
@live("docker")
def listened():
    cases = {"HTTP, 1 picture": ("gateway", 8080, None, ONE)}
    cases |= {"TLS, 1 picture": ("walled", 8443, friend, ONE)}
    cases |= {"TLS, 10 pictures": ("walled", 8443, friend, request(test.images[:10], CLOSE))}
    seen = {}
    for what, (alias, inside, settings, payload) in cases.items():
        with tls.listener(port(alias, inside)) as (tapped, pieces):
            statuses = tls.send(tapped, payload, settings)["statuses"]
        sought = {"API key": API_KEY.encode(), "picture": payload[-300:], "answer": b"predictions"}
        sought |= {"server's name": NAME.encode()}
        text = b"".join(pieces)
        seen[what] = {part: each in text for part, each in sought.items()}
        seen[what] |= {"bytes": len(text), "status": statuses[0]}
    return seen


# %% [markdown]
# This is what the listener kept:

# %%
heard = listened()
plain, one, ten = heard.values()
rows = [[part, *(each[part] for each in heard.values())] for part in plain]
show.table(["what the listener has", *heard], rows, "The same request, three times.")

# %%
reveal("heard", "the server's name and sizes")
claim(
    "without TLS the listener has key, picture and answer; with TLS only the name and the sizes",
    all(plain[part] and not one[part] for part in ("API key", "picture", "answer"))
    and one["server's name"]
    and ten["bytes"] > one["bytes"] + 1000
    and plain["status"] == one["status"] == ten["status"] == 200,
)

# %% [markdown]
# The client names the server before anything is encrypted, so that one address can serve many names. And ciphertext is
# about as long as the plain text. If the length of an answer says something about a person, fill every answer up to the
# same length.
#
# ## How does a server know its clients?
#
# TLS proves the server's name to the client. In *mutual* TLS the client shows a certificate as well. nginx answers 400
# to a client without a valid certificate of our CA. Five clients try both doors.

# %%
CLIENTS = {
    "no certificate": tls.client([authority]),
    "one of another CA": tls.client([authority], tls.issue("client-1", stranger)),
    "one that ended yesterday": tls.client([authority], tls.issue("client-1", authority, days=-1)),
    "its own, by TLS 1.1": tls.client([authority], client, old=True),
    "its own": friend,
}


# %%
@live("docker")
def visitors():
    doors = {alias: port(alias) for alias in ("open", "walled")}
    return {
        who: {alias: tls.outcome(tls.send(door, ONE, settings)) for alias, door in doors.items()}
        for who, settings in CLIENTS.items()
    }


# %% [markdown]
# A status, or the reason why there is none:

# %%
came = visitors()
rows = [[who, each["open"], each["walled"]] for who, each in came.items()]
show.table(["client's certificate", "open proxy", "our proxy"], rows, "Five clients at two doors.")

# %%
*uninvited, old_tls, invited = came.values()
claim(
    "without a valid certificate: 200 at the open door, 400 at ours; by TLS 1.1: no answer at ours",
    all((each["open"], each["walled"]) == (200, 400) for each in uninvited)
    and not isinstance(old_tls["walled"], int)
    and invited["walled"] == 200,
)

# %% [markdown]
# TLS 1.1 was declared obsolete in 2021 (RFC 8996). While a server allows it, somebody in between may try to make two
# modern programs use it.
#
# The client must also check the server. A listener can pretend to be the server, and show another certificate. We let
# the open proxy play this *impostor*. It shows three wrong certificates, one after the other. Two clients connect. The
# careful one has Python's defaults. The author of the careless one once wrote `verify=False`, to get rid of an error.

# %%
careful, careless = friend, tls.client([authority])
careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
IMPOSTORS = {
    "signed by another CA": tls.issue(NAME, stranger),
    "signed by ours, for another name": tls.issue("printer.internal", authority),
    "signed by ours, ended yesterday": tls.issue(NAME, authority, days=-1),
}


@live("docker")
def impostors():
    seen = {}
    for what, shown in IMPOSTORS.items():
        proxy.renew(container("open"), proxy.files(shown, authority))
        both = [tls.send(port("open"), ONE, each) for each in (careless, careful)]
        seen[what] = [tls.outcome(each) for each in both]
    return seen


# %%
trapped = impostors()
rows = [[what, *each] for what, each in trapped.items()]
show.table(["the server's certificate", "careless", "careful"], rows, "Two clients, one impostor.")

# %%
claim(
    "the careless client hands its API key to all three; the careful one refuses all three",
    all(blind == 200 and isinstance(why, str) for blind, why in trapped.values()),
)

# %% [markdown]
# `verify=False` still encrypts, but for anybody who answers. If a certificate of your own CA gives an error, give the
# client your CA (`verify="ca.pem"`), and leave the check on.
#
# ## How many requests does a rate limit let through?
#
# Our proxy allows each client 2 requests a second and a *burst* of 5. nginx counts with a *leaky bucket*: for each
# client it keeps an excess $e$, a number of requests, which drains at the rate $r$. The first request sets $e = 0$. For
# a request that comes $\Delta t$ seconds after the last one that passed, nginx computes
#
# $$e' = \max(0,\; e - r\,\Delta t + 1) .$$
#
# If $e'$ is at most the burst, the request passes and $e'$ becomes the new $e$. Otherwise it gets status 429, *too many
# requests*, and the bucket stays as it was.

# %%
guess("passed", "2 requests a second, burst 5. How many of 30 at once pass?", low=0, high=30)


# %%
@live("docker")
def flood():
    crowd, seen = tls.client([authority], tls.issue("flood", authority)), {}
    proxy.renew(container("open"), proxy.files(server, authority))
    for alias in ("open", "walled"):
        began = time.perf_counter()
        answers = tls.send(port(alias), request(test.images[:1]) * 29 + ONE, crowd)
        seen[alias] = {"seconds": time.perf_counter() - began, "statuses": answers["statuses"]}
    return seen


# %%
flooded = flood()
limited = flooded["walled"]
print(limited["statuses"], f"{limited['seconds']:.2f} s")
passed, refused = (limited["statuses"].count(status) for status in (200, 429))
reveal("passed", passed)
claim(
    "the open door answers all 30; ours answers 1 + 5, and at most 2 more for each second",
    flooded["open"]["statuses"] == [200] * 30
    and 6 <= passed <= 6 + 2 * limited["seconds"]
    and passed + refused == 30,
    f"{passed} x 200, {refused} x 429",
)

# %% [markdown]
# The requests came at once, so $\Delta t \approx 0$ and each one adds 1. The first has $e = 0$, the sixth $e = 5$, the
# seventh would have $e = 6 > 5$. Each half second that the 30 take lets one more through.
#
# **Where this goes wrong.** The open proxy has the same limit in its file, and it answered all 30. Why? An address is a
# poor choice to count by: a whole company may share one. So the file counts by the name in the certificate. Without
# `ssl_verify_client` everybody's name is empty, and nginx does not count a request whose name is empty. A test of the
# course (`tests/deploy/test_proxy.py`) fails if either line is missing. **Now do exercise 22c.1.**
#
# ## How do I replace a certificate without losing a request?
#
# Certificates end, keys leak, and one day the CA itself must be replaced. Twenty clients ask all the time, each request
# over a new connection. We go from CA 1 to CA 2 in two ways. *All at once*: the server changes everything. The clients
# belong to other teams and follow a second later. *In steps*:
#
# 1. Server and clients trust both CAs.
# 2. The server gets its new certificate.
# 3. The clients get their new certificates.
# 4. Server and clients stop trusting the old CA.

# %%
new = tls.issue("authority-2")
next_server = tls.issue(NAME, new)


def twenty(trusted, signer):
    return [tls.client(trusted, tls.issue(f"client-{number}", signer)) for number in range(20)]


old_clients, new_clients = twenty([authority], authority), twenty([new], new)
PLANS = {
    "all at once": [(proxy.files(next_server, new), None), (None, new_clients)],
    "in steps": [
        (proxy.files(server, authority, new), twenty([authority, new], authority)),
        (proxy.files(next_server, authority, new), None),
        (None, twenty([authority, new], new)),
        (proxy.files(next_server, new), new_clients),
    ],
}


# %%
@live("docker")
def rotations():
    told = {}
    for plan, steps in PLANS.items():
        proxy.renew(container("walled"), proxy.files(server, authority))
        clients = [*old_clients]
        with tls.asking(port("walled"), ONE, clients) as seen:
            for files, equipped in steps:
                time.sleep(1)
                if files:
                    proxy.renew(container("walled"), files)
                clients[:] = equipped or clients
            time.sleep(1)
        told[plan] = sorted(seen, key=lambda each: each[0])
    return told


# %% [markdown]
# How many requests are lost?

# %%
told = rotations()
lost = {plan: sum(answer != 200 for _, answer, _ in seen) for plan, seen in told.items()}
figure, grid = plt.subplots(2, sharex=True)
for axes, (plan, seen) in zip(grid, told.items()):
    groups = {"old certificate": [], "new certificate": [], "refused": []}
    for at, answer, by in seen:
        shown = "new certificate" if by == seen[-1][2] else "old certificate"
        groups[shown if answer == 200 else "refused"].append(at)
    bins, colours = np.arange(0, seen[-1][0] + 1, 0.5), [show.BLUE, show.GREEN, show.RED]
    axes.hist(list(groups.values()), bins, stacked=True, color=colours, label=list(groups))
    axes.set_title(plan, loc="left")
    axes.set_ylabel("requests")
grid[0].legend(fontsize="small", loc="upper right")
grid[1].set_xlabel("time (s), in bars of 0.5 s")
show.finding(
    f"All at once: {lost['all at once']} requests lost. In steps: {lost['in steps']}",
    alt="Requests over time, two rows. Above, they turn from answered to refused and back: "
    f"{lost['all at once']} are refused. Below, all are answered; the certificate changes.",
)

# %%
claim(
    "all at once loses requests; in steps loses none, and ends with another certificate",
    lost["all at once"] > 0
    and lost["in steps"] == 0
    and told["in steps"][0][2] != told["in steps"][-1][2],
    f"{lost['in steps']} of {len(told['in steps'])} requests",
)

# %% [markdown]
# `proxy.renew` replaces the files and sends the signal HUP, as `nginx -s reload` does. nginx starts workers with the
# new files, and the old workers finish their requests. If a file is wrong, the old workers stay, and the log says why.
# A client that keeps connections open must do one thing more: if the server closes an idle connection, it sends its
# request again on a new one.
#
# ```bash
# docker kill --signal HUP CONTAINER
# ```
#
# ## Who may do what in the cluster?
#
# A person or a program asks the Kubernetes API under a name. *RBAC* (role-based access control) decides what this name
# may do. A *Role* lists rights; a *RoleBinding* gives them to somebody. Everything else is forbidden. A program in a
# pod has the name of a *ServiceAccount*. We make two: `watcher` may read pods and their logs, `deployer` may also
# create pods. We run each line of `MADE` after `kubectl create`.

# %%
VERBS = {"watcher": "get,list,watch", "deployer": "get,list,watch,create"}
MADE = """\
serviceaccount {name}
role {name} --verb={verbs} --resource=pods,pods/log
rolebinding {name} --role={name} --serviceaccount={namespace}:{name}"""

# %% [markdown]
# `kubectl auth can-i` asks the API server what a name may do. With `--as` you ask for somebody else, if you have the
# right to. Beside our two we ask for `default`, the account of every pod that names no other, and for `digits`, the
# account of the course's own pods in `k8s/base`.
#
# ```bash
# kubectl auth can-i get secrets -n digits --as=system:serviceaccount:digits:watcher
# ```


# %%
ASKED = ["get pods", "get pods -n kube-system", "create pods", "delete pods", "get secrets"]
ACCOUNTS = ["default", "digits", *VERBS]


@live("docker", "kubernetes")
def rights():
    from course_lib.ops import kubernetes as cluster
    from course_lib.ops.monitoring import until

    cluster.fresh_namespace(NAMESPACE)
    until(lambda: cluster.listed("serviceaccounts", NAMESPACE))  # the cluster makes `default`
    cluster.load_image(SERVICE)
    cluster.apply([cluster.the("ServiceAccount", cluster.rendered("k8s/base"))], NAMESPACE)
    for name, verbs in VERBS.items():
        for line in MADE.format(name=name, verbs=verbs, namespace=NAMESPACE).splitlines():
            cluster.kubectl("create", *line.split(), "-n", NAMESPACE)
    return {who: [cluster.can_i(line, NAMESPACE, who) for line in ASKED] for who in ACCOUNTS}


# %%
allowed = rights()
rows = [[who, *each] for who, each in allowed.items()]
show.table(["account", *ASKED], rows, "Who may do what, as the API server says.")

# %%
claim(
    "watcher may read pods here, deployer also create them; the others nothing; none gets Secrets",
    allowed["watcher"] == ["yes", "no", "no", "no", "no"]
    and allowed["deployer"] == ["yes", "no", "yes", "no", "no"]
    and set(allowed["default"] + allowed["digits"]) == {"no"},
)

# %% [markdown]
# How does a pod prove its name? Kubernetes puts a *token* into it, a file that the API server accepts like a password.
# Every pod has it unless it declines, even a model server that never asks the API. An attacker who can read this file
# has all rights of the pod's account. So the course's base says `automountServiceAccountToken: false`. Two pods look
# for the file, and print the name in it.

# %%
LOOK = """
import base64, json, pathlib
file = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
claims = file.exists() and json.loads(base64.b64decode(file.read_text().split(".")[1] + "==", "-_"))
print(claims["sub"].partition(":")[2] if claims else "no token")
"""


@live("docker", "kubernetes")
def tokens():
    from course_lib.ops.kubernetes import finished_pod_log, run_pod

    pods = {"says-nothing": None, "declines": False}
    for name, mount in pods.items():
        spec = {"automountServiceAccountToken": mount}
        run_pod(NAMESPACE, name, SERVICE, ["python", "-c", LOOK], spec=spec)
    logs = {name: finished_pod_log(NAMESPACE, name).strip() for name in pods}
    return {name: log.replace(NAMESPACE, "NAMESPACE") for name, log in logs.items()}


# %%
found = tokens()
print(found)
claim(
    "a pod that says nothing has the token of the default account; one that declines has none",
    found["says-nothing"].endswith(":default") and found["declines"] == "no token",
)

# %% [markdown]
# ## Is a Secret secret?
#
# A *Secret* is an object of the API that holds keys. Lesson 17b decoded one. Here we look for its value wherever it may
# show. The cells only compare the value, and do not print it. One pod has it as an environment variable and as a
# mounted file. `deployer`, who may not read Secrets, creates a second pod like it.

# %%
question = "deployer may create pods and read logs, not Secrets. Can it learn the value?"
guess("deployer", question, choices=["yes", "no"])

# %%
SPREAD = """
import hashlib, json, os, pathlib, subprocess, sys
hashed = lambda text: hashlib.sha256(text.encode()).hexdigest()
child = [sys.executable, "-c", "import os; print(os.environ['KEY'], end='')"]
seen = {"environment": os.environ["KEY"], "file": pathlib.Path("/keys/key").read_text()}
seen["child process"] = subprocess.run(child, capture_output=True, text=True).stdout
print(json.dumps({where: hashed(value) for where, value in seen.items()}))
"""
WITH_SECRET = {
    "container": {
        "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "door", "key": "key"}}}],
        "volumeMounts": [{"name": "keys", "mountPath": "/keys", "readOnly": True}],
    },
    "spec": {"volumes": [{"name": "keys", "secret": {"secretName": "door"}}]},
}

# %% [markdown]
# Now we look in all these places.


# %%
@live("docker", "kubernetes")
def secret():
    from course_lib.ops.kubernetes import apply, finished_pod_log, kubectl, run_pod

    value = secrets.token_urlsafe(24)
    kind = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "door"}}
    apply([{**kind, "stringData": {"key": value}}], NAMESPACE)
    described = kubectl("describe", "secret", "door", "-n", NAMESPACE)
    whole = kubectl("get", "secret", "door", "-n", NAMESPACE, "-o", "json")
    coded = json.loads(whole)["data"]["key"]
    shows = {"kubectl describe": value in described, "get -o json": value in whole}
    shows["get -o json, base64 undone"] = base64.b64decode(coded).decode() == value
    hashed = hashlib.sha256(value.encode()).hexdigest()
    for name, account in {"owner": "", "thief": "deployer"}.items():
        command = ["python", "-c", SPREAD]
        run_pod(NAMESPACE, name, SERVICE, command, account=account, **WITH_SECRET)
    for name in ("owner", "thief"):
        log = json.loads(finished_pod_log(NAMESPACE, name))
        shows |= {f"{name}'s pod, {where}": found == hashed for where, found in log.items()}
    return {"described": described.splitlines()[-3:], "shows": shows}


# %%
door = secret()
print("\n".join(door["described"]))
show.table(["where", "shows the value"], door["shows"].items(), "Where a Secret's value shows.")

# %%
reveal("deployer", "yes" if door["shows"]["thief's pod, file"] else "no")
claim(
    "describe hides the value; all others show it, also to deployer, who may not read Secrets",
    [where for where, there in door["shows"].items() if not there] == ["kubectl describe"]
    and allowed["deployer"][ASKED.index("get secrets")] == "no",
)

# %% [markdown]
# What follows from this:
#
# - Everybody who may `get` a Secret has its value. base64 hides nothing.
# - The object even holds the value in plain text: `kubectl apply` keeps what you sent in an annotation. Use
#   `kubectl create`, or a program that fetches keys from a vault.
# - The child process had the environment variable as well. A mounted file must be opened first. Prefer the file.
# - The right to create pods is a right to read all Secrets of the namespace, because a pod may mount any of them. Keep
#   Secrets of different owners in different namespaces. **Now do exercise 22c.4**, which finds such accounts.
#
# In etcd, the API server's database, a Secret is plain, too, unless the server was started with an *encryption
# configuration*.
#
# ## Does my NetworkPolicy do anything?
#
# A *NetworkPolicy* says who may connect to a pod. The API server stores it. The *network plug-in*, which connects the
# pods, must enforce it, and some plug-ins do not. Then there is no error, no warning and no event. So test it. One pod
# asks another. We forbid all incoming connections, and it asks again.

# %%
DENY = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
DENY |= {"metadata": {"name": "deny-all"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
ASK = """
import sys, urllib.request as u
try:
    print(u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=3).status)
except OSError:
    print("no answer")
"""


# %%
@live("docker", "kubernetes")
def policy():
    from course_lib.ops.kubernetes import apply, kubectl, run_pod
    from course_lib.ops.monitoring import until

    both = {"server": ["python", "-m", "http.server", "8080"], "asker": ["sleep", "600"]}
    for name, command in both.items():
        run_pod(NAMESPACE, name, SERVICE, command)
    kubectl("wait", "--for=condition=Ready", "pod", *both, "-n", NAMESPACE, "--timeout=60s")
    ip = kubectl("get", "pod", "server", "-n", NAMESPACE, "-o", "jsonpath={.status.podIP}")
    words = ["exec", "asker", "-n", NAMESPACE, "--", "python", "-c", ASK, f"http://{ip}:8080"]
    until(lambda: kubectl(*words).strip() == "200")
    apply([DENY], NAMESPACE)
    stored = kubectl("get", "networkpolicy", "-n", NAMESPACE, "-o", "name").strip()
    time.sleep(3)  # what enforces a policy may need a moment
    return {"before": "200", "stored": stored, "after": kubectl(*words).strip()}


# %%
asked = policy()
claim("the policy is stored", asked["stored"].endswith("/deny-all"))
unheard, what = asked["after"] == "no answer", f"before: {asked['before']}, then: {asked['after']}"
observe("under deny-all the other pod gets no answer", unheard, what, of=asked, either=True)

# %% [markdown]
# If the second line is marked "otherwise" and ends with 200, the cluster stores the policy and does nothing. The
# cluster of our recording is of this kind. If it is marked "observed", your plug-in enforces the policy, as Calico and
# Cilium do. Run this test on your own cluster before you count on any policy:
#
# ```bash
# kubectl run asker --rm -it --restart=Never --image=busybox -- wget -T 3 -qO- http://POD-IP:8080  # must answer
# kubectl apply -f deny-all.yaml  # DENY, from above
# kubectl run asker --rm -it --restart=Never --image=busybox -- wget -T 3 -qO- http://POD-IP:8080  # must not
# ```
#
# Now we remove everything from the engine and the cluster.


# %%
@live("docker", "kubernetes")
def remove():
    from course_lib.ops.docker import clear, docker_client

    return clear(docker_client(), OURS, SERVICE, GATEWAY, PROXY, namespace=NAMESPACE)


# %%
claim_gone("containers, keys, network, images and namespace are gone", remove())

# %% [markdown]
# ## How do I encrypt a model?
#
# A backup is stolen, a disk is sold, a bucket is open. The file should be noise for anybody who finds it. *AES-GCM*
# encrypts bytes under a key and adds a *tag* of 16 bytes. If one bit of the ciphertext is changed, the tag no longer
# fits, and decryption fails. It also binds *associated data*, which is not secret: we take the model's name and
# version. So nobody can put version 2 in the place of version 3.
#
# Under which key? If one key encrypted all models, replacing it would mean encrypting all of them anew. An *envelope*
# avoids this. Each model has its own *data key*. The data key is *wrapped*, that is, encrypted under a *key-encryption
# key*, KEK for short. These 40 bytes stand in the file. The KEK is elsewhere, in a key service or a mounted Secret.


# %%
def sealed(plain, kek, name):
    """wrapped data key (40 bytes) + nonce (12 bytes) + ciphertext with its tag."""
    key, nonce = AESGCM.generate_key(256), os.urandom(12)
    return aes_key_wrap(kek, key) + nonce + AESGCM(key).encrypt(nonce, plain, name)


def opened(envelope, kek, name):
    key = aes_key_unwrap(kek, envelope[:40])
    return AESGCM(key).decrypt(envelope[40:52], envelope[52:], name)


def rewrapped(envelope, old_kek, new_kek):
    return aes_key_wrap(new_kek, aes_key_unwrap(old_kek, envelope[:40])) + envelope[40:]


# %%
model, name = models.path("digits_cnn", 3).read_bytes(), b"digits_cnn/3"
kek_1, kek_2 = os.urandom(32), os.urandom(32)
file = scratch / "model.sealed"
file.write_bytes(sealed(model, kek_1, name))
session = open_session(opened(file.read_bytes(), kek_1, name), threads=1)  # bytes, no file

# %%
pictures = {"pixels": test.images[:, None].astype(np.float32)}
expected = open_session(model, threads=1).run(None, pictures)[0]
files = [each.read_bytes() for each in scratch.rglob("*") if each.is_file()]
claim(
    "the model from the envelope gives the same bits, and our scratch folder has no plain copy",
    np.array_equal(session.run(None, pictures)[0], expected)
    and not any(model[1000:1064] in each for each in files),
    f"{file.stat().st_size - len(model)} bytes more",
)

# %% [markdown]
# The key-encryption key may have leaked, so we replace it. How many bytes of the file change?

# %%
before = file.read_bytes()
after = rewrapped(before, kek_1, kek_2)
claim(
    "after the rotation bytes 0 to 39 are new, all others are as before, and the model opens",
    after[40:] == before[40:] and opened(after, kek_2, name) == model,
    f"{len(after):,} bytes in all",
)

# %% [markdown]
# Somebody who has the old KEK cannot open the *new* file. If they also kept an old copy of the file, they have the data
# key. In that case seal the model anew, under a new data key.
#
# Now somebody changes the file.


# %%
def changed(position):
    return after[:position] + bytes([after[position] ^ 1]) + after[position + 1 :]


def tried(envelope, kek=kek_2, name=name):
    try:
        return f"opened {len(opened(envelope, kek, name))} bytes"
    except (InvalidTag, InvalidUnwrap) as refused:
        return type(refused).__name__


# %%
attempts = {
    "nothing": tried(after)[:6],
    "a bit of the ciphertext": tried(changed(5000)),
    "a bit of the wrapped key": tried(changed(7)),
    "a bit of the nonce": tried(changed(45)),
    "called digits_cnn/2": tried(after, name=b"digits_cnn/2"),
    "the old KEK": tried(after, kek=kek_1),
}
show.table(["changed", "result"], attempts.items(), "What happens to a changed envelope.")

# %%
untouched, *others = attempts.values()
claim(
    "unchanged it opens, and all five changes are refused",
    untouched == "opened" and set(others) == {"InvalidTag", "InvalidUnwrap"},
)

# %% [markdown]
# ## Where this goes wrong: the same nonce twice
#
# GCM makes a stream of bytes from key and *nonce*, a number used once, and adds it to the text by XOR, $\oplus$. With
# the same key and nonce the stream $s$ is the same. So for two texts $a$ and $b$
#
# $$(a \oplus s) \oplus (b \oplus s) = a \oplus b .$$
#
# The stream is gone. We encrypt two pictures, with one nonce and with two.

# %%
zero, seven = (test.images[test.labels == digit][0] for digit in (0, 7))
a, b = (np.uint8(255 * (picture > 0.4)) for picture in (zero, seven))
cipher, nonce, another = AESGCM(AESGCM.generate_key(256)), os.urandom(12), os.urandom(12)


def encrypted(picture, nonce):
    text = cipher.encrypt(nonce, picture.tobytes(), None)[:-16]  # without the tag
    return np.frombuffer(text, np.uint8).reshape(8, 8)


once = encrypted(a, nonce) ^ encrypted(b, another)
twice = encrypted(a, nonce) ^ encrypted(b, nonce)

# %%
show.images(
    [picture / 255 for picture in (a, b, encrypted(a, nonce), encrypted(b, nonce), twice, once)],
    ["a", "b", "a, encrypted", "b, encrypted", "XOR, same nonce", "XOR, two nonces"],
    finding_title="With the same nonce, the XOR of two ciphertexts is that of the pictures",
    alt="Six small pictures: a 0, a 7, their ciphertexts, which look like noise, and two XORs. "
    "With the same nonce it is dark where the 0 and the 7 differ; with two nonces it is noise.",
)

# %%
claim(
    "with one nonce the XOR of the ciphertexts is that of the pictures; with two it is not",
    np.array_equal(twice, a ^ b) and not np.array_equal(once, a ^ b),
)

# %% [markdown]
# Somebody who has one of the pictures now has the other. A counter that starts at 0 after each restart repeats nonces.
# Take the nonce from `os.urandom`, anew for each encryption.
#
# **Now do exercise 22c.2**, an envelope that says under which KEK it was made.
#
# What does encryption at rest not stop? The service must open the model, so it has a key. Everybody who may run code in
# the service's process, or read its memory, has key and model. If the KEK is a Secret, so has everybody who may create
# pods in its namespace. And a client may copy the model from its answers (lesson 22b).
#
# ## How do I notice that somebody has changed the log?
#
# An *audit log* says who did what, when, and with which version. You read it after an incident, and the culprit may be
# able to change it. So each line holds its own hash and that of the line before: a *hash chain*.
#
# The log should hold no personal data. To recognise a request, a hash of it is enough. But suppose your clients have
# numbers below 10,000. Then a plain hash hides nothing, since a list of all 10,000 hashes undoes it. A *keyed hash*
# (HMAC) takes a secret key. Nobody can make the list without the key.

# %%
pseudonym_key = os.urandom(32)


def keyed(text):
    return hmac.digest(pseudonym_key, text.encode(), "sha256").hex()


every = {hashlib.sha256(str(number).encode()).hexdigest(): number for number in range(10_000)}
plain_hash = hashlib.sha256(b"4711").hexdigest()
claim(
    "the plain hash of 4711 is undone by the list, the keyed one is not in it",
    every[plain_hash] == 4711 and keyed("4711") not in every,
)

# %% [markdown]
# Such a *pseudonym* is still personal data for everybody who has the key. Give the key to as few people as possible.
# Now the chain:


# %%
def digest(entry):
    text = json.dumps({name: entry[name] for name in sorted(entry) if name != "hash"})
    return hashlib.sha256(text.encode()).hexdigest()


def append(log, **entry):
    entry["previous"] = log[-1]["hash"] if log else ""
    log.append(entry | {"hash": digest(entry)})


def first_wrong(log):
    """The first row whose hash is wrong, or whose `previous` is not the hash before; or None."""
    for row, entry in enumerate(log):
        previous = log[row - 1]["hash"] if row else ""
        if entry["hash"] != digest(entry) or entry["previous"] != previous:
            return row
    return None


# %%
log = []
for row in range(100):
    who, asked_for = f"client-{row % 7}", request(test.images[row : row + 1]).decode()
    entry = {"when": f"2027-01-31T03:{row // 60:02}:{row % 60:02}Z", "who": keyed(who)[:16]}
    append(log, **entry, what="predict", model="digits_cnn/3", request=keyed(asked_for)[:16])
print(json.dumps(log[1], indent=1))
claim("the chain holds", first_wrong(log) is None)

# %% [markdown]
# In a file each row is a line of JSON. Somebody wants to hide what happened. Here are six ways:


# %%
def made_anew(start, **changes):
    """The rows from `start` on, chained again. Everybody who may write to the file can do this."""
    forged = log[:start]
    for row, entry in enumerate(log[start:]):
        append(forged, **{**entry, **(changes if row == 0 else {})})
    return forged


other = log[40] | {"model": "digits_cnn/2"}
forgeries = {
    "row 40 changed": [*log[:40], other, *log[41:]],
    "row 40 changed, its hash too": [*log[:40], other | {"hash": digest(other)}, *log[41:]],
    "row 40 removed": log[:40] + log[41:],
    "rows 40 and 41 exchanged": [*log[:40], log[41], log[40], *log[42:]],
    "the last ten rows cut off": log[:90],
    "all made anew from row 40": made_anew(40, model="digits_cnn/2"),
}

# %%
choices = ["row 89", "row 90", "row 99", "nothing wrong"]
guess("cut", "The last ten rows are cut off. What does the check say?", choices=choices)

# %% [markdown]
# Where does the check find the forgeries?

# %%
named = {what: first_wrong(rows) for what, rows in forgeries.items()}
rows = [[what, "nowhere" if row is None else row] for what, row in named.items()]
show.table(["forgery", "the chain is wrong at row"], rows, "Six forgeries, found by the chain.")

# %%
reveal("cut", "nothing wrong" if named["the last ten rows cut off"] is None else "row 90")
claim(
    "four are found at row 40 or 41; two are not found",
    list(named.values()) == [40, 41, 40, 40, None, None],
)

# %% [markdown]
# The chain proves that the rows fit each other. It does not prove that all rows are there, nor that nobody has written
# them anew. Both need an *anchor*: every hour, keep the number of rows and the last hash somewhere else, signed. The
# machine that writes the log must not be able to change the anchor.

# %%
signer = ed25519.Ed25519PrivateKey.generate()  # on another machine
anchor = json.dumps({"rows": len(log), "hash": log[-1]["hash"]}).encode()
signature = signer.sign(anchor)


def anchored(log, anchor):
    try:
        signer.public_key().verify(signature, anchor)
    except InvalidSignature:
        return False
    kept = json.loads(anchor)
    return len(log) >= kept["rows"] and log[kept["rows"] - 1]["hash"] == kept["hash"]


# %%
hidden = [
    what for what, rows in forgeries.items() if named[what] is None and anchored(rows, anchor)
]
claim(
    "chain and anchor find all six; an anchor that was changed is refused",
    not hidden
    and anchored(log, anchor)
    and not anchored(log[:90], json.dumps({"rows": 90, "hash": log[89]["hash"]}).encode()),
)

# %% [markdown]
# Rows after the last anchor can still be cut off. So somebody can hide what happened since then. **Now do exercise
# 22c.3.**
#
# ## What we measured

# %%
rows = {
    "30 requests at once: passed, refused": f"{passed}, {refused}",
    "requests lost: all at once, in steps": f"{lost['all at once']}, {lost['in steps']}",
    "deny-all NetworkPolicy: before, after": f"{asked['before']}, {asked['after']}",
    "bytes that change when a KEK is replaced": f"40 of {len(after):,}",
}
show.table(["what", "figure"], rows.items(), "Lesson 22c in figures.")

# %% [markdown]
# ## What to remember
#
# - Each wall stops somebody: TLS the listener, a client certificate the stranger, a limit the flood, RBAC the
#   colleague, encryption at rest the thief of the disk. Ask of each wall whom it does not stop.
# - Trust the new CA before you use it, and use it before you stop trusting the old one.
# - A wall that nobody has attacked may not be there: an unenforced policy, a limit that counts nobody, a log without an
#   anchor.
#
# ## Where this breaks down
#
# Our CA's key lies in this notebook's memory; a real one lies in hardware. We revoked no certificate before its end:
# that takes a list (`ssl_crl`), or lifetimes of hours. nginx looks up `gateway` once, at its start. The limit counts on
# one proxy; two proxies let twice as much through. We did not try the rights of people, admission rules or Pod
# Security. Python keeps copies of keys in memory, and memory may be swapped to disk. `docker/compose.yaml` does not
# start the proxy, because its certificates must be yours.
#
# ## What real teams use
#
# cert-manager or a cloud's CA issues certificates. Istio or Linkerd add mutual TLS between all pods. Vault or a cloud's
# key service unwraps data keys, and keeps the KEKs to itself. OPA Gatekeeper or Kyverno refuse pods that mount what
# they should not. Calico or Cilium enforce NetworkPolicies. Audit logs go to storage that can only be appended to, or
# to a transparency log.
#
# ## Further reading
#
# - E. Rescorla, *The Transport Layer Security (TLS) Protocol Version 1.3*, RFC 9846, 2026, which replaces RFC 8446;
#   *Deprecating TLS 1.0 and TLS 1.1*, RFC 8996.
# - nginx documentation, *ngx_http_ssl_module* and *ngx_http_limit_req_module*, <https://nginx.org/en/docs/>.
# - Kubernetes documentation, *Using RBAC Authorization*, *Good practices for Kubernetes Secrets*, *Network Policies*,
#   *Encrypting Confidential Data at Rest*.
# - M. Dworkin, *Recommendation for Galois/Counter Mode (GCM)*, NIST SP 800-38D, 2007; J. Schaad, R. Housley, *AES Key
#   Wrap Algorithm*, RFC 3394.
# - B. Schneier, J. Kelsey, *Secure Audit Logs to Support Computer Forensics*, ACM TISSEC 1999.
