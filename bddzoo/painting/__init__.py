"""Class maps and objects painted over images: colours, outlines, and names that can be read.

Pure functions on arrays; files are read and written elsewhere. Images are (H, W, 3) uint8 in BGR, as OpenCV
reads and writes them; colours are RGB tuples, as the data set's documents print them.
"""
