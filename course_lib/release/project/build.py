"""Builds a signed version's image."""

import os
from pathlib import Path

from releases import shelf, verified, version_of

from course_lib.ops import docker, kubernetes

version = version_of("HEAD")
verified(version)
tag = f"{os.environ['IMAGE']}-{version}"
docker.build_service(docker.docker_client(), Path("context").resolve(), shelf / str(version), tag)
print(kubernetes.load_image(tag))
