SELECT id::text, {external}, version{local} FROM {table} AS held
WHERE id = $1::uuid OR {external} = $2 ORDER BY {external} FOR UPDATE
