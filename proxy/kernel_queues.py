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

# Linux's number of a socket option that Python has no name for, and a filter's one instruction: keep 0 bytes.
_SO_ATTACH_FILTER = 26
_DROP = struct.pack("HBBI", 0x06, 0, 0, 0)


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
    until nobody waits. Who would connect between that and the close is not heard, where that can be had: his kernel
    asks again after a second, and is refused, or finds whoever listens there then.
    """
    waiting: list[socket.socket] = []
    held: list[socket.socket] = []
    with suppress(OSError):  # no descriptor is left
        held.extend(socket.socket(fileno=os.dup(bound.fileno())) for bound in listener.sockets)
    listener.close()
    for each in held:
        with each, suppress(OSError):  # nobody waits (any more)
            with suppress(OSError):
                _hear_nobody(each)
            each.settimeout(0)
            for _ in range(at_most):
                waiting.append(each.accept()[0])  # noqa: PERF401 - what there is when accept raises is kept
    return waiting


def _hear_nobody(listening: socket.socket) -> None:
    """Have the kernel drop what arrives at the socket from now on; Linux only. Raises OSError."""
    instruction = ctypes.create_string_buffer(_DROP, len(_DROP))
    program = struct.pack("HP", 1, ctypes.addressof(instruction))  # struct sock_fprog
    listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
