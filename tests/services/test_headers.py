"""The gateway is transparent: what must not travel does not, everything else does."""

from urllib.parse import unquote

import pytest

from tests.services.conftest import send


@pytest.mark.parametrize(
    "path", ["/v1/models/../../metrics", "/v1/models/%2e%2e/%2E./metrics", "/v2/models/a%3fb/infer"]
)
def test_what_is_passed_on_keeps_its_path(run, behind, path):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url)
    assert send(gate.url, "POST", path, {})[0] == 200
    assert unquote(predictor.seen[0][0]) == unquote(path)
