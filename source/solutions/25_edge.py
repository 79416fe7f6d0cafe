# %% [markdown]
# # 25 At the edge: exercises
#
# Three functions that decide what a fleet of devices downloads, when, and what it refuses. Fill in what is missing, run
# the cell, then its check. Nothing here needs a browser.

# %%
import hashlib
import json

from cryptography.exceptions import InvalidSignature

from course_lib.idioms import begin, check

scratch = begin("25")

# %% [markdown]
# ## 25.1 How many bytes does a fleet download in a year? ★☆☆ · 5 minutes
#
# "Put the model into a file of its own, then an update is small." A colleague asks what that would save in a year.


# %%
def fleet_gigabytes(devices, share, model_updates, runtime_updates, model_bytes, runtime_bytes):
    """What a fleet downloads in a year, as one file and as two.

    devices: how many. share: of the devices, 0 to 1, that take each update. model_updates,
    runtime_updates: how many in the year, at different times. model_bytes, runtime_bytes: of
    each part. As one file, each update of either part downloads both parts. As two files, an
    update downloads only the part that changed. Returns (one_file, two_files) in gigabytes of
    1e9 bytes, floats. Raises ValueError for a share outside 0 to 1.
    """
    # SOLUTION
    if not 0 <= share <= 1:
        raise ValueError(f"expected a share from 0 to 1, got {share}")
    taken = devices * share
    one_file = taken * (model_updates + runtime_updates) * (model_bytes + runtime_bytes)
    two_files = taken * (model_updates * model_bytes + runtime_updates * runtime_bytes)
    return one_file / 1e9, two_files / 1e9


# %%
check("25.1", fleet_gigabytes)

# %% [markdown] tags=["solution"]
# Forty thousand devices, a model a month and a runtime a year: the page as one file moves over 2,000 GB, as two files
# about 220 GB. The runtime is nearly all of it. So the first thing to do is to keep the runtime in a file that does not
# change, and to let caches hold it. The price is a second file, and with it a server.

# %% [markdown]
# ## 25.2 Which version does this device get? ★★☆ · 15 minutes
#
# The update server is asked by a device, and answers with a version or with nothing. Several releases are under way at
# once, in stages. `place` is given: a device's fixed place between 0 and 1 in a release. Exercise 19.1 is about such a
# hash.


# %%
def place(device, version):
    """From 0 (included) to 1 (excluded), the same at each call, another for each version."""
    digest = hashlib.sha256(json.dumps([version, device]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


# %%
def offer(device, has, runtime, releases):
    """The version that a device is offered, or None.

    device: its id, a text. has: the version that it has, an int. runtime: the version of its
    runtime, an int. releases: dicts, in any order, of version (int), percent (0 to 100), halted
    (bool), needs (the least runtime, an int). Offered is the highest version that is newer than
    what the device has, is not halted, works on its runtime, and whose stage has reached the
    device: its `place` lies below percent / 100.
    """
    # SOLUTION
    able = [
        release["version"]
        for release in releases
        if release["version"] > has
        and not release["halted"]
        and release["needs"] <= runtime
        and place(device, release["version"]) < release["percent"] / 100
    ]
    return max(able, default=None)


# %%
check("25.2", offer)

# %% [markdown] tags=["solution"]
# Each release is judged alone, and the highest that passes is offered. It is a mistake to take the newest release first
# and to ask afterwards whether the device may have it: a device outside the first stage of version 9 should still get
# version 8. Halting works without any list: the release just stops passing. A device that already has the halted version
# is offered nothing older, since its update check would refuse that anyway (25.3). Help it with a newer version.

# %% [markdown]
# ## 25.3 What does the device check? ★★★ · 20 minutes
#
# Now you are on the device. An update came over a network that somebody else controls. Decide whether to install it.


# %%
def judge(manifest, signature, model, public_key, remembered):
    """Whether to install an update: "install", or what is wrong with it.

    manifest: bytes. If all is well, JSON: an object with "version" (a whole number) and
    "sha256" (64 lower-case hexadecimal digits, of the model). signature: bytes, of the
    manifest. model: bytes. public_key: its method verify(signature, manifest) raises
    InvalidSignature. remembered: the highest version that this device ever accepted, an int.
    Checks in this order, and returns the first that fails: "signature", "manifest" (it is not
    as described), "version" (not higher than remembered), "checksum". Never raises for a bad
    update. It reads nothing in a manifest whose signature is not valid.
    """
    # SOLUTION
    try:
        public_key.verify(signature, manifest)
    except InvalidSignature:
        return "signature"
    try:
        told = json.loads(manifest)
        version, sha256 = told["version"], told["sha256"]
    except (ValueError, TypeError, KeyError):
        return "manifest"
    if type(version) is not int or not isinstance(sha256, str):
        return "manifest"
    if version <= remembered:
        return "version"
    if hashlib.sha256(model).hexdigest() != sha256:
        return "checksum"
    return "install"


# %%
check("25.3", judge)

# %% [markdown] tags=["solution"]
# The order is the point. Before the signature is verified, the manifest is a stranger's text, and a parser is a large
# program to feed with it. After that, a broken manifest is our own mistake, and the device must survive it too. `true`
# is an `int` in Python, so `isinstance(version, int)` would accept it. The version is compared with the highest that was
# ever *accepted*, not with the one that runs now: else an attacker first makes the device fall back, and then offers an
# old version. When should a device store the new number? After the new model has started and works. If it is stored
# earlier and the new model fails, the device has already given up the old version.
