"""Keep the rows of one year and refuse a file that has none."""

import csv
import os
import sys

source, target = sys.argv[1:]
year = os.environ["YEAR"]
with open(source, newline="") as lines, open(target, "w", newline="") as kept:  # noqa: PTH123
    rows = csv.DictReader(lines)
    out = csv.DictWriter(kept, ["date", "precipitation", "temp_max", "temp_min"], extrasaction="ignore")
    out.writeheader()
    count = 0
    for row in rows:
        if row["date"].startswith(year):
            out.writerow(row)
            count += 1
print(f"{count} days of {year}")
if not count:
    sys.exit(f"no day of {year} in the data: try 2012 to 2015")
