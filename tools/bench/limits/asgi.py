"""A bare ASGI application under uvicorn, with the model server's settings: `asgi.py PORT ANSWER`.

It reads the request's body and answers the bytes, header and body, that the model server once answered (ANSWER, JSON).
"""

import json
import socket
import sys
from pathlib import Path

import uvicorn
from starlette.types import Receive, Scope, Send


class Application:
    def __init__(self, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.start = {"type": "http.response.start", "status": 200, "headers": headers}
        self.body = {"type": "http.response.body", "body": body}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await send(self.start)
        await send(self.body)


def main(port: int, answer: dict) -> None:
    headers = [(name.encode(), value.encode()) for name, value in answer["headers"].items() if name != "date"]
    config = uvicorn.Config(
        Application(headers, answer["body"].encode()),
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    listener = socket.create_server(("127.0.0.1", port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
