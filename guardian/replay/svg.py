"""A picture as SVG, written by hand: no library is needed."""

from __future__ import annotations

from xml.sax.saxutils import escape

from guardian.replay.plot import FONT_SIZE, Path, Picture, Shape


def svg(picture: Picture) -> str:
    """The whole file."""
    body = "\n".join(_element(shape) for shape in picture.shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {picture.width} {picture.height}" width="{picture.width}" '
        f'height="{picture.height}" font-family="sans-serif" font-size="{FONT_SIZE}" role="img" aria-label="guardian replay">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _element(shape: Shape) -> str:
    if not isinstance(shape, Path):
        return f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" text-anchor="{shape.anchor}" fill="{shape.colour}">{escape(shape.text)}</text>'
    dash = f' stroke-dasharray="{" ".join(map(str, shape.dash))}"' if shape.dash else ""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
    kind = "polygon" if shape.closed else "polyline"
    return f'<{kind} points="{points}" fill="none" stroke="{shape.colour}" stroke-width="{shape.width:g}"{dash}/>'
