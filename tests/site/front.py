"""The front page as tests see it: which models it should show, and where things are on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bddzoo.registry import load_registry

if TYPE_CHECKING:
    from playwright.sync_api import Page

REGISTRY = load_registry()
TASK = "sem_seg"
OURS = [m for m in REGISTRY.select(task=TASK) if m.protocol and m.protocol.dataset == "bdd100k"]
MODEL = REGISTRY.find("deeplabv3+_r50-d8_512x1024_40k_sem_seg_bdd100k")
MEASURED = "demo_semfpn_r18n_sem_seg"
INSTANCES = "demo_mask_rcnn_r18n_ins_seg"
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


def ids(page: Page, task: str = TASK) -> list[str]:
    return page.locator(f"#{task} tbody tr th").all_text_contents()


def heading(page: Page, key: str, task: str = TASK) -> Any:
    return page.locator(f"#{task} th[data-k='{key}'] button")


def address(page: Page) -> str:
    return page.url.partition("#")[2]


def pick(page: Page, menu: str, name: str) -> None:
    """Tick or untick a box of a menu."""
    found = page.locator(f"#{TASK} details.menu", has=page.locator("summary", has_text=menu))
    if found.get_attribute("open") is None:
        found.locator("summary").click()
    found.locator("label", has=page.get_by_text(name, exact=True)).locator("input").click()
