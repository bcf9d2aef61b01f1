"""URLs of the configuration: what is accepted, and how they are printed without their secrets.

No message here quotes the URL: it may hold a password.
"""

import re
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from config.units import Kind

_BASE_HELP: Final = "must be the base URL of a service, such as https://main.example.org"
_PROXY_HELP: Final = "must be the URL of an HTTP proxy, such as http://proxy.internal:3128"
_STORE_HELP: Final = (
    "must be sqlite:///handshake.db (relative), sqlite:////var/lib/handshake.db (absolute) "
    "or postgresql://user:password@host/database"
)
_POSTGRES_HELP: Final = "must be postgresql://user:password@host/database"
_OTLP_HELP: Final = "must be the base URL of an OTLP/HTTP receiver, such as http://127.0.0.1:4318"
_OTLP_PATH: Final = "/v1/traces"
_HOST: Final = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+")
_PORT: Final = re.compile(r":([0-9]{1,5})?")
_SECRET_QUERY: Final = re.compile(r"(?i)((?:^|[?&])(?:ssl)?password=)[^&#]*")
_MAX_PORT: Final = 65_535


def redact(url: str) -> str:
    """The URL with what may be secret in it replaced by `***`: passwords, and a user that stands alone."""
    head, slashes, rest = url.partition("://")
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    userinfo, at, host = rest[:end].rpartition("@")
    if at:
        user, colon, _ = userinfo.partition(":")
        userinfo = f"{user}:***" if colon else "***"
    query = _SECRET_QUERY.sub(r"\1***", rest[end:])
    return f"{head}{slashes}{userinfo}{at}{host}{query}"


def _split(text: str, complaint: str) -> SplitResult:
    # urlsplit removes tabs and line ends silently; and a name beyond ASCII has more than one encoding.
    if not text.isascii() or re.search(r"[\x00-\x20\x7f\\]", text):
        raise ValueError(f"{complaint}; ASCII without white space (an international host in its xn-- form)")
    try:
        return urlsplit(text)
    except ValueError:
        raise ValueError(complaint) from None


def _check_host(host_and_port: str, complaint: str) -> None:
    host = _HOST.match(host_and_port)
    port = _PORT.fullmatch(host_and_port[host.end() :] or ":") if host else None
    if port is None or not 0 < int(port[1] or 1) <= _MAX_PORT:
        raise ValueError(complaint)


def _http(text: str, complaint: str) -> SplitResult:
    parts = _split(text, complaint)
    if parts.scheme not in {"http", "https"} or "?" in text or "#" in text:
        raise ValueError(f"{complaint}; http or https, without query and fragment")
    if parts.path not in {"", "/"}:
        raise ValueError(f"{complaint}; without a path: requests keep the path that the application asks for")
    _check_host(parts.netloc.rpartition("@")[2], complaint)
    return parts


def _present(value: object) -> object:
    # An empty environment variable arrives as null.
    if value is None or value == "":
        raise ValueError(f"is required: {_BASE_HELP}")
    return value


def _base_url(text: str) -> str:
    parts = _http(text, _BASE_HELP)
    if "@" in parts.netloc:
        raise ValueError(f"{_BASE_HELP}; without user and password: a token goes into credential_file")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _proxy_url(text: str) -> str:
    parts = _http(text, _PROXY_HELP)
    return f"{parts.scheme}://{parts.netloc}"


def _otlp_url(text: str) -> str:
    parts = _split(text, _OTLP_HELP)
    if parts.scheme not in {"http", "https"} or "?" in text or "#" in text:
        raise ValueError(f"{_OTLP_HELP}; http or https, without query and fragment")
    if "@" in parts.netloc:
        raise ValueError(
            f"{_OTLP_HELP}; without user and password: a token goes into OTEL_EXPORTER_OTLP_HEADERS"
        )
    _check_host(parts.netloc, _OTLP_HELP)
    base = text.rstrip("/")
    if base.endswith(_OTLP_PATH):
        raise ValueError(f"{_OTLP_HELP}; without {_OTLP_PATH}, which is added")
    return base


def _store_url(text: str) -> str:
    parts = _split(text, _STORE_HELP)
    if parts.scheme == "sqlite":
        file = text.removeprefix("sqlite:///")
        if file == text or not file.strip("/") or "?" in file or "#" in file or file.startswith(":memory:"):
            raise ValueError(_STORE_HELP)
        return text
    return _postgres(text, parts, _STORE_HELP)


def _postgres_url(text: str) -> str:
    return _postgres(text, _split(text, _POSTGRES_HELP), _POSTGRES_HELP)


def _postgres(text: str, parts: SplitResult, complaint: str) -> str:
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError(complaint)
    hosts = parts.netloc.rpartition("@")[2]
    if "@" in parts.path + parts.query + parts.fragment:
        raise ValueError(f"{complaint}; in a password /, ?, # and @ are percent-encoded")
    # No host at all is a Unix socket, several are tried in turn.
    for host in hosts.split(",") if hosts else ():
        _check_host(host, complaint)
    return "postgresql" + text[text.index("://") :]


_REDACTED = PlainSerializer(redact, return_type=str, when_used="json-unless-none")

BaseUrl = Annotated[str, BeforeValidator(_present), AfterValidator(_base_url), Kind("URL")]
"""Scheme and authority in lower case, nothing else."""

ProxyUrl = Annotated[str, AfterValidator(_proxy_url), _REDACTED, Kind("URL")]
"""Scheme and authority, perhaps with user and password; redacted in JSON mode."""

OtlpUrl = Annotated[str, AfterValidator(_otlp_url), Kind("URL")]
"""`http` or `https`, perhaps with a path, without a slash at the end."""

PostgresUrl = Annotated[str, AfterValidator(_postgres_url), _REDACTED, Kind("URL")]
"""`postgresql://…`; redacted in JSON mode."""

StoreUrl = Annotated[str, AfterValidator(_store_url), _REDACTED, Kind("URL")]
"""`sqlite:///path` or `postgresql://…`; redacted in JSON mode."""
