-- The users of an attendance service's own PostgreSQL table, as lines for `handshake-proxy import`:
--
--   psql -qAt --set FETCH_COUNT=10000 --set ON_ERROR_STOP=1 -f users-from-postgresql.sql "$DATABASE_URL" \
--     | handshake-proxy import -
--
-- Change the names of table and columns to yours. A column that you don't have: leave its pair out.

-- Goes for a "lastSyncedAt" of type timestamp, which does not say where it is: name the zone of the service that wrote
-- it. One of type timestamptz says so itself.
SET TIME ZONE 'UTC';

SELECT json_build_object(
  'resource', 'user',
  'id', id,
  'externalId', "userId",
  'local', json_build_object(
    'departmentId', "departmentId",
    'isFieldWorker', "isFieldWorker"
  ),
  'lastSyncedAt', "lastSyncedAt"::timestamptz,
  -- The table is not what the user service sends, only near to it: usable at once, and fetched again behind the first
  -- use, if that comes within stale_while_revalidate from now. Without lifetime, receivedAt and item the ids alone are
  -- taken over, and the user is fetched when first asked for.
  'lifetime', 0,
  'receivedAt', extract(epoch FROM now()),
  'item', json_strip_nulls(json_build_object(
    'id', "userId",
    'name', name,
    'email', email,
    'phone', phone
  ))
)
FROM users;
