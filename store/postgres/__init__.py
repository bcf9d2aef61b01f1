"""The database that replicas share: PostgreSQL through asyncpg. `store.postgres.store` is the place to begin."""
