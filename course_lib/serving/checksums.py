"""What the files of a folder of models must be: their checksums, and whose signature stands under these.

FOLDER/SHA256SUMS        a line for each file, as `sha256sum */*/*` writes it
FOLDER/SHA256SUMS.sig    with `--trust KEY`: its signature by Ed25519 (RFC 8032), 64 bytes as `openssl pkeyutl -sign -rawin`
                         writes them
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from course_lib.pipeline import Broken
from course_lib.serving.errors import ModelError, one_line
from course_lib.serving.keys import read_file

Verify = Callable[[bytes, bytes], None]
"""Takes a signature and what it stands under. Raises whatever it may where the two do not belong together."""


def listed_as(path: Path) -> str:
    """NAME/VERSION/FILE, as SHA256SUMS lists it."""
    return "/".join(path.parts[-3:])


def read_checked(path: Path, checksums: dict[str, str] | None) -> bytes:
    """A file's bytes, which have the checksum that is listed. Raises Broken, and OSError."""
    raw = read_file(path)
    if checksums is not None:
        expected, found = checksums.get(listed_as(path)), hashlib.sha256(raw).hexdigest()
        if expected is None:
            raise Broken(f"SHA256SUMS has no line for {listed_as(path)}: make it anew, with `sha256sum */*/*`")
        if found != expected:
            raise Broken(f"sha256 of {path.name} is {found[:12]}…, SHA256SUMS says {expected[:12]}…: copy it again")
    return raw


def read_checksums(folder: Path, verify: Verify | None = None) -> dict[str, str] | None:
    """File, as a path from `folder` -> its checksum, from `folder/SHA256SUMS`; None where there is none.

    verify: that of the key whose signature must stand under it. Raises ModelError where it cannot be read, and with
    `verify` also where it is not there, or not signed with that key.
    """
    path = folder / "SHA256SUMS"
    try:
        raw = read_file(path)
        if verify:
            _check_signature(path, raw, verify)
        lines = raw.decode().splitlines()
    except FileNotFoundError:
        if verify:
            raise ModelError(f"{path} is not there: with --trust only what it lists is served") from None
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read, expected what `sha256sum` writes: {one_line(error)}") from error
    sums = {}
    for line in filter(str.strip, lines):
        if not (parts := re.fullmatch(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)", line.strip())):
            # Passed over, it would leave a version unchecked that somebody meant to be checked.
            raise ModelError(f"{path}: expected lines as `sha256sum` writes them, got {line[:80]!r}")
        if sums.setdefault(parts[2], parts[1].lower()) != parts[1].lower():
            raise ModelError(f"{path}: expected one sum for each file, got two for {parts[2][:80]}")
    return sums


def _check_signature(path: Path, raw: bytes, verify: Verify) -> None:
    beside = path.with_name(f"{path.name}.sig")
    try:
        verify(read_file(beside), raw)
    except Exception as error:  # whatever it is, these sums are not known to be ours
        why = one_line(error) or "it is another key's, or the sums have changed since"
        raise ModelError(
            f"{beside} is no signature of {path.name} by the key of --trust: {why}; sign it anew"
        ) from error
