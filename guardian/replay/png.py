"""A picture as PNG, by Pillow, which only an installation with the extra `plot` has: importing this fails without it.

The font is the one that Pillow brings: a server may have none.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from guardian.replay.plot import FONT_SIZE, Path, Picture, Point

SCALE = 2  # pixels of the file to one of the picture
FINER = 2  # what is drawn is so many times larger, and then made smaller: Pillow's own lines have ragged edges
ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def png(picture: Picture) -> bytes:
    """The whole file, twice as large in pixels as the picture, for screens of today."""
    scale = SCALE * FINER
    letters = font(FONT_SIZE * scale)
    image = Image.new("RGB", (picture.width * scale, picture.height * scale), "#ffffff")
    draw = ImageDraw.Draw(image)
    for shape in picture.shapes:
        if isinstance(shape, Path):
            points = [(x * scale, y * scale) for x, y in (*shape.points, *shape.points[: 1 if shape.closed else 0])]
            for piece in _dashed(points, [length * scale for length in shape.dash]):
                draw.line(piece, fill=shape.colour, width=round(shape.width * scale), joint="curve")
        else:
            draw.text((shape.x * scale, shape.y * scale), shape.text, shape.colour, letters, ANCHORS[shape.anchor])
    file = io.BytesIO()
    image.reduce(FINER).save(file, "PNG", optimize=True)
    return file.getvalue()


def font(size: float = FONT_SIZE) -> Font:
    """Raises TypeError where Pillow is older than 10.1, and ImportError where it was built without FreeType."""
    return ImageFont.load_default(size)


def _dashed(points: Sequence[Point], dash: Sequence[float]) -> Iterator[list[Point]]:
    """What is drawn of lines from point to point: all of it without dashes, else its pieces, each with its corners."""
    if not dash:
        yield list(points)
        return
    place, left, piece = 0, dash[0], list(points[:1])
    for (x, y), end in pairwise(points):
        at, length = 0.0, math.dist((x, y), end)
        while length - at > left:
            at += left
            cut = (x + (end[0] - x) * at / length, y + (end[1] - y) * at / length)
            if place % 2 == 0:
                yield [*piece, cut]
            place += 1
            left, piece = dash[place % len(dash)], [cut]
        left -= length - at
        piece.append(end)
    if place % 2 == 0 and len(piece) > 1:
        yield piece
