"""Preprocess, batch, run, and draw: from images to predictions."""
