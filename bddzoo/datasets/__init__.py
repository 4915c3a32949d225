"""BDD100K layouts, label formats, class lists and the synthetic mini data set."""
