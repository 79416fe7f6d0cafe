# %% [markdown]
# # 19 Versions and canaries: exercises
#
# Five small functions that decide who meets a new version, and how long it stays. None needs an engine or a cluster.
# Fill in what is missing, run the cell, then its check.

# %%
import hashlib
import json
import math

from course_lib.idioms import begin, check

scratch = begin("19")

# %% [markdown]
# ## 19.1 Who is in the canary? ★☆☆ · 10 minutes
#
# "Why is it always *my* account that gets the broken version?" asks the same customer for the third time. The
# gateway hashes the client's name and nothing else. Write the choice so that each release has its own guinea pigs,
# and everything else that was good stays.


# %%
def in_canary(client, percent, release):
    """Whether a client meets the candidate of a release.

    client: its id, a text that is not empty. percent: from 0 to 100, fractions allowed; so many of
    all clients meet it, 0 none and 100 all. release: the release's name, a text.
    The answer is the same at each call and in every process. Who is in at a percentage is in at
    each higher one of the same release. For another release the draw is a new one, independent of
    this one, also where the names look alike ("web" and client "2-7", "web2" and client "-7").
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
# Each client has one fixed place between 0 and 1 for each release, and the percentage is a bar that rises past it:
# that is the whole of "sticky" and "monotone". `hash()` would give another place in each process, since Python salts
# it. JSON keeps the border between the two names. With more than two versions a bar is not enough: to keep clients
# where they are when a third one comes, give each version a hash of its own with the client and take the largest,
# scaled by weight (*rendezvous hashing*).

# %% [markdown]
# ## 19.2 Stop as soon as you know ★★☆ · 15 minutes
#
# The dashboard refreshes every second, and somebody is always looking. Write the test that may be looked at after each
# request, over a stream that need not end.


# %%
def watch(outcomes, p0, p1, alpha, beta):
    """Wald's sequential test, one request after the other.

    outcomes: an iterable of truth values, True where the request went wrong; perhaps endless, so
    nothing is read after the decision. p0 < p1: the shares that are fine, and that are not, both
    between 0 and 1. alpha, beta: the chances of a false alarm and of a miss, between 0 and 1.
    After each request: Λ is the probability of what was seen under p1 over that under p0. At
    Λ ≥ 1/alpha the answer is "roll back"; at Λ ≤ beta "promote".
    Returns (answer, requests read); ("go on", n) where the n outcomes end before that.
    Thousands of requests may pass. Raises ValueError unless 0 < p0 < p1 < 1, 0 < alpha < 1 and
    0 < beta < 1.
    """
    # SOLUTION
    if not (0 < p0 < p1 < 1 and 0 < alpha < 1 and 0 < beta < 1):
        raise ValueError("expected 0 < p0 < p1 < 1, and alpha and beta between 0 and 1")
    wrong, fine = math.log(p1 / p0), math.log((1 - p1) / (1 - p0))
    known, read = 0.0, 0
    for outcome in outcomes:
        known, read = known + (wrong if outcome else fine), read + 1
        if known >= -math.log(alpha):
            return "roll back", read
        if known <= math.log(beta):
            return "promote", read
    return "go on", read


# %%
check("19.2", watch)

# %% [markdown] tags=["solution"]
# Sums of logarithms instead of products, so that nothing overflows. What is fine counts as well: each good request
# takes a little of the evidence away, and without that no candidate is ever promoted. Wald's own bounds, (1 − β)/α
# and β/(1 − α), are a little closer together and decide a little sooner; ours need one line of proof. With counters
# instead of a stream, `K ln(p1/p0) + (n − K) ln((1 − p1)/(1 − p0))` gives the same number, since the order does not
# matter.

# %% [markdown]
# ## 19.3 How many requests, exactly? ★★☆ · 20 minutes
#
# "Twenty requests, no failure, ship it." The normal approximation is useless for twenty requests. Compute it from
# the binomial distribution itself.


# %%
def requests_needed(p0, p1, alpha, power):
    """The shortest canary that keeps both promises, and how many failures it forgives.

    Of n independent requests, K fail; the candidate goes back where K > most. p0 < p1: the chance
    of a failure where the candidate is fine (0 allowed), and where it is not (below 1).
    Promises: P(K > most | p0) ≤ alpha and P(K > most | p1) ≥ power, both between 0 and 1. Returns
    (n, most): the smallest n for which some `most` keeps both, and the smallest such `most`.
    n of some hundreds must not take longer than a few seconds.
    Raises ValueError unless 0 ≤ p0 < p1 < 1, 0 < alpha < 1 and 0 < power < 1.
    """
    # SOLUTION
    if not (0 <= p0 < p1 < 1 and 0 < alpha < 1 and 0 < power < 1):
        raise ValueError("expected 0 ≤ p0 < p1 < 1, and alpha and power between 0 and 1")

    def at_most(k, n, p):
        return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))

    n = most = 0
    while True:
        n += 1
        while 1 - at_most(most, n, p0) > alpha:  # the bound grows with n, and never falls
            most += 1
        if 1 - at_most(most, n, p1) >= power:
            return n, most


# %%
check("19.3", requests_needed)

# %% [markdown] tags=["solution"]
# The smallest bound that keeps the first promise is the one with the most power, so no other needs to be tried. With
# p0 = 0 it is 0, and the second promise reads $1 - (1-p_1)^n \ge$ power: to see a failure rate of 1 % with 95 %
# power takes 299 requests, about $3/p_1$ (the *rule of three*). Twenty good requests exclude no more than 14 %. A
# second way to the probabilities: add one request at a time, $P_{n+1}(k) = (1-p)P_n(k) + p\,P_n(k-1)$.

# %% [markdown]
# ## 19.4 Does this break a client? ★★★ · 25 minutes
#
# A colleague opens a merge request: "version 7, tiny change in the schema". Write the gate that says which fields
# break clients, and lets through what does not.


# %%
def breaking(old, new):
    """The fields whose change breaks a client of the old version.

    old, new: {"inputs": {name: field}, "outputs": {name: field}}. A field: {"dtype": str, "shape":
    tuple, "low": number or None, "high": number or None}, for inputs also "optional": bool, where
    missing means False. In a shape, a size from 0 on is that size, -k is any size from k. low and
    high are bounds, both included; None is no bound.
    Clients send what the old inputs allow, and no more; they leave out optional inputs where
    they like, read every old output by its name, ignore outputs that they do not know, and cope
    with all that the old outputs allow. A dtype must stay what it is.
    Returns a set of (side, name), side "inputs" or "outputs". Changes nothing in old and new.
    """

    # SOLUTION
    def within(inner, outer):
        """Whether whatever the inner field allows, the outer one allows too."""
        if inner["dtype"] != outer["dtype"] or len(inner["shape"]) != len(outer["shape"]):
            return False
        for a, b in zip(inner["shape"], outer["shape"]):
            if not (a == b or (b < 0 and abs(a) >= -b)):
                return False
        low, high = outer["low"], outer["high"]
        above = low is None or (inner["low"] is not None and inner["low"] >= low)
        below = high is None or (inner["high"] is not None and inner["high"] <= high)
        return above and below

    broken = set()
    for name in old["inputs"].keys() | new["inputs"].keys():
        was, now = old["inputs"].get(name), new["inputs"].get(name)
        if was is None:
            bad = not now.get("optional", False)
        elif now is None:
            bad = True
        else:
            narrower = was.get("optional", False) and not now.get("optional", False)
            bad = narrower or not within(was, now)
        if bad:
            broken.add(("inputs", name))
    for name, was in old["outputs"].items():
        if name not in new["outputs"] or not within(new["outputs"][name], was):
            broken.add(("outputs", name))
    return broken


# %%
check("19.4", breaking)

# %% [markdown] tags=["solution"]
# One comparison, used in both directions: what clients send must fit into the *new* inputs, what the model answers
# must fit into the *old* outputs. Type theory calls it contravariant and covariant; Postel's "be liberal in what you
# accept" is half of it. An input that goes is a break here since our server refuses names that it does not know. And
# the lesson showed the limit of the sentence "ignore outputs that they do not know": a row-form client cannot.

# %% [markdown]
# ## 19.5 The same split, as a route ★★☆ · 10 minutes
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
    make 100. Raises ValueError for another percent (True is no number), and for a name that is no
    RFC 1123 label (1 to 63 of a to z, 0 to 9 and -, no - at either end).
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
check("19.5", http_route)

# %% [markdown] tags=["solution"]
# At 0 % the candidate stays in the list, with weight 0: a backend without a weight has weight 1, and one that is
# missing must be added again later. Which rule comes first does not matter: the specification prefers the more
# specific match. The header is also how a synthetic check asks the candidate before any user does. It protects
# nothing; whoever knows it may send it.
