"""The digest of weights: the same in every container, another for every other weight."""

from __future__ import annotations

import hashlib
import json
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.artifacts.tensors import (
    digest_safetensors,
    digest_state,
    is_safetensors,
    read_safetensors,
    write_safetensors,
)
from bddzoo.cli.select import digest_tensors
from bddzoo.errors import IntegrityError, MissingError, UsageError
from tests.artifacts.registry import weights, write_registry
from tests.cli.command import assert_one_line
from tests.support.server import Server

STATE = {
    "backbone.conv.weight": torch.arange(48, dtype=torch.float32).reshape(2, 3, 2, 4),
    "backbone.bn.num_batches_tracked": torch.tensor(7),
    "head.größe": torch.tensor([1.5, -0.0, float("nan")], dtype=torch.bfloat16),
    "head.empty": torch.zeros(0, 3, dtype=torch.float16),
    "head.mask": torch.tensor([True, False]),
}
# Computed by hand from the format's description, so that it cannot drift.
DIGEST = hashlib.sha256(
    b'["backbone.bn.num_batches_tracked","I64",[]]\n' + (7).to_bytes(8, "little")
    + b'["backbone.conv.weight","F32",[2,3,2,4]]\n' + STATE["backbone.conv.weight"].numpy().tobytes()
    + b'["head.empty","F16",[0,3]]\n'
    + '["head.größe","BF16",[3]]\n'.encode() + bytes.fromhex("c03f" "0080" "c07f")
    + b'["head.mask","BOOL",[2]]\n' + b"\x01\x00"
).hexdigest()  # fmt: skip


def test_follows_its_description():
    assert digest_state(STATE) == DIGEST


def test_is_the_same_in_every_container(tmp_path):
    saved = {
        "zip.pth": {"meta": {"epoch": 3}, "state_dict": STATE},
        "bare.pth": dict(reversed(STATE.items())),
        "parallel.pth": {"state_dict": {f"module.{k}": v for k, v in STATE.items()}},
    }
    for name, content in saved.items():
        torch.save(content, tmp_path / name)
    torch.save({"state_dict": STATE}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    write_safetensors(STATE, tmp_path / "x.safetensors", {"model": "net"})
    for path in tmp_path.iterdir():
        assert digest_tensors(path) == DIGEST, path.name
    assert read_metadata(tmp_path / "x.safetensors") == {"model": "net", "tensors": DIGEST}
    assert digest_state(read_safetensors(tmp_path / "x.safetensors")) == DIGEST


def read_metadata(path):
    """Metadata of a safetensors file, as its own library reads them."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()


def test_layout_in_memory_does_not_matter():
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert digest_state({"w": weight.t().contiguous().t()}) == digest_state({"w": weight})
    assert digest_state({"w": weight[:, ::2]}) == digest_state({"w": weight[:, ::2].clone()})
    tied = {"a": weight, "b": weight}
    assert digest_state(tied) == digest_state({k: v.clone() for k, v in tied.items()})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["value", "name", "dtype", "shape", "gone"]))
def test_any_change_changes_it(seed, what):
    rng = random.Random(seed)
    state = {k: v.clone() for k, v in STATE.items()}
    name = rng.choice([k for k in state if state[k].numel()])
    tensor = state.pop(name)
    if what == "value":
        flat = tensor.reshape(-1).view(torch.uint8).clone()
        at = rng.randrange(flat.numel())
        flat[at] = (int(flat[at]) + 1) % (2 if tensor.dtype == torch.bool else 256)
        state[name] = flat.view(tensor.dtype).reshape(tensor.shape)
    elif what == "name":
        state[name + "_"] = tensor
    elif what == "dtype":
        bits = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}
        state[name] = tensor.view(
            torch.float64 if tensor.dtype == torch.int64 else bits[tensor.element_size()]
        )
    elif what == "shape":
        state[name] = tensor.reshape(-1, 1, 1)
    assert digest_state(state) != DIGEST


def test_refuses_what_has_no_plain_elements():
    with pytest.raises(UsageError, match="only dense tensors"):
        digest_state({"w": torch.eye(3).to_sparse()})


def test_damaged_safetensors_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(STATE, path, {})
    data = path.read_bytes()
    for broken in (b"", b"PK", data[:4], data[:20], data[:-1], b"\xff" * 64, b"\x02" + b"\0" * 7 + b"[]"):
        path.write_bytes(broken)
        with pytest.raises(IntegrityError, match="not a whole safetensors"):
            digest_safetensors(path)
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    assert is_safetensors(path)
    with pytest.raises(IntegrityError, match="entry 'w' makes no sense"):
        digest_safetensors(path)
    with pytest.raises(MissingError):
        digest_safetensors(tmp_path / "gone")


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint file with its MD5 and tensor digest in a registry, and a server without the file."""
    path = tmp_path / "net_a.pth"
    torch.save({"meta": {"epoch": 1}, "state_dict": STATE, "optimizer": {"lr": 0.1}}, path)
    data = path.read_bytes()
    with Server() as server:
        entry = weights("net_a.pth", server.url + "/gone.pth", data=data)
        entry["weights"]["digests"].append(f"tensors:{DIGEST} computed")
        write_registry(tmp_path / "registry.yaml", {"net_a": entry})
        yield server, data


@pytest.mark.parametrize("name", ["net_a.pth", "net_a.safetensors"])
def test_repacked_copy_verifies_as_the_same_weights(checkpoint, run, tmp_path, name):
    server, data = checkpoint
    if name.endswith(".pth"):
        torch.save(STATE, tmp_path / "stripped.pth")
        copy = (tmp_path / "stripped.pth").read_bytes()
    else:
        write_safetensors(STATE, tmp_path / "twin", {})
        copy = (tmp_path / "twin").read_bytes()
    server.put(f"mirror/{name}", copy)
    arguments = ["fetch", "net_a", "--verify", "--from", f"{server.url}/mirror"]
    for _ in range(2):
        done = run(*arguments, "--format", "json")
        row = json.loads(done.stdout)[0]
        assert row["digest_state"] == "verified", done.stderr
        assert row["evidence"] == "registry digest of the tensors, in another container"
        assert row["md5"] == hashlib.md5(copy).hexdigest() != hashlib.md5(data).hexdigest()


def test_other_weights_in_the_same_container_are_rejected(checkpoint, run, tmp_path):
    server, _ = checkpoint
    torch.save({**STATE, "head.mask": torch.tensor([True, True])}, tmp_path / "other.pth")
    server.put("mirror/net_a.pth", (tmp_path / "other.pth").read_bytes())
    done = run("fetch", "net_a", "--from", f"{server.url}/mirror")
    assert_one_line(done, 6, "gave other bytes")


def test_tensors_decide_where_no_other_digest_is_known(checkpoint, run, tmp_path):
    server, data = checkpoint
    entry = weights("net_a.pth", server.put("net_a.pth", data), digests=[f"tensors:{DIGEST} computed"])
    write_registry(tmp_path / "registry.yaml", {"net_a": entry})
    assert run("fetch", "net_a", "--verify").returncode == 0
    torch.save({"state_dict": {"w": torch.zeros(1)}}, tmp_path / "other.pth")
    server.put("net_a.pth", (tmp_path / "other.pth").read_bytes())
    done = run("fetch", "net_a", "--force")
    assert_one_line(done, 6, f"expected tensors:{DIGEST}")


def test_adopts_a_repacked_copy(checkpoint, run, tmp_path):
    torch.save(STATE, tmp_path / "net_a.pth")
    done = run("adopt", tmp_path / "net_a.pth", "--verify")
    assert done.returncode == 0, done.stderr
    assert run("fetch", "net_a", "--verify", "--offline").returncode == 0


def test_convert_writes_a_twin(checkpoint, run, tmp_path):
    target = tmp_path / "out" / "net_a.safetensors"
    arguments = ["convert", "net_a", "--to", "safetensors", "-o", target]
    assert_one_line(run(*arguments), 5, "no source has it")
    assert not target.exists()
    run("adopt", tmp_path / "net_a.pth")
    done = run(*arguments)
    assert done.stdout.split()[-3:] == ["5", "entries", f"tensors:{DIGEST}"], done.stderr
    assert (
        read_metadata(target)["source_md5"] == hashlib.md5((tmp_path / "net_a.pth").read_bytes()).hexdigest()
    )
    assert_one_line(run(*arguments), 2, "exists")


def test_convert_says_what_is_not_finite(checkpoint, run, tmp_path):
    wild = {
        **STATE,
        "wild": torch.tensor([1.0, float("nan")]),
        "large": torch.tensor([1e300], dtype=torch.float64),
    }
    torch.save({"state_dict": wild}, tmp_path / "wild.pth")
    arguments = ["--to", "safetensors", "-o", tmp_path / "x.safetensors", "--weights", tmp_path / "wild.pth"]
    done = run("convert", "net_a", *arguments)
    assert done.returncode == 0
    assert "NaN or infinity in the weights: head.größe; wild\n" in done.stderr


def test_convert_refuses_a_file_that_would_run_code(checkpoint, run, tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("pwned",))

    torch.save({"state_dict": STATE, "meta": Evil()}, tmp_path / "evil.pth")
    target = tmp_path / "x.safetensors"
    evil = ["--weights", tmp_path / "evil.pth"]
    done = run("convert", "net_a", "--to", "safetensors", "-o", target, *evil)
    assert_one_line(done, 6, "builtins.print")
    assert "pwned" not in done.stdout
    assert not target.exists()
