INSERT INTO handshake_proxy.leases AS held (resource, external_id, until, tokens)
SELECT $1, external_id, clock_timestamp() + make_interval(secs => $4), ARRAY[$3::bigint]
FROM unnest($2::text[]) AS external_id ORDER BY external_id COLLATE "C"
ON CONFLICT (resource, external_id) DO UPDATE
SET until = excluded.until, tokens = held.tokens || excluded.tokens
WHERE held.until < clock_timestamp() OR $5
RETURNING external_id
