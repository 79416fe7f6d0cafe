"""A server as a process of a lesson, requests to it, and the picture of what load upon it saw."""

import asyncio
import time

import pytest
from matplotlib import pyplot
from starlette.responses import JSONResponse

from course_lib.ops import http, service
from course_lib.show import pods

# Requests


def test_the_local_service_is_asked_directly_whatever_proxy_is_set(served, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    url = f"http://127.0.0.1:{served(200)}"
    assert http.answers(url)
    assert http.ask(url, {"instances": []}) == {"fine": True}


def test_a_refusal_comes_with_its_status_and_words(served):
    with pytest.raises(RuntimeError, match='^400 from /: {"fine": true}$'):
        http.ask(f"http://127.0.0.1:{served(400)}", {})
    assert not http.answers(f"http://127.0.0.1:{served(503)}")


# The server as a process


def test_a_server_that_cannot_start_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="holds no NAME/VERSION/model.onnx"):
        service.start_service(tmp_path, tmp_path / "log")


HEAD = """
import asyncio
from starlette.responses import JSONResponse
"""
counted, STEP = 0, 2  # the program gets its own


async def work():
    global counted
    while True:
        counted += 1
        await asyncio.sleep(0.001)


def doubled(number):
    return STEP * number


async def number(request):
    return JSONResponse({"number": doubled(counted)})


def test_functions_of_a_notebook_are_served_with_what_they_need(tmp_path):
    program = tmp_path / "own server.py"
    served = service.start_handlers({"/number": number}, program, head=HEAD, beside=[doubled, work], counted=1, STEP=2)
    try:
        first = http.ask(f"{served.url}/number")["number"]
        assert first % 2 == 0 and first >= 2
        until = time.monotonic() + 20
        while http.ask(f"{served.url}/number", {})["number"] == first and time.monotonic() < until:
            time.sleep(0.01)
        assert http.ask(f"{served.url}/number")["number"] > first
    finally:
        served.stop()
    assert served.process.returncode is not None


def test_functions_that_cannot_start_say_why(tmp_path):
    with pytest.raises(RuntimeError, match="(?s)odd.py did not start.*No module named 'nowhere'"):
        service.start_handlers({"/number": number}, tmp_path / "odd.py", head="import nowhere")


# The picture of what load saw


def test_the_picture_is_drawn_and_says_in_words_what_it_shows(monkeypatch):
    drawn = {}
    monkeypatch.setattr(pods.show, "finding", lambda title, alt: drawn.update(title=title, alt=alt))
    counts = {"digits-abcde": [4, 5, 0], "digits-fghij": [0, 1, 6]}
    outcome = {"by_half_second": counts, "deleted": "digits-abcde", "deleted_after_s": 0.6, "failed": {}}
    pods.answers_by_pod(outcome, "One takes over")
    pyplot.close()
    assert drawn["title"] == "One takes over"
    assert "over 1.5 seconds" in drawn["alt"] and "digits-abcde (deleted): 9; digits-fghij: 7" in drawn["alt"]


def test_without_an_answer_there_is_no_picture_and_a_reason():
    outcome = {"by_half_second": {}, "deleted": "a", "deleted_after_s": 3.0, "failed": {"ConnectionRefusedError": 12}}
    with pytest.raises(ValueError, match=r"expected answers by pod, got none \(failed: 12 × ConnectionRefusedError\)"):
        pods.answers_by_pod(outcome, "Nothing")
