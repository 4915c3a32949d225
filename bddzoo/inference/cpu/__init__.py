"""What makes networks faster on a CPU; `tune_for_cpu` does all of it."""

from bddzoo.inference.cpu.tune import keep_freed_memory, tune_for_cpu

__all__ = ["keep_freed_memory", "tune_for_cpu"]
