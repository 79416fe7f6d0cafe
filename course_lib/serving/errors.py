"""What is refused, and why: requests, and models."""


class Refused(Exception):
    """A request that is not answered as it hoped: `status` and `headers` for HTTP, one sentence for the one who sent it.

    status: 4xx where the client can mend it, 503 where it may try again, 504 where the time was up.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


class ModelError(Exception):
    """A folder or a model file that cannot be served; the message is one line, for whoever runs the server."""


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())
