"""Every call of the handshake API. To add one, write it beside its kind, and name it here."""

from collections.abc import Sequence

from proxy.web.handshake import fetched, local
from proxy.web.handshake.call import Call
from proxy.web.handshake.explained import explain
from proxy.web.handshake.face import Face


def calls_of(faces: Sequence[Face], scope: str) -> list[Call]:
    """The calls about these resources; an erasure reaches as far as `scope` says: a replica, or all of them."""
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
            local.delete(face, scope),
        ]
        if face.shape.local:
            calls.append(local.patch(face))
    return calls
