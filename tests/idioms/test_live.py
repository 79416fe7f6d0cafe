"""live: runs on the real thing, replays where it is missing, and says which."""

import json

import pytest

from course_lib.idioms import live, observe
from course_lib.idioms.live import NotLive, recording_path
from course_lib.ops import reach
from course_lib.ops.reach import Found


@pytest.fixture
def engine(monkeypatch):
    """Decides what is within reach: `engine("docker")`. The real probes are tested by the live lessons."""

    def within_reach(*names):
        def probe(need):
            there = need in names
            return Found(there, f"{need} 1.2" if there else "", "" if there else f"no {need} answers")

        monkeypatch.setattr(reach, "probe", probe)
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
