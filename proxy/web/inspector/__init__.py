"""The Inspector: a page on the handshake listener that shows what the proxy does, and one call that feeds it."""
