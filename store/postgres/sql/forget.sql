UPDATE {table} SET invalidated = 1, item = NULL, headers = NULL{emptied} WHERE invalidated = 0
