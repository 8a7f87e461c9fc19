"""Bar charts as SVG, written by hand: no library, and the same picture from the same numbers."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

from benchmarks.report import Chart

_WIDTH, _LABELS, _PLOT, _ROW, _TOP = 860, 270, 470, 26, 46
_OURS, _OTHERS = "#2563a8", "#a9b4c0"
_FONT = 'font-family="Helvetica, Arial, sans-serif"'


def svg(chart: Chart, footer: str) -> str:
    """Return a chart: a bar for each median, a whisker from least to most, below it when and where it was measured."""
    notes = _wrapped(footer)
    height = _TOP + _ROW * len(chart.bars) + 34 + 13 * len(notes)
    # A single outlier would press all bars together; its whisker is cut off instead.
    most = 1.15 * max([bar.value.median for bar in chart.bars] + [chart.line[0] if chart.line else 0.0]) or 1.0
    size = f'width="{_WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(chart.title)}</title>",
        f'<rect {size} fill="#ffffff"/>',
        _text(12, 24, chart.title, size=15, weight="bold"),
    ]
    for number, bar in enumerate(chart.bars):
        top = _TOP + _ROW * number
        middle = top + _ROW / 2 - 2
        end = _x(bar.value.median, most)
        colour = _OURS if bar.name.startswith("ours") else _OTHERS
        width = max(1.0, end - _LABELS)
        low, high = _x(bar.value.low, most), _x(bar.value.high, most)
        parts += [
            _text(_LABELS - 8, middle + 4, bar.name, anchor="end"),
            f'<rect x="{_LABELS}" y="{top}" width="{width:.1f}" height="{_ROW - 6}" fill="{colour}"/>',
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" y2="{middle:.1f}" stroke="#222222"/>',
            _text(max(end, high) + 6, middle + 4, _short(bar.value.median)),
        ]
    bottom = _TOP + _ROW * len(chart.bars)
    if chart.line is not None:
        x = _x(chart.line[0], most)
        parts += [
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{bottom}" stroke="#b03030" stroke-dasharray="4 3"/>',
            _text(x, bottom + 12, chart.line[1], anchor="middle", colour="#b03030"),
        ]
    for number, note in enumerate(notes):
        parts.append(_text(12, bottom + 32 + 13 * number, note, size=10, colour="#666666"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(value: float, most: float) -> float:
    return _LABELS + _PLOT * min(1.0, max(0.0, value / most))


def _text(
    x: float,
    y: float,
    what: str,
    *,
    anchor: str = "start",
    size: int = 12,
    weight: str = "normal",
    colour: str = "#222222",
) -> str:
    look = f'{_FONT} font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(what)}</text>'


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    if value >= 1000:
        return f"{value:,.0f}"
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}" if math.isfinite(value) else "?"


def _wrapped(text: str) -> list[str]:
    parts = text.split("; ")
    return ["; ".join(parts[:2]), "; ".join(parts[2:])] if len(parts) > 2 else [text]
