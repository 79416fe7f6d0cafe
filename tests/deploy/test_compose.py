"""docker/compose.yaml and what Prometheus gets, read. tests/deploy/test_on_the_engine.py runs them."""

import json
import re

import pytest
import yaml

import course_lib
from course_lib.places import CHECKOUT
from course_lib.serving.__main__ import SHUTDOWN_SECONDS
from tests.deploy.rules.pods import parsed
from tests.deploy.test_dockerfile import recipe
from tests.deploy.tree import last_stage

FOLDER = CHECKOUT / "docker"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
BUILT = {name: last_stage(recipe(name)) for name in ("service", "gateway", "prometheus")}
SERVED = BUILT["service"]
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


def test_it_holds_two_servers_what_watches_them_and_a_cache():
    assert list(SERVICES) == ["service", "gateway", "prometheus", "redis"]
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
    user = found.get("user") or BUILT[name]["USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


@each
def test_each_has_limits_and_a_bounded_log(name):
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0 and 64 <= mebibytes(limits["memory"]) <= 512 and limits["pids"] > 0
    assert isinstance(limits["cpus"], str), "the specification's older schema takes text alone"
    options = SERVICES[name]["logging"]["options"]
    assert set(options) == {"max-size", "max-file", "mode", "max-buffer-size"}
    assert options["mode"] == "non-blocking", "a container whose log nobody reads fast enough would stand still"


@each
def test_each_is_reached_from_this_machine_alone(name):
    for port in SERVICES[name].get("ports", ()):
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
        assert volume["type"] == "volume", "a mounted file is unread after a clone under umask 077"
        assert volume["source"] in COMPOSE["volumes"]


@pytest.mark.parametrize("name", BUILT)
def test_what_is_built_is_the_courses_own_image(name):
    service = SERVICES[name]
    assert service["image"] == f"digits-{name}:{course_lib.__version__}"
    assert (FOLDER / service["build"]["context"]).resolve() == CHECKOUT
    assert (CHECKOUT / service["build"]["dockerfile"]).is_file()
    assert service["ports"][0].endswith(f":{BUILT[name]['EXPOSE']}")


@pytest.mark.parametrize("name", BUILT)
def test_its_health_check_asks_what_the_image_asks(name):
    assert json.dumps(SERVICES[name]["healthcheck"]["test"][1:]) in BUILT[name]["HEALTHCHECK"]


@pytest.mark.parametrize("name", ["service", "gateway"])
def test_a_server_may_finish_what_it_has_begun(name):
    assert seconds(SERVICES[name]["stop_grace_period"]) > SHUTDOWN_SECONDS


def test_the_gateway_asks_the_service_and_keeps_its_answers_in_redis():
    _, asked = parsed(SERVICES["gateway"]["command"])
    assert asked.predictor == [(f"http://service:{SERVED['EXPOSE']}", 1.0)] and asked.cache == "redis://redis:6379"
    assert set(SERVICES["gateway"]["networks"]) == {"serving", "cache"}
    neighbours = [name for name, each in SERVICES.items() if "cache" in each["networks"]]
    assert neighbours == ["gateway", "redis"] and SERVICES["redis"]["networks"] == ["cache"]
    assert "ports" not in SERVICES["redis"], "nobody but the gateway reaches a Redis without a password"


def test_prometheus_reads_both_servers_counters():
    prometheus, config = SERVICES["prometheus"], yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    for job, name in zip(config["scrape_configs"], ("service", "gateway"), strict=True):
        assert job["static_configs"] == [{"targets": [f"{name}:{BUILT[name]['EXPOSE']}"]}]
        assert job["job_name"] == f"digits-{name}" and job["metrics_path"] == "/metrics"
        assert set(prometheus["networks"]) & set(SERVICES[name]["networks"])
    assert seconds(config["global"]["scrape_timeout"]) <= seconds(config["global"]["scrape_interval"])


def test_prometheus_reads_its_file_and_writes_to_its_volume():
    options = dict(word.removeprefix("--").split("=") for word in SERVICES["prometheus"]["command"])
    (volume,) = SERVICES["prometheus"]["volumes"]
    assert (volume["source"], volume["target"]) == ("measurements", options["storage.tsdb.path"])
    assert BUILT["prometheus"]["COPY"].split()[1:] == ["docker/prometheus.yml", options["config.file"]]
    assert {"storage.tsdb.retention.time", "storage.tsdb.retention.size"} <= set(options)


def test_redis_is_a_cache_that_fits_its_memory_and_writes_no_file():
    words = SERVICES["redis"]["command"]
    option = {word: words[i + 1] for i, word in enumerate(words) if word.startswith("--")}
    assert option["--save"] == "" and option["--appendonly"] == "no" and option["--maxmemory-policy"] == "allkeys-lru"
    limit = mebibytes(SERVICES["redis"]["deploy"]["resources"]["limits"]["memory"])
    assert mebibytes(option["--maxmemory"]) <= 0.75 * limit
    assert "volumes" not in SERVICES["redis"]
