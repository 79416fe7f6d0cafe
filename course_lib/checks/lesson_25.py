"""Checks of lesson 25."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from unittest import mock

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("25.1", "How many bytes does a fleet download in a year?")
def fleet_bytes(answer: Callable) -> Iterator[Property]:
    """answer(devices, share, model_updates, runtime_updates, model_bytes, runtime_bytes) -> (one_file, two_files)."""

    def near(given: tuple, one: float, two: float) -> bool:
        told = answer(*given)
        return len(told) == 2 and all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-12) for a, b in zip(told, (one, two)))

    yield ("ten updates of a model of 1 MB beside a runtime of 9 MB, 1,000 devices: 100 GB as one file, 10 GB as two",
           lambda: near((1000, 1.0, 10, 0, 1e6, 9e6), 100, 10), [
        "As one file each update downloads model and runtime.",
        "As two files, an update of the model downloads the model alone. A gigabyte is 1e9 bytes.",
        "devices * model_updates * (model_bytes + runtime_bytes) / 1e9",
    ])  # fmt: skip
    yield ("an update of the runtime counts too", lambda: near((1000, 1.0, 2, 3, 1e6, 9e6), 50, 29), [
        "Five updates as one file; as two files, two of the model and three of the runtime.",
        "two files: model_updates * model_bytes + runtime_updates * runtime_bytes",
        "one file: (model_updates + runtime_updates) * (model_bytes + runtime_bytes)",
    ])  # fmt: skip
    yield ("only the share of the devices that take an update downloads it",
           lambda: near((1000, 0.25, 2, 3, 1e6, 9e6), 12.5, 7.25) and near((7, 0.0, 2, 3, 1e6, 9e6), 0, 0), [
        "What does a device download that takes no update?",
        "Multiply both results by share.",
        "taken = devices * share",
    ])  # fmt: skip
    yield ("a share outside 0 to 1 is refused",
           lambda: all(raises(ValueError, answer, 10, s, 1, 1, 1, 1) for s in (-0.1, 1.1, 50)), [
        "Somebody passes 50 and means 50 %.",
        "Raise ValueError before you compute.",
        "if not 0 <= share <= 1: raise ValueError(…)",
    ])  # fmt: skip


def _place(device: str, version: int) -> float:
    digest = hashlib.sha256(json.dumps([version, device]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _release(version: int, percent: float = 100, halted: bool = False, needs: int = 1) -> dict:
    return {"version": version, "percent": percent, "halted": halted, "needs": needs}


@EXERCISES.add("25.2", "Which version does this device get?")
def offered(answer: Callable) -> Iterator[Property]:
    """answer(device, has, runtime, releases) -> a version or None."""
    fleet = [f"device-{i}" for i in range(2000)]

    yield ("the highest version is offered, in whatever order the releases stand",
           lambda: answer("a", 5, 3, [_release(7), _release(9), _release(8)]) == 9, [
        "Do not rely on the order of the list.",
        "Collect the versions that the device may have, then take the largest.",
        "max(able, default=None)",
    ])  # fmt: skip
    yield ("nothing is offered where there is nothing newer",
           lambda: answer("a", 9, 3, [_release(9), _release(8)]) is None and answer("a", 9, 3, []) is None, [
        "The device has version 9. Is 9 an update?",
        "Newer means strictly higher. With no release left the answer is None.",
        'release["version"] > has, and default=None',
    ])  # fmt: skip
    yield ("a halted release is skipped, and the next lower one is offered",
           lambda: answer("a", 5, 3, [_release(7), _release(9, halted=True)]) == 7
           and answer("a", 9, 3, [_release(7), _release(9, halted=True)]) is None, [
        "Stop a release, and a device may still need the one before it.",
        "Judge each release alone.",
        'not release["halted"]',
    ])  # fmt: skip
    yield ("a release that needs a newer runtime is skipped",
           lambda: answer("a", 5, 3, [_release(7, needs=3), _release(9, needs=4)]) == 7, [
        "Compare needs with the device's runtime.",
        "A runtime of exactly the least version is enough.",
        'release["needs"] <= runtime',
    ])  # fmt: skip

    def stages() -> bool:
        for percent in (0, 1, 10, 50, 99.9):
            got = {each for each in fleet if answer(each, 1, 1, [_release(4, percent)]) == 4}
            if got != {each for each in fleet if _place(each, 4) < percent / 100}:
                return False
        return True

    yield ("a stage of p percent reaches the devices whose place lies below p / 100", stages, [
        "place(device, version) is from 0 to 1. percent is from 0 to 100.",
        "Strictly below: at 0 % nobody gets it.",
        'place(device, release["version"]) < release["percent"] / 100',
    ])  # fmt: skip

    def falls_back() -> bool:
        told = {each: answer(each, 1, 1, [_release(9, 10), _release(8, 100)]) for each in fleet}
        return all(told[each] == (9 if _place(each, 9) < 0.1 else 8) for each in fleet)

    yield ("a device outside the stage of the newest release gets the one before it", falls_back, [
        "Version 9 is at 10 %, version 8 at 100 %. What do the other 90 % get?",
        "Do not pick the newest release first and judge it afterwards.",
        "Filter first, then max.",
    ])  # fmt: skip


class _Key:
    """A public key whose valid signature is the manifest's SHA-256."""

    def verify(self, signature: bytes, manifest: bytes) -> None:
        from cryptography.exceptions import InvalidSignature

        if signature != hashlib.sha256(manifest).digest():
            raise InvalidSignature


def _signed(told: object, model: bytes = b"weights") -> tuple:
    manifest = told if isinstance(told, bytes) else json.dumps(told).encode()
    return manifest, hashlib.sha256(manifest).digest(), model, _Key()


def _manifest(version: object = 8, model: bytes = b"weights") -> dict:
    return {"version": version, "sha256": hashlib.sha256(model).hexdigest()}


@EXERCISES.add("25.3", "What does the device check?")
def judged(answer: Callable) -> Iterator[Property]:
    """answer(manifest, signature, model, public_key, remembered) -> "install", or what is wrong."""
    yield ("a signed, intact, newer update is installed",
           lambda: answer(*_signed(_manifest()), 7) == "install" and answer(*_signed(_manifest(900)), 7) == "install", [
        "What comes back if nothing is wrong?",
        "The checksum is of the model: hashlib.sha256(model).hexdigest().",
        'return "install" at the end',
    ])  # fmt: skip

    def forged() -> bool:
        manifest, _, model, key = _signed(_manifest())
        return answer(manifest, b"x" * 32, model, key, 7) == "signature"

    yield ("a wrong signature is refused, without an exception", forged, [
        "verify raises. Who catches it?",
        "try: public_key.verify(signature, manifest)",
        'except InvalidSignature: return "signature"',
    ])  # fmt: skip

    def unread() -> bool:
        manifest, _, model, key = _signed(b"{ this is no JSON")
        with mock.patch("json.loads", side_effect=AssertionError("read before the signature was verified")):
            return answer(manifest, b"x" * 32, model, key, 7) == "signature"

    yield ("nothing is read in a manifest whose signature is wrong", unread, [
        "A stranger's text went into json.loads.",
        "Verify first, parse afterwards.",
        "json.loads stands below the try with verify.",
    ])  # fmt: skip
    yield ("a signed version that is not higher than the remembered one is refused",
           lambda: all(answer(*_signed(_manifest(v)), 8) == "version" for v in (8, 7, -1))
           and answer(*_signed(_manifest(9)), 10) == "version" and answer(*_signed(_manifest(10)), 9) == "install", [
        "An old release keeps its valid signature. And 10 is higher than 9: compare numbers, not texts.",
        "The same version again is not newer either.",
        'if version <= remembered: return "version"',
    ])  # fmt: skip
    yield ("a model that is not the one in the manifest is refused",
           lambda: answer(*_signed(_manifest(), b"weights, and more"), 7) == "checksum"
           and answer(*_signed(_manifest(), b""), 7) == "checksum", [
        "The signature covers the manifest alone. What ties the model to it?",
        "Compute the model's SHA-256 and compare.",
        'hashlib.sha256(model).hexdigest() != told["sha256"]',
    ])  # fmt: skip
    whole = hashlib.sha256(b"weights").hexdigest()
    partly = [whole[:8] + 56 * "0", whole[:8], whole[:63], "", 64 * "z"]
    yield ("a checksum that agrees only in part is refused, without an exception",
           lambda: all(answer(*_signed({"version": 8, "sha256": each}), 7) in ("checksum", "manifest") for each in partly), [
        "Try the first 8 digits of the right checksum, an empty text, and 64 letters z.",
        "Compare all 64 digits, as texts. bytes.fromhex raises where a letter is no digit.",
        'hashlib.sha256(model).hexdigest() != told["sha256"]',
    ])  # fmt: skip
    broken = [b"{", b"\xff\xfe\xfd", [], "text", 5, None, {}, {"version": 9}, {"sha256": "00"}]
    yield ("a signed manifest that is not as described is refused, without an exception",
           lambda: all(answer(*_signed(each), 7) == "manifest" for each in broken), [
        "Try a signed manifest that is no JSON, a list, or lacks a key.",
        "json.loads raises ValueError; a list and None raise TypeError; a missing key raises KeyError.",
        'except (ValueError, TypeError, KeyError): return "manifest"',
    ])  # fmt: skip
    yield ("a version that is no whole number is refused as a manifest",
           lambda: all(answer(*_signed(_manifest(v)), 0) == "manifest" for v in ("9", 9.5, True, None, [9])), [
        'What is "9" > 7 in Python? And True > 0?',
        "Look at the type of version before you compare. True is an int in Python.",
        'if type(version) is not int: return "manifest"',
    ])  # fmt: skip
    yield ("the version is looked at before the checksum",
           lambda: answer(*_signed(_manifest(6), b"other"), 8) == "version", [
        "Both are wrong here. Which comes first in the description?",
        "An old release is refused before its model is read.",
        "signature, manifest, version, checksum",
    ])  # fmt: skip
