"""Results as Markdown."""

COLUMNS = {
    "cpu_us": ("CPU us", 1),
    "ratio": ("over {over}", 2),
    "rate": ("per second", 0),
    "p50_us": ("p50 us", 0),
    "p99_us": ("p99 us", 0),
    "added_p50_us": ("added p50 us", 0),
    "added_p99_us": ("added p99 us", 0),
    "first_p50_us": ("first byte p50 us", 0),
    "first_p99_us": ("first byte p99 us", 0),
    "added_first_p50_us": ("added first byte p50 us", 0),
    "added_first_p99_us": ("added first byte p99 us", 0),
    "stall_p99_us": ("stall p99 us", 0),
    "peak_mb": ("peak MB", 0),
    "kib_per_stream": ("KiB per stream", 1),
    "opened_s": ("opened in s", 1),
    "streams": ("streams", 0),
    "start_ms": ("first answer ms", 0),
    "idle_mb": ("idle MB", 1),
}


def number(value, digits):
    """A figure as it stands in a table; small ones keep a digit more."""
    if value is None:
        return ""
    if digits == 1 and abs(value) >= 100:
        digits = 0
    return f"{value:,.{digits}f}"


def markdown(header, rows, texts=1):
    """A table: so many columns are text, those after them are numbers."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [cell.ljust(width) if column < texts else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths))]
        lines.append("| " + " | ".join(cells) + " |")
    rule = ["-" * width if column < texts else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def table(result):
    scenario = result.scenario
    header = [scenario.kind if scenario.kind == "features" else "proxy"]
    header += [COLUMNS[column][0].format(over=scenario.over) for column in scenario.columns]
    rows = [[rival] + [number(result.figure(rival, column), COLUMNS[column][1]) for column in scenario.columns]
            for rival in result.rounds]
    return markdown(header, rows)


def section(result, level="##"):
    """The heading, the table, and who is missing from it."""
    parts = [f"{level} {result.scenario.title}", table(result)]
    parts += [f"Not measured: {name} ({reason})." for name, reason in result.absent.items()]
    return "\n\n".join(parts)
