# %% [markdown]
# # 22 Security: exercises
#
# Four functions that say no: to a folder that is not as listed, to a pickle that calls more than it may, to a forged
# token, and to a body that is too large once it is unpacked. Fill in what is missing, run the cell, then run its check.

# %%
import base64
import hashlib
import io
import json
import pickle
import zlib

from course_lib.idioms import begin, check

scratch = begin("22")

# %% [markdown]
# ## 22.1 The strict check ★☆☆ · 10 minutes
#
# Last week somebody emptied the list of checksums by mistake, and the release passed: nothing was listed, so nothing
# was wrong. Write the check so that it fails closed.


# %%
def sum_problems(files, listed):
    """What is wrong with the files of a release: a word for each name that has a problem.

    files: dict of name -> bytes, what lies in the folder.
    listed: str, the list as `sha256sum` writes it. Each line has the SHA-256 as 64 hexadecimal
    digits (a to f may be capital letters), then two spaces, or a space and a star, then the name.
    A name may contain spaces. Lines end as on Linux or as on Windows. Those that are empty, or have
    nothing but spaces, are ignored.
    Returns a dict of name -> one of these words; names without a problem have no entry:
      "changed"    the file is there and listed, with another sum;
      "missing"    it is listed and not there;
      "unlisted"   it is there and not listed.
    Raises ValueError if the list has no line, if a line has another form, and if a name is listed
    twice.
    """
    # SOLUTION
    sums = {}
    for line in filter(str.strip, listed.splitlines()):
        digits, between, name = line[:64].lower(), line[64:66], line[66:]
        if set(digits) - set("0123456789abcdef") or between not in ("  ", " *") or not name:
            raise ValueError(f"expected a line as sha256sum writes it, got {line!r}")
        if name in sums:
            raise ValueError(f"expected each name once, got {name} twice")
        sums[name] = digits
    if not sums:
        raise ValueError("expected a list with one line or more")
    problems = {name: "missing" for name in sums.keys() - files.keys()}
    for name, content in files.items():
        if name not in sums:
            problems[name] = "unlisted"
        elif hashlib.sha256(content).hexdigest() != sums[name]:
            problems[name] = "changed"
    return problems


# %%
check("22.1", sum_problems)

# %% [markdown] tags=["solution"]
# Both directions matter. Going through the list finds what is missing. Going through the files finds what was added. A
# line of an unknown form is an error. If you skip it, nobody checks its file. A second way parses with one regular
# expression, `([0-9a-fA-F]{64}) [ *](.+)`, and `re.fullmatch`. Against an attacker the result counts only if the list
# itself is signed.

# %% [markdown]
# ## 22.2 What may a pickle call? ★★★ · 20 minutes
#
# An old pipeline hands over its vocabulary as a pickle, and it cannot be changed this year. "Our scanner has a list of
# forbidden names", says a colleague. Write a loader with a list of what is allowed.


# %%
def load_allowed(raw, allowed):
    """Loads a pickle that may ask for nothing but the names in `allowed`.

    raw: bytes of a pickle, of any protocol. allowed: set of str, each "module.name", such as
    "collections.OrderedDict". A name must be in the set exactly: "pathlib.Path" allows the class,
    and not "pathlib.Path.mkdir".
    Returns the object. Raises ValueError for any other name, before anything is imported or called
    on its behalf, and for bytes that are no whole pickle.
    """

    # SOLUTION
    class Allowed(pickle.Unpickler):
        def find_class(self, module, name):
            if f"{module}.{name}" not in allowed:
                raise ValueError(f"expected one of {sorted(allowed)}, got {module}.{name}")
            return super().find_class(module, name)

    try:
        return Allowed(io.BytesIO(raw)).load()
    except Exception as refused:
        raise ValueError(f"not loaded: {refused}") from refused


# %%
check("22.2", load_allowed)

# %% [markdown] tags=["solution"]
# `find_class` is the only way from a name in the file to an object of Python, and pickle calls it first. So this is
# the right place for the check, whichever instruction asked for the name. A check with `pickletools.genops` beforehand
# is harder: a name may come as one instruction (GLOBAL), or from the stack (STACK_GLOBAL), where it may have been put
# long before. Be careful with what you allow: `builtins.getattr` in the list opens almost everything again.
# `torch.load(weights_only=True)` is built like this, with its own unpickler.

# %% [markdown]
# ## 22.3 Check a token by hand ★★☆ · 20 minutes
#
# The firmware team cannot install PyJWT, and asks for the check as a function. They have Ed25519 keys.


# %%
def caller(token, public_key, audience, now):
    """The subject of a good token: who sent it.

    token: str, three parts with dots between them: header, claims, signature, each in base64url
    (RFC 4648, section 5) without padding. Header and claims are JSON objects.
    public_key: Ed25519PublicKey of `cryptography`. Its verify(signature, data) raises
    InvalidSignature; the data are the first two parts as they were sent, with the dot.
    audience: str, our own name. now: the time in seconds since 1970.
    A token is good if the header's "alg" is "EdDSA", the signature is by this key, the claim "exp"
    is a number larger than `now`, the claim "aud" is `audience` or a list that contains it, and the
    claim "sub" is a str that is not empty.
    Returns the claim "sub". Raises ValueError for every other token, whatever is wrong with it.
    """
    # SOLUTION
    try:
        head, claims, signature = token.split(".")
        header, said = (json.loads(from_base64url(part)) for part in (head, claims))
        if header["alg"] != "EdDSA":
            raise ValueError(f"expected EdDSA, got {header['alg']!r}")
        public_key.verify(from_base64url(signature), f"{head}.{claims}".encode())
        meant_for = said["aud"] if isinstance(said["aud"], list) else [said["aud"]]
        expires = said["exp"]
        if isinstance(expires, bool) or not expires > now or audience not in meant_for:
            raise ValueError("expected a token for us that has not expired")
        if not isinstance(said["sub"], str) or not said["sub"]:
            raise ValueError("expected a subject")
        return said["sub"]
    except Exception as wrong:  # fail closed: whatever it is, this token is not good
        raise ValueError(f"not a good token: {wrong}") from wrong


def from_base64url(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


# %%
check("22.3", caller)

# %% [markdown] tags=["solution"]
# The order is part of the answer: nothing in the claims is believed before the signature is verified. `alg` is compared
# with the one name that we accept, and never used to *choose* a method. The `except Exception` is right here and wrong
# almost everywhere else: a strange token must not become a 500. With PyJWT it is one call,
# `jwt.decode(token, public_key, ["EdDSA"], {"require": ["exp", "aud", "sub"]}, audience=audience)`, which takes the time
# from the clock.

# %% [markdown]
# ## 22.4 A body that was packed ★★☆ · 10 minutes
#
# A partner pays for traffic and wants to send bodies packed by gzip. "Then they can send us bombs", you say. Unpack
# with a limit, and the bombs do no harm.


# %%
def unpacked_body(raw, most):
    """The content of a gzip file, if it has at most `most` bytes.

    raw: bytes, one gzip member (RFC 1952). most: int, from 0.
    Returns bytes. Raises ValueError if the content is longer than `most`, if `raw` is no gzip or is
    cut off, and if anything stands behind the member's end. Never holds much more than `most` bytes
    of the content in memory.
    `zlib.decompressobj(wbits=31)` reads gzip; its decompress(data, max_length) stops at max_length
    (where 0 means no limit), its `eof` says whether the end was reached, its `unused_data` what
    stands behind it.
    """
    # SOLUTION
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(raw, most + 1)
    except zlib.error as broken:
        raise ValueError(f"expected gzip: {broken}") from None
    if len(content) > most:
        raise ValueError(f"expected at most {most} bytes of content")
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("expected one whole gzip member and nothing behind it")
    return content


# %%
check("22.4", unpacked_body)

# %% [markdown] tags=["solution"]
# One byte more than allowed is enough to know. The `+ 1` has a second effect: it keeps `max_length` away from 0, which
# means "no limit" to zlib. Without the test of `eof`, a body that was cut off passes as a shorter one. The length at
# the end of the file is no help: the sender wrote it. A second way is
# `gzip.GzipFile(fileobj=io.BytesIO(raw)).read(most + 1)`; it reads several members one after the other, so you have to
# look for the end yourself.
