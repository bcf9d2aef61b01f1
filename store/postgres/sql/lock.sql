-- Locked before the row, as whoever stores does: in the other order the two could wait for each other.
SELECT FROM handshake_proxy.leases WHERE resource = $1 AND external_id = $2 FOR UPDATE
