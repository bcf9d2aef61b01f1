"""Who may call: the right Host, no page of another site, the right token."""

import hmac
import ipaddress
import re

from config.address import Address
from config.secret_file import SecretFile
from proxy.core.problem import Problem
from proxy.messages import Request

WRONG_HOST = Problem(
    421,
    "The Host is neither a loopback name nor an address of this listener: call http://127.0.0.1 or that address.",
)
WRONG_ORIGIN = Problem(403, "The call comes from a page of another site.")
NO_TOKEN = Problem(401, "A bearer token is needed, as in `Authorization: Bearer …`, and this is not it.")

_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+)(?::[0-9]{0,5})?")
_ORIGIN = re.compile(r"https?://(?P<authority>[^/]*)", re.IGNORECASE)
_TARGET = re.compile(r"https?://(?P<authority>[^/?]*)", re.IGNORECASE)
_HTTP_1_1 = (1, 1)
# Spellings of Host that were found to be ours: few in an honest pod, and to work one out again is no loss.
_NAMES = 64


class Guard:
    """The conditions of one listener; without a token file everybody who reaches it may call."""

    def __init__(self, listen: Address, token_file: SecretFile | None) -> None:
        self._listen = listen
        self._token_file = token_file
        self._own: set[tuple[str, str]] = set()

    def refusal(self, request: Request, *, needs_token: bool = True) -> Problem | None:
        """Why a request is not answered, if it is not. What holds no data is for those without the token, too.

        A page that a browser was led to can reach loopback by a name of its own (DNS rebinding), which the Host shows,
        or by a plain form, which the Origin shows. Raises SecretUnreadable when there has never been a token.
        """
        hosts = request.values("Host")
        if not self._is_for_us(request, hosts):
            return WRONG_HOST
        if not all(_is_same_origin(origin, hosts) for origin in request.values("Origin")):
            return WRONG_ORIGIN
        if (
            not needs_token
            or self._token_file is None
            or self._is_token(request.values("Authorization"), self._token_file)
        ):
            return None
        return NO_TOKEN

    def _is_for_us(self, request: Request, hosts: list[str]) -> bool:
        if not request.target.startswith(b"/"):
            absolute = _TARGET.match(request.target.decode("latin-1"))
            if absolute is not None:  # its authority counts (RFC 9112 section 3.2.2)
                hosts = [*hosts, absolute["authority"]]
        if not hosts:
            return request.version < _HTTP_1_1
        return all(self._is_own(host, request.local_host) for host in hosts)

    def _is_own(self, authority: str, local_host: str) -> bool:
        """Whether that is a name of ours on a connection which has reached that address of ours."""
        asked = (authority, local_host)
        if asked in self._own:
            return True
        is_own = self._is_name_of_ours(authority, local_host)
        if is_own and len(self._own) < _NAMES:
            self._own.add(asked)
        return is_own

    def _is_name_of_ours(self, authority: str, local_host: str) -> bool:
        found = _AUTHORITY.fullmatch(authority)
        if found is None:
            return False
        name = found["host"].lower().strip("[]")
        if name in {"localhost", self._listen.host, local_host}:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    @staticmethod
    def _is_token(sent: list[str], token_file: SecretFile) -> bool:
        scheme, _, token = (sent[0] if len(sent) == 1 else "").partition(" ")
        given, right = token.strip(" ").encode(errors="surrogateescape"), token_file.read().encode()
        # In constant time, so that a token can't be guessed byte by byte.
        return hmac.compare_digest(given, right) and scheme.lower() == "bearer"


def _is_same_origin(origin: str, hosts: list[str]) -> bool:
    """Whether a page with this origin came from where the request goes: a page on another port of loopback did not."""
    found = _ORIGIN.fullmatch(origin)
    return found is not None and found["authority"].lower() in {host.lower() for host in hosts}
