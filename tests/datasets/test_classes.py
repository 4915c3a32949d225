import pytest
import yaml

from bddzoo.datasets.classes import CLASS_SETS, DRIVABLE, INS_SEG, SEM_SEG, ClassSet
from tests.shared import shared


def test_counts():
    assert (len(SEM_SEG), len(INS_SEG), len(DRIVABLE)) == (19, 8, 3)
    counts = {task: len(classes) for task, classes in CLASS_SETS.items()}
    assert counts == {"sem_seg": 19, "ins_seg": 8, "drivable": 3, "det": 10}


def test_the_same_thing_has_the_same_colour_in_both_tasks():
    for name, colour in zip(INS_SEG.names, INS_SEG.palette, strict=True):
        other = "person" if name == "pedestrian" else name
        assert SEM_SEG.palette[SEM_SEG.index(other)] == colour


def test_colours_tell_classes_apart():
    for classes in CLASS_SETS.values():
        assert len(set(classes.palette)) == len(classes)


def test_a_colour_for_every_name():
    with pytest.raises(ValueError, match="2 names but 1 colours"):
        ClassSet("x", ("a", "b"), ((0, 0, 0),))


def test_equal_to_the_zoos_configs():
    facts = yaml.load(shared("facts/model_facts.yaml").read_text(), Loader=yaml.CSafeLoader)
    assert list(SEM_SEG.names) == facts["sem_seg"]["classes"]
    assert [list(c) for c in SEM_SEG.palette] == facts["sem_seg"]["palette"]
    assert list(INS_SEG.names) == facts["ins_seg"]["classes"]
