"""Decode, preprocess, run, postprocess and write predictions."""
