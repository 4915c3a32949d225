import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bddzoo.engines import kernels
from bddzoo.engines.load import full_float32
from bddzoo.engines.openmmlab import OPENMMLAB, line_in_use
from bddzoo.engines.ops import EXTENSION, StandIn, ensure_ops, load_torchvision, ops_in_use
from bddzoo.engines.selftest.folder import GoldenFolder, packaged, read_arrays
from bddzoo.engines.selftest.operators import CHECKS, check_operator
from bddzoo.errors import MissingError
from bddzoo.inference.batches import prepare
from tests.shared import shared
from tests.support.forked import run_forked
from tests.support.installed import write_metadata

CPU = torch.device("cpu")
# Too large to ship for what they test.
UNSHIPPED = ("nms_big", "necks", "panoptic_fusion")
SHIPPED = sorted(set(CHECKS).difference(UNSHIPPED))


def check(path, device=CPU):
    ensure_ops()
    with full_float32():
        measures = check_operator(path.stem, read_arrays(path), device, prepare)
    assert measures
    for measure in measures:
        assert measure.ok, measure


@pytest.mark.parametrize("name", SHIPPED)
def test_operators_equal_compiled_mmcv(name):
    with packaged() as folder:
        check(GoldenFolder(folder).operators()[name])


@pytest.mark.parametrize("name", SHIPPED)
def test_operators_on_a_gpu(name):
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    with packaged() as folder:
        check(GoldenFolder(folder).operators()[name], torch.device("cuda"))


@pytest.mark.parametrize("name", ["image_ops", *UNSHIPPED])
def test_more_operators(name):
    folder = "golden/ops" if name in ("nms_big", "image_ops") else "golden/tasks2/ops"
    check(shared(f"{folder}/{name}.npz"))


@pytest.mark.parametrize("folder", ["golden", "golden/tasks2"])
def test_no_golden_operator_is_left_out(folder):
    # No network finds poses.
    assert set(GoldenFolder(shared(folder)).operators()) <= {*CHECKS, "image_ops", "pose_post"}


@pytest.mark.parametrize(
    ("name", "array", "measure"),
    [
        ("dii_head", "cls", "values"),
        ("box_codings", "decode_sparse", "values"),
        ("priors_dense", "retina0", "values"),
        ("filter_topk", "topk_thr0.5_k25_keep", "indices"),
        ("multiclass_nms2", "iou0.6_max20_labels", "indices"),
    ],
)
def test_another_value_differs(name, array, measure):
    ensure_ops()
    with packaged() as folder:
        arrays = read_arrays(GoldenFolder(folder).operators()[name])
    arrays[array] = np.roll(arrays[array], 1)
    measures = check_operator(name, arrays, CPU, prepare)
    assert [m.name for m in measures if not m.ok] == [measure]


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(1, 5)] * 2),
    st.tuples(*[st.integers(0, 4)] * 2),
    st.integers(1, 2),
    st.integers(0, 1),
)
def test_psa_mask_by_definition(size, half, count, kind):
    height, width = size
    h_mask, w_mask = 2 * half[0] + 1, 2 * half[1] + 1
    mask = torch.randn(count, h_mask * w_mask, height, width)
    output = torch.full((count, height * width, height, width), torch.nan)
    kernels.psamask_forward(
        mask,
        output,
        psa_type=kind,
        num_=count,
        h_feature=height,
        w_feature=width,
        h_mask=h_mask,
        w_mask=w_mask,
        half_h_mask=half[0],
        half_w_mask=half[1],
    )
    expected = torch.zeros_like(output)
    for y in range(height):
        for x in range(width):
            for dy in range(h_mask):
                for dx in range(w_mask):
                    oy, ox = y + dy - half[0], x + dx - half[1]
                    if not (0 <= oy < height and 0 <= ox < width):
                        continue
                    value = mask[:, dy * w_mask + dx, y, x]
                    if kind == 0:
                        expected[:, oy * width + ox, y, x] = value
                    else:
                        expected[:, y * width + x, oy, ox] = value
    assert torch.equal(output, expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.sampled_from([0.3, 0.5, 0.7]), st.integers(0, 1), st.integers(0, 2**31 - 1))
def test_nms_keeps_exactly_what_no_better_box_covers(count, threshold, offset, seed):
    load_torchvision()
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * 40], dim=1)
    scores = torch.rand(count, generator=generator)
    kept = kernels.nms(boxes, scores, iou_threshold=threshold, offset=offset).tolist()
    alive = []
    for index in scores.sort(descending=True, stable=True).indices.tolist():
        if all(iou(boxes[index], boxes[other], offset) <= threshold for other in alive):
            alive.append(index)
    assert kept == alive


def iou(a, b, offset):
    size = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2]) + offset).clamp(min=0)
    overlap = size.prod()
    areas = (a[2:] - a[:2] + offset).prod() + (b[2:] - b[:2] + offset).prod()
    return float(overlap / (areas - overlap))


def test_roi_align_gradient():
    ensure_ops()
    from mmcv.ops.roi_align import roi_align

    x = torch.randn(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 1.0, 1.5, 9.0, 8.0], [0, 0.2, 0.1, 3.0, 11.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: roi_align(v, rois, 3, 0.5, 2, "avg", True), x)


def test_other_operators_say_what_they_need():
    ensure_ops()
    module = sys.modules[EXTENSION]
    if not isinstance(module, StandIn):
        pytest.skip("a compiled mmcv is installed")
    with pytest.raises(MissingError, match="nms_rotated"):
        module.nms_rotated(1, 2)


def python(script, **environment):
    """What a script prints in a process of its own, in which nothing but torch has been imported."""
    env = {**os.environ, **environment}
    code = textwrap.dedent(script)
    done = run_forked(exec, code, {"__name__": "__main__"}, env=env, imported="torch")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_order_does_not_matter():
    # mmcv, and a failed attempt at its operators, before us.
    assert (
        python("""
        import mmcv
        try:
            import mmcv.ops
        except ImportError:
            pass
        from bddzoo.engines.ops import ensure_ops
        kind = ensure_ops()
        import mmcv.ops
        print(ensure_ops() == kind)
        """)
        == "True"
    )


def test_no_mmcv_at_all():
    assert "torchvision" in python("""
        import sys
        sys.modules["mmcv"] = None
        from bddzoo.engines.ops import ops_in_use
        print(ops_in_use()["nms"])
        """)


WORKS = """
from bddzoo.engines.kernels import functions
from bddzoo.engines.ops import load_torchvision
load_torchvision()
globals().update(functions())
def get_compiling_cuda_version(): return "13.0"
"""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (WORKS, ""),
        ("raise ImportError('undefined symbol: x')", "undefined symbol: x"),
        ("nms = 1", "'int' object is not callable"),
        (f"{WORKS}\ndef nms(boxes, scores, **_): raise RuntimeError('another torch')", "another torch"),
        (f"{WORKS}\ndef nms(boxes, scores, **_): return scores.argsort()", "keeps boxes"),
    ],
)
def test_compiled_mmcv_goes_first_if_it_works(tmp_path, body, reason):
    package = tmp_path / "mmcv"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_ext.py").write_text(body)
    said = python(
        """
        from bddzoo.engines.ops import ensure_ops, ops_in_use, warn_of_mmcv
        print(ensure_ops(), ops_in_use()["roi_align"], warn_of_mmcv(), sep="\\n")
        """,
        PYTHONPATH=str(tmp_path),
    )
    source, roi_align, warning = said.splitlines()
    if reason:
        assert source == "torchvision"
        assert reason in roi_align
        assert warning.startswith(
            "the compiled mmcv cannot be used, torchvision's operators are used instead: "
        )
        assert reason in warning
    else:
        assert source == "mmcv"
        assert roi_align.endswith(", compiled")
        assert warning == "None"


def write_package(folder, name, version, body=""):
    """A package as pip leaves it: code and metadata."""
    write_metadata(folder, name, version)
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(body)


@pytest.mark.skipif(line_in_use() is not OPENMMLAB, reason="only OpenMMLab's own packages refuse mmcv 2.2")
def test_mmcv_2_2_is_not_refused(tmp_path):
    """A later mmcv over the installed one: its metadata, and the version that it says."""
    folder = find_spec("mmcv").submodule_search_locations[0]
    write_package(tmp_path, "mmcv", "2.2.0", f"__path__ = [{folder!r}]\n__version__ = '2.2.0'\n")
    said = python(
        """
        from bddzoo.engines.load import build_network
        from bddzoo.registry import load_registry
        registry = load_registry(None)
        for name in ("demo_semfpn_r18n_sem_seg", "demo_mask_rcnn_r18n_ins_seg"):
            model = registry.find(name)
            print(len(build_network(model).state_dict()) == model.network.entries)
        import mmcv, mmdet, mmseg
        print(mmcv.__version__)
        """,
        PYTHONPATH=str(tmp_path),
    )
    assert said.split() == ["True", "True", "2.2.0"]


def test_mmdet_is_imported_beside_transformers_5(tmp_path):
    """mmpretrain's language models look for names in transformers that its fifth release no longer has."""
    any_class = """
        class PreTrainedModel: from_pretrained = _from_config = print
        PreTrainedModel.config_class = PreTrainedModel
        def __getattr__(name):
            if name == "__path__": raise AttributeError
            return type(name, (PreTrainedModel,), {})
        """
    write_package(tmp_path, "transformers", "5.17.0", textwrap.dedent(any_class))
    auto = tmp_path / "transformers" / "models" / "auto"
    auto.mkdir(parents=True)
    (auto / "auto_factory.py").write_text("class _BaseAutoModelClass: pass")
    said = python(
        """
        from bddzoo.engines.part_modules import import_models
        for library in ("mmdet", "mmseg", "mmpretrain"):
            import_models(library)
        from mmpretrain.registry import MODELS
        print(MODELS.get("mmpretrain.ConvNeXt").__name__)
        """,
        PYTHONPATH=str(tmp_path),
    )
    assert said == "ConvNeXt"


@pytest.mark.parametrize("error", ["TypeError('of another release')", "ImportError('of another release')"])
def test_a_library_that_cannot_be_imported_is_no_damaged_golden(tmp_path, error):
    write_package(tmp_path, "shapely", "9.0.0", f"raise {error}")
    said = python(
        """
        from bddzoo.engines.selftest.folder import GoldenFolder, packaged
        from bddzoo.engines.selftest.run import Selftest
        from bddzoo.errors import MissingError
        import torch
        with packaged() as folder:
            try:
                list(Selftest(GoldenFolder(folder), [], torch.device("cpu"), None).operators())
            except MissingError as error:
                print(error.message)
        """,
        PYTHONPATH=str(tmp_path),
    )
    assert said == "cannot import mmdet: of another release"


def test_compiled_mmcv_gets_features_as_it_reads_them(tmp_path):
    """A network tuned for a CPU has channels-last features; RoIAlign of mmcv takes them for usual ones."""
    package = tmp_path / "mmcv"
    package.mkdir()
    (package / "__init__.py").write_text("")
    body = "def roi_align_forward(features, *_, **__): return features.is_contiguous()"
    (package / "_ext.py").write_text(f"{WORKS}\n{body}\n")
    said = python(
        """
        import sys, torch
        from bddzoo.engines.ops import ensure_ops
        print(ensure_ops())
        x = torch.zeros(1, 3, 4, 5).to(memory_format=torch.channels_last)
        print(sys.modules["mmcv._ext"].roi_align_forward(x, torch.zeros(1, 5)))
        """,
        PYTHONPATH=str(tmp_path),
    )
    assert said.split() == ["mmcv", "True"]


def test_ops_in_use_names_every_operator():
    assert set(ops_in_use()) == {"nms", "roi_align", "deform_conv2d", "psa_mask"}


def test_engines_import_no_torch():
    script = "import sys, bddzoo.engines; print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "False False\n"


@pytest.mark.parametrize("count", [0, 1, 63, 64, 101])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_roi_align_in_threads_is_that_of_one_call(count, threads):
    from bddzoo.engines.kernels import roi_align

    load_torchvision()
    torch.manual_seed(count)
    features = torch.randn(2, 5, 23, 31).to(memory_format=torch.channels_last)
    corners = torch.rand(count, 4) * 40
    rois = torch.cat([torch.randint(0, 2, (count, 1)).float(), corners], dim=1)
    rois[:, 3:] += rois[:, 1:3]
    expected = torch.ops.torchvision.roi_align(features.contiguous(), rois, 0.5, 7, 3, 0, True)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                assert torch.equal(roi_align(features, rois, (7, 3), 0.5, 0, True), expected)
    finally:
        torch.set_num_threads(before)
