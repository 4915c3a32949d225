"""What a machine says of itself while speed is measured: its device, and what may disturb the numbers."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from bddzoo.results.environment import cpu_model, usable_cores
from bddzoo.results.speed import Device

if TYPE_CHECKING:
    import torch

# Other processes may use so much of a core, on average, before that is said.
OTHERS = 0.1
_QUERY_S = 20
# Fields of nvidia-smi that are kept with a record.
_GPU_DETAILS = ("clocks.sm", "clocks.mem", "power.limit", "temperature.gpu")


def describe_device(device: torch.device, threads: int) -> Device:
    """The device as it is found, before the first run."""
    if device.type == "cpu":
        return Device(name=cpu_model(), type="cpu", threads=threads, details=_cpu_details())
    import torch

    name = torch.cuda.get_device_name(device)
    names = ("driver_version", *_GPU_DETAILS)
    values = nvidia_smi(f"--id={device.index or 0}", f"--query-gpu={','.join(names)}").strip().split(", ")
    fields = dict(zip(names, values, strict=True)) if len(values) == len(names) else {}
    driver = fields.pop("driver_version", None)
    return Device(name=name, type="cuda", threads=threads, driver=driver, details=fields)


def static_warnings(device: Device) -> list[str]:
    """What is known to slow a machine down before anything runs."""
    found = []
    for supply in sorted(Path("/sys/class/power_supply").glob("*")):
        if _read(supply / "type") == "Battery" and _read(supply / "status") == "Discharging":
            found.append("the machine runs on its battery")
    if device.type == "cpu" and device.threads < usable_cores():
        found.append(f"PyTorch uses {device.threads} of {usable_cores()} cores")
    return found


class Watch:
    """Watches the machine during a block; `findings` then says what disturbed it.

    Linux only where it reads `/proc` and `/sys`; elsewhere it finds nothing.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._found: list[str] = []

    def __enter__(self) -> Watch:
        self._begun = time.monotonic()
        self._busy, self._own, self._throttled = _busy_s(), _own_s(), _throttle_count()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        passed = time.monotonic() - self._begun
        busy, own = _busy_s(), _own_s()
        if busy is not None and self._busy is not None and passed > 0:
            others = (busy - self._busy - (own - self._own)) / passed
            if others > OTHERS:
                self._found.append(f"other processes used {others:.1f} of {os.cpu_count()} cores")
        if _throttle_count() > self._throttled:
            self._found.append("the processor throttled itself")
        if self._device.type == "cuda":
            self._found += _gpu_findings()

    def findings(self) -> list[str]:
        """What disturbed the measurement, a sentence each."""
        return self._found


def _busy_s() -> float | None:
    """Seconds that all cores together have been busy since the machine started."""
    with suppress(OSError, ValueError, IndexError):
        fields = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        user, nice, system, _, _, irq, softirq = fields[:7]
        return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    return None


def _own_s() -> float:
    """CPU seconds of this process and its children that are alive."""
    ticks = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    total = time.process_time()
    me = os.getpid()
    with suppress(OSError):
        for children in Path(f"/proc/{me}/task").glob("*/children"):
            for pid in children.read_text().split():
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def _throttle_count() -> int:
    folder = Path("/sys/devices/system/cpu")
    return sum(int(_read(p) or 0) for p in folder.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))


def _cpu_details() -> dict[str, str]:
    folder = Path("/sys/devices/system/cpu/cpu0/cpufreq")
    found = {name: _read(folder / name) for name in ("scaling_governor", "scaling_max_freq")}
    return {name: value for name, value in found.items() if value}


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace").strip()
    return ""


def _gpu_findings() -> list[str]:
    found = []
    reasons = nvidia_smi("--query-gpu=clocks_event_reasons.active")
    # Bits of NVML's nvmlClocksEventReasons that mean heat or a power brake, not idleness or a set limit.
    hot = 0x8 | 0x20 | 0x40 | 0x80
    with suppress(ValueError):
        if any(int(line, 16) & hot for line in reasons.split()):
            found.append("the GPU throttled itself")
    apps = nvidia_smi("--query-compute-apps=pid").split()
    if len(apps) > 1:
        found.append(f"{len(apps)} processes use the GPU")
    return found


def nvidia_smi(*query: str, timeout_s: float = _QUERY_S) -> str:
    """What NVIDIA's tool answers, a line for each GPU or process; empty without the tool or a GPU."""
    command = ["nvidia-smi", *query, "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        return done.stdout if done.returncode == 0 else ""
    return ""
