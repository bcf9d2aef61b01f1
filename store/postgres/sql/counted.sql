-- What is still good: for so many times as long as it took.
SELECT resource, held, stale, bytes FROM handshake_proxy.resources
WHERE counted_at > clock_timestamp() - make_interval(secs => took * $1)
