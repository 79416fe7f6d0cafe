"""quiet: drops announcements of compiled code, and nothing else."""

import os

import pytest

from course_lib.idioms import quiet


def test_what_compiled_code_writes_to_standard_error_is_dropped_meanwhile_and_only_then(capfd):
    os.write(2, b"before ")
    with quiet.native():
        os.write(2, b"meanwhile ")
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


def test_an_error_meanwhile_is_raised_and_standard_error_is_back(capfd):
    with pytest.raises(ValueError), quiet.native():
        raise ValueError
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_no_open_file_is_left_behind():
    before = os.dup(2)
    os.close(before)
    with quiet.native():
        pass
    after = os.dup(2)
    os.close(after)
    assert after == before
