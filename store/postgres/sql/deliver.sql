-- Whoever delivers the same message at the same time waits here for the end of the first. What is remembered no longer is
-- taken away by whoever comes, a few at a time and past what others take away.
WITH gone AS (
    DELETE FROM handshake_proxy.deliveries WHERE id IN (
        SELECT id FROM handshake_proxy.deliveries WHERE until < now() LIMIT 10 FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO handshake_proxy.deliveries (id, until) VALUES ($1, now() + make_interval(secs => $2))
ON CONFLICT DO NOTHING RETURNING true
