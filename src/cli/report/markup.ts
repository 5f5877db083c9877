/*
 * What pages with pictures have in common: those of `stats --html` and of the benchmarks. A page is one file that needs no server
 * and nothing from the network.
 */

/** For text and attribute values of HTML and SVG. */
export function escapeMarkup(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

const STYLE = `
body { font: 15px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 0.5em 0 1em }
td, th { padding: 0.15em 0.8em; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left }
.missed { color: #b00000; font-weight: bold } .met { color: #007000 }
.dot { display: inline-block; width: 0.8em; height: 0.8em; border-radius: 50%; margin-right: 0.4em }
small { color: #555 } svg { max-width: 100%; height: auto }
`;

/** One row of a table; the cells are markup already. */
export function tableRow(cells: readonly string[], tag: 'td' | 'th' = 'td'): string {
  return `<tr>${cells.map((cell) => `<${tag}>${cell}</${tag}>`).join('')}</tr>`;
}

/** A dot in the colour that something has in pictures. */
export function colourDot(colour: string): string {
  return `<span class="dot" style="background:${colour}"></span>`;
}

/** A whole page. @param body markup @param title text */
export function renderDocument(title: string, body: readonly string[]): string {
  const name = escapeMarkup(title);
  return [
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${name}</title>`,
    `<style>${STYLE}</style></head><body><h1>${name}</h1>`,
    ...body,
    '</body></html>\n',
  ].join('\n');
}

/** A picture of a size in pixels. @param content markup of its shapes */
export function renderPicture(width: number, height: number, content: string): string {
  return `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" xmlns="http://www.w3.org/2000/svg" font-size="12" font-family="sans-serif">${content}</svg>`;
}
