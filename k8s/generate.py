"""Write what is generated under k8s: the dashboard's JSON, the PrometheusRule, and the rules' runbook URLs."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from k8s.alerts.build import RUNBOOKS, pointed, prometheus_rule
from k8s.dashboards.build import render

_HERE = Path(__file__).parent


def generated() -> Iterator[tuple[Path, str]]:
    """Each generated file, and what should be in it."""
    alerts = _HERE / "alerts"
    for test in sorted(alerts.glob("*.test.yaml")):
        yield test, pointed(test.read_text(encoding="utf-8"))
    rules = alerts / "handshake-proxy.rules.yaml"
    text = pointed(rules.read_text(encoding="utf-8"))
    yield rules, text
    yield _HERE / "components" / "prometheusrule" / "prometheusrule.yaml", prometheus_rule(text)
    yield _HERE / "dashboards" / "handshake-proxy.json", render(RUNBOOKS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or compare them with `--check`; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m k8s.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say which files are not up to date")
    options = parser.parse_args(arguments)
    differing = [
        (file, text)
        for file, text in generated()
        if not file.is_file() or file.read_text(encoding="utf-8") != text
    ]
    for file, text in differing:
        if options.check:
            sys.stderr.write(f"{file} is not what it is made from: run `make dashboards`\n")
        else:
            file.write_text(text, encoding="utf-8")
    return 1 if options.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
