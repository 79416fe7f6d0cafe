"""The pages that the build writes: the map, the pins, the data card."""

import re
import tomllib

import yaml

from course_lib import places, syllabus
from tools.build import pages, source

MAP = syllabus.load()
WRITTEN = [lesson for lesson in MAP.lessons if lesson.written]


def test_the_map_lists_every_lesson_and_badges_come_with_a_repository():
    from dataclasses import replace

    text = pages._map(MAP)
    assert all(lesson.title in text for lesson in MAP.lessons)
    assert pages._badges(replace(MAP, repository="")) == ""
    assert "git clone ADDRESS course\n" in pages._clone(replace(MAP, repository=""))
    published = replace(MAP, repository="owner/name")
    assert pages._clone(published) == "```bash\ngit clone https://github.com/owner/name course\ncd course\n```\n"
    assert "github/owner/name/blob/main/notebooks/00_welcome.ipynb" in pages._badges(published)
    assert "gh/owner/name/main" in source._head("notebooks", WRITTEN[0], published, places.CHECKOUT).source
    assert "badge" not in source._head("notebooks", WRITTEN[0], replace(MAP, repository=""), places.CHECKOUT).source


def test_next_leads_to_the_first_floor_and_deeper_is_a_link_of_its_own():
    first, second = (source._foot("notebooks", MAP.lesson(number), MAP).source for number in ("02", "02b"))
    assert "← [01 " in first and "**Deeper:** [02b " in first and "**Next:** [03 " in first
    assert "← [02 " in second and "**Next:** [03 " in second and "Deeper" not in second
    assert "This is the last lesson." in source._foot("notebooks", MAP.lesson("27"), MAP).source
    head = source._head("notebooks", MAP.lesson("02b"), MAP, places.CHECKOUT).source
    assert "second floor, deeper than [02 Loss functions](../notebooks/02_loss_functions.ipynb)" in head
    assert "exercises" in head and " minutes" in head


def test_on_colab_which_has_no_notebooks_beside_the_one_it_opened_each_link_at_the_end_has_its_whole_address():
    from dataclasses import replace

    published = replace(MAP, repository="owner/name")
    for kind in source.KINDS:
        for lesson in WRITTEN:
            assert "colab" not in source._foot(kind, lesson, MAP).source
            own, colab = source._foot(kind, lesson, published).source.split("On Colab: ")
            folders = re.findall(
                r"\]\(https://colab\.research\.google\.com/github/owner/name/blob/main/([^)]+)\)", colab
            )
            here = re.findall(r"\]\(([^)]+)\)", own)
            assert len(folders) == len(here) == colab.count("](")
            for there, relative in zip(folders, here):
                assert (places.CHECKOUT / kind / relative).resolve() == places.CHECKOUT / there
                assert (places.CHECKOUT / there).exists()


def test_the_map_gives_each_floor_a_row_and_minutes_to_what_is_written():
    rows = {line.split("|")[1].strip(): line for line in pages._map(MAP).splitlines()}
    assert "*deeper:* [A loss in floating point]" in rows["02b"] and "*deeper:*" not in rows["02"]
    assert all((lesson.stem in rows[lesson.number]) == lesson.written for lesson in MAP.lessons)


def test_environment_yml_and_constraints_txt_name_the_same_pins():
    packages = yaml.safe_load((places.CHECKOUT / "environment.yml").read_text(encoding="utf-8"))["dependencies"][-1][
        "pip"
    ]
    mine = {line.replace(" ;", ";") for line in packages if not line.startswith("--")}
    lines = (places.CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    theirs = {line.replace(" ;", ";") for line in lines if line and not line.startswith("#")}
    assert mine <= theirs
    assert {line.split("==")[0].split("-")[0] for line in theirs - mine} <= {"nvidia", "cuda", "triton"}


def test_every_package_of_the_project_is_pinned():
    project = tomllib.loads((places.CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["authors"]]
    pinned = {
        line.split("==")[0] for line in (places.CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    assert {re.match(r"[\w-]+", each)[0] for each in asked} <= pinned


def test_the_start_cell_for_colab_does_nothing_elsewhere():
    before = set(globals())
    exec(source._colab(MAP).source, namespace := {})
    assert set(namespace) - {"__builtins__"} == {"sys"} and set(globals()) == before


def test_the_data_card_counts_the_data():
    card = pages.data_card(places.CHECKOUT / "source/cards" / pages.DATA_CARD)
    for text in ("1,797, each 8 × 8", "| training | 1,122 |", "| validation | 225 |", "| test | 450 |"):
        assert text in card
    assert "{" not in card


def test_the_readme_is_read_in_one_sitting_and_leads_to_the_timings():
    text = (places.CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 260
    assert "(TIMINGS.md)" in text and "<!-- bench" not in text
