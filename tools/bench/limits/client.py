"""The least that answers: `client.py PORT ANSWER`. What wrk reaches against it is what the client can measure here.

It parses nothing of a request but its length, and writes bytes that lie ready: those that the model server once
answered (ANSWER, JSON).
"""

import asyncio
import json
import re
import sys
from pathlib import Path

import uvloop

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Canned(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self.answer, self.got = answer, b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data
        head = self.got.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(self.got, 0, head + 2)
        if len(self.got) >= head + 4 + (int(length[1]) if length else 0):  # requests do not come on each other's heels
            self.got = b""
            self.transport.write(self.answer)


async def serve(port: int, answer: bytes) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Canned(answer), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in told["headers"].items())]
    try:
        uvloop.run(serve(int(sys.argv[1]), ("\r\n".join(lines) + "\r\n\r\n" + told["body"]).encode()))
    except KeyboardInterrupt:
        sys.exit(0)
