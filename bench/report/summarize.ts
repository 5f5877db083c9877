import { median, noiseOf, quantile, ratioOfMedians, type Ratio } from '../runner/statistics.js';
import type { BenchResult, DescribedScenario, Measurement } from './result.js';

export interface SlotSummary {
  readonly slot: string;
  readonly role: 'reference' | 'again' | 'peer';
  readonly median: number;
  readonly firstQuartile: number;
  readonly thirdQuartile: number;
  /** How many rounds it took part in. */
  readonly rounds: number;
  /** This slot / reference. */
  readonly toReference: Ratio;
  /** Subject / this slot; undefined if the subject was not measured. */
  readonly subjectTo: Ratio | undefined;
  readonly requests: Readonly<Record<string, number>> | undefined;
}

export interface MeasurementSummary {
  readonly measurement: Measurement;
  readonly scenario: DescribedScenario;
  /** `read-root, cold` */
  readonly title: string;
  readonly slots: readonly SlotSummary[];
  /** From the reference against itself: 0.05 is ±5 %. */
  readonly noise: number;
}

type Values = readonly (number | null)[];

function valuesOf(measurement: Measurement, slot: string): Values | undefined {
  return measurement.samples.find((samples) => samples.slot === slot)?.values;
}

/** @param subject name of the slot that the last column compares all others with */
export function summarize(result: BenchResult, measurement: Measurement, subject: string): MeasurementSummary {
  const reference = valuesOf(measurement, measurement.reference);
  const again = valuesOf(measurement, measurement.again);
  if (reference === undefined || again === undefined) throw new Error(`no samples of ${measurement.reference} in ${measurement.scenario}`);
  const subjectValues = valuesOf(measurement, subject);
  const slots = measurement.samples.map(({ slot, values, requests }): SlotSummary => {
    const taken = values.filter((value) => value !== null);
    return {
      slot,
      role: slot === measurement.reference ? 'reference' : slot === measurement.again ? 'again' : 'peer',
      median: median(taken),
      firstQuartile: quantile(taken, 0.25),
      thirdQuartile: quantile(taken, 0.75),
      rounds: taken.length,
      toReference: ratioOfMedians(values, reference),
      subjectTo: subjectValues === undefined ? undefined : ratioOfMedians(subjectValues, values),
      requests,
    };
  });
  const { scenario: name, variant } = measurement;
  return {
    measurement,
    scenario: result.scenarios.find((scenario) => scenario.name === name) ?? { name, group: '', what: '', meaning: '', durability: '', leftOut: [] },
    title: variant === '' ? name : `${name}, ${variant}`,
    slots,
    noise: noiseOf(ratioOfMedians(again, reference)),
  };
}

export function slotOf(summary: MeasurementSummary, name: string): SlotSummary | undefined {
  return summary.slots.find(({ slot }) => slot === name);
}
