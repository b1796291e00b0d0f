"""Put table and chart on one page."""

import csv
import html
import sys

table, chart, target = sys.argv[1:]
with open(table, newline="") as lines:  # noqa: PTH123
    rows = list(csv.DictReader(lines))
with open(chart) as drawing:  # noqa: PTH123
    svg = drawing.read()
cells = "".join(
    "<tr>" + "".join(f"<td>{html.escape(value)}</td>" for value in row.values()) + "</tr>" for row in rows
)
head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
with open(target, "w") as page:  # noqa: PTH123
    page.write(
        f"<!doctype html><meta charset=utf-8><title>Weather</title>{svg}<table><tr>{head}</tr>{cells}</table>"
    )
wettest = max(rows, key=lambda row: float(row["rain"]))
print(f"wettest month: {wettest['month']} with {wettest['rain']} mm")
