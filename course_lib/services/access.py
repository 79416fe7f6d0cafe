"""Who may call the gateway: API keys, of which it knows the hashes alone, and tokens that somebody else has signed.

Each line of the file of keys names a caller, the SHA-256 of its key, what it may do, and optionally its last day (UTC):

    phone 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 predict,feedback 2027-01-31

The key itself comes in `X-API-Key`. It is long and random, so that nobody can find it from its hash by trying; a password
would need a slow hash. A token is a JSON Web Token (RFC 7519) in `Authorization: Bearer`, signed by Ed25519 (RFC 8037) and
by nothing else, whatever it says of itself (RFC 8725). It must say who it is (`sub`), for whom (`aud`), until when (`exp`)
and what it may do (`scope`, words).
"""

import argparse
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import wraps
from pathlib import Path

import prometheus_client
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from course_lib.services.process import Refused, log
from course_lib.serving.keys import read_file, read_public_key

REFUSED = prometheus_client.Counter("gateway_access_refused", "Calls that were not let in, by reason", ["why"])
SCOPES = frozenset(("predict", "feedback"))
SECRETS = (b"x-api-key", b"authorization")
"""Headers that end here: those behind the gateway, and their logs, have no use for them."""
CLOCK_SECONDS = 5
"""By how much the clock of whoever signs tokens may differ from ours."""
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Caller:
    """One who is let in. scopes: what for. until: the last day of its key, None where there is no end."""

    name: str
    scopes: frozenset[str]
    until: date | None = None


def read_keys(path: Path) -> dict[str, Caller]:
    """SHA-256 of a key, in hexadecimal -> whose it is. Raises OSError, and ValueError for what is no such file."""
    found: dict[str, Caller] = {}
    for number, line in enumerate(read_file(path).decode().splitlines(), 1):
        if not (words := line.partition("#")[0].split()):
            continue
        try:
            name, sha256, scopes, *until = words
            caller = Caller(name, frozenset(scopes.split(",")), date.fromisoformat(*until) if until else None)
            if not re.fullmatch("[0-9a-f]{64}", sha256) or not caller.scopes <= SCOPES or sha256 in found:
                raise ValueError
        except (ValueError, TypeError):
            raise ValueError(
                f"line {number}: expected NAME, the key's SHA-256 (64 digits, not used before), words of "
                f"{', '.join(sorted(SCOPES))} joined by commas, and perhaps a date such as 2027-01-31"
            ) from None
        found[sha256] = caller
    return found


def _state(path: Path) -> tuple[int, ...]:
    """What changes with a file, () where there is none."""
    try:
        told = path.stat()
    except OSError:
        return ()
    return told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns


@dataclass
class Access:
    """Knows who may call. keys: the file of API keys. token_key, audience: whose tokens count, and which of them."""

    keys: Path | None
    token_key: object
    audience: str | None
    _known: dict[str, Caller] | None = None
    _read: tuple[int, ...] | None = None

    def known(self) -> dict[str, Caller] | None:
        """The callers by the hash of their key, read again where the file has changed; None where it cannot be read."""
        if (now := _state(self.keys)) != self._read:
            self._read, self._known = now, None  # whatever happens now, what was true before is over
            try:
                self._known = read_keys(self.keys)
            except (OSError, ValueError) as error:
                log().write("error", "keys refused", reason=f"--api-keys {self.keys}: {error}")
        return self._known

    def caller(self, headers: Headers) -> Caller:
        """Who calls. Raises Refused: 401 for one who is not known, 503 while the keys cannot be read."""
        keys, tokens = headers.getlist("x-api-key"), headers.getlist("authorization")
        if len(keys) + len(tokens) != 1:
            raise self._unknown("nothing" if not keys + tokens else "several", "expected one key or token")
        if keys and self.keys:
            return self._by_key(keys[0])
        if tokens and self.token_key:
            return self._by_token(*tokens[0].partition(" ")[::2])
        raise self._unknown("another kind", "expected another kind of key or token")

    def _by_key(self, key: str) -> Caller:
        if (known := self.known()) is None:
            REFUSED.labels("keys unreadable").inc()
            raise Refused(503, "nobody can be let in at present: try again", {"Retry-After": "5"})
        # Looked up by its hash: how long that takes tells nothing of how much of a guessed key is right.
        found = known.get(hashlib.sha256(key.encode("latin-1")).hexdigest())
        if found is None or (found.until and datetime.now(UTC).date() > found.until):
            raise self._unknown(
                "unknown key" if found is None else "expired key", "this key is not known, or no longer"
            )
        return found

    def _by_token(self, kind: str, token: str) -> Caller:
        import jwt

        try:
            if kind.lower() != "bearer":
                raise jwt.InvalidTokenError("expected Authorization: Bearer TOKEN")
            claims = jwt.decode(
                token.strip(), self.token_key, algorithms=["EdDSA"], audience=self.audience, leeway=CLOCK_SECONDS,
                options={"require": ["exp", "aud", "sub"]},
            )  # fmt: skip
            name, scope = claims["sub"], claims.get("scope", "")
            if not re.fullmatch("[!-~]{1,128}", name) or not isinstance(scope, str):
                raise jwt.InvalidTokenError("expected a sub of printable characters, and a scope of words")
        except jwt.ExpiredSignatureError:
            raise self._unknown("expired token", "this token has expired: get a new one") from None
        except Exception as error:  # whatever it is that comes, a token that cannot be read is none
            raise self._unknown("bad token", f"this token is not accepted: {str(error)[:100]}") from None
        return Caller(name, frozenset(scope.split()))

    def _unknown(self, why: str, message: str) -> Refused:
        REFUSED.labels(why).inc()
        kinds = ["ApiKey"] * bool(self.keys) + ["Bearer"] * bool(self.token_key)
        return Refused(401, message, {"WWW-Authenticate": ", ".join(f'{kind} realm="gateway"' for kind in kinds)})

    def lets(self, handler: Handler, scope: str) -> Handler:
        """The handler, behind a door that opens for those who may do `scope`, before their request's body is read."""

        @wraps(handler)
        async def guarded(request: Request) -> Response:
            caller = self.caller(request.headers)
            request.state.caller = caller.name
            if scope not in caller.scopes:
                REFUSED.labels("scope").inc()
                told = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}
                raise Refused(403, f"expected one who may do {scope}", told)
            return await handler(request)

        return guarded


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--api-keys", type=Path, metavar="FILE", help="let in whose key's hash stands in it; read again when it changes"
    )
    add("--token-key", type=Path, metavar="KEY.pem", help="let in whose token is signed with this Ed25519 key")
    add("--token-audience", metavar="NAME", help="and is meant for this service")


def asked_for(asked: argparse.Namespace) -> Access | None:
    """What the options ask for, None where they leave the door open. Raises ValueError where it cannot be had."""
    if bool(asked.token_key) != bool(asked.token_audience):
        raise ValueError("expected --token-key and --token-audience together: a token for another service is none")
    if not asked.api_keys and not asked.token_key:
        return None
    try:
        if asked.api_keys:
            read_keys(asked.api_keys)
        return Access(asked.api_keys, asked.token_key and _key_for_tokens(asked.token_key), asked.token_audience)
    except (OSError, ValueError, ImportError) as error:
        raise ValueError(f"nobody could be let in: {error}") from error


def _key_for_tokens(path: Path) -> object:
    import jwt  # noqa: F401  where it is missing, this is found at the start

    return read_public_key(path)
