"""The server, its databases and the relay, for the tests of what they do."""

from tests.postgres.fixtures import database, own_postgres, postgres, relay

__all__ = ["database", "own_postgres", "postgres", "relay"]
