"""Whatever runs models: one measurement, its worker processes, and sweeps over many models."""
