"""Bars as SVG, by hand: nothing to install, and the same bytes for the same figures."""

from xml.sax.saxutils import escape

from compare.tables import number

WIDTH, NAME_WIDTH, BAR_WIDTH = 720, 130, 470
ROW, BAR, TOP = 26, 16, 44
OURS, THEIRS = "#5b3fa0", "#9aa5b1"


def bars(title, unit, values, digits=1):
    """A bar for each (name, value); grapevine's stand out. A bar ten times as long as the middle one is cut."""
    shown = [(name, value) for name, value in values if value is not None]
    middle = sorted(value for _, value in shown)[len(shown) // 2] if shown else 1
    longest = min(max((value for _, value in shown), default=1), 10 * middle) or 1
    height = TOP + ROW * len(shown) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="24" font-weight="bold" fill="#222222">{escape(title)}, {escape(unit)}</text>',
    ]
    for index, (name, value) in enumerate(shown):
        top = TOP + ROW * index
        length = max(1, round(BAR_WIDTH * min(value, longest) / longest))
        colour = OURS if name.startswith("grapevine") else THEIRS
        cut = " (cut)" if value > longest else ""
        text = top + BAR - 3
        lines += [
            f'<text x="{NAME_WIDTH - 8}" y="{text}" text-anchor="end" fill="#222222">{escape(name)}</text>',
            f'<rect x="{NAME_WIDTH}" y="{top}" width="{length}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{NAME_WIDTH + length + 6}" y="{text}" fill="#222222">{number(value, digits)}{cut}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
