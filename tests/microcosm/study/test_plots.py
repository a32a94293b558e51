"""Plots as SVG files."""

from collections import Counter
from xml.etree import ElementTree

import pytest

from safegrpo.microcosm.study import plots


def texts(svg: str) -> list[str]:
    return [
        "".join(e.itertext()) for e in ElementTree.fromstring(svg).iter() if e.tag[-4:] == "text"
    ]


def test_a_plot_is_an_svg_file_whose_text_is_text() -> None:
    name = 'a < b & "c"'
    line = [(10.0, 5.0, 1.0, 9.0), (1000.0, 50.0, 40.0, 60.0)]
    svg = plots.charts("Title", "pairs", "percent", {"twins": {name: line}}, log_x=True)
    assert {"Title", "pairs", "twins, percent", name, "10", "1000"} <= set(texts(svg))
    assert 'fill="#fff"' in svg


def test_a_name_has_one_place_in_the_legend_and_one_color() -> None:
    line = [(0.0, 50.0, 50.0, 50.0), (1.0, 50.0, 50.0, 50.0)]
    names = [f"a rather long name {i}" for i in range(9)]
    panels = {"one": dict.fromkeys(names, line), "two": {names[-1]: line}, "none": {names[0]: []}}
    svg = plots.charts("t", "x", "y", panels)
    assert sorted(text for text in texts(svg) if text in names) == names
    assert {"one, y", "two, y"} <= set(texts(svg)) and "none, y" not in texts(svg)
    root = ElementTree.fromstring(svg)
    legend = [e for e in root.iter() if (e.text or "") in names]
    width = float(root.attrib["width"])
    assert all(float(e.attrib["x"]) + 6 * len(e.text or "") < width for e in legend)
    assert len({(e.attrib["x"], e.attrib["y"]) for e in legend}) == 9
    strokes = [(e.get("stroke"), e.get("stroke-dasharray")) for e in root.iter() if e.get("stroke")]
    drawn = Counter(stroke for stroke in strokes if stroke[0] != "#ddd")
    assert len(drawn) == 9 and sorted(drawn.values()) == [2] * 8 + [3]  # a legend's, and a line's


def test_bars_show_every_row_and_leave_gaps() -> None:
    svg = plots.bars("t", ["a", "b"], {"safety": [(0.5, 0.4, 0.6), None]})
    assert {"a", "b", "safety", "50.0"} <= set(texts(svg))
    assert svg.count("<rect") == 2  # the ground and one bar


def test_nothing_to_draw_and_zero_on_a_logarithmic_axis_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.charts("t", "x", "y", {"m": {"a": []}})
    with pytest.raises(ValueError, match="no place for 0"):
        plots.charts("t", "x", "y", {"m": {"a": [(0, 1, 1, 1)]}}, log_x=True)
