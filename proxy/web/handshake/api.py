"""Every call of the handshake API. To add one, write it beside its kind, and name it here."""

from collections.abc import Sequence

from proxy.web.handshake import fetched, local
from proxy.web.handshake.call import Call
from proxy.web.handshake.explained import explain
from proxy.web.handshake.face import Face

# Of SQLite and of memory: what is changed here is changed in this replica alone.
SCOPE = "replica"
"""How far an erasure reaches."""


def calls_of(faces: Sequence[Face]) -> list[Call]:
    """The calls about these resources."""
    named = {face.shape.name: face for face in faces}
    calls = [fetched.login(named["user"], named["business"])] if {"user", "business"} <= named.keys() else []
    for face in faces:
        calls += [
            fetched.ensure(face),
            fetched.ensure_batch(face),
            local.exists(face),
            local.synced(face),
            fetched.refresh(face),
            explain(face),
            local.stale(face),
            local.get(face),
            local.delete(face, SCOPE),
        ]
        if face.shape.local:
            calls.append(local.patch(face))
    return calls
