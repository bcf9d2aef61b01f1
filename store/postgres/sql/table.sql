CREATE TABLE IF NOT EXISTS {table} (
    id uuid PRIMARY KEY,
    {external} text UNIQUE NOT NULL COLLATE "C",
    last_synced_at timestamptz(3) NOT NULL,
    received_at double precision NOT NULL,
    lifetime double precision NOT NULL,
    initial_age double precision NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    source_version text,
    invalidated smallint NOT NULL DEFAULT 0,
    headers text,
    item bytea,
    stale_while_revalidate double precision,
    stale_if_error double precision,
    must_revalidate boolean NOT NULL DEFAULT false,
    shareable boolean NOT NULL DEFAULT false
);
CREATE INDEX IF NOT EXISTS {unsynced} ON {table} (invalidated, last_synced_at, id);
CREATE INDEX IF NOT EXISTS {fresh_until} ON {table} ((received_at + lifetime - initial_age)) WHERE invalidated = 0;
