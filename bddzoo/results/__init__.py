"""Records of measurements, and verdicts against what was reported."""
