-- A trigger writes down how far.
DELETE FROM handshake_proxy.changes WHERE at < clock_timestamp() - make_interval(secs => $1)
