# %% [markdown]
# # 22c Walls and keys: exercises
#
# Four functions for the person on call: what a rate limit lets through, an envelope that opens only as it should, an
# audit log that names the tampered row, and a list of everybody who can read a namespace's Secrets. Fill in what is
# missing, run the cell, then run its check.

# %%
import hashlib
import json

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from course_lib.idioms import begin, check

scratch = begin("22c")

# %% [markdown]
# ## 22c.1 How many get through? ★☆☆ · 10 minutes
#
# A customer complains about status 429. "We send two a second, as agreed!" Their log has the times of all their
# requests. Compute which of them nginx let through. The lesson has the formula of the leaky bucket.


# %%
def let_through(arrivals, rate, burst):
    """Which requests of one client pass `limit_req` with `nodelay`.

    arrivals: a list of floats, the times of the requests in seconds, in order; it may be empty, and
    equal times are allowed. rate: requests a second, above 0. burst: an int, 0 or more.
    The first request passes and sets the excess to 0. For a later one the excess would be
    max(0, excess - rate * t + 1); t: the seconds since the last request that passed. It passes if
    this is at most burst. A refused request changes nothing.
    Returns a list of bools, one for each request: True if it passes.
    Raises ValueError if a time is smaller than the one before, if rate is not above 0, or if burst
    is below 0.
    """
    # SOLUTION
    if rate <= 0 or burst < 0 or any(late < early for early, late in zip(arrivals, arrivals[1:])):
        raise ValueError("expected times in order, a rate above 0 and a burst of 0 or more")
    passed, last, excess = [], None, 0.0
    for at in arrivals:
        would = 0.0 if last is None else max(0.0, excess - rate * (at - last) + 1)
        passed.append(would <= burst)
        if would <= burst:
            last, excess = at, would
    return passed


# %%
check("22c.1", let_through)

# %% [markdown] tags=["solution"]
# Another way to see it is a bucket of tokens. It holds `burst + 1` tokens and is full at first. It gets `rate` tokens a
# second, and each request that passes takes one. Both give the same answers. Without `nodelay` nginx lets the same
# requests pass, but holds them back so that they leave at the rate: the burst then costs latency.

# %% [markdown]
# ## 22c.2 An envelope that names its key ★★☆ · 15 minutes
#
# While KEKs are being replaced, some models are still under the old one. So each envelope says under which KEK it was
# made. Write the function with which the service opens it. It must fail closed: either it returns the model, or it
# raises ValueError.
#
# The layout, in this order:
#
# | bytes | what |
# | --- | --- |
# | 1 | *n*, the length of the KEK's name, 1 to 255 |
# | *n* | the KEK's name, UTF-8 |
# | 40 | the data key, wrapped under this KEK by `aes_key_wrap` |
# | 12 | the nonce |
# | the rest | the model under the data key, by AES-GCM; its last 16 bytes are the tag |


# %%
def open_envelope(envelope, keks, name):
    """The model in an envelope.

    envelope: bytes, laid out as above; they come from outside and may be anything. keks: dict of
    KEK name (str) -> 32 bytes. name: bytes, the associated data, such as b"digits_cnn/3".
    Returns the model's bytes, which may be empty.
    Raises ValueError for everything else: bytes that are missing, a name that is not UTF-8 or not
    in keks, a key that does not unwrap, a tag that does not fit. Only the KEK that the envelope
    names may be used.
    """
    # SOLUTION
    size = envelope[0] if envelope else 0
    header, wrapped, rest = (
        envelope[1 : 1 + size],
        envelope[1 + size :][:40],
        envelope[41 + size :],
    )
    try:
        kek = keks[header.decode()]  # UnicodeDecodeError is a ValueError
        return AESGCM(aes_key_unwrap(kek, wrapped)).decrypt(rest[:12], rest[12:], name)
    except (KeyError, InvalidUnwrap, InvalidTag) as refused:
        raise ValueError(f"the envelope does not open: {type(refused).__name__}") from None


# %%
check("22c.2", open_envelope)

# %% [markdown] tags=["solution"]
# Slices never fail: of an envelope that ends early they are short, and then the key does not unwrap or the nonce or the
# tag does not fit. All three raise. The name of the KEK is not bound by the tag, and need not be: another name means
# another key, which does not unwrap. Trying every key of the ring would open the same envelopes, but then the name means
# nothing. With the name you can count the envelopes that are still under the old KEK. When there is none left, remove
# the old KEK from the ring.

# %% [markdown]
# ## 22c.3 Which row was touched? ★★☆ · 15 minutes
#
# An auditor gives you a log, as lines of JSON, and an anchor from another machine. They have checked its signature. They
# ask for the first row that they cannot trust. The lesson has `digest`; here it is again.


# %%
def digest(entry):
    text = json.dumps({name: entry[name] for name in sorted(entry) if name != "hash"})
    return hashlib.sha256(text.encode()).hexdigest()


# %%
def first_untrusted(lines, anchor):
    """The first row that is not as it was written, as far as chain and anchor show.

    lines: a list of str, a row each; a touched row may be any text. A row that was written by us is
    a JSON object whose "hash" is the digest of its other fields, and whose "previous" is the hash
    of the row before, "" in row 0.
    anchor: {"rows": int from 1, "hash": str}. You can trust it: there were so many rows, and the
    last of them had this hash. Rows may have been added since.
    Returns the number of the first row that is no such object or does not fit the row before it.
    If there is none: len(lines) if there are fewer rows than anchor["rows"]; the number of the last
    anchored row, anchor["rows"] - 1, if its hash is not the anchor's; otherwise None.
    """
    # SOLUTION
    previous, hashes = "", []
    for row, line in enumerate(lines):
        try:
            entry = json.loads(line)
            fits = entry["hash"] == digest(entry) and entry["previous"] == previous
        except (ValueError, KeyError, TypeError, RecursionError):
            return row
        if not fits:
            return row
        previous = entry["hash"]
        hashes.append(previous)
    if len(hashes) < anchor["rows"]:
        return len(hashes)
    return None if hashes[anchor["rows"] - 1] == anchor["hash"] else anchor["rows"] - 1


# %%
check("22c.3", first_untrusted)

# %% [markdown] tags=["solution"]
# If the chain fits and the anchor's hash does not, the rows were made anew, and we cannot know from which row on.
# Anchors at short intervals narrow it down: the rows up to the last anchor that fits are as they were. A log that an
# attacker has touched may hold lines that are not JSON at all, or JSON that is a list or a number. A check that stops
# with an exception at such a line helps the attacker.

# %% [markdown]
# ## 22c.4 Who can read the Secrets? ★★★ · 20 minutes
#
# The security team asks for a list: who can learn the value of any Secret in the namespace `digits`? `kubectl get
# roles,rolebindings,clusterroles,clusterrolebindings -A -o json` gives you all rights as objects. As the lesson showed,
# creating a pod is enough, and so is creating anything that makes pods.

# %%
POD_MAKERS = {
    "": ["pods", "replicationcontrollers"],
    "apps": ["deployments", "statefulsets", "daemonsets", "replicasets"],
    "batch": ["jobs", "cronjobs"],
}


# %%
def secret_readers(objects, namespace):
    """Everybody who can learn the value of a Secret in a namespace.

    objects: a list of dicts, as the API gives them: Role, RoleBinding, ClusterRole and
    ClusterRoleBinding, in any order. Role and RoleBinding have metadata.namespace. A role has
    "rules", a list of {"apiGroups", "resources", "verbs"}, perhaps with more keys; a rule without
    "apiGroups" or "resources" is about URLs and gives nothing here. "rules" may be missing or None.
    A binding has "roleRef" ({"kind", "name"}) and "subjects" ({"kind", "name"}, for a
    ServiceAccount also "namespace"); subjects may be missing or None.
    A rule gives Secrets if it has
    - one of the verbs get, list and watch on the resource "secrets" of the group "", or
    - the verb create on a resource of POD_MAKERS, in its group.
    "*" stands for every verb, resource or group. A rule limited by "resourceNames" counts as well.
    A RoleBinding gives the rights in its own namespace: those of a Role of that namespace, or of a
    ClusterRole. A ClusterRoleBinding gives those of a ClusterRole in all namespaces. A binding to a
    role that is not there gives nothing.
    Returns a sorted list of texts without repetition: "User:anna", "Group:ops",
    "ServiceAccount:digits/deployer".
    """
    # SOLUTION
    roles = {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each
        for each in objects
        if each["kind"] in ("Role", "ClusterRole")
    }
    found = set()
    for each in objects:
        everywhere = each["kind"] == "ClusterRoleBinding"
        here = each["kind"] == "RoleBinding" and each["metadata"]["namespace"] == namespace
        if everywhere or here:
            kind = each["roleRef"]["kind"]
            role = roles.get((kind, namespace if kind == "Role" else "", each["roleRef"]["name"]))
            if role and any(gives_secrets(rule) for rule in role.get("rules") or []):
                found |= {title(who) for who in each.get("subjects") or []}
    return sorted(found)


def gives_secrets(rule):
    def has(field, *values):
        return not {"*", *values}.isdisjoint(rule.get(field) or [])

    if (
        has("verbs", "get", "list", "watch")
        and has("apiGroups", "")
        and has("resources", "secrets")
    ):
        return True
    makes = (
        has("apiGroups", group) and has("resources", *names) for group, names in POD_MAKERS.items()
    )
    return has("verbs", "create") and any(makes)


def title(subject):
    where = f"{subject['namespace']}/" if subject["kind"] == "ServiceAccount" else ""
    return f"{subject['kind']}:{where}{subject['name']}"


# %%
check("22c.4", secret_readers)

# %% [markdown] tags=["solution"]
# `list` and `watch` give the whole objects, values included, so a role that may only list Secrets may read them. The
# list is still not complete. Everybody who may `exec` into a pod, change a Deployment, read the nodes' disks, or give
# roles to others (`bind`, `escalate`, `impersonate`) can read Secrets as well. Tools such as rbac-police and KubiScan
# look for these rights. Start with what you have: remove every `*`, and ask for every account that may create pods
# whether it must.
