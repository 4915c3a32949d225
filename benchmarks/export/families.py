"""Which networks can be written as ONNX, and how far the file's outputs are from PyTorch's.

    python benchmarks/export/families.py [--size 128x256] [--only PART] -o docs/export.md

One network for each pair of method and kind of backbone (the others differ in depth or weights only), with
weights by the recipe, each in a process of its own; the table in the document is replaced as each is done,
and rows that are there already are kept, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bddzoo.engines.registry_config import is_buildable
from bddzoo.registry import load_registry
from bddzoo.registry.model import Model

BEGIN, END = "<!-- families -->\n", "<!-- /families -->\n"
HEAD = "| network | written | deviation | unlike |\n| :-- | :-- | --: | --: |\n"


# Tasks whose networks are exported; of drivable area those that semantic segmentation does not have.
KINDS = {"sem_seg": "maps", "drivable": "maps", "ins_seg": "ins_seg", "det": "det"}


def families() -> list[Model]:
    """The first model of each method and kind of backbone that an engine builds."""
    found: dict[tuple[str, ...], Model] = {}
    for model in load_registry(None).models:
        kind_of_task = KINDS.get(model.task)
        if is_buildable(model) and kind_of_task and not model.zoo.synthetic:
            kind = re.match("[A-Za-z]*", model.backbone)
            deformed = "deformed" if "dconv" in model.id else ""
            found.setdefault((kind_of_task, model.method.name, kind[0] if kind else "", deformed), model)
    return list(found.values())


def row(model: Model, size: str) -> str:
    """The line of one network."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bddzoo", "export", model.id, "--to", "onnx", "--size", size]
        command += ["--weights", "random", "-o", f"{folder}/network.onnx", "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 1:
        sys.exit(f"{model.id}: {done.stderr.strip()}")
    if not done.stdout:
        reason = json.loads(done.stderr.splitlines()[-1])["text"]
        return f"| {model.id} | no: {reason} | | |\n"
    found = json.loads(done.stdout)
    if "detections" in found:
        values = {name: measure["value"] for name, measure in found["measures"].items()}
        deviation = f"{values['boxes']:.1e} px, {values['scores']:.1e}"
        unlike = f"{values['unpaired']} of {found['detections']} detections"
        return f"| {model.id} | whole | {deviation} | {unlike} |\n"
    written = f"dense part; {found['left_out']}" if found["left_out"] else "whole"
    unlike = f"{found['pixels_of_another_class']} pixels"
    return f"| {model.id} | {written} | {found['deviation_std']:.1e} | {unlike} |\n"


def main() -> None:
    """Parse the command line and bring the table up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="128x256")
    parser.add_argument("--only", default="")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    text = options.out.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    table, after = rest.split(END)
    known = {line.split("|")[1].strip(): f"{line}\n" for line in table.splitlines()[2:] if line}
    for model in families():
        if model.id in known or options.only not in model.id:
            continue
        known[model.id] = row(model, options.size)
        print(known[model.id], end="", flush=True)
        ordered = [known[m.id] for m in families() if m.id in known]
        options.out.write_text(before + BEGIN + HEAD + "".join(ordered) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
