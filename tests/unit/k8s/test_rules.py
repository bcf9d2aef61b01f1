"""The manifests keep the rules, and the rules notice when they do not."""

import copy
import re
from pathlib import Path

import pytest

from config.load import load
from tests.unit.k8s.broken import BROKEN, BROKEN_LEGACY, Edit, proxy
from tests.unit.k8s.broken_shared import BROKEN_SHARED
from tests.unit.k8s.broken_webhooks import BROKEN_WEBHOOKS
from tests.unit.k8s.manifests import REPOSITORY, Document, Manifests
from tests.unit.k8s.rules import RULES, Rule, findings
from tests.unit.k8s.rules_sidecar import (
    config_file,
    configuration,
    proxy_lives_longer_than_the_application,
)


def test_the_example_keeps_the_rules(example: list[Document]) -> None:
    assert findings(example) == []


def test_the_legacy_variant_keeps_the_rules(legacy: list[Document]) -> None:
    assert findings(legacy) == []


def test_replicas_that_share_a_store_keep_the_rules(shared: list[Document]) -> None:
    assert findings(shared) == []


def test_replicas_that_are_told_what_has_changed_keep_the_rules(webhooks: list[Document]) -> None:
    assert findings(webhooks) == []


@pytest.mark.parametrize(("rule", "edit"), [pytest.param(rule, edit, id=name) for name, rule, edit in BROKEN])
def test_a_broken_manifest_is_noticed(example: list[Document], rule: Rule, edit: Edit) -> None:
    broken = copy.deepcopy(example)
    edit(broken)
    assert list(rule(Manifests(broken)))


@pytest.mark.parametrize("edit", [pytest.param(edit, id=name) for name, edit in BROKEN_LEGACY])
def test_a_broken_legacy_manifest_is_noticed(legacy: list[Document], edit: Edit) -> None:
    broken = copy.deepcopy(legacy)
    edit(broken)
    assert list(proxy_lives_longer_than_the_application(Manifests(broken)))


@pytest.mark.parametrize(
    ("rule", "edit"), [pytest.param(rule, edit, id=name) for name, rule, edit in BROKEN_SHARED]
)
def test_a_broken_manifest_of_a_shared_store_is_noticed(
    shared: list[Document], rule: Rule, edit: Edit
) -> None:
    broken = copy.deepcopy(shared)
    edit(broken)
    assert list(rule(Manifests(broken)))


@pytest.mark.parametrize(
    ("rule", "edit"), [pytest.param(rule, edit, id=name) for name, rule, edit in BROKEN_WEBHOOKS]
)
def test_a_broken_manifest_of_webhooks_is_noticed(webhooks: list[Document], rule: Rule, edit: Edit) -> None:
    broken = copy.deepcopy(webhooks)
    edit(broken)
    assert list(rule(Manifests(broken)))


def test_every_rule_is_seen_to_find_something() -> None:
    assert {rule for _, rule, _ in BROKEN + BROKEN_SHARED + BROKEN_WEBHOOKS} == set(RULES)


def test_the_manifest_says_what_the_image_says(example: list[Document]) -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    said = dict(re.findall(r"\b(HANDSHAKE_\w+)=(\S+)", dockerfile))
    variables = {one["name"]: one["value"] for one in proxy(example)["env"]}
    assert variables.pop("HANDSHAKE_LIMITS__CONNECTIONS") == "1000"  # for a sidecar, which has one client
    assert variables == said
    assert re.search(r"^USER 65532:65532$", dockerfile, re.MULTILINE)
    assert (
        proxy(example)["securityContext"]["runAsUser"],
        proxy(example)["securityContext"]["runAsGroup"],
    ) == (65532, 65532)


def test_the_configuration_is_the_built_in_one_but_for_what_it_says(
    example: list[Document], tmp_path: Path
) -> None:
    manifests = Manifests(example)
    ((workload, container),) = manifests.proxied
    file = tmp_path / "config.yaml"
    file.write_text(config_file(manifests, workload, container))
    said = {one["name"]: one["value"] for one in container["env"]}
    url = {"HANDSHAKE_UPSTREAMS__MAIN__URL": "https://main.example.org"}
    assert configuration(manifests, workload, container) == load(None, {**said, **url})
