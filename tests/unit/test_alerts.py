"""The alerts that come with guardian, against its metrics and its runbook. What promtool says of them is in tests/system."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from guardian.expose.catalog import CATALOG

ROOT = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "config/prometheus/guardian.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]


def test_rules_use_metrics_that_guardian_has() -> None:
    """Every metric that a rule uses is one of guardian's, or one that a rule before it has recorded."""
    known = {name for spec in CATALOG.values() for name in (spec.name, f"{spec.name}_bucket", f"{spec.name}_count")}
    for rule in RULES:
        used = set(re.findall(r"guardian[_:][a-z0-9_:]+", rule["expr"]))
        assert used <= known, rule
        known.add(rule.get("record", ""))


def test_every_alert_has_its_section_in_the_runbook() -> None:
    """Every alert names a section of docs/operations.md that is there, and the runbook has none for an alert that is not."""
    runbook = (ROOT / "docs/operations.md").read_text().partition("## Alerts")[2]
    sections = re.findall(r"^### (\w+)$", runbook, re.MULTILINE)
    assert sections == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_every_alert_is_tested_for_firing() -> None:
    """The rule tests have a case for every alert in which it fires."""
    tests = yaml.safe_load((ROOT / "config/prometheus/guardian.rules.test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in ALERTS}
