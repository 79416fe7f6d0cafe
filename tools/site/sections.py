"""What the search lists besides pages: every section and every term of the glossary, with its words, in one script."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
LEFT_OUT = {"pre", "script", "style", "svg", "iframe", "details", "button", "nav"}
LEFT_OUT_CLASSES = {
    "headerlink",
    "cell_input",
    "cell_output",
    "course-unsearched",
    "course-map",
    "course-steps",
    "math",
}
UNLISTED = ("search.html", "genindex.html")
"""Pages without a place in the list."""


class _Page(HTMLParser):
    """The sections of a page: [anchor, heading, words], in order; a section's words end where the next one begins."""

    def __init__(self) -> None:
        super().__init__()
        self.sections: list[list[str]] = []
        self._open: list[str] = []
        self._anchors: list[str] = []
        self._article = self._left_out = 0  # how deep the stack was when it began; 0 outside
        self._into = -1  # 1: words go to the heading, 2: to the text, -1: nowhere

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            self.handle_data(" " if tag == "br" else "")
            return
        self._open.append(tag)
        told = dict(attrs)
        classes = set((told.get("class") or "").split())
        if tag == "article" and not self._article:
            self._article = len(self._open)
        if not self._article or self._left_out:
            return
        if tag in LEFT_OUT or classes & LEFT_OUT_CLASSES:
            self._left_out = len(self._open)
            if "math" in classes and self._into == 2:
                self.sections[-1][2] += "…"
        elif tag == "section":
            self._anchors.append(told.get("id") or "")
        elif tag in ("h1", "h2", "h3", "h4") and self._anchors:
            self.sections.append([self._anchors[-1], "", ""])
            self._into = 1
        elif tag == "dt" and (told.get("id") or "").startswith("term-"):
            if self.sections and self.sections[-1][0].startswith("term-") and not self.sections[-1][2]:
                self.sections[-1][1] += " · "  # the same term in the other language
            else:
                self.sections.append([told["id"], "", ""])
            self._into = 1
        elif self._into == 2:
            self.sections[-1][2] += " " if tag in ("p", "li", "td", "th", "dd", "div") else ""

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID or tag not in self._open:
            return
        while True:
            if self._left_out == len(self._open):
                self._left_out = 0
            if self._article == len(self._open):
                self._article, self._into = 0, -1
            closed = self._open.pop()
            if closed == "section" and self._anchors and self._article and not self._left_out:
                self._anchors.pop()
            if closed in ("h1", "h2", "h3", "h4", "dt") and self._into == 1:
                self._into = 2
            if closed == tag:
                return

    def handle_data(self, data: str) -> None:
        if self._article and not self._left_out and self._into > 0:
            self.sections[-1][self._into] += data


def of(page: str) -> list[list[str]]:
    """The sections of a page's HTML: anchor, heading, words. Without code, formulas, outputs, hints and solutions."""
    read = _Page()
    read.feed(page)
    return [[anchor, _plain(heading), _plain(words)] for anchor, heading, words in read.sections]


def write(folder: Path) -> None:
    """Writes sections.js beside the pages of this folder: [address, title of the page, heading, words] each."""
    listed = []
    for path in sorted(folder.rglob("*.html")):
        name = path.relative_to(folder).as_posix()
        if name.startswith("_static/") or name in UNLISTED:
            continue
        found = of(path.read_text(encoding="utf-8"))
        listed += [[f"{name}#{anchor}", found[0][1], heading, words] for anchor, heading, words in found if words]
    told = json.dumps(listed, ensure_ascii=False, separators=(",", ":"))
    (folder / "sections.js").write_text(f"window.courseSections = {told};\n", encoding="utf-8", newline="\n")


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
