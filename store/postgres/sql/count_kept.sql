UPDATE handshake_proxy.resources
SET held = $2, stale = $3, bytes = $4, took = $5, counted_at = clock_timestamp() WHERE resource = $1
