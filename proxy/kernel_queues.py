"""What the kernel has taken for us and the event loop has not come to: connections, and bytes of them.

Closing a socket that has either makes the kernel reset the peer, who has seen his connection made, or his request sent.
"""

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
import termios
from contextlib import suppress

# Linux's number of a socket option that Python has no name for, and a filter's instructions (bpf(4)): of a segment
# whose flags (byte 13) are SYN and not ACK keep nothing, of others all.
_SO_ATTACH_FILTER = 26
_DROP_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),
        (0x54, 0, 0, 0x12),
        (0x15, 0, 1, 0x02),
        (0x06, 0, 0, 0),
        (0x06, 0, 0, 0xFFFF_FFFF),
    )
)


def has_unread(transport: asyncio.BaseTransport | None) -> bool:
    """Whether bytes have arrived that were not read yet."""
    connected = None if transport is None else transport.get_extra_info("socket")
    if connected is None or connected.fileno() < 0:
        return False
    try:
        count = fcntl.ioctl(connected.fileno(), termios.FIONREAD, bytes(4))
    except OSError:
        return False
    return bool(struct.unpack("i", count)[0])


def close_listener(listener: asyncio.Server, at_most: int) -> list[socket.socket]:
    """Stop listening; returns the connections that waited to be accepted, `at_most` of each socket.

    The loop's own close would have them reset. So each socket is held open by a second descriptor, without the loop,
    until nobody waits.
    """
    waiting: list[socket.socket] = []
    held: list[socket.socket] = []
    with suppress(OSError):  # no descriptor is left
        held.extend(socket.socket(fileno=os.dup(bound.fileno())) for bound in listener.sockets)
    listener.close()
    for each in held:
        with each, suppress(OSError):  # nobody waits (any more)
            each.settimeout(0)
            for _ in range(at_most):
                waiting.append(each.accept()[0])  # noqa: PERF401 - what there is when accept raises is kept
    return waiting


def hear_nobody_new(listener: asyncio.Server) -> None:
    """Have the kernel not hear who would connect from now on, where that can be had (Linux): his kernel asks again
    after a second, and is refused, or finds whoever listens there then. Who is half-way gets there: he has been
    answered, and may have sent his request."""
    instructions = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN) // 8, ctypes.addressof(instructions))  # struct sock_fprog
    for listening in listener.sockets:
        # A socket of the loop's takes no options: by another descriptor of it, if one is left.
        with suppress(OSError), socket.socket(fileno=os.dup(listening.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
