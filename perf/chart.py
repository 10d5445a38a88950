"""One picture of a report: CPU per request of each peer, scenario by scenario, as horizontal bars with their spread. SVG, no packages."""

from html import escape

COLOURS = {"sidecar": "#1769aa", "head": "#1769aa", "base": "#8aa9c4", "floor": "#b8b8b8"}
OTHER = "#d98c3f"
LEFT, WIDTH, ROW, GAP = 250, 900, 17, 30


def draw(report):
    parts, top = [], 46
    for result in report["results"]:
        bars = [(name, entry) for name, entry in result["peers"].items() if "cpu_us" in entry.get("median", {})]
        if not bars:
            continue
        scale = (WIDTH - LEFT - 130) / max(entry["spread"]["cpu_us"][1] for _, entry in bars)
        title = f"{result['scenario']}, {result['connections']} connections" + ("" if result["kind"] == "bulk" else f", {result['body_bytes']} B")
        parts.append(f'<text x="10" y="{top}" font-weight="bold">{escape(title)}: CPU µs per {result["unit"]}</text>')
        top += 8
        for name, entry in sorted(bars, key=lambda bar: bar[1]["median"]["cpu_us"]):
            value, (low, high) = entry["median"]["cpu_us"], entry["spread"]["cpu_us"]
            user = value * entry["median"]["user_share"]
            colour = COLOURS.get(name, OTHER)
            middle = top + ROW / 2
            ratio = entry.get("ratio")
            note = f"{value:,.1f}" + (f"   (sidecar {ratio['median']:.2f}×)" if ratio else "")
            parts.append(f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>'
                         f'<rect x="{LEFT}" y="{top + 2}" width="{value * scale:.1f}" height="{ROW - 4}" fill="{colour}" fill-opacity="0.55"/>'
                         f'<rect x="{LEFT}" y="{top + 2}" width="{user * scale:.1f}" height="{ROW - 4}" fill="{colour}"/>'
                         f'<line x1="{LEFT + low * scale:.1f}" x2="{LEFT + high * scale:.1f}" y1="{middle}" y2="{middle}" stroke="#222"/>'
                         f'<text x="{LEFT + high * scale + 6:.1f}" y="{middle + 4}">{escape(note)}</text>')
            top += ROW
        top += GAP
    machine = report["machine"]
    head = f"{report['when']}, {machine['cpu']}, Linux {machine['kernel']}, {report['runs']} interleaved runs; dark: user space, line: spread"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" font-family="sans-serif" font-size="12">'
            f'<rect width="{WIDTH}" height="{top}" fill="#fff"/><text x="10" y="20" fill="#555">{escape(head)}</text>' + "".join(parts) + "</svg>\n")
