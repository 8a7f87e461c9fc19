"""Results as files: JSON, a Markdown table and the charts, each with the date and the machine."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import charts, machine
from benchmarks.options import Options
from benchmarks.report import Report, markdown, plain

_BEGIN, _END = "<!-- results: begin -->", "<!-- results: end -->"


def save(reports: list[Report], options: Options, folder: Path) -> None:
    """Write what was measured so far."""
    folder.mkdir(parents=True, exist_ok=True)
    where = machine.description()
    how = f"{options.repeats} rounds, event loop {options.loop}{', a TRIAL' if options.trial else ''}"
    results = {"machine": where, "method": how, "reports": plain(reports)}
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    drawn = [chart for report in reports for chart in report.charts]
    for chart in drawn:
        (folder / f"{chart.name}.svg").write_text(charts.svg(chart, f"{where}; {how}"), encoding="utf-8")
    pictures = "\n".join(f"![{chart.title}]({chart.name}.svg)" for chart in drawn)
    table = f"{where}; {how}.\n\n{markdown(reports)}\n{pictures}\n"
    (folder / "results.md").write_text(table, encoding="utf-8")


def put_into_readme(readme: Path, folder: Path) -> None:
    """Replace the README's results by those of a folder."""
    table = (folder / "results.md").read_text(encoding="utf-8").replace("](", f"]({folder.name}/")
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    readme.write_text(f"{before}{_BEGIN}\n\n{table}\n{_END}{after}", encoding="utf-8")
