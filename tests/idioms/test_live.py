"""live: runs on the real thing, replays where it is missing, and says which."""

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from course_lib.idioms import ClaimFailed, claim_gone, lesson, live, observe
from course_lib.idioms.live import NotLive, recorded, recording_path
from course_lib.ops import reach
from course_lib.ops.reach import Found

live_module = sys.modules["course_lib.idioms.live"]  # the package's own `live` is the decorator


@pytest.fixture
def engine(monkeypatch):
    """Decides what is within reach: `engine("docker")`. The real probes are tested by the live lessons."""

    tellers = {}
    monkeypatch.setattr(live_module, "_acted", set())
    monkeypatch.setattr(reach, "shared_context", lambda: "")

    def within_reach(*names):
        def probe(need, fresh=False):
            there = need in names
            return Found(there, f"{need} 1.2" if there else "", "" if there else f"no {need} answers")

        monkeypatch.setattr(reach, "probe", probe)
        monkeypatch.setattr(live_module, "_tellers", tellers)
        monkeypatch.setattr(reach, "stand_ins", lambda needs: ["The base image was a stand-in."])

    return within_reach


@live("docker")
def answer():
    return {"seconds": 1.5, "pods": ("a", "b")}


def record(engine, monkeypatch):
    engine("docker")
    monkeypatch.setenv("COURSE_RECORD", "1")
    answer()
    monkeypatch.delenv("COURSE_RECORD")


def test_within_reach_it_runs_and_says_so(engine, capsys):
    engine("docker")
    assert answer() == {
        "seconds": 1.5,
        "pods": ["a", "b"],
    }  # as JSON holds it, so that live and replayed data are alike
    said = capsys.readouterr().out
    assert "[live]" in said and "docker 1.2" in said and "stand-in" in said


def test_without_recording_being_asked_for_nothing_is_kept(engine):
    engine("docker")
    answer()
    assert not recording_path("01", "answer").exists()


def test_a_recording_is_replayed_under_a_banner_that_says_what_when_where_and_why(engine, monkeypatch, capsys):
    record(engine, monkeypatch)
    kept = json.loads(recording_path("01", "answer").read_text())
    assert {"lesson", "name", "recorded", "engines", "stand_ins", "source_sha256", "data"} == set(kept)
    engine()
    capsys.readouterr()
    assert answer() == {"seconds": 1.5, "pods": ["a", "b"]}
    said = capsys.readouterr().out
    for part in ("[recording]", kept["recorded"], "docker 1.2", "stand-in", "no docker answers", "To run it live"):
        assert part in said
    assert "changed since" not in said


def test_an_observation_over_a_recording_does_not_say_here(engine, monkeypatch, capsys):
    record(engine, monkeypatch)
    engine("docker")
    observe("it is quick", True, of=answer())
    assert "observed here" in capsys.readouterr().out
    engine()
    observe("it is quick", False, of=answer())
    assert "not so in the recording" in capsys.readouterr().out


def test_a_stale_recording_is_replayed_with_a_warning_to_the_reader(engine, monkeypatch, capsys):
    record(engine, monkeypatch)
    path = recording_path("01", "answer")
    path.write_text(json.dumps({**json.loads(path.read_text()), "source_sha256": "of an older function"}))
    engine()
    answer()
    assert "The function was changed since" in capsys.readouterr().out


def test_a_missing_recording_gives_a_plain_explanation(engine):
    engine()
    with pytest.raises(
        NotLive, match=r"answer cannot run here, since no docker answers; and no recording of it is kept"
    ):
        answer()


def test_a_lesson_reads_the_recording_of_another_under_a_banner_that_says_so(engine, monkeypatch, capsys):
    record(engine, monkeypatch)
    capsys.readouterr()
    data = recorded("01", "answer")
    observe("it is quick", True, of=data)
    said = capsys.readouterr().out
    assert data == {"seconds": 1.5, "pods": ["a", "b"]}
    for part in ("[recording]", "Not run here", "`answer` of lesson 01", "docker 1.2", "observed in the recording"):
        assert part in said
    with pytest.raises(NotLive, match="expected the recording other.json in source/recordings/01"):
        recorded("01", "other")


def test_required_live_a_missing_engine_is_a_failure_even_with_a_recording(engine, monkeypatch):
    record(engine, monkeypatch)
    engine()
    monkeypatch.setenv("COURSE_REQUIRE_LIVE", "1")
    with pytest.raises(NotLive, match="must run live here .* no docker answers"):
        answer()


def test_a_function_that_needs_both_is_replayed_where_one_is_missing(engine):
    @live("docker", "kubernetes")
    def both():
        return 1

    engine("docker")
    with pytest.raises(NotLive, match="no kubernetes answers"):
        both()


def test_each_call_tells_the_runner_its_mode(engine, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_LIVE_LOG", str(tmp_path / "log"))
    record(engine, monkeypatch)
    engine()
    answer()
    modes = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert modes == [{"lesson": "01", "name": "answer", "mode": mode} for mode in ("live", "replayed")]


def test_a_learner_can_ask_for_the_recording_although_an_engine_is_there(engine, monkeypatch, capsys):
    record(engine, monkeypatch)
    capsys.readouterr()
    monkeypatch.setenv("COURSE_REPLAY", "1")
    assert answer() == {"seconds": 1.5, "pods": ["a", "b"]}
    assert "COURSE_REPLAY=1 asks for the recording" in capsys.readouterr().out


def test_an_error_of_the_real_thing_is_not_hidden_behind_a_recording(engine, capsys):
    @live("docker")
    def breaks():
        raise OSError("the build failed")

    engine("docker")
    with pytest.raises(OSError, match="the build failed"):
        breaks()
    assert "ran for real and failed: OSError" in capsys.readouterr().out


def banners(capsys):
    """The banners printed since the last look, each a list of its lines."""
    return [each.split("\n    ") for each in re.split(r"\n(?! )", capsys.readouterr().out.strip())]


@live("docker")
def another():
    return 2


def test_the_first_banner_of_a_lesson_tells_the_story_and_the_later_ones_a_line(engine, monkeypatch, capsys):
    engine("docker")
    monkeypatch.setenv("COURSE_RECORD", "1")
    answer()
    another()
    first, second = banners(capsys)
    assert first[0] == "▶ This ran for real, here and now.  [live]" and len(first) == 3
    assert second == ["▶ `another` ran for real.  [live]"]
    engine()
    answer()
    another()
    first, second = banners(capsys)
    assert len(first) == 5 and first[0].startswith("◷ Not run here: this is what `answer` returned on")
    assert [line.startswith("◷ Replayed: `another`, recorded ") for line in second] == [True]


def test_the_cell_that_told_the_story_tells_it_again_and_so_does_another_lesson(engine, monkeypatch, capsys):
    record(engine, monkeypatch)
    engine()
    capsys.readouterr()
    answer()
    answer()
    first, again = banners(capsys)
    assert first == again
    (recording_path("02", "another")).parent.mkdir(parents=True)
    recording_path("02", "another").write_text(recording_path("01", "answer").read_text())
    monkeypatch.setattr(lesson, "_current", "02")
    another()
    assert "Not run here" in banners(capsys)[0][0]


def test_a_new_reason_is_told_with_a_later_banner(engine, monkeypatch, capsys):
    @live("docker", "kubernetes")
    def both():
        return 1

    engine("docker", "kubernetes")
    monkeypatch.setenv("COURSE_RECORD", "1")
    answer()
    both()
    engine()
    capsys.readouterr()
    answer()
    both()
    _, second = banners(capsys)
    assert second[1:] == ["On docker 1.2 and kubernetes 1.2", "Why: no docker answers and no kubernetes answers."]
    answer()
    assert len(banners(capsys)[0]) == 5, "the first one tells it all again"


def test_a_part_of_what_was_told_is_not_told_again(engine, monkeypatch, capsys):
    @live("docker", "kubernetes")
    def both():
        return 1

    engine("docker", "kubernetes")
    monkeypatch.setenv("COURSE_RECORD", "1")
    both()
    answer()
    engine()
    capsys.readouterr()
    both()
    answer()
    assert len(banners(capsys)[1]) == 1


def test_asked_for_the_recording_the_banner_says_how_to_end_that(engine, monkeypatch, capsys):
    record(engine, monkeypatch)
    capsys.readouterr()
    monkeypatch.setenv("COURSE_REPLAY", "1")
    answer()
    said = capsys.readouterr().out
    assert "del os.environ['COURSE_REPLAY']" in said and "start what is missing" not in said


def stops_in_the_middle(engine):
    @live("docker")
    def answer():
        engine()  # from here on nothing answers
        raise ConnectionError("Connection refused")

    return answer


def test_an_engine_that_stops_in_mid_lesson_is_replayed_under_a_banner_that_says_so(engine, monkeypatch, capsys):
    record(engine, monkeypatch)
    engine("docker")
    capsys.readouterr()
    assert stops_in_the_middle(engine)() == {"seconds": 1.5, "pods": ["a", "b"]}
    said = capsys.readouterr().out
    assert "Why: no docker answers." in said and "stopped in the middle of the lesson" in said and "failed" not in said


def test_an_engine_that_stops_before_anything_was_recorded_keeps_the_cause(engine):
    engine("docker")
    with pytest.raises(NotLive, match="since no docker answers") as failed:
        stops_in_the_middle(engine)()
    assert isinstance(failed.value.__cause__, ConnectionError)


def test_required_live_an_engine_that_stops_is_an_error(engine, monkeypatch):
    record(engine, monkeypatch)
    engine("docker")
    monkeypatch.setenv("COURSE_REQUIRE_LIVE", "1")
    with pytest.raises(ConnectionError):
        stops_in_the_middle(engine)()


@live("docker")
def clean_up():
    return []


def test_that_nothing_is_left_is_claimed_where_it_was_looked_at(engine, capsys):
    engine("docker")
    claim_gone("nothing is left", clean_up())
    assert "✓ nothing is left  [claim]" in capsys.readouterr().out
    with pytest.raises(ClaimFailed, match="nothing is left — does not hold here: sha256:1, namespace/a"):
        claim_gone("nothing is left", ["sha256:1", "namespace/a"])


def test_a_lesson_that_was_replayed_throughout_left_nothing(engine, monkeypatch, capsys):
    engine("docker")
    monkeypatch.setenv("COURSE_RECORD", "1")
    clean_up()
    monkeypatch.setattr(live_module, "_acted", set())
    engine()
    claim_gone("nothing is left", clean_up())
    said = capsys.readouterr().out
    assert "✓ nothing is left  [claim]" in said and "in the recording; this run made nothing" in said


def test_after_an_engine_stopped_nothing_is_claimed_of_what_is_left(engine, monkeypatch, capsys):
    engine("docker")
    monkeypatch.setenv("COURSE_RECORD", "1")
    clean_up()
    engine()
    claim_gone("nothing is left", clean_up())
    said = capsys.readouterr().out
    assert "Nothing was removed here, and nothing could be looked at." in said and "✓" not in said
    assert "What this lesson made stays until you run it again" in said


def test_a_lesson_says_once_and_before_it_acts_that_others_may_use_the_cluster(engine, monkeypatch, capsys):
    engine("docker", "kubernetes")
    monkeypatch.setattr(reach, "shared_context", lambda: "prod")
    monkeypatch.setenv("COURSE_NAME", "anna")

    @live("docker", "kubernetes")
    def deploy():
        print("acts")

    @live("kubernetes")
    def scale():
        pass

    @live("docker")
    def build():
        pass

    build()
    assert "others may use it" not in capsys.readouterr().out, "this one needs no cluster"
    deploy()
    said = capsys.readouterr().out
    assert "The cluster of the context prod is not on this machine: others may use it." in said.partition("acts")[0]
    assert "a namespace whose name ends in -anna, works in it alone, and removes it at the end" in said
    scale()
    assert "others may use it" not in capsys.readouterr().out


class Engine(BaseHTTPRequestHandler):
    """The little of Docker's API that the docker package asks for at its start."""

    def do_GET(self):
        self.send_response(200 if self.path.endswith(("/version", "/info")) else 404)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(json.dumps({"Version": "28.1", "ApiVersion": "1.44", "OSType": "linux"}).encode())

    def log_message(self, *_):
        pass


def test_the_docker_package_meets_an_engine_that_stops(monkeypatch, capsys):
    from course_lib.ops.docker import docker_client

    monkeypatch.setattr(live_module, "_tellers", {})
    monkeypatch.setattr(reach, "_there", {})
    monkeypatch.setattr(reach, "_hung", {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
    steps = iter(["go on", "stop"])

    @live("docker")
    def system():
        if next(steps) == "stop":
            server.shutdown()
            server.server_close()
        return docker_client().info()["OSType"]

    monkeypatch.setenv("COURSE_RECORD", "1")
    assert system() == "linux"
    monkeypatch.delenv("COURSE_RECORD")
    assert "▶ This ran for real" in capsys.readouterr().out
    for stopped in (True, False):
        assert system() == "linux"
        said = capsys.readouterr().out
        assert "Why: no Docker engine answers (connection refused)." in said and "object at" not in said
        assert ("stopped in the middle of the lesson" in said) is stopped


@pytest.mark.parametrize("data", [{1, 2}, object(), float("nan")])
def test_what_json_cannot_hold_is_refused(engine, data):
    engine("docker")

    @live("docker")
    def returns():
        return data

    with pytest.raises(TypeError, match="returns must return data that JSON can hold"):
        returns()


def test_arguments_and_unknown_engines_are_refused_where_they_are_written():
    with pytest.raises(TypeError, match="takes no arguments"):

        @live("docker")
        def takes(tag):
            return tag

    with pytest.raises(ValueError, match="expected docker or kubernetes"):
        live("podman")
    with pytest.raises(ValueError, match="got nothing"):
        live()
