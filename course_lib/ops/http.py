"""Requests as the lessons send them, with the standard library alone."""

import json
import urllib.error
import urllib.parse
import urllib.request

# The service is on this machine or on a forwarded port. A proxy that the environment names (http_proxy) is for the
# world outside, and would look for 127.0.0.1 on its own machine.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url: str, body: object | None = None, *, timeout: float = 10) -> dict:
    """Sends `body` as JSON (a GET where it is None) and returns the JSON that comes back.

    Raises RuntimeError, with the service's own error message, for a status other than 200, and OSError where nothing
    answers.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with DIRECT.open(request, timeout=timeout) as response:
            return json.load(response)
    except urllib.error.HTTPError as refused:
        said = refused.read().decode(errors="replace")[:300]
        raise RuntimeError(f"{refused.code} from {urllib.parse.urlsplit(url).path or '/'}: {said}") from None


def answers(url: str) -> bool:
    """Whether a GET of `url` comes back with status 200."""
    try:
        with DIRECT.open(url, timeout=2) as response:
            return response.status == 200
    except OSError:
        return False
