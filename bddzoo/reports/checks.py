"""Checked chains as a table, JSON, JUnit XML, GitHub annotations and a Markdown summary."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from bddzoo.errors import MissingError, UsageError
from bddzoo.reading import json_errors, read_limited
from bddzoo.text import markdown_table

if TYPE_CHECKING:
    from bddzoo.results import MetricVerdict
    from bddzoo.results.links import LinkResult, ModelCheck


def as_json(check: ModelCheck) -> dict[str, Any]:
    """One check in JSON's types."""
    first = check.first_broken
    return {
        "model": check.model,
        "zoo": check.zoo,
        "verdict": str(check.verdict),
        "first_broken": first.link if first else None,
        "links": [
            {
                "link": link.link,
                "verdict": str(link.verdict),
                "looked_at": link.looked,
                "source": link.source,
                "compared": list(link.compared),
                "not_compared": list(link.not_compared),
                "reasons": list(link.reasons),
                "metrics": [
                    {
                        "metric": metric.metric,
                        "reported": metric.reported,
                        "found": metric.measured,
                        "difference": metric.difference,
                        "tolerance": metric.tolerance,
                        "verdict": str(metric.verdict),
                    }
                    for metric in link.metrics
                ],
            }
            for link in check.links
        ],
    }


def from_json(rows: object, where: str) -> list[ModelCheck]:
    """Checks that `as_json` wrote.

    Raises:
        UsageError: It wrote something else.
    """
    from bddzoo.results.links import LINKS, LinkResult, ModelCheck
    from bddzoo.results.verdict import Verdict

    try:
        if not isinstance(rows, list):
            raise TypeError("it is not a list")
        if not all(row["links"] for row in rows):
            raise ValueError("a model without links")
        checks = [
            ModelCheck(
                str(row["model"]),
                str(row["zoo"]),
                tuple(
                    LinkResult(
                        LINKS[LINKS.index(link["link"])],
                        Verdict(link["verdict"]),
                        str(link["source"]),
                        reasons=tuple(map(str, link["reasons"])),
                        # Checks of earlier versions do not say.
                        compared=tuple(map(str, link.get("compared", ()))),
                        not_compared=tuple(map(str, link.get("not_compared", ()))),
                        looked=bool(link.get("looked_at", True)),
                    )
                    for link in row["links"]
                ),
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(
            f"{where} is not what 'bddzoo check --format json' prints: {what}",
            hint="write it with: bddzoo check ... --format json > FILE",
        ) from error
    return checks


def read_checks(folder: Path) -> list[ModelCheck]:
    """The checks in the JSON files below a folder, by model.

    Raises:
        MissingError: There are none, or one or a folder cannot be read.
        UsageError: A file holds something else.
    """
    from bddzoo.files import files_below

    found: dict[tuple[str, str], ModelCheck] = {}
    for path in files_below(folder, ".json"):
        try:
            rows = json.loads(read_limited(path))
        except json_errors(OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MissingError(f"{path} cannot be read: {reason}") from error
        found.update({(check.zoo, check.model): check for check in from_json(rows, str(path))})
    if not found:
        raise MissingError(f"{folder} holds no JSON files of checks")
    return [found[key] for key in sorted(found)]


def junit(checks: Sequence[ModelCheck]) -> str:
    """JUnit XML: a suite for each model, a case for each link.

    A number that differs is a failure, everything that could not be judged an error; nothing is `skipped`,
    which readers of such files take for a pass.
    """
    from bddzoo.results.verdict import Verdict

    root = ElementTree.Element("testsuites", name="bddzoo check")
    for check in checks:
        suite = ElementTree.SubElement(root, "testsuite", name=_xml(check.model))
        counts = {"tests": len(check.links), "failures": 0, "errors": 0}
        for link in check.links:
            case = ElementTree.SubElement(
                suite, "testcase", classname=_xml(f"{check.zoo}.{check.model}"), name=link.link
            )
            if link.verdict is Verdict.REPRODUCED:
                continue
            differs = link.verdict in (Verdict.DRIFTED, Verdict.BETTER)
            counts["failures" if differs else "errors"] += 1
            ElementTree.SubElement(
                case, "failure" if differs else "error", type=str(link.verdict), message=_xml(_why(link))
            )
        for name, count in counts.items():
            suite.set(name, str(count))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def github(checks: Sequence[ModelCheck]) -> str:
    """Workflow commands of GitHub Actions: an error for each model's first broken link."""
    lines = []
    for check in checks:
        first = check.first_broken
        if first is None:
            lines.append(f"::notice title={_property(check.model)}::reproduced")
        else:
            text = f"{first.link}: {first.outcome}: {_why(first)}"
            lines.append(f"::error title={_property(check.model)}::{_message(text)}")
    return "\n".join(lines)


def summary(checks: Sequence[ModelCheck]) -> str:
    """A Markdown table: a row for each model, a column for each link."""
    names = list(dict.fromkeys(link.link for check in checks for link in check.links))
    rows = []
    for check in checks:
        verdicts = {link.link: link.outcome for link in check.links}
        first = check.first_broken
        broken = "" if first is None else f"{first.link}: {_why(first)}"
        rows.append((f"`{check.model}`", *(verdicts.get(n, "") for n in names), str(check.verdict), broken))
    head = ("Model", *names, "Verdict", "First broken link")
    return markdown_table(head, rows, [False] * len(head))


def broken(checks: Sequence[ModelCheck]) -> str:
    """Markdown: how many chains hold, and a table of those that do not."""
    bad = [check for check in checks if check.first_broken is not None]
    line = f"{len(checks) - len(bad)} of {len(checks)} models: every link that was tested holds."
    return f"{line}\n\n{summary(bad)}" if bad else line


def link_rows(checks: Sequence[ModelCheck]) -> list[tuple[str, str, str, str, str]]:
    """A row for each link of each model: model, link, outcome, numbers, and why."""
    return [
        (check.model, link.link, link.outcome, ", ".join(map(_number, link.metrics)), _why(link))
        for check in checks
        for link in check.links
    ]


def sentences(check: ModelCheck) -> list[str]:
    """What the links of a model compared, and what they came to."""
    first = check.first_broken
    end = _whole(check)
    if first is not None:
        what = "breaks" if first.looked else "could not be looked at"
        end = f"the first link that {what} is '{first.link}'"
    scopes = [f"{check.model}: {link.link}: {link.scope}" for link in check.links if link.scope]
    return [*scopes, f"{check.model}: {check.verdict}; {end}"]


def _whole(check: ModelCheck) -> str:
    from bddzoo.results.links import LINKS

    others = [link for link in LINKS if link not in {found.link for found in check.links}]
    return f"{'the tested links hold' if others else 'the chain holds'}" + (
        f"; not tested: {', '.join(others)}" if others else ""
    )


def _number(metric: MetricVerdict) -> str:
    found = "-" if metric.measured is None else f"{metric.measured:.2f}"
    return f"{metric.metric} {metric.reported} / {found} ±{metric.tolerance}"


def _why(link: LinkResult) -> str:
    return "; ".join(link.reasons)


def _xml(text: str) -> str:
    """Text that an XML file may hold: it cannot spell control characters at all."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
