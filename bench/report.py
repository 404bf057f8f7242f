#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Joins what the programs measured with the goals of bench/rows: table, JSON, drawing.

report.py MEASURED GROUP[,GROUP...] [FILE.json]

MEASURED has the lines of bench.h, and `skip<TAB>ID<TAB>WHY` where kernel or hardware lack something.
Exit status: 0 all measured and met, 1 a row missed, 2 a row was not measured.
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def goals(groups):
    """The rows of these groups, in the order of the file."""
    with open(os.path.join(HERE, "rows"), encoding="utf-8") as file:
        for line in file:
            if line.startswith("#") or not line.strip():
                continue
            name, unit, op, limit, against = (word.strip() for word in line.split("|"))
            if name.split(".")[0] in groups:
                yield {
                    "id": name,
                    "group": name.split(".")[0],
                    "unit": unit,
                    "value": None,
                    "against": against or None,
                    "peer_value": None,
                    "goal": {"op": op, "limit": None if limit == "-" else float(limit)},
                    "ok": False,
                    "why": "was not measured: see what failed above",
                    "rounds": 0,
                    "spread": None,
                }


def met(op, value, limit):
    return {"<=": value <= limit, "<": value < limit, ">=": value >= limit}[op]


def fill(row, words):
    """words: a line of MEASURED behind the id."""
    value, peer, rounds, spread, note = (words + [""] * 5)[:5]
    row["value"] = float(value)
    row["peer_value"] = float(peer) if peer else None
    row["rounds"] = int(rounds)
    row["spread"] = float(spread)
    row["why"] = note or None
    if len(words) > 5:
        row["goal"]["limit"] = float(words[5])
    # As they are printed: what differs in the fourth digit is not told apart.
    row["ok"] = met(row["goal"]["op"], float(f"{row['value']:.4g}"), row["goal"]["limit"])


def read_measured(path, rows):
    with open(path, encoding="utf-8") as file:
        for line in file:
            kind, name, *words = line.rstrip("\n").split("\t")
            row = rows.get(name)
            if row is None:
                sys.exit(f"report.py: {name}: not in bench/rows")
            if kind == "skip":
                row["ok"], row["why"] = None, words[0]
            else:
                fill(row, words)


def number(value):
    if value is None:
        return "-"
    if value and abs(value) < 0.001:
        return f"{value * 1e9:.0f}e-9"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def verdict(row):
    if row["ok"] is False and row["value"] is None:
        return "no value"
    return {True: "met", False: "MISSED", None: "skipped"}[row["ok"]]


def print_table(rows):
    print(f"{'row':34} {'value':>8} {'goal':>9}  {'verdict':8} {'spread':>6}  {'peer':>10}  against")
    for row in rows:
        limit = row["goal"]["limit"]
        goal = f"{row['goal']['op']} {'-' if limit is None else format(limit, 'g')}"
        spread = "-" if row["spread"] is None else f"{row['spread']:.0%}"
        print(
            f"{row['id']:34} {number(row['value']):>8} {goal:>9}  {verdict(row):8} {spread:>6}"
            f"  {number(row['peer_value']):>10}  {row['against'] or ''}"
        )
        if row["why"]:
            print(f"{'':34}   {row['why']}")


def margin(row):
    """How many times better than its goal, for the drawing."""
    value, limit = row["value"], row["goal"]["limit"]
    if row["goal"]["op"] != ">=":
        value, limit = limit, value
    if value == limit:
        return 1
    return min(max(value / limit if limit else 10, 0.1), 10)


def draw(rows, path):
    drawn = [row for row in rows if row["value"] is not None]
    if not drawn:
        return
    lines, colours = [], {True: "0x2e7d32", False: "0xc62828"}
    for at, row in enumerate(drawn):
        y = len(drawn) - at
        label = f"{row['id']}  {number(row['value'])}"
        label += f" ({row['goal']['op']} {row['goal']['limit']:g})"
        lines.append(f'{margin(row)} {y} "{label}" {int(colours[row["ok"]], 16)}')
    script = f"""
set terminal svg size 900,{60 + 22 * len(drawn)} dynamic font "sans,12" noenhanced
set output {json.dumps(path)}
set title "how far from its goal (right of the line: met)"
set logscale x 2
set xrange [0.09:14]
set yrange [0.4:{len(drawn)}.6]
set xtics ("1/8" 0.125, "1/4" 0.25, "1/2" 0.5, "goal" 1, "2x" 2, "4x" 4, "8x" 8)
set lmargin 42
unset key
set arrow from 1,0.4 to 1,{len(drawn)}.6 nohead lc rgb "black"
plot "-" using (1):2:(1):1:($2-0.35):($2+0.35):4:ytic(3) with boxxyerror \\
     fillstyle solid lc rgb variable
"""
    body = "\n".join(lines)
    subprocess.run(["gnuplot"], input=f"{script}{body}\ne\n", text=True, check=True)


def main():
    measured, groups = sys.argv[1], sys.argv[2].split(",")
    rows = {row["id"]: row for row in goals(groups)}
    read_measured(measured, rows)
    rows = list(rows.values())
    print_table(rows)
    if len(sys.argv) > 3:
        with open(sys.argv[3], "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
            file.write("\n")
        draw(rows, os.path.splitext(sys.argv[3])[0] + ".svg")
    unmeasured = sum(row["ok"] is False and row["value"] is None for row in rows)
    missed = sum(row["ok"] is False for row in rows) - unmeasured
    met_count = sum(row["ok"] is True for row in rows)
    skipped = len(rows) - met_count - missed - unmeasured
    print(f"{met_count} met, {missed} missed, {skipped} skipped, {unmeasured} not measured")
    sys.exit(2 if unmeasured else 1 if missed else 0)


main()
