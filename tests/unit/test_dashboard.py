"""The dashboard for Grafana, by what its classic JSON model asks for. Its queries run in tests/system."""

from __future__ import annotations

import re
from typing import Any

import yaml
from support import dashboard

from guardian.expose.catalog import CATALOG

BOARD = dashboard.load()
FOLDER = dashboard.PATH.parent
WIDTH = 24
# Panels of Grafana itself, and units that it knows.
KINDS = {"stat", "table", "timeseries", "state-timeline"}
UNITS = {"none", "s", "bytes", "percentunit"}
# Options without which a panel is none, by Grafana's own JSON schemas of its panels.
LEGEND = {"legend.calcs", "legend.displayMode", "legend.placement", "legend.showLegend", "tooltip.mode", "tooltip.sort"}
OPTIONS = {
    "timeseries": LEGEND,
    "state-timeline": {*LEGEND, "showValue"},
    "stat": {"reduceOptions.calcs", "orientation", "textMode", "colorMode", "graphMode", "justifyMode"},
    "table": {"frameIndex", "showHeader"},
}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def test_it_is_a_dashboard_of_the_classic_model() -> None:
    """It has what the classic model needs, no id of somebody's database, and the schema of a Grafana of today."""
    assert {"uid", "title", "panels", "templating", "annotations", "time", "timepicker", "refresh", "tags"} <= BOARD.keys()
    assert BOARD["schemaVersion"] == 42
    assert "id" not in BOARD
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", BOARD["uid"])


def test_hosts_and_the_data_source_are_chosen_in_it() -> None:
    """The data source is a variable, and so are the hosts: one, several or all."""
    variables = {one["name"]: one for one in BOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "instance"]
    assert (variables["instance"]["multi"], variables["instance"]["includeAll"]) == (True, True)
    assert variables["instance"]["datasource"] == SOURCE
    for where, query in dashboard.queries(BOARD):
        assert 'instance=~"$instance"' in query, where


def test_every_panel_is_whole() -> None:
    """Each panel has a title, a sentence that says what it shows, a known kind and unit, and queries with names of their own."""
    for panel in dashboard.panels(BOARD):
        assert panel["type"] in KINDS
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["datasource"] == SOURCE
        assert panel["fieldConfig"]["defaults"].get("unit", "none") in UNITS
        assert OPTIONS[panel["type"]] <= _paths(panel["options"]), panel["title"]
        names = [target["refId"] for target in panel["targets"]]
        assert names
        assert len(set(names)) == len(names)
        for target in panel["targets"]:
            assert target["datasource"] == SOURCE
            assert target["instant"] is not target["range"]


def _paths(options: dict[str, Any]) -> set[str]:
    """`a`, and `a.b` where it holds more."""
    return {
        path
        for key, value in options.items()
        for path in (key, *(f"{key}.{one}" for one in (value if isinstance(value, dict) else ())))
    }


def test_a_host_of_the_fleet_leads_to_itself_alone() -> None:
    """The name of each host in the fleet's table is a link to this dashboard with that host chosen, at the same time."""
    table = next(panel for panel in dashboard.panels(BOARD) if panel["title"] == "Hosts")
    (links,) = [
        one["value"]
        for override in table["fieldConfig"]["overrides"]
        if override["matcher"] == {"id": "byName", "options": "instance"}
        for one in override["properties"]
        if one["id"] == "links"
    ]
    assert all(
        part in links[0]["url"] for part in (f"/d/{BOARD['uid']}?", "var-instance=${__value.raw}", "${__url_time_range}")
    )


def test_no_panel_lies_on_another() -> None:
    """Every panel has an id of its own and a place of its own, 24 columns wide in all."""
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert max(x for x, _ in cells) < WIDTH
        assert not cells & taken, panel["title"]
        taken |= cells


def test_it_asks_for_metrics_that_there_are() -> None:
    """Every metric in a query is one of guardian's, or one that the process has."""
    known = {name for spec in CATALOG.values() for name in (spec.name, f"{spec.name}_bucket")}
    for where, query in dashboard.queries(BOARD):
        used = set(re.findall(r"guardian_[a-z0-9_]+", query))
        assert used <= known, where
        assert used or "process_" in query, where


def test_its_provisioning_files_say_where_it_is() -> None:
    """The files beside it are provisioning files of Grafana: one for the dashboard, one for the data source."""
    (provider,) = yaml.safe_load((FOLDER / "provisioning.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].startswith("/")
    (source,) = yaml.safe_load((FOLDER / "datasource.yml").read_text())["datasources"]
    assert (source["type"], source["access"]) == ("prometheus", "proxy")
