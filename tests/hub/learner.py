"""A learner as JupyterHub sees one: a browser's login, then tokens, servers, kernels over the real API."""

import json
import time
import uuid
from pathlib import Path

import nbformat
import requests
import websocket

from course_lib.places import CHECKOUT

SECONDS = 120


class Learner:
    """Someone at the hub at `url`; has a token after `login`."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name, self.token, self.kernels = url, name, "", []

    def login(self, password: str) -> str:
        """Fills the login page in; returns "" and gets a token, or returns what the page says is wrong."""
        with requests.Session() as browser:
            browser.get(f"{self.url}/hub/login", timeout=30)
            form = {"username": self.name, "password": password, "_xsrf": browser.cookies.get("_xsrf", path="/hub/")}
            page = browser.post(f"{self.url}/hub/login?next=/hub/home", data=form, timeout=60)
            if page.status_code != 200:
                return page.text.split('class="login_error">')[1].split("<")[0].strip()
            own = {"X-XSRFToken": browser.cookies.get("_xsrf", path="/hub/"), "Referer": f"{self.url}/hub/token"}
            made = browser.post(
                f"{self.url}/hub/api/users/{self.name}/tokens", headers=own, json={"note": "test"}, timeout=30
            )
            made.raise_for_status()
            self.token = made.json()["token"]
            return ""

    def ask(self, method: str, path: str, **more: object) -> requests.Response:
        """A request with the token: "/hub/api/…" of the hub, "/user/ana/api/…" of a server."""
        headers = {"Authorization": f"token {self.token}"}
        return requests.request(method, self.url + path, headers=headers, timeout=60, **more)

    @property
    def user(self) -> dict:
        """What the hub says about this learner."""
        return self.ask("GET", f"/hub/api/users/{self.name}").json()

    @property
    def running(self) -> bool:
        """Whether the learner's server is ready."""
        return self.user["servers"].get("", {}).get("ready", False)

    def start(self, seconds: float = SECONDS) -> str:
        """Asks for the server and waits for it; returns "" or why there is none."""
        asked = self.ask("POST", f"/hub/api/users/{self.name}/server")
        if asked.status_code not in (201, 202):
            return asked.json()["message"]
        self.until(lambda: self.running or not self.user["servers"].get("", {}).get("pending"), seconds)
        return "" if self.running else "the server ended"

    def stop(self) -> None:
        """Stops the server, and waits until it is gone."""
        assert self.ask("DELETE", f"/hub/api/users/{self.name}/server").status_code in (202, 204)
        self.until(lambda: not self.user["servers"])

    def until(self, what, seconds: float = SECONDS) -> None:
        """Waits until `what()` is true."""
        until = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < until, f"{self.name}: not within {seconds} s; the hub says {self.user}"
            time.sleep(0.3)

    def kernel(self, notebook: str) -> "Kernel":
        """A kernel for this notebook of the learner's folder, as JupyterLab starts one."""
        body = {"path": notebook, "name": "", "type": "notebook", "kernel": {"name": "python3"}}
        made = self.ask("POST", f"/user/{self.name}/api/sessions", json=body)
        assert made.status_code == 201, made.text
        self.kernels.append(Kernel(self, made.json()["kernel"]["id"]))
        return self.kernels[-1]

    def close(self) -> None:
        """Lets go of the connections to kernels; these run on."""
        for kernel in self.kernels:
            kernel.socket.close()

    def cells(self, notebook: str, count: int) -> list[str]:
        """The first code cells of a notebook in the learner's folder, through the server."""
        content = self.ask("GET", f"/user/{self.name}/api/contents/{notebook}").json()["content"]
        read = nbformat.from_dict(content)
        return [cell.source for cell in read.cells if cell.cell_type == "code"][:count]


class Kernel:
    """A kernel behind the hub's proxy, over its WebSocket."""

    def __init__(self, learner: Learner, number: str) -> None:
        address = learner.url.replace("http", "ws", 1) + f"/user/{learner.name}/api/kernels/{number}/channels"
        self.socket = websocket.create_connection(
            address, header=[f"Authorization: token {learner.token}"], timeout=SECONDS
        )

    def run(self, code: str) -> str:
        """What the code prints, shows and returns, as text. Raises RuntimeError for an exception in the kernel."""
        request = uuid.uuid4().hex
        header = {
            "msg_id": request,
            "username": "",
            "session": request,
            "msg_type": "execute_request",
            "version": "5.3",
        }
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }  # else what follows an error at once is not run
        self.socket.send(json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content,
                                     "channel": "shell", "buffers": []}))  # fmt: skip
        said, idle, replied = [], False, False
        while not (idle and replied):
            message = json.loads(self.socket.recv())
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "error":
                raise RuntimeError(f"{content['ename']}: {content['evalue']}")
            said += [content["text"]] if kind == "stream" else []
            said += [content["data"].get("text/plain", "")] if kind in ("execute_result", "display_data") else []
            idle |= kind == "status" and content["execution_state"] == "idle"
            replied |= kind == "execute_reply"
        return "".join(said)


def solve(learner: Learner) -> Kernel:
    """The learner opens exercise 02, runs its first cells and solves 02.1, as its solution does; returns the kernel."""
    notebook = "exercises/02_loss_functions.ipynb"
    kernel = learner.kernel(notebook)
    for cell in learner.cells(notebook, 2):
        kernel.run(cell)
    (answer,) = [
        cell for cell in code(CHECKOUT / "solutions/02_loss_functions.ipynb") if "def mean_squared_error(" in cell
    ]
    kernel.run(answer)
    assert "02.1" in kernel.run('check("02.1", mean_squared_error)')
    return kernel


def code(notebook: Path) -> list[str]:
    """The code cells of a notebook."""
    return [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]


def solved(progress: Path) -> list[str]:
    """The exercises that a progress file says are solved."""
    return sorted(json.loads(progress.read_text(encoding="utf-8"))["solved"]) if progress.exists() else []
