"""What is wrong in built HTML: links and anchors that lead nowhere, pictures without a file or words, other hosts."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """ids, links (href of a), files (what a browser loads by itself) and pictures (src, alt) of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.files: list[str] = []
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.ids |= {told[key] for key in ("id", "name") if told.get(key)}
        if tag == "a" and told.get("href"):
            self.links.append(told["href"])
        elif tag == "link" and told.get("rel") in ("stylesheet", "icon", "preload") and told.get("href"):
            self.files.append(told["href"])
        elif tag in ("img", "script", "iframe", "source", "video") and told.get("src"):
            self.files.append(told["src"])
            if tag == "img" and not (told.get("alt") or "").strip():
                self.silent.append(told["src"][:60])


def problems(folder: Path) -> list[str]:
    """What is wrong in the pages of this folder, a sentence each."""
    pages = {path: _read(path) for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts}
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder)
        found += [f"{name}: the picture {source} has no alternative text" for source in page.silent]
        for target in dict.fromkeys(page.files + page.links):
            address = urlsplit(target)
            if address.scheme or address.netloc:
                if target in page.files and address.scheme != "data":
                    found.append(f"{name}: loads {target} from another host")
                continue
            aim = (path.parent / unquote(address.path)).resolve() if address.path else path
            anchor = unquote(address.fragment)
            if not aim.is_file():
                found.append(f"{name}: {target} leads nowhere")
            elif anchor and aim in pages and anchor not in pages[aim].ids:
                found.append(f"{name}: {target} has no such place")
    return found


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page
