import { colourDot, escapeMarkup, renderDocument, tableRow } from '../../src/cli/report/markup.js';
import { formatPercent, formatRatio, formatValue } from './numbers.js';
import type { BenchResult } from './result.js';
import { colourOf, drawRatios } from './svg.js';
import type { MeasurementSummary, SlotSummary } from './summarize.js';
import { LEGEND, renderMachine, summarizeAll } from './tables.js';
import { outcomeOf, rivalOutcomeOf } from './targets.js';

function slotRow({ measurement }: MeasurementSummary, slot: SlotSummary): string {
  const name = slot.role === 'again' ? `${measurement.reference} again` : slot.slot;
  const spread = slot.rounds === 1 ? 'one round' : `${formatValue(measurement, slot.firstQuartile)} – ${formatValue(measurement, slot.thirdQuartile)}`;
  return tableRow([
    `${colourDot(colourOf(slot.slot))}${escapeMarkup(name)}`,
    escapeMarkup(formatValue(measurement, slot.median)),
    escapeMarkup(spread),
    slot.role === 'reference' ? '1' : escapeMarkup(formatRatio(slot.toReference)),
  ]);
}

function describe(summary: MeasurementSummary, all: readonly MeasurementSummary[], subject: string): string {
  const { title, scenario, measurement, noise } = summary;
  const outcomes = [outcomeOf(summary, all, subject), rivalOutcomeOf(summary)]
    .filter((outcome) => outcome !== undefined)
    .map((outcome) => `<p class="${outcome.met ? 'met' : 'missed'}">${escapeMarkup(outcome.title)}: at most ${escapeMarkup(outcome.wanted)}; ${outcome.met ? 'met' : 'missed'}: ${escapeMarkup(outcome.found)}</p>`);
  return [
    `<h4>${escapeMarkup(title)}</h4>`,
    `<p>${escapeMarkup(scenario.what)}. <i>For you:</i> ${escapeMarkup(scenario.meaning)}. <i>Durability:</i> ${escapeMarkup(scenario.durability)}.</p>`,
    '<table>',
    tableRow(['', measurement.per === null ? 'median' : `median of one of ${escapeMarkup(measurement.per)}`, 'quartiles', `/ ${escapeMarkup(measurement.reference)}`], 'th'),
    ...summary.slots.map((slot) => slotRow(summary, slot)),
    '</table>',
    `<small>noise: ${formatPercent(noise)}</small>`,
    ...outcomes,
  ].join('\n');
}

function describeTargets(summaries: readonly MeasurementSummary[], subject: string): string {
  const rows = summaries.flatMap((summary) => {
    const outcome = outcomeOf(summary, summaries, subject);
    if (outcome === undefined) return [];
    return [tableRow([escapeMarkup(outcome.title), escapeMarkup(outcome.wanted), escapeMarkup(outcome.found), `<span class="${outcome.met ? 'met' : 'missed'}">${outcome.met ? 'met' : 'missed'}</span>`])];
  });
  return rows.length === 0 ? '' : `<h2>Targets</h2><table>${tableRow(['', 'at most', 'found', ''], 'th')}${rows.join('\n')}</table>`;
}

/** The report: one HTML file with pictures in it, which needs no server and nothing from the network. */
export function renderPage(result: BenchResult, subject: string): string {
  const summaries = summarizeAll(result, subject);
  const groups = [...new Set(summaries.map(({ scenario }) => scenario.group))];
  const names = [...new Set(summaries.flatMap(({ slots }) => slots.filter(({ role }) => role === 'peer').map(({ slot }) => slot)))];
  const legend = names.map((name) => `${colourDot(colourOf(name))}${escapeMarkup(name)} `).join('&nbsp; ');
  const sections = groups.map((group) => {
    const mine = summaries.filter(({ scenario }) => scenario.group === group);
    return `<h2>${escapeMarkup(group)}</h2>\n<p>${legend}</p>\n${drawRatios(mine, subject)}\n<details><summary>figures</summary>\n${mine.map((summary) => describe(summary, summaries, subject)).join('\n')}\n</details>`;
  });
  const peers = result.peers.map(({ name, what, caching, durability }) => tableRow([`<b>${escapeMarkup(name)}</b>`, escapeMarkup(what), escapeMarkup(caching), escapeMarkup(durability)]));
  const skipped = result.skipped.map(({ what, reason, failed }) => `<li>${escapeMarkup(what)}: ${failed ? '<span class="missed">failed</span>: ' : ''}${escapeMarkup(reason)}</li>`);
  return renderDocument('templatefs benchmarks', [
    `<p>${escapeMarkup(renderMachine(result))}. Volume: ${escapeMarkup(result.volume)}.</p>`,
    `<p>${escapeMarkup(LEGEND)} In the pictures: further left is faster, the black line is the reference, grey is its noise, lines through dots are intervals.</p>`,
    describeTargets(summaries, subject),
    ...sections,
    `<h2>Peers</h2><table>${tableRow(['', 'what', 'caching', 'durability'], 'th')}${peers.join('\n')}</table>`,
    skipped.length === 0 ? '' : `<h2>Not measured</h2><ul>${skipped.join('\n')}</ul>`,
  ]);
}
