"""Public keys from files: whose models the server trusts, whose tokens the gateway."""

import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where a key is read, since nothing else needs it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises OSError, also where it is a pipe or a device, which might never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path} is no regular file")
    return path.read_bytes()


def read_public_key(path: Path) -> "Ed25519PublicKey":
    """The public key in a PEM file. Raises ValueError for anything else, a private key above all."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    expected = f"{path}: expected an Ed25519 public key in PEM, as `openssl pkey -pubout` writes it"
    try:
        key = load_pem_public_key(read_file(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"{expected}; {' '.join(str(error).split())[:200]}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{expected}; got {type(key).__name__}")
    return key
