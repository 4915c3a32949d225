"""A section printed the way its zoo prints it, byte for byte, from facts and a table style."""

from __future__ import annotations

from collections.abc import Iterator

from bddzoo.registry.model import Artifact, Column, Method, Model, Section, TableStyle

LINK_JOIN = " \\| "
DIGEST_LINK = "weights.md5"


def render_document(section: Section) -> str:
    """Every heading of a section with paper, authors, table and code link; without the zoo's prose."""
    return "\n\n".join("\n\n".join(_blocks(section, m)) for m in section.methods) + "\n"


def _blocks(section: Section, method: Method) -> Iterator[str]:
    table = "\n".join(render_table(section, method))
    if section.layout == "list":
        yield f"- {method.name}" + (f" ({method.caption})" if method.caption else "")
        yield table
        return
    yield f"### {method.name}"
    if method.paper is not None:
        yield f"[{method.paper.title}]({method.paper.url or ''})" + (
            f" [{method.venue}]" if method.venue else ""
        )
    if method.authors:
        yield authors_line(method)
    yield "#### Results"
    yield table
    if method.code is not None:
        yield f"[[{method.code.title}]({method.code.url})] [[Usage Instructions](#usage)]"


def authors_line(method: Method) -> str:
    """`Authors: A, [B](url), ...`; the mark of equal contribution stands inside of the link, escaped."""
    names = []
    for person in method.authors:
        name = person.name + person.mark.replace("*", "\\*")
        names.append(f"[{name}]({person.url})" if person.url else name)
    return "Authors: " + ", ".join(names)


def render_table(section: Section, method: Method) -> list[str]:
    """Header, separator and rows of one heading's table."""
    style = section.styles[method.table]
    if style.centred:
        return _centred(section.models_of(method), style)
    header = [
        _pad(style.titles.get(c.name, c.name), style.header_pad.get(c.name, (1, 1))) for c in style.columns
    ]
    last = style.separator[-1]
    rule = [style.separator[i] if i < len(style.separator) else last for i in range(len(style.columns))]
    lines = [_line(header) + " " * style.header_tail, _line(rule)]
    for model in section.models_of(method):
        cells = [_pad(cell_text(model, c, style), _row_pad(model, c, style)) for c in style.columns]
        lines.append(_line(cells) + " " * style.row_tails.get(model.id, 0))
    return lines


def _centred(models: list[Model], style: TableStyle) -> list[str]:
    """A table whose columns are as wide as their widest text; of an odd rest, the right side gets more."""
    columns = [
        [style.titles.get(c.name, c.name), *(cell_text(model, c, style) for model in models)]
        for c in style.columns
    ]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        _line(
            [
                f"{' ' * ((w - len(text)) // 2 + 1)}{text}".ljust(w + 2)
                for text, w in zip(row, widths, strict=True)
            ]
        )
        for row in zip(*columns, strict=True)
    ]
    lines.insert(1, _line([f" :{'-' * (w - 2)}: " for w in widths]))
    return lines


def cell_text(model: Model, column: Column, style: TableStyle) -> str:
    """A cell as the zoo prints it, without the spaces around it."""
    missing = style.missing_by_column.get(column.name, style.missing)
    if column.kind == "metric":
        value = next((r.value for r in model.reported if r.column == column.name), None)
        return missing if value is None else str(value)
    if column.kind == "links":
        return LINK_JOIN.join(_links(model, column))
    text = model.backbone if column.kind == "backbone" else model.settings.get(column.name, missing)
    if style.escape:
        text = text.replace("*", "\\*")
    return f"[{text}]()" if column.name in style.empty_links else text


def _links(model: Model, column: Column) -> Iterator[str]:
    by_kind: dict[str, Artifact] = {a.kind: a for a in model.artifacts}
    for text, target in column.links.items():
        if target == DIGEST_LINK:
            artifact = by_kind.get("weights")
            if artifact is not None and artifact.digest_url:
                yield f"[{text}]({artifact.digest_url})"
        elif target in by_kind:
            artifact = by_kind[target]
            url = artifact.printed or (artifact.sources[0] if artifact.sources else "")
            yield f"[{text}]({url})"


def _row_pad(model: Model, column: Column, style: TableStyle) -> tuple[int, int]:
    for name, text in style.pad_unless.items():
        if model.settings.get(name) == text:
            return (1, 1)
    return style.pad.get(column.name, (1, 1))


def _pad(text: str, spaces: tuple[int, int]) -> str:
    return " " * spaces[0] + text + " " * spaces[1]


def _line(cells: list[str]) -> str:
    return "|" + "|".join(cells) + "|"
