-- Read after the leases were taken, or not got: whoever had one has stored the row before it was given up.
SELECT given.external_id, extract(epoch FROM leases.until)::double precision, {read}
FROM unnest($1::text[]) AS given (external_id)
LEFT JOIN {table} ON {table}.{external} = given.external_id
LEFT JOIN handshake_proxy.leases ON leases.resource = $2 AND leases.external_id = given.external_id
