WITH locked AS MATERIALIZED (
    SELECT external_id FROM handshake_proxy.leases
    WHERE resource = $1 AND external_id = ANY ($2::text[]) ORDER BY external_id FOR UPDATE
)
DELETE FROM handshake_proxy.leases USING locked
WHERE leases.resource = $1 AND leases.external_id = locked.external_id
