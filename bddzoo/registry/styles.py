"""Columns and table styles of a section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bddzoo.registry import schema as doc
from bddzoo.registry.problems import PathLike, unknown
from bddzoo.registry.types import Column, TableStyle

if TYPE_CHECKING:
    from bddzoo.registry.resolve import Resolver


def build_column(name: str, spec: doc.ColumnDoc) -> Column:
    """What a column holds."""
    if spec.backbone:
        return Column(name, "backbone")
    if spec.metric is not None:
        return Column(name, "metric", metric=spec.metric)
    if spec.links is not None:
        return Column(name, "links", links=spec.links)
    return Column(name)


def build_style(
    resolver: Resolver, at: PathLike, name: str, spec: doc.SectionDoc, columns: Mapping[str, Column]
) -> TableStyle:
    """A table style over its base; columns that are not listed hold settings."""
    style = spec.tables[name]
    merged: dict[str, Any] = {}
    if style.base is not None:
        base = spec.tables.get(style.base)
        if base is None or style.base == name:
            where = (*at, "tables", name, "base")
            resolver.note(where, unknown("table style", style.base, spec.tables))
        else:
            merged = {f: getattr(base, f) for f in base.__struct_fields__ if getattr(base, f)}
    merged.update({f: getattr(style, f) for f in style.__struct_fields__ if getattr(style, f)})
    merged.pop("base", None)
    names = merged.pop("columns", [])
    if not names:
        resolver.note((*at, "tables", name), "a table style needs columns")
    merged["separator"] = tuple(merged.get("separator", (" :-: ",)))
    merged["empty_links"] = frozenset(merged.get("empty_links", ()))
    return TableStyle(columns=tuple(columns.get(n) or Column(n) for n in names), **merged)
