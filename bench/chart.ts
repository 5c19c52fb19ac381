import type { Report } from './table.js';

/** One group of bars. */
interface Panel {
  readonly trial: string;
  readonly key: string;
  readonly title: string;
  readonly note: string;
  readonly digits: number;
}

const PANELS: readonly Panel[] = [
  {
    trial: 'bulk-8',
    key: 'cpu',
    title: 'CPU of the proxy, 8 tunnels',
    note: 'seconds per GiB, shorter is better',
    digits: 2,
  },
  {
    trial: 'bulk-8',
    key: 'throughput',
    title: 'Throughput, 8 tunnels',
    note: 'GiB/s, longer is better',
    digits: 2,
  },
  {
    trial: 'handshakes',
    key: 'rate',
    title: 'New tunnels, 50 at a time',
    note: 'per second, longer is better',
    digits: 0,
  },
  {
    trial: 'memory',
    key: 'perTunnel',
    title: 'Memory per idle tunnel',
    note: 'KiB, shorter is better',
    digits: 1,
  },
];

/** Pixels. */
const WIDTH = 840;
const GAP = 40;
const LABEL = 122;
const VALUE = 54;
const ROW = 24;
const BAR = 14;
const HEAD = 58;
const PANEL = (WIDTH - 3 * GAP) / 2;

const LABELS: Readonly<Record<string, string>> = {
  direct: 'no proxy',
  splice: 'spliceway splice',
  stream: 'spliceway stream',
  haproxy: 'HAProxy (no auth)',
  squid: 'Squid',
};

// Read on white and on black alike, as a page of GitHub is either and an image does not know which; the medium asks the reader's system.
const STYLE = `
text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#1f2328}
.title{font-size:14px;font-weight:600}.note{fill:#59636e}.own{font-weight:600}
.bar{fill:#afb8c1}.bar.own{fill:#0969da}.bar.limit{fill:none;stroke:#818b98;stroke-dasharray:3 2}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.note{fill:#9198a1}.bar{fill:#656c76}.bar.own{fill:#4493f8}}
`.trim();

/** The medians as horizontal bars: an SVG of its own for light and dark pages. */
export function chart({ results, contenders }: Report): string {
  const panels = PANELS.map((panel) => ({ panel, bars: bars(panel) })).filter(
    ({ bars: all }) => all.length > 0,
  );
  const heights = panels.map(({ bars: all }) => HEAD + all.length * ROW);
  const rowHeights = Array.from({ length: Math.ceil(panels.length / 2) }, (_, row) =>
    Math.max(...heights.slice(2 * row, 2 * row + 2)),
  );
  const height = rowHeights.reduce((sum, one) => sum + one + GAP / 2, GAP / 2);
  const drawn = panels.map(({ panel, bars: all }, index) => {
    const row = Math.floor(index / 2);
    const top = rowHeights.slice(0, row).reduce((sum, one) => sum + one + GAP / 2, GAP / 2);
    return draw({ panel, all, left: GAP + (index % 2) * (PANEL + GAP), top });
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="spliceway beside other proxies">
<style>${STYLE}</style>
${drawn.join('\n')}
</svg>
`;

  function bars({ trial, key }: Panel): Bar[] {
    return contenders
      .map((name) => ({ name, value: results.summary(trial, name, key)?.median }))
      .filter((bar): bar is Bar => bar.value !== undefined);
  }
}

interface Bar {
  readonly name: string;
  readonly value: number;
}

interface Drawing {
  readonly panel: Panel;
  readonly all: readonly Bar[];
  readonly left: number;
  readonly top: number;
}

function draw({ panel, all, left, top }: Drawing): string {
  const longest = Math.max(...all.map(({ value }) => value), Number.MIN_VALUE);
  const rows = all.map(({ name, value }, index) => {
    const y = HEAD + index * ROW;
    const width = Math.max(1, (value / longest) * (PANEL - LABEL - VALUE));
    const kind = name === 'splice' ? ' own' : name === 'direct' ? ' limit' : '';
    const weight = name === 'splice' ? ' class="own"' : '';
    return (
      `<text x="${LABEL - 8}" y="${y + 11}" text-anchor="end"${weight}>${LABELS[name] ?? name}</text>` +
      `<rect class="bar${kind}" x="${LABEL}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="2"/>` +
      `<text x="${(LABEL + width + 6).toFixed(1)}" y="${y + 11}"${weight}>${value.toFixed(panel.digits)}</text>`
    );
  });
  return `<g transform="translate(${left},${top})">
<text class="title" x="0" y="18">${panel.title}</text><text class="note" x="0" y="36">${panel.note}</text>
${rows.join('\n')}
</g>`;
}
