"""Plots of a soak, as SVG: memory and processor over time, with kills and restarts marked."""
import csv

WIDTH, HEIGHT, LEFT, TOP = 720, 150, 70, 24


def draw(table, marks, file, name):
    rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(open(table))]
    if len(rows) < 3:
        return
    end = max(row["seconds"] for row in rows)
    memory = [(row["seconds"], row["rss_bytes"] / 2**20, row["pid"]) for row in rows]
    load = [(b["seconds"], 100 * (b["cpu_seconds"] - a["cpu_seconds"]) / max(0.1, b["seconds"] - a["seconds"]), b["pid"])
            for a, b in zip(rows, rows[1:]) if a["pid"] == b["pid"]]
    parts = [panel(memory, end, marks, 0, f"{name}: resident memory, MiB"),
             panel(smooth(load, 12), end, marks, HEIGHT + 50, f"{name}: processor, % of a core, mean of a minute")]
    height = 2 * (HEIGHT + 50)
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + LEFT + 20} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>' + "".join(parts) + "</svg>\n")


def smooth(points, count):
    means = []
    for n in range(0, len(points) - count, count):
        some = points[n:n + count]
        means.append((some[0][0], sum(p[1] for p in some) / count, some[0][2]))
    return means or points


def panel(points, end, marks, down, title):
    top = max(p[1] for p in points) * 1.1 or 1
    x = lambda s: LEFT + WIDTH * s / end
    y = lambda v: down + TOP + HEIGHT * (1 - v / top)
    parts = [f'<text x="{LEFT}" y="{down + 15}" font-weight="bold">{title}</text>']
    for n in range(5):
        value = top * n / 4
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>'
                     f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    step = next(s for s in (10, 60, 300, 600, 1200, 3600, 14400, 86400) if end / s <= 13)
    for n in range(int(end / step) + 1):
        label = f"{n * step / 60:.0f} min" if step >= 60 else f"{n * step} s"
        parts.append(f'<text x="{x(n * step):.1f}" y="{down + TOP + HEIGHT + 16}" text-anchor="middle">{label}</text>')
    for at, what, _ in marks:
        colour = "#c33" if what == "kill" else "#36c"
        parts.append(f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{down + TOP}" y2="{down + TOP + HEIGHT}" '
                     f'stroke="{colour}" stroke-dasharray="3 3"/>')
    path, before = "", None
    for at, value, life in points:
        path += f"{'L' if life == before else 'M'}{x(at):.1f} {y(value):.1f}"
        before = life
    parts.append(f'<path d="{path}" fill="none" stroke="#222" stroke-width="1.2"/>')
    return "".join(parts)
