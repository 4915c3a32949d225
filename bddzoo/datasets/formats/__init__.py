"""Label and prediction formats: one reader and one writer each."""
