"""Plots as plain SVG, without any library; legible on light and dark backgrounds."""

import html
import math

STYLE = """<style>
svg { font: 13px system-ui, sans-serif; }
.back { fill: #ffffff; } .ink { fill: #1f2328; } .soft { fill: #59636e; }
.line { stroke: #59636e; stroke-width: 1; } .grid { stroke: #d1d9e0; stroke-width: 1; }
.good { fill: #1a7f37; } .bad { fill: #bc4c00; } .own { fill: #0969da; } .other { fill: #8c959f; }
.ownline { stroke: #0969da; stroke-width: 2.5; fill: none; }
.otherline { stroke: #8c959f; stroke-width: 2.5; fill: none; stroke-dasharray: 6 4; }
@media (prefers-color-scheme: dark) {
.back { fill: #0d1117; } .ink { fill: #f0f6fc; } .soft { fill: #9198a1; }
.line { stroke: #9198a1; } .grid { stroke: #3d444d; }
.good { fill: #3fb950; } .bad { fill: #f0883e; } .own { fill: #4493f8; } .other { fill: #6e7681; }
.ownline { stroke: #4493f8; } .otherline { stroke: #6e7681; }
}
</style>"""


def _svg(width, height, title, parts):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{html.escape(title)}">\n{STYLE}\n'
        f'<rect class="back" width="{width}" height="{height}" rx="6"/>\n'
        f'<text class="ink" x="16" y="26" font-weight="600" font-size="15">{html.escape(title)}</text>\n'
        + "\n".join(parts) + "\n</svg>\n")


def _text(x, y, words, kind="ink", anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def number(value):
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def targets(title, rows):
    """One bar a figure: how many times its target it is; on the right side of 1 it is reached."""
    left, width, step, top = 350, 900, 26, 56
    scores = [score for _, score in rows]
    # Room on the left for the figure beside the longest bar.
    low = min(0.25, min(scores)) / 2
    high = max(4, max(scores) * 1.2)
    place = lambda score: left + (math.log(score) - math.log(low)) / (
        math.log(high) - math.log(low)) * (width - left - 70)
    bottom = top + step * len(rows)
    parts = [_text(place(1), top - 10, "target", "soft", "middle")]
    for name, score in rows:
        y = top + step * rows.index((name, score))
        start, end = sorted((place(1), place(score)))
        kind = "good" if score >= 1 else "bad"
        parts.append(_text(left - 10, y + 16, name, anchor="end"))
        parts.append(f'<rect class="{kind}" x="{start:.1f}" y="{y + 4}" width="{max(end - start, 1.5):.1f}" height="16" rx="2"/>')
        beside = (end + 6, "start") if score >= 1 else (start - 6, "end")
        parts.append(_text(beside[0], y + 17, f"{number(score)} ×", "soft", beside[1]))
    parts.append(f'<line class="line" x1="{place(1):.1f}" x2="{place(1):.1f}" y1="{top - 4}" y2="{bottom + 4}"/>')
    return _svg(width, bottom + 20, title, parts)


def bars(title, groups):
    """Groups of bars: [(group with its unit, [(label, value, is_own)])], shorter is better."""
    left, width, step, top = 250, 860, 22, 44
    parts = []
    y = top
    for group, entries in groups:
        entries = [entry for entry in entries if entry[1] is not None]
        greatest = max(value for _, value, _ in entries)
        parts.append(_text(16, y + 16, group, "soft"))
        y += step
        for label, value, is_own in entries:
            length = max(value / greatest * (width - left - 90), 1.5)
            parts.append(_text(left - 10, y + 16, label, anchor="end"))
            parts.append(f'<rect class="{"own" if is_own else "other"}" x="{left}" y="{y + 3}" width="{length:.1f}" height="16" rx="2"/>')
            parts.append(_text(left + length + 6, y + 16, number(value), "soft"))
            y += step
        y += 8
    return _svg(width, y + 8, title, parts)


def curves(title, xs, lines, unit, x_name):
    """Lines over a logarithmic axis: [(label, values, is_own)], from 0 upwards."""
    left, right, width, height, top, bottom = 76, 30, 860, 320, 50, 48
    greatest = max(value for _, values, _ in lines for value in values if value is not None) * 1.15
    across = lambda x: left + (math.log(x) - math.log(xs[0])) / max(
        math.log(xs[-1]) - math.log(xs[0]), 1e-9) * (width - left - right - 170)
    up = lambda value: height - bottom - value / greatest * (height - top - bottom)
    parts = []
    for part in range(5):
        value = greatest * part / 4
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right - 170}" y1="{up(value):.1f}" y2="{up(value):.1f}"/>')
        parts.append(_text(left - 8, up(value) + 4, number(value), "soft", "end"))
    for x in xs:
        parts.append(_text(across(x), height - bottom + 20, f"{x:,}", "soft", "middle"))
    parts.append(_text(left, height - 8, f"{unit}, over {x_name}", "soft"))
    for label, values, is_own in lines:
        points = [(across(x), up(value)) for x, value in zip(xs, values) if value is not None]
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="{"ownline" if is_own else "otherline"}" points="{way}"/>')
        for x, y in points:
            parts.append(f'<circle class="{"own" if is_own else "other"}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(_text(points[-1][0] + 10, points[-1][1] + 4, label))
    return _svg(width, height, title, parts)
