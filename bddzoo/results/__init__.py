"""Records of measurements: writing, reading, comparing, and the verdict on a reported number."""

from bddzoo.datasets.identity import digest_files, digest_names
from bddzoo.results.environment import Environment, collect_environment, peak_memory_bytes
from bddzoo.results.record import Fingerprint, Record, RunInfo, WeightsUsed, new_record
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
    "Environment",
    "Fingerprint",
    "MetricVerdict",
    "Record",
    "RunInfo",
    "StoredRecord",
    "Verdict",
    "VerdictReport",
    "WeightsUsed",
    "best_record",
    "check_root",
    "collect_environment",
    "default_root",
    "digest_files",
    "digest_names",
    "find_record",
    "judge",
    "new_record",
    "peak_memory_bytes",
    "scan_records",
    "write_record",
]
