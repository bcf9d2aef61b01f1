-- What all replicas share besides the entities' tables, which follow the configuration.

-- The tables that hold entities, also those that are not configured any more, and in whose name they were filled. Where
-- counting takes long, what somebody has counted last, for all replicas.
CREATE TABLE handshake_proxy.resources (
    resource text PRIMARY KEY,
    table_name text UNIQUE NOT NULL,
    filled_by text,
    held bigint,
    stale bigint,
    bytes bigint,
    counted_at timestamptz,
    took double precision
);

-- The change log: what has happened to an entity, in the transaction in which it happened. `xid` says which readers have
-- seen the row: the numbers of a sequence are given before a commit, and not in the order of commits.
CREATE TABLE handshake_proxy.changes (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    resource text NOT NULL,
    external_id text NOT NULL COLLATE "C",
    kind text NOT NULL CHECK (kind IN ('invalidated', 'erased', 'changed', 'all')),
    origin uuid NOT NULL
);
CREATE INDEX changes_xid ON handshake_proxy.changes (xid);
CREATE INDEX changes_at ON handshake_proxy.changes (at);

-- The newest transaction of which the log has lost a row: who has not seen that one has missed something.
CREATE TABLE handshake_proxy.log (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    pruned xid8 NOT NULL DEFAULT '0'
);
INSERT INTO handshake_proxy.log DEFAULT VALUES;

-- Whoever takes rows away, be it a person, has it written down.
CREATE FUNCTION handshake_proxy.changes_pruned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        UPDATE handshake_proxy.log SET pruned = pg_current_xact_id();
    ELSE
        UPDATE handshake_proxy.log SET pruned = newest.xid
        FROM (SELECT xid FROM gone ORDER BY xid DESC LIMIT 1) AS newest WHERE newest.xid > pruned;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER changes_deleted AFTER DELETE ON handshake_proxy.changes
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION handshake_proxy.changes_pruned();
CREATE TRIGGER changes_truncated AFTER TRUNCATE ON handshake_proxy.changes
    FOR EACH STATEMENT EXECUTE FUNCTION handshake_proxy.changes_pruned();

-- Who fetches an entity now: until `until` the others wait for its row. A token that stands here may store what it has
-- fetched; an invalidation, and whoever stores first, removes the row. Unlogged: after a crash nothing may be stored
-- that was fetched before it.
CREATE UNLOGGED TABLE handshake_proxy.leases (
    resource text NOT NULL,
    external_id text NOT NULL COLLATE "C",
    until timestamptz NOT NULL,
    tokens bigint[] NOT NULL,
    PRIMARY KEY (resource, external_id)
);
