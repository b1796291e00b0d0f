"""Draw rain as bars and highs as dots, in plain SVG."""

import csv
import sys

source, target = sys.argv[1:]
with open(source, newline="") as lines:  # noqa: PTH123
    rows = list(csv.DictReader(lines))
most = max(float(row["rain"]) for row in rows) or 1.0
parts = [
    '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="260"',
    ' font-family="sans-serif" font-size="11">',
]
for index, row in enumerate(rows):
    x = 20 + index * 50
    height = 200 * float(row["rain"]) / most
    parts.append(f'<rect x="{x}" y="{220 - height:.1f}" width="36" height="{height:.1f}" fill="#7aa6c2"/>')
    parts.append(f'<circle cx="{x + 18}" cy="{220 - 5 * float(row["high"]):.1f}" r="4" fill="#c2543d"/>')
    parts.append(f'<text x="{x}" y="240">{row["month"][5:]}</text>')
parts.append('<text x="20" y="256">bars: rain (mm) · dots: mean daily high (°C)</text></svg>')
with open(target, "w") as chart:  # noqa: PTH123
    chart.write("\n".join(parts))
print(f"chart of {len(rows)} months")
