"""Build a network from registry facts, load weights safely and strictly, run it."""
