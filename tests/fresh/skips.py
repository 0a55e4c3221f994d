"""Compares the tests skipped on a fresh system with the list in CONTRIBUTING.md:  skips.py ACCOUNT LOG"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def promised(account: str) -> set[str]:
    """The reasons that the list gives for this account."""
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## What is skipped")[2].partition("\n## ")[0]
    lines = re.findall(r"^- `(.+)`(.*)$", section, re.M)
    return {reason for reason, remark in lines if account == "root" or remark != " (only as root)"}


def seen(log: str) -> set[str]:
    """The reasons in pytest's summary."""
    return set(re.findall(r"^SKIPPED \[\d+\] \S+?(?::\d+)?: (.+)$", log, re.M))


def main(account: str, log: str) -> int:
    reasons = seen(Path(log).read_text())
    listed = promised(account)
    wrong = [f"CONTRIBUTING.md does not list this skip: {reason}" for reason in sorted(reasons - listed)]
    if account != "root":
        wrong += [
            f"CONTRIBUTING.md lists a skip that did not happen: {reason}" for reason in sorted(listed - reasons)
        ]
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return len(wrong) > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
