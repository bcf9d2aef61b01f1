INSERT INTO handshake_proxy.leaders AS held (role, token, until)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (role) DO UPDATE SET token = excluded.token, until = excluded.until
WHERE held.until < clock_timestamp() OR held.token = excluded.token
RETURNING true
