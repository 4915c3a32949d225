"""Images of labels and predictions: colour maps, overlays, comparisons."""
