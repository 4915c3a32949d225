# ruff: noqa: E501 - a hostile thing a line
"""Hostile checkpoints: pickles that run, hang or crash, tensors that lie, archives and headers that unfold."""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import random
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.attacks.harness import OUTSIDE, Attack
from tests.attacks.labels import png

ROOT = Path(__file__).parents[2]
DEMO = "demo_semfpn_r18n_sem_seg"
WEIGHTS = ROOT / f"bddzoo/demo/{DEMO}.pth"
FOUR = b"\0\0\x80?" * 4
TOUCH = 'touch "$ATTACK_CANARY"'


def attacks(folder: Path) -> Iterator[Attack]:
    """Every hostile file in every command that takes weights."""
    inputs = folder / "inputs"
    images, data = inputs / "images", inputs / "data"
    images.mkdir()
    (images / "a.png").write_bytes(png(64, 32, colour=2))
    for place, colour in (("images/10k/val", 2), ("labels/sem_seg/masks/val", 0)):
        (data / place).mkdir(parents=True)
        (data / place / "a.png").write_bytes(png(1280, 720, colour=colour))
    registry = inputs / "registry.yaml"
    registry.write_text(_with_digest((ROOT / "registry.yaml").read_text()))
    for name, path in _files(inputs / "weights"):
        size = path.stat().st_size if path.is_file() else 0
        alone = inputs / f"source {name}"
        alone.mkdir()
        (alone / WEIGHTS.name).symlink_to(path)
        out = folder / "out"
        for number, command in enumerate(
            (
                (
                    "convert",
                    DEMO,
                    "--weights",
                    path,
                    "--to",
                    "safetensors",
                    "-o",
                    out / "w.safetensors",
                    "--force",
                ),
                (
                    "predict",
                    DEMO,
                    "--weights",
                    path,
                    "-i",
                    images,
                    "-o",
                    out / "predict",
                    "--force",
                    "--device",
                    "cpu",
                ),
                (
                    "eval",
                    DEMO,
                    "--weights",
                    path,
                    "--data",
                    data,
                    "--results",
                    out / "results",
                    "--device",
                    "cpu",
                ),
                (
                    "--registry",
                    registry,
                    "fetch",
                    DEMO,
                    "--from",
                    alone,
                    "--offline",
                    "--verify",
                    "--cache",
                    out / "cache",
                ),
                ("adopt", alone, "--cache", out / "cache"),
            )
        ):
            yield Attack(f"checkpoint {name}", command, size_bytes=size, torch=number < 3)


def _with_digest(text: str) -> str:
    """The registry with a digest of the tensors in place of the file's, which hostile files don't have."""
    lines = text.split("\n")
    at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"- id: {DEMO}"))
    for index in range(at, at + 40):
        if "digests:" in lines[index]:
            start = lines[index].index("digests:")
            lines[index] = lines[index][:start] + f"digests: [tensors:{'0' * 64} published]"
            if lines[index + 1].strip().startswith("- "):
                return text  # written another way: the file's digest is compared
            break
    return "\n".join(lines)


class Runs:
    """What runs a command when it is unpickled."""

    def __init__(self, how: str = "system") -> None:
        self.how = how

    def __reduce__(self) -> Any:
        if self.how == "exec":
            return exec, (f"import os; os.system({TOUCH!r})",)
        return os.system, (TOUCH,)


class Stored:
    """A storage of another form than it says."""

    def __init__(self, numel: int = 4, key: str = "0", where: str = "cpu", kind: Any = None) -> None:
        import torch

        self.value = ("storage", kind or torch.FloatStorage, key, where, numel)


class Rebuilt:
    """A call that the file asks for."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class _Pickler(pickle.Pickler):
    def persistent_id(self, thing: Any) -> Any:
        return thing.value if isinstance(thing, Stored) else None


def _dumped(thing: Any) -> bytes:
    out = io.BytesIO()
    _Pickler(out, 2).dump(thing)
    return out.getvalue()


def zipped(
    data: bytes, records: Any = (), root: str = "archive", more: Any = (), packed: bool = False
) -> bytes:
    """A file as `torch.save` writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{root}/data.pkl", data)
        archive.writestr(f"{root}/byteorder", "little")
        for key, content in records:
            archive.writestr(f"{root}/data/{key}", content)
        archive.writestr(f"{root}/version", "3\n")
        for name, content in more:
            archive.writestr(name, content)
    return out.getvalue()


def _tensor(stored: Stored, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Rebuilt:
    import torch

    return Rebuilt(
        torch._utils._rebuild_tensor_v2, stored, offset, size, stride, False, collections.OrderedDict()
    )


def _lie(
    stored: Stored, offset: int, size: tuple[int, ...], stride: tuple[int, ...], packed: bool = False
) -> bytes:
    content = {"state_dict": collections.OrderedDict(a=_tensor(stored, offset, size, stride))}
    return zipped(_dumped(content), (("0", FOUR),), packed=packed)


def _code() -> Iterator[tuple[str, bytes]]:
    """Pickles that ask for code to run."""
    for protocol in range(6):
        yield f"code {protocol}", pickle.dumps({"state_dict": Runs()}, protocol=protocol)
    for how in ("system", "exec"):
        yield f"code in a zip, {how}", zipped(pickle.dumps({"state_dict": {"a": Runs(how)}}, 2))
    nested = {"state_dict": {"a": pickle.dumps(Runs())}}
    yield "code nested", zipped(pickle.dumps(nested, 2))
    yield "getattr", zipped(b"\x80\x02c__builtin__\ngetattr\ncposix\n__dict__\nX\x06\x00\x00\x00system\x86R.")
    yield (
        "globals",
        zipped(
            b"\x80\x02c__builtin__\ngetattr\nctorch._utils\n_rebuild_tensor_v2\nX\x0b\x00\x00\x00__globals__\x86R."
        ),
    )
    yield "INST", zipped(b"(S'" + TOUCH.encode() + b"'\nios\nsystem\n.")
    yield "OBJ", zipped(b"(cos\nsystem\nS'" + TOUCH.encode() + b"'\no.")
    yield (
        "BUILD",
        zipped(b"\x80\x02ccollections\nOrderedDict\n)R}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb."),
    )
    yield "NEWOBJ", zipped(b"\x80\x02csubprocess\nPopen\n(]X\x02\x00\x00\x00sha\x85\x81.")
    yield (
        "persistent id",
        zipped(
            b"\x80\x02(X\x07\x00\x00\x00storagecos\nsystem\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ."
        ),
    )
    yield "text id", zipped(b"Pos.system\n.")
    yield "escape", zipped(b"\x80\x02co\x1b[31ms\nsys\x1b]0;owned\x07tem\n)R.")
    yield "second pickle", zipped(b"\x80\x02}.", more=[("other/data.pkl", pickle.dumps(Runs(), 2))])
    import numpy as np

    yield "NumPy objects", zipped(pickle.dumps({"state_dict": {"a": np.array([Runs()], dtype=object)}}, 2))
    out = io.BytesIO()
    np.savez(out, data=np.array([Runs()], dtype=object))
    yield "npz", out.getvalue()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as archive:
        for member in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(Runs(), 2)
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    yield "tar", out.getvalue()


def _lies() -> Iterator[tuple[str, bytes]]:
    """Tensors that are not what the file says, and pickles without end."""
    for name, stored, offset, size, stride in (
        ("storage huge", Stored(2**60), 0, (4,), (1,)),
        ("storage big", Stored(2**34), 0, (2**34,), (1,)),
        ("storage negative", Stored(-4), 0, (4,), (1,)),
        ("size negative", Stored(), 0, (-4,), (1,)),
        ("stride negative", Stored(), 0, (4,), (-1,)),
        ("offset negative", Stored(), -100, (4,), (1,)),
        ("offset far", Stored(), 2**40, (4,), (1,)),
        ("out of bounds", Stored(), 0, (2**33,), (1,)),
        ("expanded", Stored(), 0, (2**42,), (0,)),
        ("expanded twice", Stored(), 0, (2**40, 2**40), (0, 0)),
        ("dimensions", Stored(), 0, (1,) * 100_000, (1,) * 100_000),
        ("record missing", Stored(key="7"), 0, (4,), (1,)),
        ("record up", Stored(key=f"../../../{OUTSIDE}/precious"), 0, (4,), (1,)),
        ("device", Stored(where="cuda:0"), 0, (4,), (1,)),
        ("odd device", Stored(where="\x1b[31mhpu"), 0, (4,), (1,)),
    ):
        yield name, _lie(stored, offset, size, stride)
        yield f"{name}, packed", _lie(stored, offset, size, stride, packed=True)
    aliases = collections.OrderedDict(
        (f"t{i}", _tensor(Stored(2**20), 0, (2**20,), (1,))) for i in range(400)
    )
    yield "one storage, 400 names", zipped(_dumped({"state_dict": aliases}), (("0", bytes(1 << 22)),))
    doubled = b"q\x01h\x01\x86" * 45
    yield "key doubled", zipped(b"\x80\x02}K\x01" + doubled + b"K\x01s.")
    yield "value doubled", zipped(b"\x80\x02}X\x01\x00\x00\x00aK\x01" + doubled + b"s.")
    yield "key deep", zipped(b"\x80\x02}" + b"K\x01" + b"\x85" * 1_000_000 + b"K\x01s.")
    yield "deep", zipped(b"\x80\x02K\x01" + b"\x85" * 3_000_000 + b"0}.")
    yield "long integer", zipped(b"\x80\x02\x8b\xff\xff\xff\x7f" + b"\x01" * 100 + b".")
    yield "long text", zipped(b"\x80\x02X\xff\xff\xff\xff" + b"a" * 100 + b".")
    yield "memo", zipped(b"\x80\x02K\x01r\xff\xff\xff\x7f0}.")
    yield "cut pickle", zipped(b"\x80\x02}X\x05")
    yield "empty stack", zipped(b"\x80\x02R.")
    keys = b"".join(b"J" + struct.pack("<i", i) + b"K\x01" for i in range(500_000))
    yield "many keys", zipped(b"\x80\x02}X\x0a\x00\x00\x00state_dict}(" + keys + b"us.")
    yield "many members", zipped(b"\x80\x02}.", more=[(f"archive/x{i}", b"") for i in range(30_000)])
    yield "bomb", zipped(b"\x80\x02}.", (("0", bytes(150_000_000)),), packed=True)
    yield "bomb of opcodes", zipped(b"\x80\x02" + b"N0" * 30_000_000 + b"}.", packed=True)


def _forms() -> Iterator[tuple[str, bytes]]:
    """Pickles that lead in circles, rebuild by other ways, or lie in archives of odd forms."""
    import torch

    warnings.simplefilter("ignore", UserWarning)  # of names that are in an archive twice, which is meant

    def state(value: bytes) -> bytes:
        return zipped(b"\x80\x02}X\x0a\x00\x00\x00state_dict" + value + b"s.")

    yield "circle dict", state(b"}q\x01X\x01\x00\x00\x00ah\x01s")
    yield "circle list", state(b"}X\x01\x00\x00\x00a]q\x01h\x01as")
    yield "circle root", zipped(b"\x80\x02}q\x00X\x0a\x00\x00\x00state_dicth\x00s.")
    yield "name twice", state(b"}X\x01\x00\x00\x00aK\x01sX\x01\x00\x00\x00aK\x02s")
    yield "name None", state(b"}NK\x01s")
    yield "name bytes", state(b"}C\x01aK\x01s")
    yield "frozenset", zipped(b"\x80\x04(K\x01K\x02\x91.")
    yield "protocol 9", zipped(b"\x80\x09}.")
    yield "no STOP", zipped(b"\x80\x02}")
    yield "many STOP", zipped(b"\x80\x02}" + b"." * 5_000_000)
    yield (
        "many memos",
        zipped(b"\x80\x02}" + b"".join(b"r" + struct.pack("<I", i) for i in range(400_000)) + b"."),
    )
    yield "many marks", zipped(b"\x80\x02" + b"(" * 5_000_000 + b"}.")
    yield "many tuples", zipped(b"\x80\x02" + b")0" * 3_000_000 + b"}.")
    yield "long names", state(b"}(" + b"".join(b"X" + struct.pack("<I", 50_000) + b"%05d" % i + b"a" * 49_995 + b"K\x01" for i in range(100)) + b"u")  # fmt: skip
    for name, function, arguments in (
        ("meta tensor", torch._utils._rebuild_meta_tensor_no_storage, (torch.float32, (2**40,), (1,), False)),
        ("sparse", torch._utils._rebuild_sparse_tensor, (torch.sparse_coo, (None, None, (3,)))),
        ("parameter of nothing", torch._utils._rebuild_parameter, (None, True, None)),
        ("type of nothing", torch._tensor._rebuild_from_type_v2, (len, list, (), {})),
        ("storage of text", torch._utils._rebuild_tensor_v2, ("x", 0, (4,), (1,), False, None)),
        ("size of text", torch._utils._rebuild_tensor_v2, (Stored(), 0, ("4",), (1,), False, None)),
        ("size of floats", torch._utils._rebuild_tensor_v2, (Stored(), 0, (4.5,), (1,), False, None)),
        ("size of big integers", torch._utils._rebuild_tensor_v2, (Stored(), 2**70, (2**70,), (2**70,), False, None)),
        ("stride missing", torch._utils._rebuild_tensor_v2, (Stored(), 0, (2, 2), (), False, None)),
        ("hooks", torch._utils._rebuild_tensor_v2, (Stored(), 0, (4,), (1,), True, {"a": 1})),
        ("wrong kind of storage", torch._utils._rebuild_tensor_v2, (Stored(kind=torch.BoolStorage), 0, (4,), (1,), False, None)),
    ):  # fmt: skip
        content = {"state_dict": collections.OrderedDict(a=Rebuilt(function, *arguments))}
        yield f"rebuilt {name}", zipped(_dumped(content), (("0", FOUR),))
    good = zipped(b"\x80\x02}.")
    yield "zip behind noise", os.urandom(5000) + good
    yield "zip before noise", good + os.urandom(5000)
    yield "zip in a comment", good[:-2] + struct.pack("<H", len(good)) + good
    yield "zip twice", good + good
    yield "zip data twice", zipped(b"\x80\x02}.", more=[("archive/data.pkl", pickle.dumps(Runs(), 2))])
    yield "zip of zips", zipped(good)
    yield (
        "zip names",
        zipped(
            b"\x80\x02}.", more=[(f"archive/{name}", b"") for name in ("../../x", "\x1b[2J", "a" * 60_000)]
        ),
    )
    for at, name in ((6, "encrypted"), (8, "coding"), (22, "size"), (26, "name length")):
        changed = bytearray(good)
        changed[at] ^= 0xFF if at != 6 else 1
        directory = changed.rindex(b"PK\1\2")
        changed[directory + at + 2] ^= 0xFF if at != 6 else 1
        yield f"zip with another {name}", bytes(changed)


def _saved() -> Iterator[tuple[str, bytes]]:
    """What `torch.save` writes of odd things."""
    import torch

    warnings.simplefilter("ignore", UserWarning)  # quantised tensors are on their way out

    def save(content: Any, **options: Any) -> bytes:
        out = io.BytesIO()
        torch.save(content, out, **options)
        return out.getvalue()

    good = torch.load(WEIGHTS, map_location="cpu", weights_only=True)
    state = good.get("state_dict", good)
    wave = torch.tensor([1 + 2j, 3 - 1j])
    odd: dict[str, Any] = {
        "complex": wave, "conjugate": torch.conj(wave), "NaN": torch.tensor([float("nan")]),
        "empty": torch.zeros(0), "sparse": torch.eye(3).to_sparse(), "meta": torch.zeros(3, device="meta"),
        "quantised": torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.quint8), "module": torch.nn.Linear(2, 2),
        "lambda": print, "text": "x", "none": None, "set": {1}, "deep": [[[[[]]]]],
    }  # fmt: skip
    for name, value in odd.items():
        yield f"saved {name}", save({"state_dict": {"a": value}})
    yield "saved odd name", save({"state_dict": {"a\x1b[31m\nb\0": torch.zeros(2)}})
    yield "saved surrogate", save({"state_dict": {"\ud800": torch.zeros(2)}})
    yield "saved long name", save({"state_dict": {**state, "x" * 3_000_000: torch.zeros(1)}})
    yield "saved one missing", save({"state_dict": dict(list(state.items())[:-1])})
    yield (
        "saved all NaN",
        save({k: torch.full_like(v, float("nan")) if v.is_floating_point() else v for k, v in state.items()}),
    )
    yield "saved legacy", save({"state_dict": {"a": Runs()}}, _use_new_zipfile_serialization=False)
    yield "saved wrong shapes", save({"state_dict": {k: torch.zeros(1) for k in state}})
    whole = WEIGHTS.read_bytes()
    for part in (10, 1000, len(whole) // 2, len(whole) - 1):
        yield f"cut at {part}", whole[:part]
    rng = random.Random(11)
    for number in range(20):
        flipped = bytearray(whole)
        for _ in range(rng.choice([1, 5, 200])):
            flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        yield f"flipped {number}", bytes(flipped)


def _safe() -> Iterator[tuple[str, bytes]]:
    """Headers of safetensors files."""

    def made(header: Any, data: bytes = FOUR, size: int | None = None) -> bytes:
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(raw) if size is None else size) + raw + data

    def entry(shape: Any, start: int, end: int, kind: str = "F32") -> dict[str, Any]:
        return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}

    headers: dict[str, Any] = {
        "overlap": {"a": entry([4], 0, 16), "b": entry([4], 0, 16)}, "hole": {"a": entry([1], 12, 16)},
        "past the end": {"a": entry([8], 0, 32)}, "shape huge": {"a": entry([2**62, 4], 0, 16)},
        "shape overflow": {"a": entry([2**32, 2**32], 0, 0)}, "shape negative": {"a": entry([-4, -1], 0, 16)},
        "shape float": {"a": entry([4.0], 0, 16)}, "shape text": {"a": entry("4", 0, 16)},
        "offsets huge": {"a": entry([2**60], 0, 2**62)}, "type unknown": {"a": entry([4], 0, 16, "F99")},
        "escape": {"\x1b[2J\x1b]0;owned\x07": entry([4], 0, 16, "X\x1b[31m")}, "list": [1], "nothing": {},
        "metadata": {"__metadata__": {"a": [1, {"b": 2}]}, "a": entry([4], 0, 16)},
        "deep": b'{"a":' + b"[" * 2_000_000 + b"]" * 2_000_000 + b"}", "surrogate": b'{"\\ud800":{}}',
        "many": b"{" + b",".join(b'"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(100_000)) + b"}",
        "integer": b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,16]}}',
        "twice": b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
    }  # fmt: skip
    for name, header in headers.items():
        yield f"safetensors {name}", made(header)
    overlapping = {f"t{i}": entry([1_000_000], 0, 4_000_000) for i in range(10_000)}
    yield "safetensors overlapping", made(overlapping, bytes(4_000_000))
    yield "safetensors tail", made({"a": entry([4], 0, 16)}, FOUR + b"x" * 4000)
    yield "safetensors size", made({"a": entry([4], 0, 16)}, FOUR, 90_000_000)
    yield "safetensors size huge", made({"a": entry([4], 0, 16)}, FOUR, 2**63)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    folder.mkdir()
    for name, data in (
        *_code(),
        *_lies(),
        *_forms(),
        *_saved(),
        *_safe(),
        ("nothing", b""),
        ("one byte", b"\x80"),
        ("zeros", bytes(1_000_000)),
    ):
        path = folder / f"{name}.pth"
        path.write_bytes(data)
        yield name, path
    for name, target in (
        ("zero", "/dev/zero"),
        ("nowhere", "/nowhere"),
        ("self", "self.pth"),
        ("memory", "/proc/self/mem"),
    ):
        (folder / f"{name}.pth").symlink_to(target)
        yield name, folder / f"{name}.pth"
    os.mkfifo(folder / "pipe.pth")
    yield "pipe", folder / "pipe.pth"
    (folder / "folder.pth").mkdir()
    yield "folder", folder / "folder.pth"
