"""`guardian replay`, as a user calls it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageColor
from support.moments import CALM_S, an_overload
from support.recordings import written

from guardian.cli.main import main
from guardian.replay.plot import COLOURS, GAP, LEFT, PANEL, TOP, WIDTH

YAML = """
version: 1
project: openpolicy
phases:
  - {phase: 1, name: phase 1, protected: true, services: [db]}
  - {phase: 2, name: phase 2, services: [web]}
  - {phase: 3, name: phase 3, services: [logs]}
"""
HIGHER = YAML + "thresholds: {memory: {soft: 95%, hard: 97%, recover: 90%}}\n"
EVER = "9999d"  # the virtual host's clock shows 2023


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    host, moments = an_overload()
    host.run(CALM_S + 150)
    directory = tmp_path_factory.mktemp("state")
    written(directory / "record.db", moments)
    return directory


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "now.yaml").write_text(YAML)
    (tmp_path / "new.yaml").write_text(HIGHER)
    return tmp_path / "now.yaml", tmp_path / "new.yaml"


def replay(*arguments: str | Path) -> Result:
    return CliRunner(env={"NO_COLOR": "1"}).invoke(main, ["replay", *map(str, arguments)], prog_name="guardian")


def test_it_shows_two_configurations_side_by_side(state_dir: Path, files: tuple[Path, Path]) -> None:
    """What each would have shed, why and for how long, and the figures of both in two columns."""
    now, new = files
    result = replay("--config", now, "--against", new, "--since", EVER, "--state-dir", state_dir)
    assert result.exit_code == 0, result.output
    assert "decided as it was then" in result.output
    (shed,) = [line for line in result.output.splitlines() if " shed " in line]
    assert "openpolicy/logs" in shed
    assert "memory 81.8%, mark 80.0%" in shed
    assert "600 MiB" in shed
    assert f"{new}: nothing would have been shed." in " ".join(result.output.split())
    (sheds,) = [line.split() for line in result.output.splitlines() if line.strip().startswith("sheds")]
    assert sheds == ["sheds", "1", "0"]


def test_it_prints_json_for_scripts(state_dir: Path, files: tuple[Path, Path]) -> None:
    """With --json every figure is a number in base units."""
    result = replay("--config", files[0], "--since", EVER, "--state-dir", state_dir, "--json")
    (one,) = json.loads(result.output)["replays"]
    assert one["config"] == str(files[0])
    assert one["as_recorded"] is True
    assert [shed["service"] for shed in one["sheds"]] == ["openpolicy/logs"]
    assert one["level_s"]["soft"] > 0


def test_it_says_where_nothing_was_recorded(state_dir: Path, files: tuple[Path, Path]) -> None:
    """A time without a recording, and a directory without one, are each an error that says what to do."""
    empty = replay("--config", files[0], "--since", "1h", "--state-dir", state_dir)
    assert empty.exit_code == 1
    assert "go further back by --since" in empty.output
    missing = replay("--config", files[0], "--state-dir", files[0].parent)
    assert missing.exit_code == 1
    assert "there is no recording here" in missing.output


def test_a_mistake_in_the_file_is_told_as_by_check(tmp_path: Path, state_dir: Path) -> None:
    """A configuration that cannot be used ends it with 78 and the mistake's line."""
    (tmp_path / "bad.yaml").write_text(YAML + "thresholds: {memory: {soft: 95}}\n")
    result = replay("--config", tmp_path / "bad.yaml", "--state-dir", state_dir)
    assert result.exit_code == 78
    assert "bad.yaml:8" in result.output


def test_it_draws_a_picture(state_dir: Path, files: tuple[Path, Path], tmp_path: Path) -> None:
    """With --plot it writes an SVG with a curve of memory and of CPU for each configuration, their marks, and who was away."""
    picture = tmp_path / "yesterday.svg"
    result = replay(
        "--config", files[0], "--against", files[1], "--since", EVER, "--state-dir", state_dir, "--plot", picture, "--json"
    )
    assert result.exit_code == 0, result.output
    root = ElementTree.fromstring(picture.read_text())
    svg = "{http://www.w3.org/2000/svg}"
    curves = [line for line in root.findall(f"{svg}polyline") if line.get("stroke-width") == "1.5"]
    assert len(curves) == 6
    assert [curve.get("stroke-dasharray") for curve in curves] == [None, "6 4"] * 3
    width, height = int(root.get("width", 0)), int(root.get("height", 0))
    points = [tuple(map(float, point.split(","))) for curve in curves for point in curve.get("points", "").split()]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    texts = {text.text for text in root.findall(f"{svg}text")}
    assert {"memory", "cpu", "services away", "soft 80%", "soft 95%", str(files[0]), str(files[1])} <= texts


def test_it_draws_the_same_as_png(state_dir: Path, files: tuple[Path, Path], tmp_path: Path) -> None:
    """With --plot FILE.png the same is drawn, with twice as many pixels: the colours of both configurations are in every panel."""
    picture = tmp_path / "yesterday.png"
    result = replay(
        "--config", files[0], "--against", files[1], "--since", EVER, "--state-dir", state_dir, "--plot", picture, "--json"
    )
    assert result.exit_code == 0, result.output
    image = Image.open(picture)
    assert (image.format, image.mode, image.width) == ("PNG", "RGB", 2 * WIDTH)
    for top in range(2 * (TOP + GAP), image.height - 2 * GAP, 2 * (PANEL + GAP)):
        panel = image.crop((2 * LEFT, top, image.width, top + 2 * PANEL))
        colours = {colour for _, colour in panel.getcolors(panel.width * panel.height) or ()}
        assert {ImageColor.getrgb(colour) for colour in ("#ffffff", *COLOURS)} <= colours


def test_without_pillow_a_png_is_refused_with_what_to_install(
    state_dir: Path, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Pillow is not installed, a PNG is refused before the work, with what to install; an SVG needs none."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "guardian.replay.png", raising=False)
    here = ("--config", files[0], "--since", EVER, "--state-dir", state_dir, "--plot")
    result = replay(*here, tmp_path / "yesterday.png")
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "pip install 'guardian-docker[plot]'" in said
    assert "Recorded" not in said
    assert replay(*here, tmp_path / "yesterday.svg").exit_code == 0


@pytest.mark.parametrize(
    ("name", "says"), [("picture.gif", "give a name that ends in .svg or .png"), ("none/picture.svg", "name another file")]
)
def test_a_picture_that_cannot_be_drawn_is_told(
    state_dir: Path, files: tuple[Path, Path], tmp_path: Path, name: str, says: str
) -> None:
    """Another format, and a place that cannot be written, are errors in words."""
    result = replay("--config", files[0], "--since", EVER, "--state-dir", state_dir, "--plot", tmp_path / name)
    assert result.exit_code != 0
    assert says in " ".join(result.output.split())
