"""The files of the page: none of them could do what its policy forbids, and each is in the wheel."""

import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from proxy.web.inspector.pages import pages

PROJECT = Path(__file__).parents[3]
PLACE = "proxy/web/inspector/static"
# As `a.innerHTML = text` and the like; the browser refuses each, which would be found late.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(|\.style\b|localStorage|document\.cookie"
)


class Markup(HTMLParser):
    """What stands in the markup, as far as it may be wrong."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.places: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        given = dict(attrs)
        for name, value in attrs:
            if name.startswith("on") or name in {"style", "srcdoc", "action", "target"}:
                self.wrong.append(f"<{tag} {name}>")
            if name in {"src", "href"}:
                self.places.append(value or "")
            if name in {"for", "aria-labelledby"}:
                self.references.append(value or "")
        if "id" in given:
            self.ids.append(given["id"] or "")
        if tag in {"style", "base", "iframe"} or "http-equiv" in given:
            self.wrong.append(f"<{tag}>")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in {"script", "style"} and data.strip():
            self.wrong.append(f"text in <{self._inside}>")


def test_the_markup_has_nothing_inline_and_asks_for_nothing_but_these_files() -> None:
    served = pages()
    markup = Markup(served[b"/"].body.decode())
    assert markup.wrong == []
    assert markup.places
    assert all(place.startswith("#") or place.encode() in served for place in markup.places)
    assert len(markup.ids) == len(set(markup.ids))
    assert {place.removeprefix("#") for place in markup.places if place.startswith("#")} <= set(markup.ids)
    assert set(markup.references) <= set(markup.ids)


def test_the_scripts_import_each_other_and_write_text_alone() -> None:
    served = pages()
    scripts = {path.decode(): page.body.decode() for path, page in served.items() if path.endswith(b".js")}
    assert len(scripts) > 1
    for path, text in scripts.items():
        assert FORBIDDEN.search(text) is None, path
        for name in re.findall(r'from "(.*?)"', text):
            assert name.startswith("./"), path
            assert f"/inspector/{name[2:]}" in scripts, (path, name)
    for place, page in served.items():
        assert len(page.body.splitlines()) < 400, place
        elsewhere = set(re.findall(rb"[a-z]+://[^\s\"']+", page.body)) - {b"http://www.w3.org/2000/svg"}
        assert elsewhere == set(), place


def test_every_element_that_a_script_looks_for_is_there() -> None:
    served = pages()
    ids = set(Markup(served[b"/"].body.decode()).ids)
    named = {
        name
        for path, page in served.items()
        if path.endswith(b".js")
        for name in re.findall(r'\bby\("(.*?)"\)', page.body.decode())
    }
    # This one is made by a script.
    assert named - {"found-title"} <= ids


def test_every_file_has_its_type() -> None:
    for path, page in pages().items():
        reply = page.reply()
        assert (reply.status, reply.body) == (200, page.body)
        types = [value for name, value in reply.fields if name == b"Content-Type"]
        assert len(types) == 1, path
        assert types[0].startswith((b"text/", b"image/svg+xml")), path


def test_the_wheel_has_every_file(tmp_path: Path) -> None:
    builder = WheelBuilder(str(PROJECT))
    (wheel,) = builder.build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as packed:
        inside = {name for name in packed.namelist() if name.startswith(PLACE)}
    assert inside == {f"{PLACE}/{file.name}" for file in (PROJECT / PLACE).iterdir()}
    assert len(inside) == len(pages())
