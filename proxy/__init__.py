"""handshake-proxy: a sidecar caching proxy for user and business data."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("handshake-proxy")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
