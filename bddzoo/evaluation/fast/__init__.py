"""What makes reading and counting labels fast; the numbers are the same without."""
