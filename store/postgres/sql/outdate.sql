-- When an event has named a version stands in `received_at`: of a row without item it says nothing else.
UPDATE {table} SET invalidated = CASE invalidated WHEN 0 THEN 1 ELSE invalidated END, item = NULL, headers = NULL{emptied},
source_version = coalesce($2, source_version), received_at = extract(epoch FROM clock_timestamp())
WHERE {external} = $1 RETURNING {read}
