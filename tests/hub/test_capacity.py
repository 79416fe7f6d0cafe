"""The capacity table, and what else teaching/hub says in numbers."""

import json
import re

from course_lib.places import CHECKOUT
from tools import environments
from tools.hub import capacity, settings

HUB = CHECKOUT / "teaching/hub"
PAGE = (HUB / "README.md").read_text(encoding="utf-8")


def test_the_page_has_the_table_that_the_measurements_give():
    assert PAGE.split("<!-- capacity -->")[1].strip() == capacity.table(20, 200)
    assert f"{capacity.SERVER_MIB} MiB more" in PAGE and f"{capacity.HUB_MIB} MiB. A fifth" in PAGE


def test_every_lesson_that_is_measured_counts_as_learners_run_it():
    lessons = capacity.lessons()
    rows = capacity.TIMINGS.read_text(encoding="utf-8")
    assert len(lessons) > 40 and all(name in rows for name in lessons)
    assert lessons["10_quantize_models"][1] == max(mib for _, mib in lessons.values()), (
        "update this test where it moved"
    )
    assert lessons["17_kubernetes"][1] < 250, "the replayed run, not the live one"


def test_a_machine_holds_as_many_as_it_was_computed_for():
    for learners in (1, 20, 200):
        gib = capacity.machine(learners, capacity.mixed_mib())
        assert learners <= capacity.fits(gib * 1024) <= learners + 2
    assert capacity.fits(512) == 0


def test_the_limit_of_a_process_leaves_room_for_the_heaviest_lesson():
    assert settings.Room(("ana",), ("eva",)).memory_mib >= 1.2 * max(mib for _, mib in capacity.lessons().values())


def test_the_sample_is_read_and_says_what_holds_without_it(tmp_path):
    (tmp_path / settings.FILE).write_text(settings.SAMPLE)
    assert settings.read(tmp_path) == settings.Room(learners=("ana", "ben"), instructors=("eva",))


def test_the_hubs_packages_are_those_of_the_course_where_both_have_them():
    hub, course = environments.pins(HUB / "jupyterhub.txt"), environments.pins(CHECKOUT / "constraints.txt")
    assert {name: hub[name] for name in hub.keys() & course.keys()} == {
        name: course[name] for name in hub.keys() & course.keys()
    }
    first = (HUB / "jupyterhub.txt").read_text().splitlines()[0]
    assert all(f"{name}=={hub[name]}" in first for name in ("jupyterhub", "jupyterhub-idle-culler", "jupyterlab"))


def test_every_package_of_the_proxy_has_a_hash_and_none_a_host():
    lock = json.loads((HUB / "proxy/package-lock.json").read_text())
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    assert not any("resolved" in each for each in packages.values())
    wanted = json.loads((HUB / "proxy/package.json").read_text())["dependencies"]["configurable-http-proxy"]
    assert packages["node_modules/configurable-http-proxy"]["version"] == wanted and re.fullmatch(r"[\d.]+", wanted)
