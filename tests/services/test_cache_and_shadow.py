"""What the gateway keeps, and what it compares."""

import asyncio
import time

import numpy as np

from course_lib.services import gateway
from tests.services.conftest import PIXELS, ROWS, send


def test_the_version_that_answered_is_told_and_only_the_newest_is_kept(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--cache", "9")
    for header in ("X-Model-Version", "x-model-version"):
        predictor.more = {header: "2"}  # the newest is 3
        for _ in range(2):
            headers = send(gate.url, "POST", "/digits", PIXELS)[2]
            assert (headers["x-model-version"], headers["x-cache"]) == ("2", "miss")


def test_a_server_that_answered_gets_no_copy_of_the_request(run, behind):
    stable, canary = behind(), behind()
    gate = run("gateway", "--predictor", f"{stable.url}=1", "--predictor", f"{canary.url}=1", "--shadow", canary.url)
    met = [send(gate.url, "POST", "/digits", PIXELS, X_Client_Id=f"c{i}")[2]["x-upstream"] for i in range(20)]
    until = time.monotonic() + 5
    while (text := send(gate.url, "GET", "/metrics")[1]["text"]) and time.monotonic() < until:
        if f'gateway_shadow_total{{answer="same"}} {met.count("predictor-0")}.0' in text:
            break
        time.sleep(0.02)
    assert "predictor-1" in met and f'{{answer="same"}} {met.count("predictor-0")}.0' in text
    assert len(canary.seen) == 20 and len(stable.seen) == met.count("predictor-0")


def test_a_shadow_gets_copies_and_its_failures_reach_nobody(run, behind):
    predictor, shadow = behind(), behind()
    gate = run("gateway", "--predictor", predictor.url, "--shadow", shadow.url, "--attempts", "1")
    kinds = ("same", "different", "failed")
    plans = ([], [[7, 3]], [500])

    def counted() -> dict[str, int]:
        text = send(gate.url, "GET", "/metrics")[1]["text"]
        return {kind: text.count(f'gateway_shadow_total{{answer="{kind}"}} 1.0') for kind in kinds}

    for number, plan in enumerate(plans, start=1):
        shadow.rows, shadow.plan = (np.eye(10)[plan[0]].tolist(), []) if plan and plan != [500] else (ROWS, list(plan))
        assert send(gate.url, "POST", "/digits", PIXELS)[1]["digits"] == [7, 2]
        until = time.monotonic() + 5
        while sum(counted().values()) < number and time.monotonic() < until:
            time.sleep(0.02)
        assert counted() == {kind: int(i < number) for i, kind in enumerate(kinds)}


def test_the_cache_answers_again_until_the_model_s_version_changes(run, behind):
    predictor = behind()
    gate = run("gateway", "--predictor", predictor.url, "--cache", "1", "--version-seconds", "0.05")
    other = {"pixels": np.ones((2, 1, 8, 8)).tolist()}

    def ask(body: dict) -> str:
        return send(gate.url, "POST", "/digits", body)[2]["x-cache"]

    assert [ask(PIXELS), ask(PIXELS), ask(other), ask(PIXELS), ask(PIXELS)] == ["miss", "hit", "miss", "miss", "hit"]
    predictor.version = "4"
    time.sleep(0.5)
    assert [ask(PIXELS), ask(PIXELS)] == ["miss", "hit"]
    assert send(gate.url, "POST", "/v1/models/digits_cnn/labels/stable:predict", b"{}")[2]["x-cache"] == "miss"
    assert send(gate.url, "POST", "/v1/models/digits_cnn/labels/stable:predict", b"{}")[2]["x-cache"] == "miss"
    predictor.plan = [404]
    assert send(gate.url, "POST", "/digits", other)[0] == 404 and ask(other) == "miss"  # a refusal is not kept


def test_a_cache_server_that_is_away_costs_no_answer(run, behind):
    gate = run("gateway", "--predictor", behind().url, "--cache", "redis://127.0.0.1:9")
    assert [send(gate.url, "POST", "/digits", PIXELS)[0] for _ in range(2)] == [200, 200]
    text = send(gate.url, "GET", "/metrics")[1]["text"]
    assert 'gateway_cache_lookups_total{found="failed"} 2.0' in text and 'found="no"' not in text


def test_memory_forgets_what_was_used_longest_ago():
    async def story() -> list:
        kept = gateway.Memory(2)
        for key in ("a", "b"):
            await kept.set(key, key.encode(), ex=1)
        await kept.get("a")
        await kept.set("c", b"c", ex=1)
        return [await kept.get(key) for key in ("a", "b", "c")]

    assert asyncio.run(story()) == [b"a", None, b"c"]
