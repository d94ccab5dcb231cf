"""The chart of a contest: bars of medians, with the spread of the rounds, as SVG. Pure.

One file for light and dark pages: its colours follow the reader's. No script, no font of its own.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

from bench.results import Contest, Row

WIDTH, LEFT, RIGHT = 760, 290, 110
_BAR, _GAP, _TOP, _BOTTOM = 16, 10, 46, 30
_STYLE = """\
  <style>
    text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
    .title { font-weight: 600; font-size: 14px }
    .small { fill: #59636e; font-size: 11px }
    .ours { fill: #0a7f5a }
    .theirs { fill: #8c959f }
    .mine { font-weight: 600 }
    .spread { stroke: #1f2328; stroke-width: 1 }
    .line { stroke: #d1d9e0; stroke-width: 1 }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc }
      .small { fill: #9198a1 }
      .ours { fill: #2fb98a }
      .theirs { fill: #656c76 }
      .spread { stroke: #f0f6fc }
      .line { stroke: #3d444d }
    }
  </style>"""


def draw(contest: Contest, title: str, subtitle: str) -> str:
    """The contest's rows that have figures, in their order, as one SVG document."""
    rows = [row for row in contest.rows if row.wall is not None]
    most = max((row.wall.most for row in rows if row.wall), default=1.0) or 1.0
    step = _step(most)
    end = (int(most / step - 1e-9) + 1) * step
    scale = (WIDTH - LEFT - RIGHT) / end
    height = _TOP + len(rows) * (_BAR + _GAP) + _BOTTOM
    foot = height - _BOTTOM
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"  <title>{escape(title)}</title>",
        _STYLE,
        f'  <text class="title" x="12" y="20">{escape(title)}</text>',
        f'  <text class="small" x="12" y="36">{escape(subtitle)}</text>',
    ]
    for number in range(round(end / step) + 1):
        x = LEFT + number * step * scale
        label, place = f"{number * step:g}", f'x="{x:.1f}" y="{foot + 16}" text-anchor="middle"'
        parts.append(f'  <path class="line" d="M{x:.1f} {_TOP - 4}V{foot}"/>')
        parts.append(f'  <text class="small" {place}>{label}</text>')
    for number, row in enumerate(rows):
        parts += _bar(row, _TOP + number * (_BAR + _GAP), scale)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(row: Row, y: int, scale: float) -> list[str]:
    assert row.wall is not None
    kind, weight = ("ours", ' class="mine"') if row.ours else ("theirs", "")
    middle, width = y + _BAR // 2, row.wall.median * scale
    least, most = LEFT + row.wall.least * scale, LEFT + row.wall.most * scale
    name = f'x="{LEFT - 8}" y="{middle + 4}" text-anchor="end"{weight}'
    told = f"{row.wall.median:.1f} s" + (", plaintext" if row.plaintext else "")
    return [
        f"  <text {name}>{escape(row.name)}</text>",
        f'  <rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>',
        f'  <path class="spread" d="M{least:.1f} {middle}H{most:.1f}"/>',
        f'  <text class="small" x="{most + 6:.1f}" y="{middle + 4}">{escape(told)}</text>',
    ]


def _step(most: float) -> float:
    """Between two lines: 1, 2 or 5 times a power of ten, so that there are five to twelve."""
    step = 0.1
    for factor in (2, 2.5, 2) * 6:
        if most / step <= 8:
            break
        step *= factor
    return round(step, 10)
