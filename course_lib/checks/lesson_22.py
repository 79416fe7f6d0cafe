"""Checks of lesson 22, security."""

import base64
import builtins
import collections
import fractions
import gzip
import hashlib
import json
import os
import pathlib
import pickle
import sys
import tempfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

from course_lib.checks import Register, raises
from course_lib.idioms.exercises import Property

EXERCISES = Register()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def listing(files: dict[str, bytes], between: str = "  ") -> str:
    return "".join(f"{sha256(content)}{between}{name}\n" for name, content in files.items())


@EXERCISES.add("22.1", "The strict check")
def strict(answer: Callable) -> Iterator[Property]:
    """answer(files, listed) -> dict of name -> word."""
    files = {"a/1/model.onnx": b"weights", "a/1/card.md": b"", "b/2/my model.onnx": b"\x00\xff"}
    good = listing(files)
    yield ("a release that is as listed has no problem", lambda: answer(files, good) == {}, [
        "What do you return when nothing is wrong?",
        "Compare hashlib.sha256(content).hexdigest() with the first 64 characters of the line.",
        "digits, name = line[:64], line[66:]",
    ])  # fmt: skip
    changed = files | {"a/1/card.md": b"other"}
    yield ("a changed file is named", lambda: answer(changed, good) == {"a/1/card.md": "changed"}, [
        "Change one byte of a file and look at the sums.",
        "Do you compare each file with its own line?",
        "if hashlib.sha256(content).hexdigest() != sums[name]: problems[name] = 'changed'",
    ])  # fmt: skip
    fewer = {name: content for name, content in files.items() if name != "a/1/model.onnx"}
    yield ("a file that is listed and not there is named", lambda: (
        answer(fewer, good) == {"a/1/model.onnx": "missing"} and answer({}, good) == dict.fromkeys(files, "missing")
    ), [
        "Go through the list as well as through the files.",
        "A name of the list that no file has is missing.",
        "problems = {name: 'missing' for name in sums if name not in files}",
    ])  # fmt: skip
    more = files | {"a/2/model.onnx": b"a stranger's"}
    yield ("a file that nobody listed is named", lambda: answer(more, good) == {"a/2/model.onnx": "unlisted"}, [
        "A version that was added is an attack too.",
        "Go through the files as well as through the list.",
        "if name not in sums: problems[name] = 'unlisted'",
    ])  # fmt: skip
    yield ("several problems are all named", lambda: answer(
        {"a/1/card.md": b"x", "new": b""}, good
    ) == {"a/1/card.md": "changed", "new": "unlisted", "a/1/model.onnx": "missing", "b/2/my model.onnx": "missing"}, [
        "Does your function return at the first problem?",
        "Collect all of them in one dict.",
        "return problems at the very end.",
    ])  # fmt: skip
    yield ("a star for the second space, capital digits, Windows' line ends and empty lines are fine", lambda: (
        answer(files, listing(files, " *")) == {}
        and answer(files, "\n" + "\r\n".join(f"{sha256(c).upper()}  {n}" for n, c in files.items()) + "\n   \n") == {}
    ), [
        "Try a list with ' *' between sum and name, one with capital letters, and one with \\r\\n.",
        "Lower the digits before you compare, and skip lines that are empty after strip(). splitlines() knows \\r\\n.",
        "line[64:66] in ('  ', ' *'); digits = line[:64].lower()",
    ])  # fmt: skip
    for what, empty in (("an empty list is refused", ""), ("a list of empty lines is refused", "\n  \n")):
        yield (what, lambda empty=empty: raises(ValueError, answer, {}, empty) and raises(ValueError, answer, files, empty), [
            "What does your check say if nothing is listed?",
            "A check that finds nothing to check must refuse, also if there is no file.",
            "if not sums: raise ValueError(…)",
        ])  # fmt: skip
    one = sha256(b"")
    forms = [f"{one[:-1]}  x", f"{one}0  x", f"{one} x", f"{one}\tx", f"{one}  ", f"{one}", f"g{one[1:]}  x", "# note",
             f"SHA256 (x) = {one}", f"  {one}  x"]  # fmt: skip
    yield ("a line of another form is refused, among good ones too", lambda: all(
        raises(ValueError, answer, files, text) for form in forms for text in (form, good + form + "\n")
    ), [
        "Try a line with 63 digits, one without a name, one that begins with spaces, and a comment.",
        "A line that you skip is a file that nobody checks.",
        "re.fullmatch(r'([0-9a-fA-F]{64}) [ *](.+)', line), and ValueError where it is None",
    ])  # fmt: skip
    twice = good + f"{sha256(b'other')}  a/1/card.md\n"
    yield ("a name that is listed twice is refused", lambda: (
        raises(ValueError, answer, files, twice)
        and raises(ValueError, answer, changed, f"{sha256(b'other')}  a/1/card.md\n" + good)
        and raises(ValueError, answer, files, good + good)
    ), [
        "Which of two sums for one name counts?",
        "If the later line wins, an attacker appends one.",
        "if name in sums: raise ValueError(…)",
    ])  # fmt: skip


class Call:
    """A pickle of this asks for a call."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


LETTERS = {"collections.OrderedDict"}


@EXERCISES.add("22.2", "What may a pickle call?")
def allowed_alone(answer: Callable) -> Iterator[Property]:
    """answer(raw, allowed) -> the object."""
    plain = {"a": [1, 2.5, None, True], "b": ("x", "y"), "c": {}}
    yield ("a pickle that asks for nothing is loaded, of every protocol", lambda: all(
        answer(pickle.dumps(plain, protocol), set()) == plain for protocol in range(6)
    ), [
        "Numbers, texts, lists and dicts need no name.",
        "Subclass pickle.Unpickler and override find_class(self, module, name).",
        "class Allowed(pickle.Unpickler): …; return Allowed(io.BytesIO(raw)).load()",
    ])  # fmt: skip
    words = collections.OrderedDict(b=1, a=2)
    yield ("an allowed name is loaded", lambda: all(
        answer(pickle.dumps(words, protocol), LETTERS) == words for protocol in range(6)
    ) and type(answer(pickle.dumps(words), LETTERS)) is collections.OrderedDict, [
        "What does find_class return for a name that is in the set?",
        "Return super().find_class(module, name) for what is allowed.",
        "if f'{module}.{name}' in allowed: return super().find_class(module, name)",
    ])  # fmt: skip
    yield ("a name that is not allowed is refused, and its call does not run", lambda: all(
        refused_without_call(answer, protocol, make) for protocol in range(6) for make in MAKERS
    ), [
        "Load a pickle that calls os.mkdir, with an empty set. Is there a folder?",
        "The check must come before the load, inside find_class, and not after it.",
        "raise ValueError(…) in find_class unless the name is in allowed.",
    ])  # fmt: skip
    yield ("a name that was put on the stack long before is refused too", lambda: by_memo_refused(answer), [
        "Which instruction looks the name up, and from where does it take the name?",
        "From protocol 4 on, module and name come from the stack, not from the instruction.",
        "Leave the reading to pickle.Unpickler, and decide in find_class.",
    ])  # fmt: skip
    yield ("a module that is not allowed is not imported", lambda: refused_without_import(answer), [
        "A module runs its code when it is imported.",
        "super().find_class imports the module. What did you decide before you call it?",
        "if f'{module}.{name}' not in allowed: raise ValueError(…), and only then super().find_class(module, name)",
    ])  # fmt: skip
    third = fractions.Fraction(1, 3)
    yield ("the module alone is not enough, nor the name alone, nor a part of it", lambda: (
        raises(ValueError, answer, pickle.dumps(collections.deque([1])), LETTERS)
        and raises(ValueError, answer, pickle.dumps(third), {"decimal.Fraction", "Fraction", "fractions"})
        and raises(ValueError, answer, pickle.dumps(third), {"fractions.Fraction2", "xfractions.Fraction"})
        and answer(pickle.dumps(third), {"fractions.Fraction"}) == third
    ), [
        "Allow collections.OrderedDict, and load a collections.deque.",
        "Compare the whole of module and name.",
        "f'{module}.{name}' not in allowed",
    ])  # fmt: skip
    yield ("an allowed class does not allow its methods", lambda: method_refused(answer), [
        "Allow pathlib.Path, and load a pickle that asks for Path.mkdir.",
        "From protocol 4 on, the name may contain dots.",
        "Compare the whole of f'{module}.{name}'; do not cut the name at its first dot.",
    ])  # fmt: skip
    halves = [pickle.dumps(plain)[:cut] for cut in (0, 1, 5, -1)]
    yield ("bytes that are no whole pickle are refused by a ValueError", lambda: all(
        raises(ValueError, answer, raw, LETTERS) for raw in (*halves, b"not a pickle", b"\x80\xff.", b"cos\n")
    ), [
        "Which error does pickle raise for b''? And for half of a pickle?",
        "EOFError and UnpicklingError are no ValueErrors.",
        "try: … except Exception as error: raise ValueError(…) from error",
    ])  # fmt: skip
    yield ("the set is the caller's: another one allows other names, and it stays as it was", lambda: (
        answer(pickle.dumps(third), {"fractions.Fraction"}) == third
        and raises(ValueError, answer, pickle.dumps(third), LETTERS)
        and answer(pickle.dumps(third), frozenset({"fractions.Fraction"})) == third
        and unchanged(answer)
    ), [
        "Is a constant list of names left in your function?",
        "Look into the argument `allowed`, and into nothing else.",
        "if f'{module}.{name}' not in allowed: raise ValueError(…)",
    ])  # fmt: skip


def by_reduce(function: Callable, *arguments: object) -> Call:
    return Call(function, *arguments)


def in_a_list(function: Callable, *arguments: object) -> list:
    return [collections.OrderedDict(a=1), Call(function, *arguments)]


MAKERS = (by_reduce, in_a_list)


def refused_without_call(answer: Callable, protocol: int, make: Callable) -> bool:
    """Whether calls of os and of builtins are refused, and leave nothing behind."""
    with tempfile.TemporaryDirectory() as folder:
        marker = os.path.join(folder, "marker")
        calls = [(os.mkdir, marker), (builtins.exec, f"import os; os.mkdir({marker!r})")]
        refused = [raises(ValueError, answer, pickle.dumps(make(*call), protocol), LETTERS) for call in calls]
        return all(refused) and not os.path.exists(marker)


def by_memo_refused(answer: Callable) -> bool:
    """Whether a call of os.mkdir is refused whose name stands in the memo, with allowed words after it."""
    with tempfile.TemporaryDirectory() as folder:
        marker = os.path.join(folder, "marker")
        words = [pickle.dumps(word, 4)[11:-1] for word in ("os", "mkdir", "collections", "OrderedDict", marker)]
        module, name, *innocent, where = words  # each puts a text on the stack, and into the memo
        call = (
            pickle.BINGET + b"\0" + pickle.BINGET + b"\1" + pickle.STACK_GLOBAL + where + pickle.TUPLE1 + pickle.REDUCE
        )
        raw = b"".join([pickle.PROTO, b"\4", pickle.MARK, module, name, *innocent, call, pickle.LIST, pickle.STOP])
        return raises(ValueError, answer, raw, LETTERS) and not os.path.exists(marker)


def refused_without_import(answer: Callable) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        module = "module_of_a_stranger"
        pathlib.Path(folder, f"{module}.py").write_text("class Word: ...\n")
        sys.path.insert(0, folder)
        try:
            raw = f"c{module}\nWord\n.".encode()
            return raises(ValueError, answer, raw, LETTERS) and module not in sys.modules
        finally:
            sys.path.remove(folder)
            sys.modules.pop(module, None)


def method_refused(answer: Callable) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        raw = pickle.dumps(Call(pathlib.Path.mkdir, os.path.join(folder, "marker")), 4)
        module = pathlib.Path.__module__
        return raises(ValueError, answer, raw, {"pathlib.Path", f"{module}.Path", "pathlib", "mkdir"})


def unchanged(answer: Callable) -> bool:
    given = {"fractions.Fraction"}
    answer(pickle.dumps(fractions.Fraction(1, 2)), given)
    return given == {"fractions.Fraction"}


NOW = 1_800_000_000


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(claims: object, key: object, header: object = None, sign: Callable | None = None) -> str:
    """A token in compact form. header: None for EdDSA. sign: None for the key's own signature."""
    header = {"alg": "EdDSA", "typ": "JWT"} if header is None else header
    signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{base64url((sign or key.sign)(signed.encode()))}"


@EXERCISES.add("22.3", "Check a token by hand")
def by_hand(answer: Callable) -> Iterator[Property]:
    """answer(token, public_key, audience, now) -> str."""
    import hmac

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key, stranger = (Ed25519PrivateKey.generate() for _ in range(2))
    public = key.public_key()
    claims = {"sub": "anna", "aud": "digits", "exp": NOW + 60}
    good = token(claims, key)

    def ask(made: str) -> object:
        return answer(made, public, "digits", NOW)

    def refused(*tokens: str) -> bool:
        return all(raises(ValueError, ask, each) for each in tokens)

    yield ("a good token gives its subject", lambda: ask(good) == "anna", [
        "Three parts: token.split('.').",
        "base64.urlsafe_b64decode needs the padding back: part + '=' * (-len(part) % 4).",
        "public_key.verify(signature, f'{head}.{claims}'.encode())",
    ])  # fmt: skip
    yield ("subjects of any length, more claims, and an exp with a fraction are fine", lambda: all(
        ask(token(claims | {"sub": name, "exp": NOW + 0.5, "more": [name]}, key)) == name for name in ("b", "cc", "ddd", "Ünal")
    ), [
        "Does your padding work for every length of a part?",
        "A part's length modulo 4 may be 0, 2 or 3.",
        "'=' * (-len(part) % 4)",
    ])  # fmt: skip
    yield ("alg none is refused, without a signature and with one", lambda: refused(
        token(claims, key, {"alg": "none"}, lambda signed: b""), token(claims, key, {"alg": "none"}),
        token(claims, key, {"alg": "None"}, lambda signed: b""),
    ), [
        "What does your function do where the header says that there is no signature?",
        "Accept one name and no other.",
        "if header['alg'] != 'EdDSA': raise ValueError(…)",
    ])  # fmt: skip
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    yield ("the public key is no secret: HS256 is refused", lambda: refused(*(
        token(claims, key, {"alg": "HS256"}, lambda signed, secret=secret: hmac.digest(secret, signed, "sha256"))
        for secret in (pem, raw)
    )), [
        "Does the header choose how you verify?",
        "Verify with public_key.verify always, whatever the header says.",
        "if header['alg'] != 'EdDSA': raise ValueError(…)",
    ])  # fmt: skip
    yield ("an algorithm other than EdDSA, or none named, is refused though the signature is right", lambda: refused(
        *(token(claims, key, header) for header in ({"alg": "ES256"}, {"alg": "eddsa"}, {"alg": ["EdDSA"]}, {}, [], "EdDSA"))
    ), [
        "Sign a token well, and write another alg into its header.",
        "The header must be a JSON object whose alg is exactly EdDSA.",
        "if header['alg'] != 'EdDSA': raise ValueError(…)",
    ])  # fmt: skip
    head, body, signature = good.split(".")
    other_body = base64url(json.dumps(claims | {"sub": "root"}).encode())
    other_head = base64url(json.dumps({"alg": "EdDSA", "kid": "1"}).encode())
    yield ("changed claims, a changed header and a stranger's signature are refused", lambda: refused(
        f"{head}.{other_body}.{signature}", f"{other_head}.{body}.{signature}", token(claims, stranger), f"{head}.{body}.",
    ), [
        "Which bytes did you verify?",
        "The signature stands under the first two parts as they were sent, dot included.",
        "public_key.verify(signature, f'{head}.{claims}'.encode())",
    ])  # fmt: skip
    late = [NOW, NOW - 1, 0, -5, str(NOW + 60), None, True, [NOW + 60]]
    yield ("an exp that has come, is missing or is no number is refused", lambda: refused(
        *(token(claims | {"exp": each}, key) for each in late), token({"sub": "anna", "aud": "digits"}, key)
    ) and raises(ValueError, answer, good, public, "digits", NOW + 60) and raises(ValueError, answer, token(
        claims | {"exp": True}, key
    ), public, "digits", 0), [
        "Try a token that expires at exactly `now`, one without exp, and one whose exp is a text.",
        "exp must be larger than now. True is no number here, though Python counts it as 1.",
        "if isinstance(exp, bool) or not exp > now: raise ValueError(…)",
    ])  # fmt: skip
    others = ["payroll", "digits2", "digit", "", None, ["payroll"], ["digits2"], [], {"digits": 1}, [["digits"]]]
    yield ("a token for others is refused, one for us among others is not", lambda: refused(
        *(token(claims | {"aud": each}, key) for each in others), token({"sub": "anna", "exp": NOW + 60}, key)
    ) and ask(token(claims | {"aud": ["payroll", "digits"]}, key)) == "anna", [
        "Try an audience that only contains our name as a part, and a list.",
        "`in` on a text looks for a part. Make a list of it first.",
        "meant_for = aud if isinstance(aud, list) else [aud]; audience in meant_for",
    ])  # fmt: skip
    yield ("a subject that is missing, empty or no text is refused", lambda: refused(
        *(token(claims | {"sub": each}, key) for each in ("", None, 7, ["anna"])), token({"aud": "digits", "exp": NOW + 60}, key)
    ), [
        "Whom do you name in the log if the token has no sub?",
        "sub must be a str that is not empty.",
        "if not isinstance(sub, str) or not sub: raise ValueError(…)",
    ])  # fmt: skip
    strange = ["", ".", "..", "a.b", good + ".x", good + ".", "é.é.é", "a.b.c", "!!!.???.***",
               *(token(each, key) for each in ([], "text", 5, None))]  # fmt: skip
    yield ("what is no token at all is refused by a ValueError too", lambda: refused(*strange), [
        "Try '', 'a.b', four parts, and claims that are a list.",
        "IndexError, KeyError, TypeError and InvalidSignature are no ValueErrors.",
        "try: … except Exception as wrong: raise ValueError(…) from wrong",
    ])  # fmt: skip


@EXERCISES.add("22.4", "A body that was packed")
def unpacks(answer: Callable) -> Iterator[Property]:
    """answer(raw, most) -> bytes."""
    text = b'{"pixels": [0, 0.5, 1]}' * 40
    packed = gzip.compress(text)
    yield ("a body below the limit is unpacked", lambda: answer(packed, 10_000) == text, [
        "unpacker = zlib.decompressobj(wbits=31)",
        "Return what unpacker.decompress gives.",
        "zlib.decompressobj(wbits=31).decompress(raw, most + 1)",
    ])  # fmt: skip
    yield ("exactly the limit is fine, one byte more is not", lambda: (
        answer(packed, len(text)) == text and raises(ValueError, answer, packed, len(text) - 1)
    ), [
        "How do you notice that there is more than `most`?",
        "Ask for one byte more than is allowed.",
        "content = unpacker.decompress(raw, most + 1); if len(content) > most: raise ValueError(…)",
    ])  # fmt: skip
    empty = gzip.compress(b"")
    yield ("an empty body is fine, and a limit of 0 allows nothing else", lambda: (
        answer(empty, 0) == b"" and answer(empty, 5) == b"" and raises(ValueError, answer, packed, 0)
    ), [
        "What does max_length=0 mean to zlib?",
        "0 is no limit. Ask for most + 1.",
        "unpacker.decompress(raw, most + 1)",
    ])  # fmt: skip
    bomb = gzip.compress(bytes(30_000_000))
    lying = bomb[:-4] + (10).to_bytes(4, "little")
    yield ("a bomb of 30 MB is refused without being unpacked", lambda: refused_cheaply(answer, bomb, 1_000), [
        "Look at the memory: tracemalloc.get_traced_memory().",
        "gzip.decompress holds everything before you can count it.",
        "Give decompress its second argument, max_length.",
    ])  # fmt: skip
    yield ("a bomb whose last four bytes announce ten bytes is refused as cheaply", lambda: refused_cheaply(
        answer, lying, 1_000
    ), [
        "Who wrote the length that stands at the end of the file?",
        "A length that the sender announces is no limit. Limit what you unpack.",
        "Give decompress its second argument, max_length.",
    ])  # fmt: skip
    cuts = [packed[:cut] for cut in (-1, -8, -9, 20, 5, 0)]
    yield ("a body that was cut off is refused", lambda: all(raises(ValueError, answer, cut, 10_000) for cut in cuts), [
        "Try raw[:-1]. Do you get a shorter body?",
        "After decompress, unpacker.eof says whether the end was reached.",
        "if not unpacker.eof: raise ValueError(…)",
    ])  # fmt: skip
    yield ("bytes behind the end are refused, a second member too", lambda: all(
        raises(ValueError, answer, packed + more, 10_000) for more in (b"x", packed, empty, bytes(8))
    ), [
        "Append a byte to raw.",
        "unpacker.unused_data holds what stands behind the end.",
        "if unpacker.unused_data: raise ValueError(…)",
    ])  # fmt: skip
    broken = bytearray(packed)
    broken[-6] ^= 1  # the checksum
    yield ("what is no gzip is refused by a ValueError", lambda: all(
        raises(ValueError, answer, raw, 10_000) for raw in (b"plain text, no gzip", zlib.compress(text), bytes(broken), text)
    ), [
        "Which error does zlib raise for plain text?",
        "zlib.error is no ValueError.",
        "except zlib.error as broken: raise ValueError(…) from None",
    ])  # fmt: skip
    large = os.urandom(300_000)
    yield ("a body that does not compress is fine, and comes as bytes", lambda: (
        answer(gzip.compress(large), 300_000) == large and type(answer(packed, 10_000)) is bytes
        and answer(gzip.compress(bytes(200_000)), 1 << 20) == bytes(200_000)
    ), [
        "Does your function stop after the first piece?",
        "A single call of decompress with max_length gives all of it up to the limit.",
        "return content",
    ])  # fmt: skip


def refused_cheaply(answer: Callable, raw: bytes, most: int) -> bool:
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        return raises(ValueError, answer, raw, most) and tracemalloc.get_traced_memory()[1] - before < 5_000_000
    finally:
        if not tracing:
            tracemalloc.stop()
