"""JupyterHub for a room on one machine. `./course hub FOLDER` starts it; FOLDER/hub.toml has names and limits.

Every learner's server is a process of the user who runs the hub, in a folder of the learner's own. Limits keep a mistake
from stopping the machine. They are no walls: see "Whom it trusts" in README.md.
"""

import asyncio
import json
import os
import resource
import shutil
import sys
from pathlib import Path

from jupyterhub.spawner import SimpleLocalProcessSpawner
from tornado import web

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tools.hub import settings  # standard library only

c = get_config()  # noqa: F821

ROOM = Path(os.environ["COURSE_HUB_FOLDER"])
STATE, LEARNERS = ROOM / "state", ROOM / "learners"
COURSE_PYTHON = Path(os.environ["COURSE_HUB_PYTHON"])
told = settings.read(ROOM)

# Who may log in. A name's first login sets its password; FirstUseAuthenticator keeps a bcrypt hash of it.
c.JupyterHub.authenticator_class = "firstuseauthenticator.FirstUseAuthenticator"
c.FirstUseAuthenticator.dbm_path = str(STATE / "passwords.dbm")
c.FirstUseAuthenticator.create_users = False
c.FirstUseAuthenticator.min_password_length = 8
c.Authenticator.allowed_users = {*told.learners, *told.instructors}
c.Authenticator.admin_users = set(told.instructors)
c.JupyterHub.template_vars = {
    "announcement_login": "The first time, choose a password of 8 characters or more. It stays."
}

# Where it listens (the proxy's own commands and the hub on the next two ports, for this machine alone), what it keeps.
c.JupyterHub.bind_url = f"http://{told.address}:{told.port}"
c.JupyterHub.hub_port = told.port + 2
c.JupyterHub.db_url = f"sqlite:///{STATE / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(STATE / "cookie_secret")
c.ConfigurableHTTPProxy.command = [os.environ["COURSE_HUB_PROXY"]]
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{told.port + 1}"
c.ConfigurableHTTPProxy.pid_file = str(STATE / "proxy.pid")

# The kernel is the course's Python, with the learner's own course_lib. The server is of the hub's environment.
kernel = STATE / "jupyter" / "kernels" / "python3" / "kernel.json"
kernel.parent.mkdir(parents=True, exist_ok=True)
kernel.write_text(json.dumps({
    "argv": [str(COURSE_PYTHON), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "display_name": "Python 3 (ipykernel)", "language": "python", "env": {"PYTHONPATH": "${COURSE_FOLDER}"},
}))  # fmt: skip


class Room(SimpleLocalProcessSpawner):
    """A server in the learner's folder, with limits on each of its processes."""

    def make_preexec_fn(self, name):
        there, data = super().make_preexec_fn(name), told.memory_mib * 2**20

        def limited() -> None:
            there()
            resource.setrlimit(resource.RLIMIT_DATA, (data, data))  # a kernel that wants more gets a MemoryError
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.nice(5)  # the hub and its proxy answer first

        return limited


async def own_folder(spawner: Room) -> None:
    """Before a learner's first start: a copy of the edition. One that is there is never touched."""
    folder, half = LEARNERS / spawner.user.name, LEARNERS / f".{spawner.user.name}"
    if folder.exists():
        return
    try:
        await asyncio.to_thread(shutil.rmtree, half, True)
        await asyncio.to_thread(shutil.copytree, ROOM / "edition", half)
        half.rename(folder)
    except OSError as refused:
        spawner.log.error("%s: %s", folder, refused)
        why = f"Your folder could not be made ({getattr(refused, 'strerror', None) or 'a copy failed'}). Tell your instructor."
        wrong = web.HTTPError(500, why)
        wrong.jupyterhub_message = why
        raise wrong from None


c.JupyterHub.spawner_class = Room
c.Spawner.pre_spawn_hook = own_folder
c.Spawner.cmd = [str(Path(sys.executable).parent / "jupyterhub-singleuser")]
c.Spawner.args = ["--LabApp.extension_manager=readonly", *["--allow-root"] * (os.geteuid() == 0)]
c.Spawner.default_url = "/lab/tree/notebooks/00_welcome.ipynb"
c.Room.home_dir_template = str(LEARNERS / "{username}")
c.Spawner.notebook_dir = str(LEARNERS / "{username}")
c.Spawner.mem_limit = told.memory_mib * 2**20  # tells the server; make_preexec_fn sees to it
c.Spawner.start_timeout = c.Spawner.http_timeout = 120
c.Spawner.env_keep = ["LANG", "LC_ALL"]
idle = round(told.idle_minutes * 60)
threads = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
c.Spawner.environment = {
    "COURSE_FOLDER": lambda spawner: str(LEARNERS / spawner.user.name),
    "COURSE_NAME": lambda spawner: spawner.user.name,  # images and namespaces of lessons 16 to 21 end in it
    "JUPYTER_PATH": f"{STATE / 'jupyter'}:{COURSE_PYTHON.parents[1] / 'share/jupyter'}",  # widgets' front ends
    "PATH": f"{COURSE_PYTHON.parent}:{os.environ['PATH']}",  # a terminal's `./course progress`
    "PYTHONUTF8": "1",
    "JUPYTERHUB_ACTIVITY_INTERVAL": str(max(1, min(300, idle // 4))),  # how often a server says that it is used, in s
    **dict.fromkeys(threads, str(told.threads)),
    **({} if told.live else {"COURSE_REPLAY": "1"}),
}

# How many at once, and what stops when nobody uses it.
c.JupyterHub.active_server_limit = int(os.environ["COURSE_HUB_SERVERS"])
c.JupyterHub.concurrent_spawn_limit = 10
ends_with_hub = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []  # also with one that was killed
culler = ["-m", "jupyterhub_idle_culler", f"--timeout={idle}", f"--cull-every={max(2, idle // 4)}"]
c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [*ends_with_hub, sys.executable, *culler],
        "environment": {"COURSE_HUB_FOLDER": str(ROOM)},
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "services": ["idle-culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
]
