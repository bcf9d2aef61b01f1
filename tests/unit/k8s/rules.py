"""All rules, and what they find."""

from collections.abc import Callable, Iterator
from typing import Final

from tests.unit.k8s import rules_security, rules_sidecar, rules_store, rules_structure, rules_webhooks
from tests.unit.k8s.manifests import Document, Manifests

Rule = Callable[[Manifests], Iterator[str]]

RULES: Final[tuple[Rule, ...]] = (
    *rules_structure.RULES,
    *rules_security.RULES,
    *rules_sidecar.RULES,
    *rules_store.RULES,
    *rules_webhooks.RULES,
)


def findings(documents: list[Document]) -> list[tuple[Rule, str]]:
    """What is wrong with rendered manifests, with the rule that says so."""
    manifests = Manifests(documents)
    return [(rule, finding) for rule in RULES for finding in rule(manifests)]
