UPDATE {table} SET invalidated = CASE invalidated WHEN 0 THEN 1 ELSE invalidated END, item = NULL, headers = NULL{emptied},
source_version = coalesce($2, source_version)
WHERE {external} = $1 RETURNING {read}
