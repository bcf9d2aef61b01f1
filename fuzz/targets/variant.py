"""Which representation a request selects, and the trace id of a traceparent.

The input is two heads with an empty line between them.
"""

from fuzz import headers
from proxy.core.http.fields import RawField
from proxy.core.http.vary import variant
from proxy.log import trace_id

TOKENS = (
    b"tenant: ",
    b"lang: ",
    b"TENANT: ",
    b"\n\n",
    b"\n",
    b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
)
_KEY = frozenset({b"tenant", b"lang"})


def fuzz_one(data: bytes) -> None:
    """Two requests select the same if, and only if, their key fields have the same values in the same order."""
    first, _, second = data.partition(b"\n\n")
    one, other = headers.fields_of(first), headers.fields_of(second)
    assert (variant(one, _KEY) == variant(other, _KEY)) == (_selected(one) == _selected(other))
    assert (variant(one, _KEY) == "") == (not any(_selected(one)))
    assert variant([(b"Other", b"x"), *one], _KEY) == variant(one, _KEY)
    found = trace_id(data.decode("latin-1"))
    assert found is None or (len(found) == 32 and not set(found) - set("0123456789abcdef") and int(found, 16))


def _selected(fields: list[RawField]) -> tuple[list[bytes], list[bytes]]:
    lower = [(name.lower(), value) for name, value in fields]
    return [value for name, value in lower if name == b"tenant"], [
        value for name, value in lower if name == b"lang"
    ]
