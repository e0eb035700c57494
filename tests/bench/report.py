"""What the measurements say: a table as text, all readings as JSON, and plots."""

import importlib
import json
import os
import platform
import statistics
import subprocess
import time


def machine():
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    with open("/proc/meminfo") as file:
        memory = next(int(line.split()[1]) for line in file if line.startswith("MemTotal"))
    return {"cores": len(models), "processor": models[0] if models else platform.machine(),
            "memory_gib": round(memory / 2**20), "kernel": platform.release(),
            "date": time.strftime("%Y-%m-%d")}


def medians_of(readings):
    def get(name, figure="rate"):
        return statistics.median(readings[name][figure])
    return get


def number(value):
    if value >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def line_of(row):
    reading = f"{number(row.reading)} {row.unit}"
    if row.target is None:
        return f"  {row.what:<46} {reading:>22}  {row.note}"
    sign = "≤" if row.below else "≥"
    met = "met   " if row.met else "MISSED"
    note = f"; {row.note}" if row.note else ""
    return f"  {row.what:<46} {reading:>22}  {met} {row.ratio:5.2f} of {sign} {number(row.target)}: {row.of}{note}"


def table_of(results, repeat):
    about = machine()
    lines = [f"{about['date']}, {about['cores']} cores of {about['processor']}, {about['memory_gib']} GiB, Linux "
             f"{about['kernel']}; medians of {repeat}"]
    for name, readings in results.items():
        theme = importlib.import_module(name)
        lines += ["", f"{name}: {theme.__doc__.splitlines()[0]}"]
        lines += [line_of(row) for row in theme.rows(medians_of(readings))]
        lines += ["", "  readings: median (lowest to highest)"]
        for what, figures in readings.items():
            for figure, values in figures.items():
                lines.append(f"    {what + ', ' + figure:<66} {number(statistics.median(values)):>10}"
                             f"  ({number(min(values))} to {number(max(values))})")
    return "\n".join(lines) + "\n"


def plot_rates(results, directory):
    """One bar for each rate, with its lowest and highest reading."""
    for name, readings in results.items():
        rates = {what: figures["rate"] for what, figures in readings.items() if "rate" in figures}
        if not rates:
            continue
        data = os.path.join(directory, f"{name}.dat")
        with open(data, "w") as file:
            for what, values in rates.items():
                file.write(f'"{what}" {statistics.median(values)} {min(values)} {max(values)}\n')
        script = f"""
            set terminal svg size 1000,{80 + 34 * len(rates)} font "sans,12" background "white"
            set output "{os.path.join(directory, name)}.svg"
            set title "{name.replace('_', ' ')}: a second, median with lowest and highest"
            set yrange [{len(rates) - 0.3}:-0.7]
            set xrange [0:*]
            set format x "%.0s%c"
            set grid xtics
            unset key
            set style fill solid 0.6
            plot "{data}" using ($2/2):0:($2/2):(0.35):(strstrt(strcol(1), "hookd") == 1 ? 0x1f77b4 : 0x999999):ytic(1) \\
                with boxxyerrorbars lc rgb variable, \\
                "" using 2:0:3:4 with xerrorbars lc rgb "black" pt 7 ps 0.4
        """
        subprocess.run(["gnuplot"], input=script, text=True, check=True)


def write(results, directory, repeat):
    table = table_of(results, repeat)
    print("\n" + table, end="")
    with open(os.path.join(directory, "table.txt"), "w") as file:
        file.write(table)
    with open(os.path.join(directory, "results.json"), "w") as file:
        json.dump({"machine": machine(), "repeat": repeat, "readings": results}, file, indent=1)
    plot_rates(results, directory)
