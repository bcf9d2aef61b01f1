-- What is stored is about another external id, and says so.
UPDATE {table} SET {external} = $2, invalidated = 1, item = NULL, headers = NULL{emptied} WHERE id = $1::uuid
