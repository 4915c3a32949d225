"""The six data sets of openseg.pytorch's zoo: classes, labels, layouts, and tiny synthetic ones."""

from bddzoo.datasets.openseg.classes import class_set, class_set_of
from bddzoo.datasets.openseg.sets import DATA_SETS, DataSet, data_set

__all__ = ["DATA_SETS", "DataSet", "class_set", "class_set_of", "data_set"]
