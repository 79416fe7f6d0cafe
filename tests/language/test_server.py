"""The server, as its clients meet it: OpenAI's library, raw sockets, clients that are slow or leave."""

import concurrent.futures
import json
import random
import socket
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import openai
import pytest

from course_lib.ops.http import DIRECT


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


def ask(client, **fields):
    return client.completions.create(**{"model": "manual_lm", "prompt": "The statement", "max_tokens": 20} | fields)


def metrics(server):
    lines = DIRECT.open(server.url + "/metrics").read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def until(server, name, value, seconds=20):
    end = time.monotonic() + seconds
    while (now := metrics(server)).get(name, 0) != value and time.monotonic() < end:
        time.sleep(0.02)
    assert now.get(name, 0) == value
    return now


def raw(server, body, headers="", path="/v1/completions"):
    """A socket to which a POST has been written."""
    host, port = urlsplit(server.url).netloc.split(":")
    made = socket.create_connection((host, int(port)), timeout=30)
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    made.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)
    return made


def test_openai_s_library_streams_from_it(client):
    chunks = list(ask(client, stream=True, temperature=0, stream_options={"include_usage": True}))
    streamed = "".join(each.choices[0].text for each in chunks if each.choices)
    whole = ask(client, temperature=0)
    assert streamed == whole.choices[0].text and whole.choices[0].finish_reason == "length"
    assert [each.choices[0].finish_reason for each in chunks if each.choices][-2:] == [None, "length"]
    assert chunks[-1].usage == whole.usage and whole.usage.completion_tokens == 20
    assert len({each.id for each in chunks}) == 1 and len(chunks) >= 20


def test_the_pieces_come_one_by_one(client):
    began, moments = time.perf_counter(), []
    for _ in ask(client, stream=True, max_tokens=200):
        moments.append(time.perf_counter() - began)
    assert moments[0] < moments[-1] / 2


def test_a_seed_gives_the_same_text_again_and_another_one_another(client):
    texts = [ask(client, seed=seed, temperature=1, max_tokens=40).choices[0].text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_it_names_its_model(client):
    assert [each.id for each in client.models.list()] == ["manual_lm"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"max_tokens": 0}, "max_tokens: expected a whole number from 1"),
        ({"max_tokens": 2.5}, "max_tokens: expected a whole number"),
        ({"temperature": -1}, "temperature: expected a number from 0 to 2"),
        ({"seed": -5}, "seed: expected a whole number"),
        ({"n": 2}, "n: expected a whole number from 1 to 1"),
        ({"prompt": ""}, "prompt: expected a text that is not empty"),
        ({"prompt": ["a", "b"]}, "prompt: expected a text"),
        ({"prompt": "a" * 300}, "expected at most 256 tokens in all, got 300"),
        ({"max_tokens": 254, "prompt": "a b c"}, "expected at most 256 tokens"),
        ({"top_p": 0.5}, "got top_p"),
        ({"stop": "x"}, "got stop"),
    ],
)
def test_a_bad_request_is_told_what_was_expected(client, fields, says):
    with pytest.raises(openai.BadRequestError, match=says) as refused:
        ask(client, **fields)
    assert refused.value.type == "invalid_request_error"


def test_another_model_and_another_address_are_not_found(client):
    with pytest.raises(openai.NotFoundError, match="expected the model manual_lm"):
        ask(client, model="gpt")
    with pytest.raises(openai.NotFoundError, match="expected POST /v1/completions"):
        client.chat.completions.create(model="manual_lm", messages=[{"role": "user", "content": "a"}])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"model": "manual_lm", "prompt": "a", "max_tokens": true}',
        b'{"model": "manual_lm", "prompt": "a", "temperature": NaN}',
        b'{"model": "manual_lm", "prompt": "a", "stream": "yes"}',
        b'{"model": "manual_lm", "prompt": "a", "stream_options": [1]}',
        b'{"model": "manual_lm", "prompt": "\\ud800", "max_tokens": 2}',
        b'{"model": ["a"], "prompt": "a"}',
        b'{"model": "manual_lm", "prompt": "a", "\\ud800": 1}',
        b'{"model": "\\ud800", "prompt": "a"}',
        b'{"model": "' + b"m" * 60_000 + b'", "prompt": "a"}',
    ],
)
def test_what_is_no_request_is_refused_in_openai_s_form(server, body):
    with raw(server, body, "Connection: close\r\n") as made:
        answer = b"".join(iter(lambda: made.recv(4096), b""))
    assert int(answer.split()[1]) in (400, 404)
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"].keys() == {"message", "type", "param", "code"}


def test_a_body_that_is_too_large_is_refused(server):
    with pytest.raises(urllib.error.HTTPError) as refused:
        DIRECT.open(urllib.request.Request(server.url + "/v1/completions", b'"' + b"a" * 70_000 + b'"'), timeout=30)
    refused.value.close()
    assert refused.value.code == 413


def test_what_came_is_told_in_short(server):
    with raw(server, {"model": "m" * 60_000, "prompt": "a"}, "Connection: close\r\n") as made:
        assert len(b"".join(iter(lambda: made.recv(4096), b""))) < 1000


def test_a_long_word_keeps_nobody_waiting(server, client):
    word = "".join(random.Random(0).choices("abcdefghijklmnopqrst", k=60_000))
    began = time.perf_counter()
    with pytest.raises(openai.BadRequestError, match="or more in the prompt"):
        ask(client, prompt=word)
    assert time.perf_counter() - began < 0.5  # encoding it takes a second or more


def test_a_tiny_temperature_is_greedy(client):
    texts = [ask(client, temperature=each).choices[0].text for each in (0, 1e-9, 1e-320)]
    assert texts[0] == texts[1] == texts[2]


def test_half_a_character_waits_for_its_other_half(server, client):
    for seed in range(4):
        parts = [
            each.choices[0].text
            for each in ask(client, stream=True, temperature=2, seed=seed, prompt="é中", max_tokens=120)
        ]
        assert "".join(parts) == ask(client, temperature=2, seed=seed, prompt="é中", max_tokens=120).choices[0].text


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(server, stream):
    cancelled = 'lm_requests_total{outcome="cancelled"}'
    before = metrics(server).get(cancelled, 0)
    made = raw(server, {"model": "manual_lm", "prompt": "a", "max_tokens": 250, "stream": stream})
    until(server, "lm_requests_running", 1)
    made.close()
    until(server, cancelled, before + 1)
    until(server, "lm_requests_running", 0)


def test_one_that_leaves_while_it_waits_is_never_begun(server):
    before = metrics(server)
    slow = [raw(server, {"model": "manual_lm", "prompt": "a", "max_tokens": 250}) for _ in range(4)]
    until(server, "lm_requests_running", 4)
    waiting = raw(server, {"model": "manual_lm", "prompt": "b" * 200, "max_tokens": 40})
    until(server, "lm_requests_waiting", 1)
    waiting.close()
    cancelled = 'lm_requests_total{outcome="cancelled"}'
    until(server, cancelled, before.get(cancelled, 0) + 1)
    for each in slow:
        each.close()
    until(server, "lm_requests_running", 0)
    first = "lm_time_to_first_token_seconds_count"
    assert metrics(server)[first] - before[first] <= 4


def test_one_too_many_is_told_to_come_again(server, client):
    def status(_):
        try:
            ask(client, max_tokens=200)
        except openai.RateLimitError as refused:
            return refused.response.headers["retry-after"]
        return "answered"

    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        told = list(pool.map(status, range(30)))
    assert set(told) == {"answered", "1"} and told.count("answered") >= 6


def test_a_slow_reader_gets_everything_and_stops_nobody(server, client):
    asked = {"model": "manual_lm", "prompt": "a", "max_tokens": 200, "stream": True}
    with raw(server, asked, "Connection: close\r\n") as made:
        began, answer = time.monotonic(), b""
        ask(client)
        assert time.monotonic() - began < 20
        while piece := made.recv(2000):
            answer += piece
            time.sleep(0.005)
    assert b"data: [DONE]" in answer


def test_a_client_that_sends_slowly_is_answered(server):
    body = json.dumps({"model": "manual_lm", "prompt": "a", "max_tokens": 2}).encode()
    host, port = urlsplit(server.url).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as made:
        made.sendall(
            f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        for i in range(len(body)):
            made.sendall(body[i : i + 1])
            time.sleep(0.002)
        answer = b"".join(iter(lambda: made.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200")


def test_the_metrics_count_what_was_made(server, client):
    until(server, "lm_requests_running", 0)
    before = metrics(server)
    ask(client, max_tokens=30)
    after = metrics(server)
    grew = {name: after[name] - before.get(name, 0) for name in after}
    assert grew['lm_tokens_total{kind="generated"}'] == 30 and grew['lm_requests_total{outcome="answered"}'] == 1
    assert grew["lm_time_to_first_token_seconds_count"] == grew["lm_time_per_output_token_seconds_count"] == 1
