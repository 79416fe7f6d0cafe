"""docker/proxy.Dockerfile and docker/nginx.conf, read: what lesson 22c promises of them. The lesson runs them.

The promises are functions of the file's text, so that they can also be held against files with mistakes planted in them.
"""

import json
import re
from collections.abc import Callable, Iterator

import pytest

import course_lib
from course_lib.ops.proxy import KEYS, NGINX_USER
from course_lib.ops.reach import BASE_IMAGE
from course_lib.places import CHECKOUT
from tests.deploy.test_dockerfile import recipe
from tests.deploy.tree import last_stage

CONF = (CHECKOUT / "docker/nginx.conf").read_text(encoding="utf-8")
STAGE = last_stage(recipe("proxy"))

Block = list[tuple[list[str], "Block | None"]]


def read(text: str) -> Block:
    """nginx's directives: (words, what stands in its braces or None), as often and in the order in which they stand."""
    words = re.findall(r"""'[^']*'|"[^"]*"|[{};]|#[^\n]*|[^\s{};'"]+""", text)
    words = iter([each.strip("'\"") if each[0] in "'\"" else each for each in words if not each.startswith("#")])

    def block() -> Block:
        found, line = [], []
        for word in words:
            if word == "}":
                break
            if word == ";":
                found.append((line, None))
                line = []
            elif word == "{":
                found.append((line, block()))
                line = []
            else:
                line.append(word)
        return found

    return block()


def of(name: str, block: Block) -> list[list[str]]:
    """The arguments of each directive of that name, directly in the block."""
    return [words[1:] for words, _ in block if words[0] == name]


def inside(name: str, block: Block) -> list[tuple[list[str], Block]]:
    """(arguments, inner block) of each block of that name."""
    return [(words[1:], inner) for words, inner in block if words[0] == name and inner is not None]


def wrong(text: str) -> Iterator[str]:
    """A sentence for each promise that the configuration breaks."""
    top = read(text)
    ((_, http),) = inside("http", top)
    servers = [server for _, server in inside("server", http)]
    yield from at_the_door(http, [each for each in servers if not local(each)])
    if top and of("user", top):
        yield "it changes its user, which a container without root cannot"
    if of("daemon", top) != [["off"]]:
        yield "it leaves the foreground, and its container ends"
    places = [path for name in ("client_body_temp_path", "proxy_temp_path", "fastcgi_temp_path", "uwsgi_temp_path",
                                "scgi_temp_path") for path in of(name, http) or [["(default)"]]] + of("pid", top)  # fmt: skip
    for path in places:
        if not path[0].startswith("/tmp/"):
            yield f"it writes to {path[0]}, and the root file system is read-only"
    yield from log(http)


def local(server: Block) -> bool:
    """Whether a server is reached from its own container alone."""
    return all(listen[0].startswith("127.0.0.1:") for listen in of("listen", server))


def at_the_door(http: Block, servers: list[Block]) -> Iterator[str]:
    if len(servers) != 1:
        yield f"expected one server that others reach, found {len(servers)}"
    for server in servers:
        if not all("ssl" in listen for listen in of("listen", server)):
            yield "it listens without TLS"
        allowed = {each for words in of("ssl_protocols", server) + of("ssl_protocols", http) for each in words}
        if not allowed or allowed - {"TLSv1.2", "TLSv1.3"}:
            yield f"it speaks {', '.join(sorted(allowed)) or 'what nginx likes'}"
        if of("ssl_verify_client", server) != [["on"]]:
            yield "it lets clients in without a certificate"
        for name in ("ssl_certificate", "ssl_certificate_key", "ssl_client_certificate"):
            files = of(name, server)
            if len(files) != 1 or not files[0][0].startswith(f"{KEYS}/"):
                yield f"{name} is not under {KEYS}, where keys are mounted"
        if of("ssl_session_tickets", server) != [["off"]]:
            yield "a ticket brings a client back without its certificate"
        yield from limited(http, server)


def limited(http: Block, server: Block) -> Iterator[str]:
    zones = {re.search(r"zone=(\w+)", " ".join(words))[1]: words for words in of("limit_req_zone", http)}
    for where, location in inside("location", server):
        if not of("proxy_pass", location):
            continue
        limits = of("limit_req", location)
        if not limits:
            yield f"location {' '.join(where)} passes requests on without a limit"
        for limit in limits:
            name = next(word.removeprefix("zone=") for word in limit if word.startswith("zone="))
            if name not in zones:
                yield f"the zone {name} is not there"
            elif zones[name][0] != "$ssl_client_s_dn":
                yield f"the limit counts {zones[name][0]}, not the certificate's name"
        if of("limit_req_status", http) != [["429"]]:
            yield "a refused request is told that the server is unwell, not that it asked too often"
    metrics = [location for where, location in inside("location", server) if where == ["/metrics"]]
    if not metrics or of("return", metrics[0]) != [["404"]]:
        yield "strangers read the counters"


def log(http: Block) -> Iterator[str]:
    """Its log holds no header that a client sends, no query and no body."""
    formats = {words[0]: " ".join(words[1:]) for words in of("log_format", http)}
    for path, *form in of("access_log", http) or [["(default)", "combined"]]:
        if not form or form[0] not in formats:
            yield f"the log {path} is of the form {form[0] if form else 'combined'}, which holds addresses and queries"
            continue
        for variable in re.findall(r"\$\w+", formats[form[0]]):
            if re.match(r"\$(http_|sent_http_|cookie_|arg_|args|request$|request_uri|query_string|request_body|ssl_client_cert"
                        r"|ssl_client_raw|ssl_client_escaped|remote_)", variable):  # fmt: skip
                yield f"the log holds {variable}"


def test_the_configuration_keeps_its_promises():
    assert list(wrong(CONF)) == []


def swapped(old: str, new: str) -> Callable[[str], str]:
    def plant(text: str) -> str:
        assert old in text, old
        return text.replace(old, new)

    return plant


MISTAKES = {
    "TLS 1.1": (swapped("ssl_protocols TLSv1.2", "ssl_protocols TLSv1.1 TLSv1.2"), "it speaks TLSv1.1"),
    "nginx's own choice of protocols": (swapped("ssl_protocols TLSv1.2 TLSv1.3;", ""), "it speaks what nginx likes"),
    "clients without certificates": (swapped("ssl_verify_client on;", "ssl_verify_client off;"), "without a certificate"),
    "certificates if somebody likes": (swapped("ssl_verify_client on;", "ssl_verify_client optional;"), "without a certificate"),
    "no word of certificates": (swapped("ssl_verify_client on;", "# ssl_verify_client on;"), "without a certificate"),
    "no limit": (swapped("limit_req zone=clients burst=5 nodelay;", ""), "without a limit"),
    "a limit in a comment": (swapped("limit_req zone=", "# limit_req zone="), "without a limit"),
    "a limit by address": (swapped("limit_req_zone $ssl_client_s_dn", "limit_req_zone $binary_remote_addr"), "not the certificate"),
    "a limit of another zone": (swapped("limit_req zone=clients", "limit_req zone=client"), "the zone client is not there"),
    "503 for too many": (swapped("limit_req_status 429;", ""), "not that it asked too often"),
    "a second door without a limit": (
        swapped("location /metrics {", "location /v1 {\n proxy_pass http://gateway;\n}\n location /metrics {"), "location /v1 passes"),
    "plain HTTP": (swapped("listen 8443 ssl;", "listen 8443;"), "without TLS"),
    "plain HTTP beside it": (swapped("listen 8443 ssl;", "listen 8443 ssl;\n listen 8080;"), "without TLS"),
    "a health check for everybody": (swapped("listen 127.0.0.1:8081;", "listen 8081;"), "expected one server"),
    "a key beside the configuration": (
        swapped("/etc/nginx/keys/server.key", "/etc/nginx/server.key"), "ssl_certificate_key is not under"),
    "tickets": (swapped("ssl_session_tickets off;", ""), "a ticket brings"),
    "counters for strangers": (swapped("return 404;\n        }\n    }\n\n    # For", "proxy_pass http://gateway;\n }\n}\n #"), "strangers"),
    "the key of a client in the log": (swapped('"client": "$ssl_client_s_dn"', '"client": "$http_x_api_key"'), "holds $http_x_api_key"),
    "a token in the log": (swapped('"status": $status', '"token": "$http_authorization"'), "holds $http_authorization"),
    "the query in the log": (swapped('"path": "$uri"', '"path": "$request_uri"'), "holds $request_uri"),
    "nginx's usual log": (swapped("access_log /dev/stdout calls;", "access_log /dev/stdout;"), "combined"),
    "a background": (swapped("daemon off;", ""), "leaves the foreground"),
    "a user": (swapped("daemon off;", "daemon off;\nuser www-data;"), "changes its user"),
    "a folder that is read-only": (swapped("proxy_temp_path /tmp/proxy;", ""), "writes to (default)"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_caught(mistake):
    plant, said = MISTAKES[mistake]
    found = list(wrong(plant(CONF)))
    assert any(said in each for each in found), found


def test_the_base_is_that_of_the_other_images():
    assert recipe("proxy")[:2] == [("ARG", f"BASE_IMAGE={BASE_IMAGE}"), ("FROM", "${BASE_IMAGE}")]


def test_any_builder_understands_it():
    text = (CHECKOUT / "docker/proxy.Dockerfile").read_text(encoding="utf-8")
    for unknown in ("--mount", "# syntax", "--link", "--chmod", "<<", "ADD "):
        assert unknown not in text


def test_it_runs_as_a_numbered_user_in_exec_form_on_the_port_of_its_configuration():
    assert STAGE["USER"] == f"{NGINX_USER}:{NGINX_USER}" and json.loads(STAGE["CMD"]) == ["nginx", "-e", "stderr"]
    ((_, http),) = inside("http", read(CONF))
    ports = [of("listen", server)[0][0] for _, server in inside("server", http)]
    assert ports == [STAGE["EXPOSE"], "127.0.0.1:8081"]
    assert STAGE["STOPSIGNAL"] == "SIGQUIT", "SIGTERM breaks off what is under way"


def test_its_health_check_asks_a_place_that_answers_without_a_certificate():
    check = json.loads(STAGE["HEALTHCHECK"].split("CMD", 1)[1])
    compile(check[-1], "HEALTHCHECK", "exec")
    ((_, http),) = inside("http", read(CONF))
    (server,) = [server for _, server in inside("server", http) if local(server)]
    assert of("listen", server) == [["127.0.0.1:8081"]] and "http://127.0.0.1:8081/healthz" in check[-1]
    assert [where for where, _ in inside("location", server)] == [["=", "/healthz"], ["/"]]


def test_the_label_tells_the_version_of_the_course():
    assert f'version="{course_lib.__version__}"' in STAGE["LABEL"]


def test_no_key_is_copied_into_the_image():
    copies = [rest for word, rest in recipe("proxy") if word in ("COPY", "ADD")]
    assert copies == [f"--chown={NGINX_USER}:{NGINX_USER} docker/nginx.conf /etc/nginx/nginx.conf"]
