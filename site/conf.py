"""The web book: Sphinx over the pages that tools/site laid out. Nothing is run, and nothing is fetched."""

import json
import os
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.environment import BuildEnvironment

FILES = Path(__file__).parents[1] / ".course" / "site" / "files"

project = html_title = "From Loss to Load Balancer"
author = "the authors of the course"
copyright = "the authors of the course; text and figures CC BY 4.0, code MIT"
language = "en"
root_doc = "index"
extensions = ["myst_nb", "sphinx_copybutton", "sphinx_design"]

nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]  # listings with an ellipsis in them

html_theme = "sphinx_book_theme"
html_static_path = ["_static", str(FILES)]
html_extra_path = [str(FILES.parent / "extra")]  # pages that run in the browser as they are
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_copy_source = False
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
mathjax_path = "tex-svg.js"  # one file, no fonts: works from a folder; tools/site/run.py gets it
mathjax3_config = {"options": {"enableMenu": False}}  # whose parts would come from files that are not here
copybutton_selector = "div.cell_input pre, div.highlight-bash pre"

repository = os.environ.get("COURSE_REPOSITORY", "")  # "owner/name", from syllabus.toml; launch buttons need it
html_theme_options = {
    "show_toc_level": 2,
    "navbar_persistent": [],
    "show_prev_next": False,  # the pages have links of their own: the next lesson is not the next page
    "article_header_end": ["article-header-buttons.html"],
    "use_download_button": False,
    "use_fullscreen_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    **({
        "repository_url": f"https://github.com/{repository}",
        "repository_branch": "main",
        "path_to_docs": "",
        "use_repository_button": True,
        "use_issues_button": True,
        "launch_buttons": {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com",
                           "notebook_interface": "jupyterlab"},
    } if repository else {}),
}  # fmt: skip


def without_solutions(builder: StandaloneHTMLBuilder, page: str, doctree: nodes.document, title: str) -> None:
    """Hands a page to the search's index without what is folded away: hints and solutions would top every answer."""
    searched = doctree.deepcopy()
    for fold in [each for each in searched.findall(nodes.container) if "course-unsearched" in each["classes"]]:
        fold.parent.remove(fold)
    index_page(builder, page, searched, title)


index_page = StandaloneHTMLBuilder.index_page


def menu(env: BuildEnvironment) -> str:
    """What every page's sidebar shows: which page hangs under which, and titles."""
    titles = {name: title.astext() for name, title in env.titles.items()}
    return json.dumps([env.toctree_includes, titles], sort_keys=True)


def behind_the_menu(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Every page, where the menu is another than in the last build: Sphinx writes only pages whose own text changed."""
    kept = Path(app.doctreedir) / "menu.json"
    same = kept.is_file() and kept.read_text(encoding="utf-8") == menu(env)
    return [] if same else sorted(env.found_docs)


def keep_the_menu(app: Sphinx, why: Exception | None) -> None:
    """For the next build, once all pages are written."""
    if why is None:
        (Path(app.doctreedir) / "menu.json").write_text(menu(app.env), encoding="utf-8")


def setup(app: Sphinx) -> dict:
    StandaloneHTMLBuilder.index_page = without_solutions
    app.connect("env-updated", behind_the_menu)
    app.connect("build-finished", keep_the_menu)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
