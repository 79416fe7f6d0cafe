"""JupyterHub whose learners' servers are pods (KubeSpawner), while the hub runs on a machine beside the cluster.

`./course hub FOLDER` takes this file where FOLDER/hub.toml has a table [cluster]. Who may log in, idle servers and the
hub's own state are as on one machine. A hub inside the cluster is the chart's work: see kubernetes/values.yaml.
"""

import os
from pathlib import Path

c = get_config()  # noqa: F821
load_subconfig(str(Path(__file__).with_name("jupyterhub_config.py")))  # noqa: F821
from tools.hub import settings  # noqa: E402  # standard library only; jupyterhub_config.py says where it is

told = settings.read(Path(os.environ["COURSE_HUB_FOLDER"]))
cluster = told.cluster
COURSE, USER = "/home/learner/course", 10001

c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.hub_ip = cluster.hub  # a port of the pods' network; a firewall keeps strangers away from it
c.KubeSpawner.namespace = cluster.namespace
c.KubeSpawner.image = cluster.image
c.KubeSpawner.image_pull_policy = "IfNotPresent"
c.KubeSpawner.pod_name_template = "course-{username}"

# Limits are walls here: the kernel ends what takes more memory. The guarantee is what the scheduler counts with.
c.KubeSpawner.mem_guarantee, c.KubeSpawner.mem_limit = f"{cluster.guarantee_mib}M", f"{told.memory_mib}M"
c.KubeSpawner.cpu_guarantee, c.KubeSpawner.cpu_limit = 0.1, cluster.cores

# Nobody is root in a pod, and nobody becomes it.
c.KubeSpawner.uid, c.KubeSpawner.gid, c.KubeSpawner.fs_gid = USER, USER, USER
c.KubeSpawner.allow_privilege_escalation = False
secure = {"capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True, "runAsUser": USER, "allowPrivilegeEscalation": False,
          "seccompProfile": {"type": "RuntimeDefault"}}  # fmt: skip
c.KubeSpawner.container_security_context = secure

# Each learner's folder is a volume of its own. What the image has goes there at the first start, and never again.
c.KubeSpawner.storage_pvc_ensure = True
c.KubeSpawner.pvc_name_template = "course-{username}"
c.KubeSpawner.storage_capacity = cluster.storage
c.KubeSpawner.storage_access_modes = ["ReadWriteOnce"]
if cluster.storage_class:
    c.KubeSpawner.storage_class = cluster.storage_class
c.KubeSpawner.delete_pvc = False  # a learner who is removed from the hub loses nothing
volume = "course"
c.KubeSpawner.volumes = {volume: {"name": volume, "persistentVolumeClaim": {"claimName": "course-{username}"}}}
c.KubeSpawner.volume_mounts = {volume: {"name": volume, "mountPath": COURSE, "subPath": "course"}}
c.KubeSpawner.init_containers = {
    volume: {
        "name": "first-start",
        "image": cluster.image,
        "command": ["sh", "-ec", f"[ -e /kept/course ] || (cp -r {COURSE} /kept/half; mv /kept/half /kept/course)"],
        "volumeMounts": [{"name": volume, "mountPath": "/kept"}],
        "securityContext": secure,
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
    }
}

# What a learner may do on the cluster: everything in the namespace course-NAME, nothing elsewhere (kubernetes/learners.py).
c.KubeSpawner.service_account = "learner-{username}"

c.Spawner.pre_spawn_hook = None
c.Spawner.cmd = ["jupyterhub-singleuser"]
c.Spawner.args = ["--LabApp.extension_manager=readonly"]
c.Spawner.notebook_dir = COURSE
c.Spawner.start_timeout = 300  # a node that has to fetch the image takes minutes
kept = ("JUPYTERHUB_ACTIVITY_INTERVAL", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")  # fmt: skip
c.Spawner.environment = {
    **{name: c.Spawner.environment[name] for name in kept},
    "COURSE_NAME": lambda spawner: spawner.user.name,
    "POD_NAMESPACE": lambda spawner: f"course-{spawner.user.name}",  # where kubectl works in, unless -n names another
}
