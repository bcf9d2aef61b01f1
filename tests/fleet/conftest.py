"""A real PostgreSQL for replicas that share it."""

from tests.postgres.fixtures import database, own_postgres, postgres, relay

__all__ = ["database", "own_postgres", "postgres", "relay"]
