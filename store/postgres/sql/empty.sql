UPDATE {table} SET invalidated = $2, item = NULL, headers = NULL{emptied} WHERE id = ANY ($1::uuid[])
