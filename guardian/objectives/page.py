"""A report as one self-contained page: no script, nothing from elsewhere, and every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from guardian.objectives.sheets import Sheet

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1b1f24; background: #fff; margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem } p { color: #57606a; margin: .35rem 0 }
div { overflow-x: auto } table { border-collapse: collapse; width: 100% } th, td { padding: .3rem .6rem; text-align: left; white-space: nowrap }
th { border-bottom: 2px solid #d0d7de; font-weight: 600 } td { border-bottom: 1px solid #eaeef2 } .n { text-align: right; font-variant-numeric: tabular-nums }
.met { color: #116329 } .missed, .failed, .refused, .timed_out { color: #a40e26; font-weight: 600 } .unknown { color: #7d4e00 }
@media (prefers-color-scheme: dark) {
  body { color: #e6edf3; background: #0d1117 } p { color: #8d96a0 } th { border-color: #3d444d } td { border-color: #21262d }
  .met { color: #3fb950 } .missed, .failed, .refused, .timed_out { color: #ff7b72 } .unknown { color: #d29922 }
}
@media print { body { max-width: none; margin: 0 } }
"""
_COLOURED = frozenset(("met", "missed", "failed", "refused", "timed_out", "unknown"))


def page(title: str, heading: str, sheets: Sequence[Sheet]) -> str:
    """The whole document."""
    body = "".join(_section(sheet) for sheet in sheets)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<p>{escape(heading)}</p>\n{body}</body>\n</html>\n"
    )


def _section(sheet: Sheet) -> str:
    note = f"<p>{escape(sheet.note)}</p>\n" if sheet.note else ""
    if not sheet.rows:
        return f"<h2>{escape(sheet.title)}</h2>\n{note}"
    head = "".join(f'<th scope="col"{_figure(name, sheet)}>{escape(name.strip())}</th>' for name in sheet.columns)
    rows = "".join(f"<tr>{_cells(row, sheet)}</tr>\n" for row in sheet.rows)
    return f"<h2>{escape(sheet.title)}</h2>\n<div><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n{note}"


def _cells(row: Sequence[str], sheet: Sheet) -> str:
    return "".join(
        f"<td{_figure(name, sheet, cell)}>{escape(cell)}</td>" for name, cell in zip(sheet.columns, row, strict=True)
    )


def _figure(name: str, sheet: Sheet, cell: str = "") -> str:
    classes = [cell] if cell in _COLOURED else []
    if name in sheet.right:
        classes.append("n")
    return f' class="{" ".join(classes)}"' if classes else ""
