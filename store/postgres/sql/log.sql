-- The notification is sent when the transaction is committed, and wakes whoever listens; what has happened stands in the
-- log alone.
WITH logged AS (
    INSERT INTO handshake_proxy.changes (resource, external_id, kind, origin)
    SELECT $1, external_id, $3, $4::uuid FROM unnest($2::text[]) AS external_id
    RETURNING seq
)
SELECT pg_notify('handshake_proxy', '') FROM logged LIMIT 1
