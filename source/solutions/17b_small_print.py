# %% [markdown]
# # 17b The cluster's small print: exercises
#
# Two small functions. Neither needs a cluster. Fill in what is missing, run the cell, then its check.

# %%
import copy
import hashlib
import json
from decimal import Decimal

from course_lib.idioms import begin, check

scratch = begin("17b")

# %% [markdown]
# ## 17b.1 Whom does the kernel kill first? ★★☆ · 15 minutes
#
# "All my pods are Guaranteed, I set limits everywhere." One was killed for its neighbour's leak all the same: somebody
# had injected a sidecar without limits. Write the whole rule, for pods with any containers. `quantity` reads the
# cluster's numbers.


# %%
def quantity(text):
    """A number as Kubernetes writes it, "500m", "1.5Gi", 2, as a Decimal."""
    units = {"m": Decimal("0.001"), "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    units |= {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    for unit, size in units.items():
        if str(text).endswith(unit):
            return Decimal(str(text)[: -len(unit)]) * size
    return Decimal(str(text))


# %%
def qos_class(pod):
    """A pod's quality of service class.

    pod: a pod's spec: {"containers": [...], "initContainers": [...]}, the latter optional. Each
    container may have "resources": {"requests": {...}, "limits": {...}}, both optional, of
    quantities. A request that is not given is the limit's; one that is given as 0 stays 0. Only
    cpu and memory count, and only quantities above 0.
    "BestEffort": no container asks for anything. "Guaranteed": every container has limits for cpu
    and memory, and its requests equal them. Else "Burstable". Init containers count.
    Leaves `pod` as it was.
    """

    # SOLUTION
    def counted(given):
        numbers = {name: quantity(given[name]) for name in ("cpu", "memory") if name in given}
        return {name: number for name, number in numbers.items() if number > 0}

    asked, guaranteed = False, True
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        given = container.get("resources", {})
        limits = given.get("limits", {})
        requests = limits | given.get("requests", {})  # first the default, then the zeros
        limits, requests = counted(limits), counted(requests)
        asked = asked or bool(limits or requests)
        guaranteed = guaranteed and len(limits) == 2 and requests == limits
    return "BestEffort" if not asked else "Guaranteed" if guaranteed else "Burstable"


# %%
check("17b.1", qos_class)

# %% [markdown] tags=["solution"]
# A class belongs to the pod, and its weakest container decides: `all` over containers for Guaranteed, `any` for the
# difference between Burstable and BestEffort. Compare numbers, not texts: `1` and `1000m`, `1Gi` and `1024Mi` are the
# same. A GPU in the limits changes nothing. The order of two steps matters. First the API server fills in requests that
# are not given. Then zeros are left out. So a request of `cpu: "0"` under a limit is not filled in, and the pod is
# Burstable. In a cluster, ask the API instead: `kubectl get pod … -o jsonpath={.status.qosClass}`.

# %% [markdown]
# ## 17b.2 A configuration that rolls out by itself ★★☆ · 15 minutes
#
# "We changed the time-out an hour ago. Half of the pods have it." Two ConfigMaps and a Secret belong to the service.
# Mark the pod template with a checksum of all of them, so that any change of the configuration is an update.


# %%
def with_checksum(deployment, configuration):
    """A copy of the Deployment, its pod template marked with what the configuration holds.

    deployment: as the API gives it, {"metadata": {...}, "spec": {"template": {"metadata": {...},
    ...}, ...}}; the template's metadata may lack "annotations". configuration: a list of
    ConfigMaps and Secrets: {"kind": "ConfigMap", "metadata": {"name": "digits", ...}, "data":
    {...}, "binaryData": {...}}, the last two optional, their values texts.
    The template's annotation "digits/config" becomes the 64 hexadecimal digits of a SHA-256. It
    is the same for the same configuration, in whichever order the objects and their keys stand.
    It is another one where a kind, a name, a key or a value differs, or an object is missing.
    What else stands in the objects' metadata (labels, resourceVersion) does not count.
    All else stays. Leaves both arguments as they were.
    """
    # SOLUTION
    parts = [
        [each["kind"], each["metadata"]["name"], each.get("data", {}), each.get("binaryData", {})]
        for each in configuration
    ]
    parts.sort(key=lambda part: part[:2])
    text = json.dumps(parts, sort_keys=True)
    marked = copy.deepcopy(deployment)
    notes = marked["spec"]["template"]["metadata"].setdefault("annotations", {})
    notes["digits/config"] = hashlib.sha256(text.encode()).hexdigest()
    return marked


# %%
check("17b.2", with_checksum)

# %% [markdown] tags=["solution"]
# JSON keeps keys and values apart, whatever they hold: `{"ab": "c"}` and `{"a": "bc"}` give different texts. Joined
# strings would give the same one. `sort_keys` and the sort over objects make the text the same for the same content.
# Python's own `hash` would be another number in each process. `resourceVersion` must stay out: it changes when somebody
# adds a label, and each such change would restart all pods.
#
# Anyone who may read the Deployment can guess the Secret's values and compare checksums. A password of four digits is
# found in a moment. A second way is to give each content a name of its own, `digits-7f3a`, and to refer to it by that
# name. kustomize's generators do this, and an old pod then keeps its old configuration. Their names hold a checksum,
# too, so they leak in the same way. A number that counts up would not.
