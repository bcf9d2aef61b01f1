WITH gone AS (
    DELETE FROM handshake_proxy.changes WHERE at < clock_timestamp() - make_interval(secs => $1) RETURNING xid
)
UPDATE handshake_proxy.log SET pruned = newest.xid
FROM (SELECT xid FROM gone ORDER BY xid DESC LIMIT 1) AS newest WHERE newest.xid > pruned
