"""What is made out of the rules: the operator's PrometheusRule, and the way to the runbooks. `make dashboards` does."""

import re
from textwrap import indent
from typing import Final

RUNBOOKS: Final = "https://example.org/handshake-proxy/docs/runbooks.md"
"""Where docs/runbooks.md can be read by whoever is woken up: change it here, then `make dashboards`."""

_HEAD = """\
# Made from k8s/alerts/handshake-proxy.rules.yaml by `make dashboards`: edit that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: handshake-proxy
  labels:
    app.kubernetes.io/name: handshake-proxy
spec:
"""


def pointed(text: str) -> str:
    """Rules, or tests of them, with every runbook_url leading to RUNBOOKS."""
    return re.sub(r"(?<=runbook_url: )[^\s#]+(?=#)", RUNBOOKS, text)


def prometheus_rule(rules: str) -> str:
    """The rules as the operator wants them, comments and all."""
    return _HEAD + indent(rules[rules.index("groups:") :], "  ")
