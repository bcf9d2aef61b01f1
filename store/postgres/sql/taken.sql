-- Of the ids that are to be given, those that another entity has.
SELECT given.external_id FROM unnest($1::uuid[], $2::text[]) AS given (id, external_id)
JOIN {table} AS held ON held.id = given.id AND held.{external} <> given.external_id
