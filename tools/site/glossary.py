"""The glossary: a page on which every term, English and Chinese, can be found, and links to it from the lessons."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tools.site.book import FENCE, Book, outside

KEPT = re.compile(
    r"`+[^`]+`+|\$\$[^$]*\$\$|\$[^$\n]+\$|!?\[[^\[\]]*\]\([^)]*\)|<[^>\n]+>|^#.*$|^\|.*$|\{term\}`[^`]*`", re.M
)
"""What is no prose: code within a line, formulas, links, HTML, headings, tables."""


@dataclass(frozen=True)
class Term:
    """A row of GLOSSARY.md."""

    english: str
    chinese: str
    meaning: str
    lesson: str

    @property
    def spellings(self) -> list[str]:
        """How a lesson may write it: without what stands in brackets, each part of a list, an abbreviation in brackets."""
        plain, _, bracket = self.english.partition(" (")
        short = [bracket.rstrip(")")] if re.fullmatch(r"[A-Z][A-Za-z/-]*[A-Z][A-Za-z]*\)", bracket) else []
        return [each.strip() for each in [*plain.split(","), *short] if len(each.strip()) > 1]


class Glossary:
    """The terms of GLOSSARY.md."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text(encoding="utf-8")
        rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (\d\d[b-h]?) \|$", text, re.M)
        self.head = text.partition("| term |")[0]
        self.terms = [Term(*row) for row in rows]

    def first_in(self, lesson: str) -> list[Term]:
        """The terms that a lesson uses first; what is linked is taken off this list."""
        return [each for each in self.terms if each.lesson == lesson]

    def linked(self, text: str, new: list[Term]) -> str:
        """Markdown with the first occurrence of each of the terms `new` linked; these are taken off the list."""
        for term in list(new):
            longest = "|".join(re.escape(each) for each in sorted(term.spellings, key=len, reverse=True))
            pattern = re.compile(rf"(?<![\w-])({longest})(s?)(?![\w-])".replace("\\ ", r"\s"), re.I)
            found = False

            def once(prose: str, term: Term = term, pattern: re.Pattern = pattern) -> str:
                nonlocal found
                match = None if found else pattern.search(prose)
                if not match:
                    return prose
                found = True
                shown = " ".join(match.group(0).split())
                return f"{prose[: match.start()]}{{term}}`{shown} <{term.english}>`{prose[match.end() :]}"

            text = outside(FENCE, text, lambda piece: outside(KEPT, piece, once))
            if found:
                new.remove(term)
        return text

    def page(self, book: Book) -> str:
        """The page: for each term its Chinese, its meaning and its lesson."""
        told = Counter(each.chinese for each in self.terms)
        entries: dict[str, list[str]] = {}
        for term in self.terms:
            own = told[term.chinese] == 1 and term.chinese.lower() != term.english.lower()
            names = [term.english, term.chinese] if own else [term.english]
            more = "" if own or term.chinese == term.english else f"{term.chinese}. "
            try:
                lesson = book.syllabus.lesson(term.lesson)
            except LookupError:
                lesson = None
            known = lesson is not None and book.has(lesson)
            where = f"[lesson {term.lesson}](/notebooks/{lesson.stem}.ipynb)" if known else f"lesson {term.lesson}"
            letter = term.english[0].upper() if term.english[0].isalpha() else "Numbers"
            entries.setdefault(letter, []).append("\n".join(names) + f"\n  {more}{term.meaning} · {where}\n")
        head = book.relinked(self.head, self.path, "glossary")
        jumps = " · ".join(f"[{letter}](#{letter.lower()})" for letter in entries)
        parts = [f"## {letter}\n\n```{{glossary}}\n" + "\n".join(told) + "```\n" for letter, told in entries.items()]
        return head + f"\n{jumps}\n\n" + "\n".join(parts)
