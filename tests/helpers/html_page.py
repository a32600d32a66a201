"""Checks of HTML pages."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "line", "circle", "path", "polyline", "image", "br"}


class Balance(HTMLParser):
    """Collects open tags, links and the number of pictures; fails if a closing tag has no opening tag."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID or tag in ("circle", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.images += tag == "img"

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag
