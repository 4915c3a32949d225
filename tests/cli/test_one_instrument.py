"""An option has one name, one short form and one meaning everywhere; help and tables fit the terminal."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bddzoo.cli.main import COMMANDS as TOP
from bddzoo.cli.main import GROUPS, cli
from bddzoo.cli.output import fitting, table, wrapped
from tests.cli.inprocess import command, command_apart
from tests.support.sampling import sampled

SHORT = {
    "--out": "-o", "--task": "-t", "--images": "-i", "--labels": "-l", "--predictions": "-r", "--gt": "-g",
    "--verbose": "-v", "--quiet": "-q", "--help": "-h",
}  # fmt: skip
# The letters of the official toolkit, which `score` replaces.
ALIASES = {("score", "--out-file"), ("score", "--nproc"), ("score", "--result")}
OTHER_WORDS = (
    *(
        "--output",
        "--out-file",
        "--dest",
        "--dir",
        "--overwrite",
        "--nproc",
        "--workers",
        "--pred",
        "--result",
    ),
    *(
        "--kind",
        "--input",
        "--from-weights",
        "--from-preds",
        "--gpus-per-model",
        "--keep-going",
        "--pictures",
    ),
)
SELECTS = {"--task", "--zoo", "--where"}
RUNS = {"--data", "--device", "--batch-size", "--protocol", "--limit", "--offline", "--split"}
# Only blocks of documents are replaced; a folder of the demo's own is made anew.
WITHOUT_FORCE = {"tables", "demo"}


def leaves(group: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(group, click.Group):
        yield " ".join(path), group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        child = group.get_command(context, name)
        assert child is not None
        yield from leaves(child, (*path, name))


EVERY = dict(leaves())


def long_names(name: str) -> set[str]:
    return {
        opt for p in EVERY[name].params if isinstance(p, click.Option) for opt in p.opts if opt[:2] == "--"
    }


@pytest.mark.parametrize("name", EVERY)
def test_names_and_short_forms(name: str) -> None:
    for param in EVERY[name].params:
        if not isinstance(param, click.Option):
            continue
        shorts = [opt for opt in param.opts if not opt.startswith("--")]
        for opt in (opt for opt in param.opts if opt.startswith("--")):
            if (name, opt) in ALIASES:
                continue
            assert opt not in OTHER_WORDS, opt
            assert not shorts or SHORT.get(opt) in shorts, (opt, shorts)
            assert opt not in SHORT or SHORT[opt] in shorts, (opt, shorts)


def test_a_name_takes_the_same_kind_of_value_everywhere() -> None:
    kinds: dict[str, dict[tuple[str, bool], set[str]]] = {}
    for name, leaf in EVERY.items():
        for param in leaf.params:
            if isinstance(param, click.Option):
                kind = {"choice": "text", "Choice": "text"}.get(param.type.name, param.type.name)
                for opt in param.opts:
                    kinds.setdefault(opt, {}).setdefault((kind, param.is_flag), set()).add(name)
    several = {opt: found for opt, found in kinds.items() if len(found) > 1}
    # A file or a folder by the command's nature; `--all` and `--check` are flags everywhere. `bench` measures
    # several batch sizes and runtimes, which are given as lists.
    allowed = {"--out", "-o", "--batch-size", "--runtime"}
    assert set(several) <= allowed, several


# What these mean depends on the command.
EXPLAINED_BY_COMMAND = {
    "--all", "--backbone", "--batch-size", "--dataset", "--device", "--images", "--jobs", "--like",
    "--measured", "--method", "--metric", "--out", "--predictions", "--runtime", "--score-file", "--size",
    "--split", "--task", "--title", "--weights", "--what", "--zoo",
}  # fmt: skip


def test_an_option_is_explained_alike_everywhere() -> None:
    told: dict[str, dict[str, set[str]]] = {}
    for name, leaf in EVERY.items():
        for param in leaf.params:
            if isinstance(param, click.Option):
                told.setdefault(param.opts[-1], {}).setdefault(param.help or "", set()).add(name)
    several = {opt: found for opt, found in told.items() if len(found) > 1}
    assert set(several) == EXPLAINED_BY_COMMAND, several


# What a message says about other programs and commands.
QUOTED = re.compile(r"'?(bddzoo [a-z]|ray start|pip install)[^';,]*")
RUNNING = {
    "eval": "--data DATA", "predict": "-i DATA/images/10k/val -o OUT", "check": "--data DATA --run",
    "bench": "--size 90x160",
}  # fmt: skip
FAULTS = [
    *(f"{name} DEMO {more} --device cuda:99" for name, more in RUNNING.items()),
    *(f"{name} DEMO {more} --gpus 2 --device cuda:1" for name, more in RUNNING.items() if name != "bench"),
    *(f"{name} DEMO {RUNNING[name]} --amp --device cpu" for name in ("eval", "predict")),
    *(f"{name} DEMO {RUNNING[name]} --runtime openvino --device cuda:99" for name in ("eval", "predict")),
    *(f"{name} DEMO --data DATA --split test" for name in ("eval", "check --run")),
    *(f"{name} ABSENT {more} --offline --cache OUT/none" for name, more in (
        *RUNNING.items(), ("fetch", ""), ("fetch", "--verify"), ("bundle", "-o OUT.zip"),
        ("convert", "--to safetensors"), ("export", "--to onnx"), ("bench", "--weights zoo"))
        if (name, more) != ("bench", RUNNING["bench"])),
    "bench DEMO --device cpu --precision amp --size 90x160",
    "bench DEMO --device cpu --runtime onnxruntime --precision bf16 --size 90x160",
    "selftest --device cuda:99",
    *(f"{name} DATA/labels/ins_seg/bitmasks/val -t ins_seg -o OUT" for name in (
        "pack -r", "convert-labels --to rle --score-file OUT.json -l",
        "score -g DATA/labels/ins_seg/bitmasks/val -r")),
    *(f"plot {kind} -o OUT" for kind in ("params", "splits", "latency", "speed")),
    "plot params --where 'dataset != bdd100k' -t sem_seg -o OUT",
    "results show DEMO",
    "data mini -o OUT --val 0",
]  # fmt: skip


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bddzoo.datasets.mini import make_mini

    root = tmp_path_factory.mktemp("mini") / "data"
    make_mini(root, val=1)
    return root


# Those of `bench` start a process; one of them shows that messages come through.
@pytest.mark.parametrize(
    "line",
    sampled(FAULTS, lambda line: not line.startswith("bench DEMO") or "amp" in line or "ABSENT" in line),
)
def test_a_message_names_options_that_the_command_has(
    line: str, mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = {"DATA": mini, "OUT": tmp_path / "out", "DEMO": "demo_semfpn_r18n_sem_seg"}
    words["ABSENT"] = "fpn_r50_512x1024_40k_sem_seg_bdd100k"
    line = re.sub(r"\b(DATA|OUT|DEMO|ABSENT)\b", lambda found: str(words[found[0]]), line)
    name = max((name for name in EVERY if line.startswith(name)), key=len)
    kept = ("--results", tmp_path / "results") if "--results" in long_names(name) else ()
    done = (command_apart if name == "bench" else command)(*shlex.split(line), *kept)
    assert done.code, line
    has = {opt for p in EVERY[name].params for opt in (*p.opts, *p.secondary_opts)}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", QUOTED.sub("", done.err)))
    assert named <= has, done.err


@pytest.mark.parametrize("name", EVERY)
def test_what_a_command_does_names_its_options(name: str) -> None:
    found = long_names(name)
    arguments = {p.name for p in EVERY[name].params if isinstance(p, click.Argument)}
    if "patterns" in arguments:
        assert found >= SELECTS
    if "--out" in found and name not in WITHOUT_FORCE:
        assert "--force" in found
    if name in ("cache rm", "cache gc", "results prune"):
        assert found >= {"--dry-run", "--yes"}
    if name in ("eval", "predict", "sweep", "check"):
        assert found >= RUNS


@pytest.mark.parametrize("name", ["", *TOP, *EVERY])
def test_help_fits_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = command(*name.split(), "--help")
    assert done.code == 0
    wide = [line for line in done.out.splitlines() if len(line) > 80]
    assert not wide
    assert "Examples:" in done.out


def test_help_names_every_command_in_its_group() -> None:
    shown = command("--help").out
    for title, group in GROUPS.items():
        assert f"\n{title}:\n" in shown
        for name, (_, text) in group.items():
            assert name in shown
            assert text in " ".join(shown.split())


@pytest.mark.parametrize("name", EVERY)
def test_errors_are_objects_where_data_is_json(name: str) -> None:
    if "json" not in getattr(EVERY[name], "formats", ()):
        pytest.skip("prints no JSON")
    done = command(*name.split(), "--no-such-option", "--format", "json")
    error = json.loads(done.err)
    assert (done.code, done.out) == (2, "")
    assert (error["event"], error["exit_code"], error["error"]) == ("error", 2, "usage")
    assert "--no-such-option" in error["text"]


ROWS = [
    ("a_model_with_a_long_name_sem_seg", "1.25", "a reason of several words that says why"),
    ("b", "-", ""),
]


@pytest.mark.parametrize("room", [20, 40, 80])
def test_tables_fit_and_lose_nothing(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(room))
    lines = table(("model", "value", "why"), ROWS).splitlines()
    assert max(map(len, lines)) <= room
    letters = "".join("".join(line.split()) for line in lines)
    for cell in (cell for row in ROWS for cell in row):
        assert all(word in letters or len(word) > 6 for word in cell.split())
    assert sorted(letters.replace("-", "")) == sorted(
        "".join("".join(cell.split()) for row in (("model", "value", "why"), *ROWS) for cell in row).replace(
            "-", ""
        )
    )


def test_optional_columns_go_first_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("x" * 10, "y" * 10, "z" * 3)]
    monkeypatch.setenv("COLUMNS", "20")
    assert fitting(("a", "b", "c"), rows, ("c", "b")) == [0, 2]
    monkeypatch.setenv("COLUMNS", "80")
    assert fitting(("a", "b", "c"), rows, ("c", "b")) == [0, 1, 2]


def test_prose_is_wrapped_below_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    lines = wrapped("one " * 20, "  ").splitlines()
    assert len(lines) > 1
    assert all(line.startswith("  one") and len(line) <= 30 for line in lines)


LINES = [
    "list",
    "list -t ins_seg",
    "info demo*",
    "results ls",
    "registry lint",
    "config",
    "doctor",
    "cache ls",
]


# `doctor` imports torch in a process of its own; `test_terminal` looks at it as well.
@pytest.mark.parametrize("line", sampled(LINES, "doctor".__ne__))
@pytest.mark.parametrize("columns", [80, 200])
def test_output_fits(line: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    done = command(*line.split())
    assert [text for text in done.out.splitlines() if len(text) > columns] == []


@pytest.mark.parametrize("condition", ["mIoU > 64", "val > 64", "mIoU-val > 64"])
def test_a_metric_alone_is_that_of_val(condition: str) -> None:
    rows = command("list", "-t", "sem_seg", "--where", condition, "--format", "json").data
    assert {row["zoo"] for row in rows} > {"bdd100k-models"}
    assert all(row["reported"]["val"]["mIoU"] > 64 for row in rows)


def test_a_near_miss_names_what_is_near() -> None:
    done = command("info", "fcn")
    assert done.code == 5
    assert "did you mean fcn_r50-d8_" in done.err
    assert "'*fcn*'" in done.err
    done = command("list", "-t", "box_track")
    assert (done.code, "the zoo calls it mot" in done.err) == (2, True)


def test_nothing_is_deleted_without_being_asked(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "cache" / "objects" / "aa"
    kept.mkdir(parents=True)
    (kept / "file").write_bytes(b"x")
    done = command("--cache", tmp_path / "cache", "cache", "rm", "--all")
    assert (done.code, (kept / "file").exists()) == (2, True)
    assert "--yes" in done.err
    shown = command("--cache", tmp_path / "cache", "cache", "rm", "--all", "--dry-run")
    assert (shown.code, (kept / "file").exists()) == (0, True)
    assert command("--cache", tmp_path / "cache", "cache", "rm", "--all", "--yes").code == 0
    assert not (kept / "file").exists()


def test_the_root_of_a_data_set_and_where_it_is_from(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("BDDZOO_DATA", raising=False)
    without = command("data", "check", "--quick")
    assert without.code == 2
    assert "give --data ROOT, set BDDZOO_DATA" in without.err
    (tmp_path / "bddzoo").mkdir()
    (tmp_path / "bddzoo" / "config.yaml").write_text("data: {bdd100k: /none/file, ade20k: /none/ade}\n")
    assert "/none/file" in command("data", "check", "--quick").err
    assert "/none/ade" in command("data", "check", "--quick", "--dataset", "ade20k").err
    monkeypatch.setenv("BDDZOO_DATA", "/none/variable")
    assert "/none/variable" in command("data", "check", "--quick").err
    assert "/none/typed" in command("data", "check", "--quick", "--data", "/none/typed").err
    settings = {row["name"]: row for row in command("config", "--format", "json").data["settings"]}
    assert (settings["data"]["value"], settings["data"]["from"]) == ("/none/variable", "BDDZOO_DATA")


def test_a_cell_cannot_steer_the_terminal() -> None:
    from bddzoo.cli.output import table

    shown = table(("a", "b"), [("\x1b[2J\x1b]0;owned\x07", "two\nlines\u202e")])
    assert all(c == "\n" or c.isprintable() for c in shown)
    assert len(shown.splitlines()) == 3
