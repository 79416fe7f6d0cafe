"""Connections: how long and how large a client's requests may be before it is answered, and the socket they come in at."""

import socket
import sys
from http import HTTPStatus

import httptools
import orjson
import prometheus_client
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS = 8
"""How long a request may take to come in, from its first byte. Less than SHUTDOWN_SECONDS, so that a client which stalls
cannot hold a shutdown up."""
KEEP_ALIVE_SECONDS = 30
"""How long a connection may stay open without a request, and how long its client may read nothing of an answer."""
MAX_HEAD_BYTES = 1 << 16
TOO_LARGE = f"a line and headers of at most {MAX_HEAD_BYTES} bytes were expected, more came"
REFUSED = prometheus_client.Counter(
    "service_requests_refused", "Requests that never came in whole, by answer", ["code"]
)


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with bounds for what comes before a body and for how long its client may stall, and its
    refusals as the protocols write them."""

    _head_bytes, _began = 0, float("inf")
    _unsent, _sent_at = 0, 0.0

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            if self.parser.get_method() == b"CONNECT":
                return self.send_400_response("Expected a request of this server, got CONNECT: it is no proxy.")
            return self.data_received(self._without_upgrade() + data[stopped.args[0] :])
        except httptools.HttpParserError as error:
            return self.send_400_response(f"Expected a request of HTTP/1.1: {error.__context__ or error}.")
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"Expected a request of HTTP/1.1: {TOO_LARGE}.")

    def eof_received(self) -> bool:
        """The client says no more, but may still listen: what it asked is answered, and the connection ends then."""
        waits = self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete
        if waits:
            self.cycle.keep_alive = False
        return waits

    def on_message_begin(self) -> None:
        self._began = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # it comes once more, without that
        if sum([len(name) + len(value) for name, value in self.headers]) + len(self.url) > MAX_HEAD_BYTES:
            raise ValueError(TOO_LARGE)  # the end of it came with the rest
        self._head_bytes = -sys.maxsize  # until the next request begins
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        self._head_bytes = 0  # after the last chunk, headers may follow once more

    def on_body(self, body: bytes) -> None:
        self._head_bytes = -sys.maxsize
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._head_bytes, self._began = 0, float("inf")
        super().on_message_complete()

    def give_up_if_late(self) -> None:
        """Ends the connection where its client stalls: in a request, before its first one, or instead of reading."""
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._sent_at = unsent, now
        if unsent and now - self._sent_at > KEEP_ALIVE_SECONDS:
            self.transport.abort()  # closed in any other way, it would wait for ever to have sent all
        elif self.transport.is_closing():
            return
        elif self._began == float("inf"):
            self._close_if_unused()
        elif now - self._began <= REQUEST_SECONDS:
            return
        elif self.pipeline:  # while an earlier request is computed nothing is read, and that is not the client's fault
            self._began = now
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"Expected a whole request within {REQUEST_SECONDS} s.")

    def _close_if_unused(self) -> None:
        """uvicorn closes what is unused after an answer; not what never asked, or sent a mere line end since."""
        if self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
            self.timeout_keep_alive_task = self.loop.call_later(KEEP_ALIVE_SECONDS, self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _without_upgrade(self) -> bytes:
        """The head that just came, without its offer of another protocol, for a parser that has seen nothing yet.

        A server may ignore the offer (RFC 9110, 7.8); this parser stops at it, since what follows might be another
        protocol. Java's HttpClient and `curl --http2` offer `h2c` with their first request.
        """
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                value = b",".join(each for each in value.split(b",") if each.strip().lower() != b"upgrade")
            if name != b"upgrade":
                lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        return b"\r\n".join([*lines, b"", b""])

    def _refuse(self, status: HTTPStatus, msg: str) -> None:
        if self.cycle and not self.cycle.more_body and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # what came before is whole, and is answered
            self.flow.pause_reading()
        else:
            self._end(status, msg)

    def _end(self, status: HTTPStatus, msg: str) -> None:
        REFUSED.labels(status.value).inc()
        self.logger.warning("request refused, %d: %s", status, msg.partition(":")[0])  # no address with its query
        body = orjson.dumps({"error": msg})
        head = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """A bound socket whose connections send at once. Raises OSError or OverflowError where the address is no good."""
    six = ":" in host
    both = six and socket.has_dualstack_ipv6()  # `::` is every address of this machine, IPv4's too
    listener = socket.create_server(
        (host, port), family=socket.AF_INET6 if six else socket.AF_INET, dualstack_ipv6=both
    )
    # asyncio does this only for sockets that name their protocol, which create_server's do not. Without it, the body
    # of an answer waits until the client has acknowledged its head: 40 ms for each request of a kept connection.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
