"""What makes a network fast on a CPU, at equal output."""
