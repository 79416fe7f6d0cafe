"""docker/compose.yaml and what it mounts, read: no image of it but the service's can be had where the tests run."""

import re

import pytest
import yaml

import course_lib
from course_lib.places import CHECKOUT
from course_lib.serving.__main__ import SHUTDOWN_SECONDS
from tests.deploy.test_dockerfile import recipe
from tests.deploy.tree import last_stage

FOLDER = CHECKOUT / "docker"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
SERVED = last_stage(recipe("service"))
KNOWN = set(
    "build cap_drop command depends_on deploy healthcheck image logging networks ports read_only restart security_opt "
    "stop_grace_period tmpfs user volumes".split()
)
"""The keys of a service that the file uses, all of them the Compose Specification's."""

each = pytest.mark.parametrize("name", SERVICES)


def mebibytes(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(mb|[MG])", text).groups()
    return int(number) * {"mb": 1, "M": 1, "G": 1024}[unit]


def seconds(text: str) -> int:
    return int(re.fullmatch(r"(\d+)s", text)[1])


def test_it_holds_the_service_what_watches_it_and_a_cache():
    assert list(SERVICES) == ["service", "prometheus", "redis"]
    assert {key for key in COMPOSE if not key.startswith("x-")} == {"name", "services", "networks", "volumes"}


@each
def test_a_service_uses_keys_that_compose_knows(name):
    assert set(SERVICES[name]) <= KNOWN


@each
def test_each_image_is_pinned_to_a_version(name):
    assert re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", SERVICES[name]["image"])


@each
def test_each_is_read_only_without_capabilities_and_without_root(name):
    found = SERVICES[name]
    assert found["read_only"] is True and found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    user = found.get("user") or SERVED["USER"]  # the service has its own in its Dockerfile
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


@each
def test_each_has_limits_and_a_bounded_log(name):
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0 and 64 <= mebibytes(limits["memory"]) <= 512 and limits["pids"] > 0
    assert isinstance(limits["cpus"], str), "the specification's older schema takes text alone"
    assert set(SERVICES[name]["logging"]["options"]) == {"max-size", "max-file"}


@each
def test_each_is_reached_from_this_machine_alone(name):
    for port in SERVICES[name]["ports"]:
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


@each
def test_each_has_a_health_check_in_exec_form(name):
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD" and seconds(check["timeout"]) < seconds(check["interval"])
    if "-c" in check["test"]:
        compile(check["test"][-1], name, "exec")


@each
def test_what_a_service_names_is_there(name):
    found = SERVICES[name]
    assert set(found["networks"]) <= set(COMPOSE["networks"])
    assert set(found.get("depends_on", ())) <= set(SERVICES)
    for other, how in found.get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"} and "healthcheck" in SERVICES[other]
    for volume in found.get("volumes", ()):
        if volume["type"] == "bind":
            assert (FOLDER / volume["source"]).is_file() and volume["read_only"]
        else:
            assert volume["source"] in COMPOSE["volumes"]


def test_the_service_is_the_courses_own_image():
    service = SERVICES["service"]
    assert service["image"] == f"digits-service:{course_lib.__version__}"
    assert (FOLDER / service["build"]["context"]).resolve() == CHECKOUT
    assert (CHECKOUT / service["build"]["dockerfile"]).is_file()
    assert service["ports"][0].endswith(f":{SERVED['EXPOSE']}")


def test_its_health_check_asks_what_the_image_asks():
    assert SERVICES["service"]["healthcheck"]["test"][-1] in SERVED["HEALTHCHECK"]


def test_the_service_may_finish_what_it_has_begun():
    assert seconds(SERVICES["service"]["stop_grace_period"]) > SHUTDOWN_SECONDS


def test_prometheus_reads_the_services_counters():
    prometheus, config = SERVICES["prometheus"], yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"service:{SERVED['EXPOSE']}"]}] and job["metrics_path"] == "/metrics"
    assert set(prometheus["networks"]) & set(SERVICES["service"]["networks"])
    assert seconds(config["global"]["scrape_timeout"]) <= seconds(config["global"]["scrape_interval"])


def test_prometheus_reads_its_file_and_writes_to_its_volume():
    options = dict(word.removeprefix("--").split("=") for word in SERVICES["prometheus"]["command"])
    mounted = {volume["source"]: volume["target"] for volume in SERVICES["prometheus"]["volumes"]}
    assert mounted == {"./prometheus.yml": options["config.file"], "measurements": options["storage.tsdb.path"]}
    assert {"storage.tsdb.retention.time", "storage.tsdb.retention.size"} <= set(options)


def test_redis_is_a_cache_that_fits_its_memory_and_writes_no_file():
    words = SERVICES["redis"]["command"]
    option = {word: words[i + 1] for i, word in enumerate(words) if word.startswith("--")}
    assert option["--save"] == "" and option["--appendonly"] == "no" and option["--maxmemory-policy"] == "allkeys-lru"
    limit = mebibytes(SERVICES["redis"]["deploy"]["resources"]["limits"]["memory"])
    assert mebibytes(option["--maxmemory"]) <= 0.75 * limit
    assert "volumes" not in SERVICES["redis"]
