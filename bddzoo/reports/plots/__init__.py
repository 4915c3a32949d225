"""Plots of the registry's and the records' numbers, as SVG and PNG."""
