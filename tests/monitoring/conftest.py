"""A database, for the metrics that only a store has that replicas share."""

from tests.postgres.fixtures import database, postgres

__all__ = ["database", "postgres"]
