import numpy as np
import pytest
import yaml

from bddzoo.datasets.classes import CLASS_SETS, DRIVABLE, INS_SEG, PAN_SEG, PAN_STUFF, SEM_SEG, TAGS, ClassSet
from bddzoo.datasets.formats.scalabel import PanopticMap
from tests.shared import shared


def test_counts():
    assert (len(SEM_SEG), len(INS_SEG), len(DRIVABLE)) == (19, 8, 3)
    counts = {task: len(classes) for task, classes in CLASS_SETS.items()}
    tags = {"weather": 7, "scene": 7, "timeofday": 4}
    assert counts == {"sem_seg": 19, "ins_seg": 8, "drivable": 3, "det": 10, "pan_seg": 40, **tags}


def test_the_same_thing_has_the_same_colour_in_both_tasks():
    for name, colour in zip(INS_SEG.names, INS_SEG.palette, strict=True):
        other = "person" if name == "pedestrian" else name
        assert SEM_SEG.palette[SEM_SEG.index(other)] == colour


def test_colours_tell_classes_apart():
    for classes in CLASS_SETS.values():
        if classes is not PAN_SEG:  # the toolkit's own colours, some of them twice
            assert len(set(classes.palette)) == len(classes)


def test_a_colour_for_every_name():
    with pytest.raises(ValueError, match="2 names but 1 colours"):
        ClassSet("x", ("a", "b"), ((0, 0, 0),))


def test_equal_to_the_zoos_configs():
    facts = yaml.load(shared("facts/model_facts.yaml").read_text(), Loader=yaml.CSafeLoader)
    assert list(SEM_SEG.names) == facts["sem_seg"]["classes"]
    assert [list(c) for c in SEM_SEG.palette] == facts["sem_seg"]["palette"]
    assert list(INS_SEG.names) == facts["ins_seg"]["classes"]


def test_the_networks_order_is_that_of_the_zoos_configs():
    facts = yaml.load(shared("facts/model_facts2.yaml").read_text(), Loader=yaml.CSafeLoader)
    assert [*PAN_SEG.names[PAN_STUFF:], *PAN_SEG.names[:PAN_STUFF]] == facts["pan_seg"]["classes"]
    found = PanopticMap(np.arange(41, dtype=np.int32)[None])
    assert found.bitmask()[0, :, 0].tolist() == [*facts["pan_seg"]["bitmask_id_of_class"], 0]
    assert {key: list(TAGS[key]) for key in ("weather", "scene")} == facts["tagging"]["attributes"]
