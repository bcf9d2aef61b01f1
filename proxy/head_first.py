"""The first response on a connection, whatever comes behind it.

Beside proxy/exchange.py the only one that touches private names of aiohttp's client.
"""

from typing import Any

from aiohttp.http_exceptions import HttpProcessingError

_FINAL = 200
_BLANK_LINE = b"\r\n\r\n"


class HeadFirst:
    """aiohttp's parser, which gives nothing of a read in which something is wrong: so a whole answer would be lost for
    what follows it. The head is fed for itself here, and what comes after the answer ends the connection alone."""

    __slots__ = ("_is_begun", "_parser", "_protocol")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._parser = protocol._parser  # noqa: SLF001
        self._is_begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> tuple[Any, bool, bytes]:
        """What aiohttp's own gives, of the first response after its request."""
        parser = self._parser
        if self._is_begun:
            fed: tuple[Any, bool, bytes] = parser.feed_data(data)
            return fed
        messages: list[Any] = []
        while not self._is_begun:
            end = data.find(_BLANK_LINE) + len(_BLANK_LINE)
            head, data = (data, b"") if end < len(_BLANK_LINE) else (data[:end], data[end:])
            found, is_upgraded, _ = parser.feed_data(head)
            messages += found
            self._is_begun = any(message.code >= _FINAL for message, _ in found)
            if is_upgraded or not data:
                return messages, is_upgraded, data
        try:
            more, _, _ = parser.feed_data(data)
        except HttpProcessingError:
            more = True
        if more:  # what follows is nobody's answer, be it whole or not
            self._protocol.force_close()
            self._protocol.transport.close()
        return messages, False, b""
