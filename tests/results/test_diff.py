from __future__ import annotations

from pathlib import Path

import pytest

from bddzoo.errors import IntegrityError, MissingError
from bddzoo.results import find_record, write_record
from bddzoo.results.compare import diff_records
from bddzoo.results.record import RunInfo
from tests.results.factory import fail, make_model, make_record


def test_equal_records_have_no_differences() -> None:
    found = diff_records(make_record(), make_record())
    assert found.fields == ()
    assert found.same_numbers
    assert found.explanation == "the numbers are equal"


def test_a_field_that_changes_the_number_is_named_first() -> None:
    a = make_record(per_class={"IoU": {"road": 61.592, "car": 61.592, "sky": 61.592}})
    b = make_record(
        value=59.0,
        protocol={"scale": (1024, 512), "batch_size": 4},
        per_class={"IoU": {"road": 61.592, "car": 50.0, "sky": 62.0}},
        run={"started": "2026-02-02T00:00:00Z"},
    )
    found = diff_records(a, b)
    assert [c.field for c in found.fields] == ["protocol.scale", "protocol.batch_size", "run.started"]
    assert "protocol.scale, which change them" in found.explanation
    assert [c.name for c in found.classes["IoU"]] == ["car", "sky"]
    assert found.classes["IoU"][0].difference == pytest.approx(-11.592)


def test_an_unexplained_difference_is_said_to_be_unexplained() -> None:
    found = diff_records(make_record(value=60.0), make_record(value=61.0))
    assert "no recorded field does" in found.explanation


def test_a_class_that_only_one_has_comes_first() -> None:
    a = make_record(per_class={"IoU": {"car": 10.0, "sky": None}})
    b = make_record(per_class={"IoU": {"car": 90.0, "sky": 1.0}})
    first = diff_records(a, b).classes["IoU"][0]
    assert (first.name, first.difference) == ("sky", None)


def test_other_weights_change_the_number() -> None:
    from bddzoo.results import WeightsUsed

    a = make_record(weights=WeightsUsed(name="w", sha256="a" * 64, state="verified"))
    b = make_record(weights=WeightsUsed(name="w", sha256="b" * 64, state="verified"), value=1.0)
    assert "weights.sha256" in diff_records(a, b).explanation


def test_records_are_found_by_id_path_and_model(tmp_path: Path) -> None:
    old = write_record(make_record(run={"started": "2026-01-01T00:00:00Z"}), tmp_path)
    new = write_record(make_record(run={"started": "2026-03-01T00:00:00Z"}), tmp_path)
    assert find_record(tmp_path, old.stem, fail).path == old
    assert find_record(tmp_path, old.stem[:6], fail).path == old
    assert find_record(tmp_path, str(new), fail).path == new
    assert find_record(tmp_path, "fcn_r50", fail).path == new


def test_a_reference_to_nothing_or_to_several_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no record 'abcd'"):
        find_record(tmp_path, "abcd", fail)
    folder = write_record(make_record(), tmp_path).parent
    for name in ("aaaa0", "aaaa1"):
        (folder / f"{name}.json").write_bytes(b"{}")
    with pytest.raises(MissingError, match="2 records start with 'aaaa'"):
        find_record(tmp_path, "aaaa", fail)
    with pytest.raises(IntegrityError):
        find_record(tmp_path, "aaaa0", fail)


def test_a_model_named_like_hex_digits_is_found(tmp_path: Path) -> None:
    path = write_record(make_record(make_model(id="deadbeef")), tmp_path)
    assert find_record(tmp_path, "deadbeef", fail).path == path


def test_what_each_field_of_a_run_does_to_a_number() -> None:
    """A table of all: only the seed changes it, not the number of processes."""
    values = {
        "command": ("a",),
        "started": "2026-02-03T04:05:06Z",
        "sweep": "s",
        "duration_s": 1.0,
        "seed": 1,
    }
    for name in RunInfo.__struct_fields__:
        changed = make_record(run={name: values.get(name, 7)})
        (change,) = [c for c in diff_records(make_record(), changed).fields if c.field.startswith("run.")]
        assert change.field == f"run.{name}"
        assert change.matters == ("changes the number" if name == "seed" else "incidental")
        assert diff_records(make_record(), changed).same_numbers
