"""Sum up the days: mean of highs and lows in °C, rain in mm, a row a month."""

import csv
import sys
from collections import defaultdict

source, target = sys.argv[1:]
days = defaultdict(list)
with open(source, newline="") as lines:  # noqa: PTH123
    for row in csv.DictReader(lines):
        values = (float(row["temp_max"]), float(row["temp_min"]), float(row["precipitation"]))
        days[row["date"][:7].replace("/", "-")].append(values)
with open(target, "w", newline="") as kept:  # noqa: PTH123
    out = csv.writer(kept)
    out.writerow(["month", "days", "high", "low", "rain"])
    for month, values in sorted(days.items()):
        highs, lows, rain = zip(*values, strict=True)
        out.writerow(
            [
                month,
                len(values),
                f"{sum(highs) / len(values):.1f}",
                f"{sum(lows) / len(values):.1f}",
                f"{sum(rain):.1f}",
            ]
        )
print(f"{len(days)} months")
