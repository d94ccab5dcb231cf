"""From readings to findings: each vital against its bounds. Pure.

Every vital that has bounds gets at least one finding: what nobody read is *unknown*, and what is
unknown is never shown as fine. A vital without bounds (``null`` in the config) is switched off.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from guardian.watch.advice import format_value, mend, sentence
from guardian.watch.readings import (
    BACKUP_VITALS,
    DATABASE_VITALS,
    HOST_VITALS,
    SERVER_VITALS,
    VITALS,
    Reading,
    Severity,
    Unit,
    Unknown,
    backup_age,
    disk,
    size_drop,
)

__all__ = [
    "BACKUP_VITALS",
    "DATABASE_VITALS",
    "HOST_VITALS",
    "SERVER_VITALS",
    "VITALS",
    "Bounds",
    "Finding",
    "Reading",
    "Severity",
    "Unit",
    "Unknown",
    "assess",
    "backup_age",
    "disk",
    "size_drop",
    "worst",
]

Bound = float | timedelta | None
Bounds = Mapping[str, tuple[Bound, Bound] | None]
"""Warning and critical of each vital by its name, as ``dict(config.vitals)`` gives them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One vital of one subject, judged.

    ``text`` is a sentence with the number, and the bound where it was reached. ``bound`` is the
    highest one that was reached, else the next one; in ``unit``, a duration in seconds. ``value``
    and ``unit`` are None for what is unknown. ``mend`` says what to do, for all that is not fine.
    """

    vital: str
    severity: Severity
    text: str
    subject: str | None = None
    value: float | None = None
    unit: Unit | None = None
    bound: float | None = None
    mend: str | None = None


def assess(readings: Iterable[Reading | Unknown], bounds: Bounds) -> tuple[Finding, ...]:
    """Judge what was read; the worst come first.

    ``bounds`` holds the vitals that this round was to read (see SERVER_VITALS and its like); for
    one of them without any reading the finding is unknown.
    """
    wanted = {name: pair for name, pair in bounds.items() if pair is not None and any_set(pair)}
    findings = []
    seen = set()
    for reading in readings:
        if reading.name in wanted:
            seen.add(reading.name)
            findings.append(_judge(reading, wanted[reading.name]))
    findings += [_unknown(Unknown(name, "nobody read it")) for name in wanted if name not in seen]
    findings.sort(key=lambda finding: (-finding.severity.rank, _position(finding.vital)))
    return tuple(findings)


def worst(findings: Iterable[Finding]) -> Severity:
    """The severity of the worst one, ok when there is none."""
    return max(
        (each.severity for each in findings), key=lambda each: each.rank, default=Severity.OK
    )


def any_set(pair: tuple[Bound, Bound]) -> bool:
    """Whether there is a bound at all."""
    return any(bound is not None for bound in pair)


def _judge(reading: Reading | Unknown, pair: tuple[Bound, Bound]) -> Finding:
    if isinstance(reading, Unknown):
        return _unknown(reading)
    if math.isnan(reading.value):
        return _unknown(Unknown(reading.name, "it gave no number", subject=reading.subject))
    warning, critical = (_number(bound) for bound in pair)
    severity, bound = Severity.OK, warning if warning is not None else critical
    if warning is not None and reading.value >= warning:
        severity = Severity.WARNING
    if critical is not None and reading.value >= critical:
        severity, bound = Severity.CRITICAL, critical
    text = sentence(reading)
    if severity is not Severity.OK and bound is not None:
        text += f"; the {severity} bound is {format_value(bound, reading.unit)}"
    severity = max(severity, reading.at_least, key=lambda each: each.rank)
    return Finding(
        vital=reading.name,
        severity=severity,
        text=text,
        subject=reading.subject,
        value=reading.value,
        unit=reading.unit,
        bound=bound,
        mend=None if severity is Severity.OK else mend(reading),
    )


def _unknown(reading: Unknown) -> Finding:
    of = f" of {reading.subject}" if reading.subject else ""
    return Finding(
        vital=reading.name,
        severity=Severity.UNKNOWN,
        text=f"{reading.name.replace('_', ' ')}{of}: unknown, {reading.why}",
        subject=reading.subject,
        mend=reading.mend,
    )


def _number(bound: Bound) -> float | None:
    return bound.total_seconds() if isinstance(bound, timedelta) else bound


def _position(name: str) -> int:
    return VITALS.index(name) if name in VITALS else len(VITALS)
