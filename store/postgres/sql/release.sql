-- The others need not wait any more. A lease that others have, too, stays theirs.
WITH locked AS MATERIALIZED (
    SELECT external_id FROM handshake_proxy.leases
    WHERE resource = $1 AND external_id = ANY ($2::text[]) AND $3 = ANY (tokens)
    ORDER BY external_id FOR UPDATE
), given_up AS (
    UPDATE handshake_proxy.leases SET tokens = array_remove(tokens, $3), until = '-infinity'
    FROM locked
    WHERE leases.resource = $1 AND leases.external_id = locked.external_id AND cardinality(tokens) > 1
)
DELETE FROM handshake_proxy.leases USING locked
WHERE leases.resource = $1 AND leases.external_id = locked.external_id AND cardinality(tokens) = 1
