"""Answers to lesson 22's exercises that people write, each with the property at which its check must catch it."""

import base64
import gzip
import hashlib
import hmac
import io
import json
import pickle
import pickletools
import re
import zlib

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def _parsed(listed, pattern=r"([0-9a-fA-F]{64}) [ *](.+)", twice=True, empty=True):
    sums = {}
    for line in filter(str.strip, listed.splitlines()):
        if not (parts := re.fullmatch(pattern, line)) or (twice and parts[2] in sums):
            raise ValueError(line)
        sums[parts[2]] = parts[1].lower()
    if not sums and empty:
        raise ValueError("nothing listed")
    return sums


def _compared(files, sums):
    found = dict.fromkeys(sums.keys() - files.keys(), "missing") | dict.fromkeys(files.keys() - sums.keys(), "unlisted")
    for name in files.keys() & sums.keys():
        if hashlib.sha256(files[name]).hexdigest() != sums[name]:
            found[name] = "changed"
    return found


def ignores_missing(files, listed):
    return {name: word for name, word in _compared(files, _parsed(listed)).items() if word != "missing"}


def ignores_unlisted(files, listed):
    return {name: word for name, word in _compared(files, _parsed(listed)).items() if word != "unlisted"}


def first_problem_alone(files, listed):
    return dict(list(_compared(files, _parsed(listed)).items())[:1])


def empty_is_fine(files, listed):
    return _compared(files, _parsed(listed, empty=False))


def empty_is_fine_without_files(files, listed):
    return _compared(files, _parsed(listed, empty=bool(files)))


def skips_what_it_cannot_read(files, listed):
    lines = [line for line in listed.splitlines() if re.fullmatch(r"[0-9a-fA-F]{64} [ *].+", line)]
    return _compared(files, _parsed("\n".join(lines)))


def splits_at_spaces(files, listed):
    sums = {}
    for line in filter(str.strip, listed.splitlines()):
        digits, name = line.split()
        sums[name.removeprefix("*")] = digits.lower()
    return _compared(files, sums)


def two_spaces_alone(files, listed):
    return _compared(files, _parsed(listed, r"([0-9a-fA-F]{64})  (.+)"))


def small_letters_alone(files, listed):
    return _compared(files, _parsed(listed, r"([0-9a-f]{64}) [ *](.+)"))


def last_line_wins(files, listed):
    return _compared(files, _parsed(listed, twice=False))


def any_number_of_digits(files, listed):
    return _compared(files, _parsed(listed, r"([0-9a-fA-F]+) [ *](.+)"))


def finds_a_sum_anywhere(files, listed):
    return _compared(files, _parsed(listed, r".*?([0-9a-fA-F]{64}) [ *](.+)"))


def _unpickled(raw, accepts):
    class Loader(pickle.Unpickler):
        def find_class(self, module, name):
            if not accepts(module, name):
                raise ValueError(f"{module}.{name}")
            return super().find_class(module, name)

    try:
        return Loader(io.BytesIO(raw)).load()
    except Exception as error:
        raise ValueError(str(error)) from error


def forbidden_modules(raw, allowed):
    return _unpickled(raw, lambda module, name: module not in ("os", "posix", "nt", "subprocess", "sys"))


def module_alone(raw, allowed):
    return _unpickled(raw, lambda module, name: module in {each.rpartition(".")[0] for each in allowed})


def name_alone(raw, allowed):
    return _unpickled(raw, lambda module, name: name in {each.rpartition(".")[2] for each in allowed})


def starts_like_an_allowed_one(raw, allowed):
    return _unpickled(raw, lambda module, name: any(f"{module}.{name}".startswith(each) for each in allowed))


def part_of_an_allowed_one(raw, allowed):
    return _unpickled(raw, lambda module, name: any(f"{module}.{name}" in each for each in allowed))


def class_allows_its_methods(raw, allowed):
    return _unpickled(raw, lambda module, name: f"{module}.{name.split('.')[0]}" in allowed)


def looks_afterwards(raw, allowed):
    try:
        loaded = pickle.loads(raw)
    except Exception as error:
        raise ValueError from error
    return _unpickled(raw, lambda module, name: f"{module}.{name}" in allowed) if loaded is not None else loaded


def looks_for_one_instruction(raw, allowed):
    try:
        for operation, argument, _ in pickletools.genops(raw):
            if operation.name == "GLOBAL" and argument.replace(" ", ".") not in allowed:
                raise ValueError(argument)
        return pickle.loads(raw)
    except Exception as error:
        raise ValueError from error


def takes_the_last_two_texts(raw, allowed):
    try:
        texts = []
        for operation, argument, _ in pickletools.genops(raw):
            if operation.name in ("GLOBAL", "INST") and argument.replace(" ", ".") not in allowed:
                raise ValueError(argument)
            if operation.name == "STACK_GLOBAL" and ".".join(texts[-2:]) not in allowed:
                raise ValueError(texts[-2:])
            if isinstance(argument, str):
                texts.append(argument)
        return pickle.loads(raw)
    except Exception as error:
        raise ValueError from error


def imports_before_it_decides(raw, allowed):
    class Loader(pickle.Unpickler):
        def find_class(self, module, name):
            found = super().find_class(module, name)
            if f"{module}.{name}" not in allowed:
                raise ValueError(f"{module}.{name}")
            return found

    try:
        return Loader(io.BytesIO(raw)).load()
    except Exception as error:
        raise ValueError(str(error)) from error


def own_list(raw, allowed):
    mine = {"collections.OrderedDict", "fractions.Fraction"}
    return _unpickled(raw, lambda module, name: f"{module}.{name}" in mine & {*allowed, "fractions.Fraction"})


def only_its_own_error(raw, allowed):
    class Loader(pickle.Unpickler):
        def find_class(self, module, name):
            if f"{module}.{name}" not in allowed:
                raise ValueError(f"{module}.{name}")
            return super().find_class(module, name)

    return Loader(io.BytesIO(raw)).load()


def refuses_every_name(raw, allowed):
    return _unpickled(raw, lambda module, name: False)


def _opened(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _said(token, public_key, algorithms=("EdDSA",), signed=None):
    head, claims, signature = token.split(".")
    if algorithms and json.loads(_opened(head))["alg"] not in algorithms:
        raise ValueError("algorithm")
    public_key.verify(_opened(signature), signed(head, claims) if signed else f"{head}.{claims}".encode())
    return json.loads(_opened(claims))


def _expects(said, audience, now, *, exp=True, aud=True, sub=True):
    if exp and (isinstance(said["exp"], bool) or not said["exp"] > now):
        raise ValueError("expired")
    if aud and audience not in (said["aud"] if isinstance(said["aud"], list) else [said["aud"]]):
        raise ValueError("audience")
    if sub and not (isinstance(said["sub"], str) and said["sub"]):
        raise ValueError("subject")
    return said["sub"]


def _closed(check):
    try:
        return check()
    except Exception as error:
        raise ValueError(str(error)) from error


def believes_the_header(token, public_key, audience, now):
    def check():
        head, claims, signature = token.split(".")
        if json.loads(_opened(head))["alg"] != "none":
            public_key.verify(_opened(signature), f"{head}.{claims}".encode())
        return _expects(json.loads(_opened(claims)), audience, now)

    return _closed(check)


def public_key_as_secret(token, public_key, audience, now):
    def check():
        head, claims, signature = token.split(".")
        signed = f"{head}.{claims}".encode()
        if json.loads(_opened(head))["alg"] == "HS256":
            pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            if not hmac.compare_digest(hmac.digest(pem, signed, "sha256"), _opened(signature)):
                raise ValueError("signature")
            return _expects(json.loads(_opened(claims)), audience, now)
        return _expects(_said(token, public_key), audience, now)

    return _closed(check)


def any_algorithm(token, public_key, audience, now):
    def check():
        if json.loads(_opened(token.split(".")[0]))["alg"] in ("none", "None", "HS256"):
            raise ValueError("algorithm")
        return _expects(_said(token, public_key, ()), audience, now)

    return _closed(check)


def never_verifies(token, public_key, audience, now):
    def check():
        head, claims, signature = token.split(".")
        if json.loads(_opened(head))["alg"] != "EdDSA":
            raise ValueError("algorithm")
        return _expects(json.loads(_opened(claims)), audience, now)

    return _closed(check)


def verifies_the_claims_alone(token, public_key, audience, now):
    return _closed(
        lambda: _expects(_said(token, public_key, signed=lambda head, claims: claims.encode()), audience, now)
    )


def forgets_the_padding(token, public_key, audience, now):
    def check():
        head, claims, signature = token.split(".")
        if json.loads(base64.urlsafe_b64decode(head))["alg"] != "EdDSA":
            raise ValueError("algorithm")
        public_key.verify(base64.urlsafe_b64decode(signature), f"{head}.{claims}".encode())
        return _expects(json.loads(base64.urlsafe_b64decode(claims)), audience, now)

    return _closed(check)


def looks_at_no_expiry(token, public_key, audience, now):
    return _closed(lambda: _expects(_said(token, public_key), audience, now, exp=False))


def good_at_its_last_second(token, public_key, audience, now):
    return _closed(lambda: _expects(_said(token, public_key), audience, now - 1))


def expiry_if_there_is_one(token, public_key, audience, now):
    def check():
        said = _said(token, public_key)
        return _expects(said, audience, now, exp="exp" in said)

    return _closed(check)


def looks_at_no_audience(token, public_key, audience, now):
    return _closed(lambda: _expects(_said(token, public_key), audience, now, aud=False))


def part_of_the_audience(token, public_key, audience, now):
    def check():
        said = _said(token, public_key)
        if audience not in said["aud"]:
            raise ValueError("audience")
        return _expects(said, audience, now, aud=False)

    return _closed(check)


def one_audience_alone(token, public_key, audience, now):
    def check():
        said = _said(token, public_key)
        if said["aud"] != audience:
            raise ValueError("audience")
        return _expects(said, audience, now)

    return _closed(check)


def any_subject(token, public_key, audience, now):
    return _closed(lambda: _expects(_said(token, public_key), audience, now, sub=False))


def lets_errors_through(token, public_key, audience, now):
    from cryptography.exceptions import InvalidSignature

    try:
        return _expects(_said(token, public_key), audience, now)
    except (InvalidSignature, KeyError) as error:
        raise ValueError(str(error)) from error
    except TypeError as error:
        if token.count(".") == 2 and isinstance(json.loads(_opened(token.split(".")[1])), dict):
            raise ValueError(str(error)) from error
        raise


def counts_afterwards(raw, most):
    try:
        content = gzip.decompress(raw)
    except Exception as error:
        raise ValueError from error
    if len(content) > most:
        raise ValueError(f"{len(content)} bytes")
    return content


def _unpacked(raw, most, *, limit=1, eof=True, behind=True):
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(raw, most + limit)
    except zlib.error as error:
        raise ValueError from error
    if len(content) > most or (eof and not unpacker.eof) or (behind and unpacker.unused_data):
        raise ValueError("too long, or not whole")
    return content


def cuts_at_the_limit(raw, most):
    return _unpacked(raw, most, eof=False, limit=0)


def limit_without_one_more(raw, most):
    unpacker = zlib.decompressobj(wbits=31)
    content = unpacker.decompress(raw, most)
    if len(content) >= most:
        raise ValueError("too long")
    return content


def zero_is_no_limit(raw, most):
    unpacker = zlib.decompressobj(wbits=31)
    content = unpacker.decompress(raw, most)
    if unpacker.unconsumed_tail or (most and not unpacker.eof and unpacker.decompress(b"", 1)):
        raise ValueError("too long")
    return content


def takes_half_a_body(raw, most):
    return _unpacked(raw, most, eof=False)


def takes_what_stands_behind(raw, most):
    return _unpacked(raw, most, behind=False)


def zlib_error_goes_on(raw, most):
    unpacker = zlib.decompressobj(wbits=31)
    content = unpacker.decompress(raw, most + 1)
    if len(content) > most or not unpacker.eof or unpacker.unused_data:
        raise ValueError("too long, or not whole")
    return content


def zlib_too(raw, most):
    unpacker = zlib.decompressobj(wbits=47)
    try:
        content = unpacker.decompress(raw, most + 1)
    except zlib.error as error:
        raise ValueError from error
    if len(content) > most or not unpacker.eof or unpacker.unused_data:
        raise ValueError("too long, or not whole")
    return content


def as_a_bytearray(raw, most):
    return bytearray(_unpacked(raw, most))


def believes_the_announced_length(raw, most):
    if int.from_bytes(raw[-4:], "little") > most:
        raise ValueError("too long")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(raw)
    except zlib.error as error:
        raise ValueError from error
    if len(content) > most or not unpacker.eof or unpacker.unused_data:
        raise ValueError("too long, or not whole")
    return content


def takes_zeros_behind(raw, most):
    return _unpacked(raw, most, behind=any(raw[-8:]))


def judges_by_the_ratio(raw, most):
    if len(raw) * 100 < most:
        raise ValueError("a bomb")
    return _unpacked(raw, most)


WRONG = {
    "22.1": {
        splits_at_spaces: "a release that is as listed has no problem",
        ignores_missing: "a file that is listed and not there is named",
        ignores_unlisted: "a file that nobody listed is named",
        first_problem_alone: "a file that is listed and not there is named",
        two_spaces_alone: "a star for the second space, capital digits, Windows' line ends and empty lines are fine",
        small_letters_alone: "a star for the second space, capital digits, Windows' line ends and empty lines are fine",
        empty_is_fine: "an empty list is refused",
        empty_is_fine_without_files: "an empty list is refused",
        skips_what_it_cannot_read: "a line of another form is refused, among good ones too",
        any_number_of_digits: "a line of another form is refused, among good ones too",
        finds_a_sum_anywhere: "a line of another form is refused, among good ones too",
        last_line_wins: "a name that is listed twice is refused",
    },
    "22.2": {
        refuses_every_name: "an allowed name is loaded",
        forbidden_modules: "a name that is not allowed is refused, and its call does not run",
        looks_afterwards: "a name that is not allowed is refused, and its call does not run",
        looks_for_one_instruction: "a name that is not allowed is refused, and its call does not run",
        takes_the_last_two_texts: "a name that was put on the stack long before is refused too",
        imports_before_it_decides: "a module that is not allowed is not imported",
        module_alone: "the module alone is not enough, nor the name alone, nor a part of it",
        name_alone: "the module alone is not enough, nor the name alone, nor a part of it",
        part_of_an_allowed_one: "the module alone is not enough, nor the name alone, nor a part of it",
        own_list: "the module alone is not enough, nor the name alone, nor a part of it",
        starts_like_an_allowed_one: "the module alone is not enough, nor the name alone, nor a part of it",
        class_allows_its_methods: "an allowed class does not allow its methods",
        only_its_own_error: "bytes that are no whole pickle are refused by a ValueError",
    },
    "22.3": {
        verifies_the_claims_alone: "a good token gives its subject",
        forgets_the_padding: "a good token gives its subject",
        believes_the_header: "alg none is refused, without a signature and with one",
        public_key_as_secret: "the public key is no secret: HS256 is refused",
        any_algorithm: "an algorithm other than EdDSA, or none named, is refused though the signature is right",
        never_verifies: "changed claims, a changed header and a stranger's signature are refused",
        looks_at_no_expiry: "an exp that has come, is missing or is no number is refused",
        good_at_its_last_second: "an exp that has come, is missing or is no number is refused",
        expiry_if_there_is_one: "an exp that has come, is missing or is no number is refused",
        looks_at_no_audience: "a token for others is refused, one for us among others is not",
        part_of_the_audience: "a token for others is refused, one for us among others is not",
        one_audience_alone: "a token for others is refused, one for us among others is not",
        any_subject: "a subject that is missing, empty or no text is refused",
        lets_errors_through: "what is no token at all is refused by a ValueError too",
    },
    "22.4": {
        cuts_at_the_limit: "exactly the limit is fine, one byte more is not",
        limit_without_one_more: "exactly the limit is fine, one byte more is not",
        zero_is_no_limit: "an empty body is fine, and a limit of 0 allows nothing else",
        counts_afterwards: "a bomb of 30 MB is refused without being unpacked",
        believes_the_announced_length: "a bomb whose last four bytes announce ten bytes is refused as cheaply",
        takes_half_a_body: "a body that was cut off is refused",
        takes_what_stands_behind: "bytes behind the end are refused, a second member too",
        takes_zeros_behind: "bytes behind the end are refused, a second member too",
        zlib_error_goes_on: "what is no gzip is refused by a ValueError",
        zlib_too: "what is no gzip is refused by a ValueError",
        as_a_bytearray: "a body that does not compress is fine, and comes as bytes",
        judges_by_the_ratio: "a body below the limit is unpacked",
    },
}  # fmt: skip
