"""The files of the page. They hold no data: what is shown comes through the calls of the API, with its token."""

from collections.abc import Mapping
from importlib.resources import files

from msgspec import Struct

from proxy.core.http.fields import RawField
from proxy.messages import Reply

ROUTE = "inspector.page"
"""The route of each file, in metrics and logs."""

_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
# Nothing but what this listener serves; no script or style inside the page; nobody may frame it; and no text becomes
# markup, whoever wrote it: an external id may be any string.
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_FIELDS: tuple[RawField, ...] = (
    (b"Content-Security-Policy", _POLICY),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    # Another version of the program, on the same port, has another page.
    (b"Cache-Control", b"no-cache"),
)


class Page(Struct, frozen=True):
    """One file, as it is served."""

    content_type: bytes
    body: bytes

    def reply(self) -> Reply:
        """An answer with it."""
        return Reply(200, [(b"Content-Type", self.content_type), *_FIELDS], self.body)


def pages() -> Mapping[bytes, Page]:
    """Every file by its path: `/`, and the rest below `/inspector/`."""
    served: dict[bytes, Page] = {}
    for file in files(__package__).joinpath("static").iterdir():
        name = file.name
        path = "/" if name == "index.html" else f"/inspector/{name}"
        served[path.encode()] = Page(_TYPES[name[name.rindex(".") :]], file.read_bytes())
    return served
