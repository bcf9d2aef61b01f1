"""What asyncpg raises, and what it means for whoever asked."""

import os
from socket import gaierror
from typing import Final

import asyncpg

from store.base import StoreError

FOREIGN_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # TimeoutError is one, too
    ValueError,
    OverflowError,
    TypeError,
)
"""What the driver raises: the server's errors, its own, the network's, and those of values that can't be sent."""

_CONNECTION_LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
_SERVER_LOST: Final = (
    asyncpg.CannotConnectNowError,
    asyncpg.InvalidCatalogNameError,
    # A primary that is one no more: another one has to be found.
    asyncpg.ReadOnlySQLTransactionError,
    # Somebody has removed what stood here: it has to be made again.
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
)
_PASSING: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    # A column was added by a replica with another configuration.
    asyncpg.InvalidCachedStatementError,
)


class OpenError(StoreError):
    """The database can't be used as it is; says what would have to change."""


def error_name(error: BaseException) -> str:
    """For a log, since it quotes nothing: the server's word for it and its code, or the kind of error."""
    code = getattr(error, "sqlstate", None)
    name = type(error).__name__
    if isinstance(code, str):
        return f"{name} ({code})"
    if isinstance(error, OSError) and error.errno:
        return f"{name} ({error.strerror if isinstance(error, gaierror) else os.strerror(error.errno)})"
    return name


def store_error(operation: str, error: BaseException) -> StoreError:
    """The one place where the driver's errors become ours. Raise it `from None`: the original can quote data."""
    return StoreError(f"{operation}: {error_name(error)}")


def is_connection_lost(error: BaseException) -> bool:
    """Whether another connection may well do what this one did not."""
    return isinstance(error, _CONNECTION_LOST) and not isinstance(error, TimeoutError)


def is_server_lost(error: BaseException) -> bool:
    """Whether nothing will be had from this server for a while, as it is."""
    return isinstance(error, _SERVER_LOST) or is_connection_lost(error)


def is_passing(error: BaseException) -> bool:
    """Whether it was broken off for the sake of somebody else, and may be tried again at once."""
    return isinstance(error, _PASSING)
