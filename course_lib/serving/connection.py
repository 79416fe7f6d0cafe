"""HTTP/1.1 on one connection: requests are read whole and answered in their order, and no client may hold it for ever.

Sources: RFC 9110, 9112. The parser is httptools, which is llhttp, that of Node.js.
"""

import asyncio
import time
from collections import deque
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import unquote
from wsgiref.handlers import format_date_time

import httptools
import orjson

from course_lib.serving.app import App, Request, Response

REQUEST_SECONDS = 8
"""How long a request may take to come in, from its first byte. Less than the time that the shutdown waits, so that a
client which stalls cannot hold a shutdown up."""
KEEP_ALIVE_SECONDS = 30
"""How long a connection may stay open without a request, and how long its client may read nothing of an answer."""
MAX_HEAD_BYTES = 1 << 16
TOO_LARGE = f"a line and headers of at most {MAX_HEAD_BYTES} bytes were expected, more came"
READING_BODY = -1 << 62
STATUS = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\ndate: ".encode() for each in HTTPStatus}


class Connection(asyncio.Protocol):
    """One client. What the parser has read whole goes into `_waiting`, from there to the application, one at a time."""

    def __init__(self, app: App, connections: set["Connection"], max_body_bytes: int) -> None:
        """connections: those that are open; this one is among them from its begin to its end."""
        self._app, self._connections, self._max_body_bytes = app, connections, max_body_bytes
        self._loop, self._parser = asyncio.get_running_loop(), httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._asked: Request | None = None  # the one that the application has
        self._last = False  # nothing is read any more; what was read before is answered
        self._full = False  # the client does not read what is written
        self._owes_continue = False
        self._head_bytes, self._began, self._idle_since = 0, float("inf"), self._loop.time()
        self._unsent, self._sent_at = 0, 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        self._waiting.clear()
        self._parser = None  # it knows this object, and this object it
        if self._asked:
            self._app.give_up(self._asked, 499, "the client left before its answer.")

    def eof_received(self) -> bool:
        """The client says no more, but may still listen: what it asked is answered."""
        self._last = True
        return self._asked is not None or bool(self._waiting)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._next()

    def data_received(self, data: bytes) -> None:
        if self._last:
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, f"Expected a request of HTTP/1.1: {error.__context__ or error}.")
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.BAD_REQUEST, f"Expected a request of HTTP/1.1: {TOO_LARGE}.")
        self._next()

    def _stay(self, rest: bytes) -> None:
        """The request wanted another protocol, so that the parser stopped after its head. It is read once more without
        that wish (RFC 9110, 7.8: a server may ignore it), and so is its body."""
        head, version = [self._parser.get_method() + b" " + self._url], self._parser.get_http_version()
        headers = {name: value for name, value in self._headers.items() if name not in (b"upgrade", b"connection")}
        if b"close" in self._headers.get(b"connection", b"").lower():
            headers[b"connection"] = b"close"
        head[0] += f" HTTP/{version}".encode()
        head += [name + b": " + value for name, value in headers.items()]
        self._parser, self._head_bytes = httptools.HttpRequestParser(self), 0
        self.data_received(b"\r\n".join([*head, b"", rest]))

    def on_message_begin(self) -> None:
        self._began = self._loop.time()
        self._url, self._headers, self._body, self._size = b"", {}, b"", 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if sum(map(len, self._headers.values())) + len(self._url) > MAX_HEAD_BYTES:  # the end of it came with the rest
            raise ValueError(TOO_LARGE)
        self._started, self._head_bytes = time.perf_counter(), READING_BODY
        self._path = read_path(self._url)
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._owes_continue = True

    def on_body(self, body: bytes) -> None:
        self._head_bytes = READING_BODY
        self._size += len(body)
        if self._size > self._max_body_bytes:
            self._body = b""  # read and dropped: a client that still sends reads no answer
        elif not self._body:
            self._body = body  # small ones come in one piece
        else:
            self._body = bytearray(self._body) if isinstance(self._body, bytes) else self._body
            self._body += body

    def on_chunk_header(self) -> None:
        self._head_bytes = 0  # after the last chunk, headers may follow once more

    def on_message_complete(self) -> None:
        parser = self._parser
        if parser.should_upgrade():
            return
        self._head_bytes, self._began = 0, float("inf")
        self._owes_continue = False
        keep = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        body = None if self._size > self._max_body_bytes else bytes(self._body)
        method = parser.get_method().decode()
        self._waiting.append(Request(method, self._path, self._headers, body, self._started, self._answer, keep))

    def _next(self) -> None:
        """Hands on what is whole, until one of them takes its time."""
        while self._waiting and self._asked is None and not self._full and not self._transport.is_closing():
            self._asked = self._waiting.popleft()
            self._app.take(self._asked)
        if self._owes_continue and self._asked is None and not self._transport.is_closing():
            self._owes_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._read(not self._waiting)

    def _read(self, on: bool) -> None:
        """Reads on, or leaves what comes to the system, which tells the client to wait."""
        transport = self._transport
        if transport.is_closing() or transport.is_reading() == (on := on and not self._last):
            return
        transport.resume_reading() if on else transport.pause_reading()

    def _answer(self, response: Response) -> None:
        """Writes the answer to `_asked`, in one piece."""
        request, self._asked = self._asked, None
        transport = self._transport
        if transport.is_closing():
            return
        closes = not request.keep or ((self._last or self._app.draining) and not self._waiting)
        pieces = [STATUS[response.status], _date(int(time.time()))]
        for name, value in response.headers:
            pieces += (name, b": ", value, b"\r\n")
        pieces.append(b"connection: close\r\n\r\n" if closes else b"\r\n")
        head = b"".join(pieces)
        transport.writelines([head] if request.method == "HEAD" else [head, response.body])  # one call of the system
        if closes:
            transport.close()
        elif self._waiting or self._owes_continue or not transport.is_reading():
            self._loop.call_soon(self._next)
        self._idle_since = self._loop.time()

    def _refuse(self, status: HTTPStatus, told: str) -> None:
        """Ends the connection with what the client did wrong, or after the answers to what came before that."""
        transport = self._transport
        if not (self._last or transport.is_closing() or self._asked or self._waiting):
            body = orjson.dumps({"error": told})
            head = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            transport.close()
            self._app.refused(status, told.partition(":")[0])  # what follows may repeat an address with its query
        self._last = True
        self._read(False)

    def give_up_if_late(self) -> None:
        """Ends the connection where its client stalls: in a request, without one, or instead of reading."""
        now, unsent = self._loop.time(), self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._sent_at = unsent, now
        if unsent and now - self._sent_at > KEEP_ALIVE_SECONDS:
            self._transport.abort()  # closed in any other way, it would wait for ever to have sent all
        elif self._transport.is_closing() or self._last:
            return
        elif self._began == float("inf"):
            if now - self._idle_since > KEEP_ALIVE_SECONDS:
                self.close_if_idle()
        elif self._waiting:  # while an earlier request is computed nothing is read, and that is not the client's fault
            self._began = now
        elif now - self._began > REQUEST_SECONDS:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"Expected a whole request within {REQUEST_SECONDS} s.")

    def close_if_idle(self) -> None:
        """Ends the connection where nothing was begun."""
        if self._asked is None and not self._waiting and self._began == float("inf"):
            self._transport.close()

    def cut_off(self) -> None:
        """Ends the connection now; a request that waits for its answer is told to try again."""
        self._last = True
        self._waiting.clear()
        if self._asked:
            self._app.give_up(self._asked, 503, "the server stops and did not get to this request: try again.")
        self._transport.close()


@lru_cache(maxsize=128)
def read_path(url: bytes) -> str:
    """The path that a request's line names, unquoted. Raises ValueError where there is none."""
    path = httptools.parse_url(url).path
    if not path:
        raise ValueError(f"expected a path, got {url[:100]!r}")
    return unquote(path.decode("ascii"))


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return f"{format_date_time(second)}\r\n".encode()
