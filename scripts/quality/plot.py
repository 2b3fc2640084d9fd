"""KL against bits per weight as an SVG: one panel for each model, all with the same axes."""

import math
from html import escape

# Ticks of the axes; KL is drawn on a logarithmic scale.
BITS = (4.5, 5, 6, 8)
DECADES = (-5, -4, -3, -2, -1, 0)
KL_LEAST, KL_MOST = 1e-5, 1
BITS_LEAST, BITS_MOST = 4.2, 8.3

# Method: colour, and its name in the legend.
LINES = {
    "published": ("#6b7280", "published method"),
    "fast": ("#93c5fd", "--effort fast: weights only"),
    "default": ("#2563eb", "default"),
    "best": ("#d9480f", "--effort best"),
}
COLUMNS = 3
PANEL_WIDTH, PANEL_HEIGHT = 250, 200
LEFT, TOP, GAP_X, GAP_Y, BOTTOM = 62, 34, 22, 48, 46


def x_of(bits):
    return (bits - BITS_LEAST) / (BITS_MOST - BITS_LEAST) * PANEL_WIDTH


def y_of(kl):
    share = (math.log(kl) - math.log(KL_LEAST)) / (math.log(KL_MOST) - math.log(KL_LEAST))
    return (1 - share) * PANEL_HEIGHT


def text(x, y, content, anchor="middle", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(content)}</text>'


def axes(numbers):
    """Frame, grid and ticks of a panel; KL's tick labels if it is the first of its row."""
    lines = [f'<rect width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}" fill="none" stroke="#9ca3af"/>']
    for decade in DECADES:
        y = y_of(10.0**decade)
        lines.append(f'<path d="M0 {y:.1f}H{PANEL_WIDTH}" stroke="#e5e7eb"/>')
        if numbers:
            lines.append(text(-6, y + 4, f"1e{decade}", "end"))
    for bits in BITS:
        lines.append(f'<path d="M{x_of(bits):.1f} 0V{PANEL_HEIGHT}" stroke="#e5e7eb"/>')
        lines.append(text(x_of(bits), PANEL_HEIGHT + 15, f"{bits:g}"))
    return lines


def line(points, colour):
    """points: (bits, kl, low, high); low and high are None if there is no interval."""
    path = " ".join(f"{x_of(bits):.1f},{y_of(kl):.1f}" for bits, kl, _, _ in points)
    lines = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for bits, kl, low, high in points:
        if low is not None:
            lines.append(
                f'<path d="M{x_of(bits):.1f} {y_of(low):.1f}V{y_of(high):.1f}" stroke="{colour}" stroke-width="4" '
                'stroke-opacity="0.4"/>'
            )
        lines.append(f'<circle cx="{x_of(bits):.1f}" cy="{y_of(kl):.1f}" r="3" fill="{colour}"/>')
    return lines


def draw(panels):
    """panels: [(title, {method: [(bits, kl, low, high)]})], every number above 0."""
    rows = -(-(len(panels) + 1) // COLUMNS)  # one place is for the legend
    width = LEFT + COLUMNS * PANEL_WIDTH + (COLUMNS - 1) * GAP_X + 14
    height = TOP + rows * PANEL_HEIGHT + (rows - 1) * GAP_Y + BOTTOM
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#111827">',
        "<title>KL divergence from the original against bits per weight</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for number in range(len(panels) + 1):
        x = LEFT + number % COLUMNS * (PANEL_WIDTH + GAP_X)
        y = TOP + number // COLUMNS * (PANEL_HEIGHT + GAP_Y)
        out.append(f'<g transform="translate({x} {y})">')
        if number < len(panels):
            title, methods = panels[number]
            out += axes(number % COLUMNS == 0)
            out.append(text(PANEL_WIDTH / 2, -8, title, more=' font-weight="bold"'))
            for method, points in methods.items():
                if points:
                    out += line(points, LINES[method][0])
        else:
            for row, (colour, name) in enumerate(LINES.values()):
                out.append(f'<path d="M10 {20 + 22 * row}h24" stroke="{colour}" stroke-width="3"/>')
                out.append(text(42, 24 + 22 * row, name, "start"))
            out.append(text(10, 24 + 22 * len(LINES), "bars: 95 % interval of the ratio to the", "start"))
            out.append(text(10, 40 + 22 * len(LINES), "published method (paired, by rows)", "start"))
        out.append("</g>")
    out.append(text(LEFT + (width - LEFT) / 2, height - 10, "bits per weight of what can be quantized"))
    out.append(
        f'<text transform="translate(14 {height / 2:.1f}) rotate(-90)" text-anchor="middle">'
        "KL(original || compressed), nats per token</text>"
    )
    out.append("</svg>")
    return "\n".join(out) + "\n"
