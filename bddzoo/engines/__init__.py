"""Networks from registry facts, strict and safe weights, the ops that mmcv compiled."""
