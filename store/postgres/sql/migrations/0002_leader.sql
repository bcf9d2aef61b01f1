-- What one replica does for all, and until when it has that role: then anybody may take it. Unlogged: after a crash nobody
-- has it.
CREATE UNLOGGED TABLE handshake_proxy.leaders (
    role text PRIMARY KEY,
    token bigint NOT NULL,
    until timestamptz NOT NULL
);
