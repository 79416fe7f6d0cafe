# %% [markdown]
# # 19 Versions and canaries: exercises
#
# Four small functions that decide who meets a new version, how long it stays, and whether it survives the next apply.
# None needs an engine or a cluster. Fill in what is missing, run the cell, then its check.

# %%
import hashlib
import json
import math

from course_lib.idioms import begin, check

scratch = begin("19")

# %% [markdown]
# ## 19.1 Which clients meet the canary? ★☆☆ · 10 minutes
#
# "Why is it always *my* account that gets the broken version?" asks the same customer for the third time. The gateway
# hashes the client's name and nothing else. Write the choice so that each release draws its own clients, and everything
# else that was good stays.


# %%
def in_canary(client, percent, release):
    """Whether a client meets the candidate of a release.

    client: its id, a text that is not empty. percent: from 0 to 100, fractions allowed. This share
    of all clients meets the candidate: at 0 none, at 100 all. release: its name, a text.
    The answer is the same at each call and in every process. A client that is in at a percentage is
    in at each higher one of the same release. Another release draws anew, independently, even where
    the names look alike: release "web" with client "2-7", and release "web2" with client "-7".
    Returns a bool. Raises ValueError for an empty id and a percentage outside 0 to 100.
    """
    # SOLUTION
    if not client or not 0 <= percent <= 100:
        raise ValueError(f"expected an id and 0 to 100 percent, got {client!r} and {percent}")
    digest = hashlib.sha256(json.dumps([release, client]).encode()).digest()
    return int.from_bytes(digest[:8], "big") * 100 < percent * 2**64


# %%
check("19.1", in_canary)

# %% [markdown] tags=["solution"]
# Each client has one fixed place between 0 and 1 for each release. The percentage is a bar that rises past it. That is
# all of "sticky" and "monotone". `hash()` would give another place in each process, since Python salts it. JSON keeps
# the border between the two names, whatever characters stand in them; a mark between them does not, since it may stand
# in a name. A second way is to hash each name alone, and to hash the two digests together. They have a fixed length, so
# the border is clear. With more than two versions a bar is not enough. To keep clients where they are when a third
# version comes, give each version a hash of its own with the client and take the largest, scaled by weight (*rendezvous
# hashing*).

# %% [markdown]
# ## 19.2 Whose requests go wrong? ★★☆ · 15 minutes
#
# "The canary fails in 8 % of its requests, roll it back!" Today everything fails in 8 %. Write the judgement of one
# measure, for the candidate and the stable version at the same time.


# %%
def judged(candidate, stable, p0, p1, alpha, beta):
    """What one measure says of a candidate: "fine", "bad" or "unknown".

    candidate, stable: (how many requests went wrong, how many there were) in the same minutes.
    p0: the share that is fine. p1: the share to be noticed. alpha, beta: of the two bounds.
    The evidence of K wrong among n is K ln(b/a) + (n-K) ln((1-b)/(1-a)), for b against a.
    Alone: the candidate's counts, p1 against p0. Compared: among all that went wrong, how many
    are the candidate's, q1 against q0. Here q0 is the candidate's share of all requests, and
    q1 = r q0 / (r q0 + 1 - q0) with r = p1/p0.
    "fine" if one of the two is ln(beta) or less. Else "bad" if the comparison is ln(1/alpha) or
    more. Else "unknown". If the stable version had no request, nothing can be compared, and the
    first evidence stands for both. If the candidate had none, nothing is known.
    Raises ValueError unless 0 < p0 < p1 < 1, 0 < alpha < 1, 0 < beta < 1, and of each version
    0 <= wrong <= count.
    """

    # SOLUTION
    def evidence(wrong, count, low, high):
        return wrong * math.log(high / low) + (count - wrong) * math.log((1 - high) / (1 - low))

    if not (0 < p0 < p1 < 1 and 0 < alpha < 1 and 0 < beta < 1):
        raise ValueError("expected 0 < p0 < p1 < 1, and alpha and beta between 0 and 1")
    if not all(0 <= wrong <= count for wrong, count in (candidate, stable)):
        raise ValueError(f"expected 0 <= wrong <= count, got {candidate} and {stable}")
    if not candidate[1]:
        return "unknown"
    alone = compared = evidence(*candidate, p0, p1)
    if stable[1]:
        q0 = candidate[1] / (candidate[1] + stable[1])
        q1 = p1 / p0 * q0 / (p1 / p0 * q0 + 1 - q0)
        compared = evidence(candidate[0], candidate[0] + stable[0], q0, q1)
    if min(alone, compared) <= math.log(beta):
        return "fine"
    return "bad" if compared >= -math.log(alpha) else "unknown"


# %%
check("19.2", judged)

# %% [markdown] tags=["solution"]
# The comparison looks only at what went wrong, so the usual share of failures does not enter. It needs failures to learn
# anything. Without any, the first evidence says when enough requests went well. The order of the two questions matters:
# a candidate that fails in 1 of 1,000 requests beside a stable version that never fails is *fine* by the limits, although
# the comparison may call it worse.

# %% [markdown]
# ## 19.3 What will the next apply change? ★★☆ · 15 minutes
#
# "I only changed a label. Why did the image go back, and why are there two pods instead of nine?" Write what
# `kubectl diff` would have said. `kubectl apply` compares three states: the files, the object in the cluster, and what it
# applied the last time, which it keeps in an annotation of the object.


# %%
def will_change(files, last_applied, live):
    """The fields of an object that `kubectl apply` would change.

    files, last_applied, live: the object in the files, as it was applied the last time, and as it
    is in the cluster: dicts of dicts, with texts as keys. Whatever is no dict (a number, a text, a
    list) is a value. No value is None. An empty dict holds no value.
    Apply sets each value of the files. It removes what it applied the last time and what the files
    no longer hold. All other values of the live object stay.
    Returns {path: (value before, value after)}, only for values that change. A path is a tuple of
    keys, ("spec", "replicas"). None stands for a value that is not there. Changes no argument.
    """

    # SOLUTION
    def flat(tree, path=()):
        if not isinstance(tree, dict):
            return {path: tree}
        return {
            place: v for key, sub in tree.items() for place, v in flat(sub, (*path, key)).items()
        }

    wanted, before, now = flat(files), flat(last_applied), flat(live)
    changes = {
        path: (now.get(path), value) for path, value in wanted.items() if now.get(path) != value
    }
    gone = [path for path in before if path not in wanted and path in now]
    return changes | {path: (now[path], None) for path in gone}


# %%
check("19.3", will_change)

# %% [markdown] tags=["solution"]
# A value that a controller or a person set in the cluster goes back if the files name it. It stays if no file ever named
# it. And it is *removed* if the files named it until the last time: then Kubernetes fills in its default, 1 for
# `replicas`. That is why a promotion belongs in the files, and the number of pods of an autoscaled Deployment does not.
# The real `apply` also merges some lists by a key, containers by their name.

# %% [markdown]
# ## 19.4 The same split, as a route ★★☆ · 10 minutes
#
# The new cluster has the Gateway API, and nobody wants to look after a gateway of one's own. Write the route, with a
# way for testers to meet the candidate whatever the weights are.


# %%
def http_route(name, gateway, stable, candidate, percent):
    """A Gateway API HTTPRoute, as a dict that YAML can hold.

    name, gateway: of the route and of the Gateway that it hangs on. stable, candidate: names of
    Services, both on port 80. percent: a whole number from 0 to 100, the candidate's share.
    apiVersion gateway.networking.k8s.io/v1, kind HTTPRoute. Two rules: one matches requests with
    the header X-Canary of the exact value "always", and sends them to the candidate alone; one
    matches everything else and splits, both Services named, their weights whole numbers that
    make 100. Nothing else keeps a request away or changes it. Raises ValueError for another percent
    (True is no number), and for a name that is no RFC 1123 label (1 to 63 of a to z, 0 to 9 and -,
    no - at either end).
    """
    # SOLUTION
    letters = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    for each in (name, gateway, stable, candidate):
        if not 0 < len(each) < 64 or set(each) - letters or each[0] == "-" or each[-1] == "-":
            raise ValueError(f"expected an RFC 1123 label, got {each!r}")
    if type(percent) is not int or not 0 <= percent <= 100:
        raise ValueError(f"expected a whole number from 0 to 100, got {percent!r}")
    always = {"headers": [{"type": "Exact", "name": "X-Canary", "value": "always"}]}
    split = [(stable, 100 - percent), (candidate, percent)]
    rules = [
        {"matches": [always], "backendRefs": [{"name": candidate, "port": 80}]},
        {"backendRefs": [{"name": n, "port": 80, "weight": w} for n, w in split]},
    ]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {"parentRefs": [{"name": gateway}], "rules": rules},
    }


# %%
check("19.4", http_route)

# %% [markdown] tags=["solution"]
# At 0 % the candidate stays in the list, with weight 0. A backend without a weight has weight 1, and one that is missing
# must be added again later. Which rule comes first does not matter: the specification prefers the more specific match.
# A synthetic check uses the same header, to ask the candidate before any user does. The header protects nothing: every
# client that knows it may send it.
