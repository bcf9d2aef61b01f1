"""What a start leaves out, so that it serves sooner."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_certificates() -> Iterator[None]:
    """Have whatever makes TLS contexts meanwhile find no authorities to trust.

    aiohttp makes two when it is imported, and reads the system's authorities into each: a tenth of a start. Nothing
    here uses them (`Upstream` makes its own), and whoever did would trust nobody.
    """
    known = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = os.devnull
    try:
        yield
    finally:
        if known is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = known
