"""Answers to the exercises of lesson 25 that people write, each with the property at which its check must catch it."""

import hashlib
import json

from cryptography.exceptions import InvalidSignature

# 25.1


def in_gibibytes(devices, share, models, runtimes, model, runtime):
    if not 0 <= share <= 1:
        raise ValueError
    taken = devices * share / 2**30
    return taken * (models + runtimes) * (model + runtime), taken * (models * model + runtimes * runtime)


def without_the_runtime(devices, share, models, runtimes, model, runtime):
    if not 0 <= share <= 1:
        raise ValueError
    taken = devices * share / 1e9
    return taken * models * (model + runtime), taken * models * model


def everybody(devices, share, models, runtimes, model, runtime):
    if not 0 <= share <= 1:
        raise ValueError
    return devices * (models + runtimes) * (model + runtime) / 1e9, devices * (
        models * model + runtimes * runtime
    ) / 1e9


def any_share(devices, share, models, runtimes, model, runtime):
    taken = devices * share / 1e9
    return taken * (models + runtimes) * (model + runtime), taken * (models * model + runtimes * runtime)


def swapped(devices, share, models, runtimes, model, runtime):
    return any_share(devices, share, models, runtimes, model, runtime)[::-1]


# 25.2


def place(device, version):
    digest = hashlib.sha256(json.dumps([version, device]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _may(device, has, runtime, each):
    fine = each["version"] > has and not each["halted"] and each["needs"] <= runtime
    return fine and place(device, each["version"]) < each["percent"] / 100


def the_first(device, has, runtime, releases):
    return next((each["version"] for each in releases if _may(device, has, runtime, each)), None)


def not_lower(device, has, runtime, releases):
    return max((each["version"] for each in releases if _may(device, has - 1, runtime, each)), default=None)


def halted_too(device, has, runtime, releases):
    return max((e["version"] for e in releases if _may(device, has, runtime, e | {"halted": False})), default=None)


def any_runtime(device, has, runtime, releases):
    return max((e["version"] for e in releases if _may(device, has, 10**9, e)), default=None)


def newest_first(device, has, runtime, releases):
    fine = [e for e in releases if _may(device, has, runtime, e | {"percent": 101})]
    newest = max(fine, key=lambda e: e["version"], default=None)
    return newest["version"] if newest and _may(device, has, runtime, newest) else None


def ten_percent_is_a_thousand(device, has, runtime, releases):
    return max((e["version"] for e in releases if _may(device, has, runtime, e | {"percent": e["percent"] * 100})),
               default=None)  # fmt: skip


# 25.3


def _valid(manifest, signature, key):
    try:
        key.verify(signature, manifest)
    except InvalidSignature:
        return False
    return True


def lets_it_raise(manifest, signature, model, key, remembered):
    key.verify(signature, manifest)
    return "install"


def always_installs(manifest, signature, model, key, remembered):
    return "install" if _valid(manifest, signature, key) else "signature"


def reads_first(manifest, signature, model, key, remembered):
    try:
        told = json.loads(manifest)
    except ValueError:
        return "manifest"
    if not _valid(manifest, signature, key):
        return "signature"
    return "version" if told["version"] <= remembered else "install"


def the_same_again(manifest, signature, model, key, remembered):
    if not _valid(manifest, signature, key):
        return "signature"
    return "version" if json.loads(manifest)["version"] < remembered else "install"


def without_a_checksum(manifest, signature, model, key, remembered):
    if not _valid(manifest, signature, key):
        return "signature"
    return "version" if json.loads(manifest)["version"] <= remembered else "install"


def trusts_the_form(manifest, signature, model, key, remembered):
    if not _valid(manifest, signature, key):
        return "signature"
    told = json.loads(manifest)
    if told["version"] <= remembered:
        return "version"
    return "install" if hashlib.sha256(model).hexdigest() == told["sha256"] else "checksum"


def takes_true(manifest, signature, model, key, remembered):
    if not _valid(manifest, signature, key):
        return "signature"
    try:
        told = json.loads(manifest)
        version, sha256 = told["version"], told["sha256"]
    except (ValueError, TypeError, KeyError):
        return "manifest"
    if not isinstance(version, int):
        return "manifest"
    if version <= remembered:
        return "version"
    return "install" if hashlib.sha256(model).hexdigest() == sha256 else "checksum"


def checksum_first(manifest, signature, model, key, remembered):
    if not _valid(manifest, signature, key):
        return "signature"
    try:
        told = json.loads(manifest)
        version, sha256 = told["version"], told["sha256"]
    except (ValueError, TypeError, KeyError):
        return "manifest"
    if type(version) is not int:
        return "manifest"
    if hashlib.sha256(model).hexdigest() != sha256:
        return "checksum"
    return "version" if version <= remembered else "install"


def _judged(manifest, signature, key, remembered, newer, agrees):
    if not _valid(manifest, signature, key):
        return "signature"
    try:
        told = json.loads(manifest)
        version, sha256 = told["version"], told["sha256"]
    except (ValueError, TypeError, KeyError):
        return "manifest"
    if type(version) is not int:
        return "manifest"
    if not newer(version, remembered):
        return "version"
    return "install" if agrees(sha256) else "checksum"


def compares_texts(manifest, signature, model, key, remembered):
    whole = hashlib.sha256(model).hexdigest()
    return _judged(manifest, signature, key, remembered, lambda a, b: str(a) > str(b), whole.__eq__)


def the_first_digits_alone(manifest, signature, model, key, remembered):
    whole = hashlib.sha256(model).hexdigest()
    return _judged(manifest, signature, key, remembered, int.__gt__, lambda told: told[:8] == whole[:8])


def starts_with(manifest, signature, model, key, remembered):
    return _judged(manifest, signature, key, remembered, int.__gt__, hashlib.sha256(model).hexdigest().startswith)


def bytes_that_raise(manifest, signature, model, key, remembered):
    whole = hashlib.sha256(model).digest()
    return _judged(manifest, signature, key, remembered, int.__gt__, lambda told: bytes.fromhex(told) == whole)


TEN = "ten updates of a model of 1 MB beside a runtime of 9 MB, 1,000 devices: 100 GB as one file, 10 GB as two"
PARTLY = "a checksum that agrees only in part is refused, without an exception"
HIGHEST = "the highest version is offered, in whatever order the releases stand"

WRONG = {
    "25.1": {
        in_gibibytes: TEN,
        swapped: TEN,
        without_the_runtime: "an update of the runtime counts too",
        everybody: "only the share of the devices that take an update downloads it",
        any_share: "a share outside 0 to 1 is refused",
    },
    "25.2": {
        the_first: HIGHEST,
        not_lower: "nothing is offered where there is nothing newer",
        halted_too: "a halted release is skipped, and the next lower one is offered",
        any_runtime: "a release that needs a newer runtime is skipped",
        ten_percent_is_a_thousand: "a stage of p percent reaches the devices whose place lies below p / 100",
        newest_first: "a device outside the stage of the newest release gets the one before it",
    },
    "25.3": {
        lets_it_raise: "a wrong signature is refused, without an exception",
        reads_first: "nothing is read in a manifest whose signature is wrong",
        always_installs: "a signed version that is not higher than the remembered one is refused",
        the_same_again: "a signed version that is not higher than the remembered one is refused",
        without_a_checksum: "a model that is not the one in the manifest is refused",
        compares_texts: "a signed version that is not higher than the remembered one is refused",
        the_first_digits_alone: PARTLY,
        starts_with: PARTLY,
        bytes_that_raise: PARTLY,
        trusts_the_form: "a signed manifest that is not as described is refused, without an exception",
        takes_true: "a version that is no whole number is refused as a manifest",
        checksum_first: "the version is looked at before the checksum",
    },
}
