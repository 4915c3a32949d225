"""Records of measurements: writing, reading, comparing, and the verdict on a reported number."""

from bddzoo.results.record import Record, WeightsUsed
from bddzoo.results.store import (
    StoredRecord,
    best_record,
    check_root,
    default_root,
    find_record,
    scan_records,
    write_record,
)
from bddzoo.results.verdict import MetricVerdict, Verdict, VerdictReport, judge

__all__ = [
    "MetricVerdict",
    "Record",
    "StoredRecord",
    "Verdict",
    "VerdictReport",
    "WeightsUsed",
    "best_record",
    "check_root",
    "default_root",
    "find_record",
    "judge",
    "scan_records",
    "write_record",
]
