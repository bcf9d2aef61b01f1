"""The queries' vocabulary: the proxy's metrics, narrowed to what the dashboard's variables select."""

SELECTED = ('job=~"$job"', 'namespace=~"$namespace"', 'pod=~"$pod"')
"""What every query is narrowed by. "All" is `.*`, which also fits where there is no such label."""

RESOURCE = 'resource=~"$resource"'
COPIES = 'result=~"hit|stale|negative"'
"""Ids that were answered from what is held."""

_OWN = "inspector([.]page)?|openapi|handshake"
USED = f'route!~"{_OWN}"'
"""What an application asks: not the Inspector, which asks every other second, nor what is no call."""

CACHED = f'route!~"passthrough|{_OWN}"'
"""What the proxy answers an application for: all that it asks but what is passed through."""

FAILED = (CACHED, 'code=~"5.."')
REFUSED = ('route=~".+[.](bulk|single|ensure-batch)"', 'cache="error"', 'code=~"200|40[134]|429"')
"""Together what the application takes for a failure. The rules and runbooks have the same: a test compares them."""


def metric(name: str, *matchers: str) -> str:
    """A selector of `handshake_proxy_<name>`."""
    return f"handshake_proxy_{name}{{{','.join((*SELECTED, *matchers))}}}"


def rate(name: str, *matchers: str) -> str:
    """Its rate a second, over what is one step of the graph and at least four scrapes."""
    return f"rate({metric(name, *matchers)}[$__rate_interval])"


def total(by: str, expression: str) -> str:
    """The sum by these labels; over all if there are none."""
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"


def share(part: str, whole: str, by: str = "") -> str:
    """What part of the whole, by these labels; 0 where there is no part yet."""
    return f"({total(by, part)} or 0 * {total(by, whole)}) / {total(by, whole)}"


def quantile(q: float, by: str, name: str, *matchers: str) -> str:
    """A quantile of a histogram, by these labels."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, {total(labels, rate(f'{name}_bucket', *matchers))})"


def failures() -> str:
    """Requests that the application takes for failed."""
    return f"{rate('requests_total', *FAILED)} or {rate('requests_total', *REFUSED)}"
