import json

import pytest

from bddzoo.cli.main import run
from tests.evaluation import cases

# Input that the toolkit scores although it is broken: strict mode refuses it and names this.
REFUSED = {
    "ins-rle-odd-a-rle": "f3.jpg",
    "ins-rle-odd-a-no_predictions": "pred_none.json",
    "sem-missing-extra-a-mask": "f2.png",
    "sem-rle-odd-a-rle": "f4.jpg",
    # The toolkit takes the value after the last class for ignored.
    "sem-ignore-a-mask": "pixels are of no class (19",
}
# Where strict mode gives another number than the toolkit, and says both.
OTHER_NUMBER = {
    "tk-sem-rle-rle": 50,
    "mixed-formats-sem_gt_mask_pred_rle": 15,
    "mixed-formats-sem_gt_rle_pred_mask": 15,
    # Nothing in it overlaps; the toolkit has NaN.
    "mixed-formats-ins_gt_mask_pred_rle": -1,
    "mixed-formats-ins_gt_rle_pred_mask": -1,
}


def score(folder, argv, tmp_path, monkeypatch, *more):
    monkeypatch.chdir(folder)
    out = tmp_path / "out.json"
    code = run(["score", *argv, "--out-file", str(out), *more])
    return code, json.loads(out.read_text()) if out.exists() else None


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("nproc", ["1", "2"])
@pytest.mark.parametrize(("folder", "argv", "outcome"), cases.runs())
def test_official_mode_gives_the_toolkits_numbers_or_one_line(
    folder, argv, outcome, nproc, tmp_path, monkeypatch, capsys
):
    more = ["--compat", "official", "--nproc", nproc]
    code, result = score(folder, argv, tmp_path, monkeypatch, *more)
    if outcome["status"] == "ok":
        assert code == 0
        cases.assert_same(result, outcome["result"])
    else:
        errors = capsys.readouterr().err.strip().splitlines()
        assert code == 5
        assert result is None
        assert len(errors) == 1
        assert any(name in errors[0] for name in named(argv))


def named(argv):
    """Paths given on a command line."""
    return [argv[i + 1] for i, a in enumerate(argv) if a in ("-g", "-r", "--score-file")]


@pytest.mark.parametrize(("folder", "argv", "outcome"), cases.runs())
def test_strict_mode_gives_the_same_or_refuses(folder, argv, outcome, tmp_path, monkeypatch, capsys, request):
    case = request.node.callspec.id
    code, result = score(folder, argv, tmp_path, monkeypatch)
    errors = capsys.readouterr().err
    if outcome["status"] != "ok" or case in REFUSED:
        assert code == 5
        assert errors.count("error:") == 1
        assert REFUSED.get(case, "") in errors
        assert result is None
        return
    assert code == 0
    more = result.pop("bddzoo")
    if case in OTHER_NUMBER:
        cases.assert_same(more["official"], outcome["result"])
        total = result["AP"][1]["OVERALL"] if "AP" in result else result["IoU"][1]["AVERAGE"]
        assert total > OTHER_NUMBER[case]
        assert "official would give" in errors
    else:
        cases.assert_same(result, outcome["result"])
        assert "official" not in more


PARTIAL = ("sem-missing-extra-a-mask", "sem-rle-odd-a-rle", "ins-rle-odd-a-rle")


@pytest.mark.parametrize(("folder", "argv", "outcome"), cases.runs(lambda name, _: name in PARTIAL))
def test_partial_scores_are_marked(folder, argv, outcome, tmp_path, monkeypatch, capsys):
    code, result = score(folder, argv, tmp_path, monkeypatch, "--allow-partial")
    shown = capsys.readouterr()
    assert code == 0
    assert "partial, without 1 frame" in shown.err
    assert "PARTIAL" in shown.out
    assert result["bddzoo"]["partial"] is True
    cases.assert_same(result["bddzoo"]["official"], outcome["result"])


LENIENT = {
    "ins-100-gt-gt101": "gt101/f0.png",
    "ins-score-mismatch-frames_dict": "score_frames.json",
    "pan-empty-empty_pred": "pred/f0.png",
    "sem-stray-files-mask": ".DS_Store",
}


@pytest.mark.parametrize(
    ("folder", "argv", "outcome"), cases.runs(lambda _, outcome: outcome["status"] == "error")
)
def test_lenient_scores_what_has_an_obvious_meaning(
    folder, argv, outcome, tmp_path, monkeypatch, capsys, request
):
    code, _ = score(folder, argv, tmp_path, monkeypatch, "--lenient")
    expected = LENIENT.get(request.node.callspec.id)
    assert code == (0 if expected else 5)
    if expected:
        assert expected in capsys.readouterr().err
