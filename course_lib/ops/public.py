"""Images that others publish: pulled, or, where no registry is within reach, made here of Debian's packages.

The programs are the same and stand in the same places, under the same user; the releases are other ones. Whoever uses a
stand-in shows that our files work, and not that the public image does.
"""

import io

from course_lib.ops.docker import build_image
from course_lib.ops.reach import BASE_IMAGE

PROMETHEUS = "prom/prometheus:v3.13.2"
"""The image that docker/prometheus.Dockerfile starts from."""
ALERTMANAGER = "prom/alertmanager:v0.28.1"
"""That of k8s/components/monitoring/alertmanager.yaml; both are held to their files by tests/deploy."""

DOCKERFILE = f"""
FROM {BASE_IMAGE} AS debian
WORKDIR /packages
RUN apt-get update -qq && apt-get download -qq prometheus promtool prometheus-alertmanager busybox-static \\
    && for each in *.deb; do dpkg -x "$each" /made; done

FROM {BASE_IMAGE} AS both
COPY --from=debian /made/usr/bin/busybox /bin/wget
RUN for each in prometheus alertmanager; do mkdir -p /etc/$each /$each && chown 65534:65534 /$each; done
USER 65534:65534

FROM both AS prometheus
COPY --from=debian /made/usr/bin/prometheus /made/usr/bin/promtool /bin/
WORKDIR /prometheus
EXPOSE 9090
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]

FROM both AS alertmanager
COPY --from=debian /made/usr/bin/prometheus-alertmanager /bin/alertmanager
COPY --from=debian /made/usr/bin/amtool /bin/amtool
COPY --from=debian /made/usr/share/prometheus/alertmanager /usr/share/prometheus/alertmanager
WORKDIR /alertmanager
EXPOSE 9093
ENTRYPOINT ["/bin/alertmanager"]
CMD ["--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager"]
"""

STAGES = {PROMETHEUS: "prometheus", ALERTMANAGER: "alertmanager"}


def image(client, name: str, stand_in: str) -> tuple[str, str]:
    """The name under which an image of others can be started here, and in a sentence which one it is.

    client: `docker_client()`. name: one of STAGES. stand_in: the tag of what is made where `name` is neither here nor can be
    pulled. A pulled image stays, as a base image does; the stand-in is the caller's to remove. Raises KeyError for another
    name, docker.errors.NotFound where a registry answers and has no such image, docker.errors.BuildError.
    """
    import docker

    stage = STAGES[name]
    if client.images.list(name):
        return name, f"{name} is here already."
    try:
        client.images.pull(*name.split(":"))
    except docker.errors.NotFound:
        raise  # the registry answered
    except docker.errors.APIError:
        made(client, stage, stand_in)
        return stand_in, f"{name} cannot be pulled here; Debian's package of {stage} stands in for it."
    return name, f"{name} was pulled."


def made(client, stage: str, tag: str) -> None:
    """Builds the stand-in of a stage of DOCKERFILE under a tag. The builder keeps its cache. Raises BuildError."""
    build_image(client, fileobj=io.BytesIO(DOCKERFILE.encode()), target=stage, tag=tag, rm=True, forcerm=True)
