import { median, noiseOf, quantile, ratioOfMedians, type Ratio } from '../runner/statistics.js';
import type { BenchResult, Measurement, Slot } from './result.js';

export interface SlotSummary {
  readonly slot: Slot;
  readonly medianNs: number;
  readonly firstQuartileNs: number;
  readonly thirdQuartileNs: number;
  /** This slot / reference. */
  readonly toReference: Ratio;
  /** Subject / this slot; undefined if the subject was not measured. */
  readonly subjectTo: Ratio | undefined;
  readonly requests: Readonly<Record<string, number>> | undefined;
}

export interface MeasurementSummary {
  readonly measurement: Measurement;
  readonly slots: readonly SlotSummary[];
  /** From the reference against itself: 0.05 is ±5 %. */
  readonly noise: number;
}

function samplesOf(measurement: Measurement, slot: Slot): readonly number[] {
  const found = measurement.samples.find((samples) => samples.slot === slot.name);
  if (found === undefined) throw new Error(`no samples of ${slot.name} in ${measurement.scenario}`);
  return found.ns;
}

/** @param subject name of the peer that the last column compares all others with */
export function summarize(result: BenchResult, measurement: Measurement, subject: string): MeasurementSummary {
  const slotOf = (role: Slot['role']): Slot => {
    const slot = result.slots.find((candidate) => candidate.role === role);
    if (slot === undefined) throw new Error(`no slot with the role ${role}`);
    return slot;
  };
  const reference = samplesOf(measurement, slotOf('reference'));
  const subjectSlot = result.slots.find((slot) => slot.peer === subject && slot.role !== 'again');
  const subjectSamples = subjectSlot === undefined ? undefined : samplesOf(measurement, subjectSlot);
  const slots = result.slots.map((slot): SlotSummary => {
    const samples = samplesOf(measurement, slot);
    return {
      slot,
      medianNs: median(samples),
      firstQuartileNs: quantile(samples, 0.25),
      thirdQuartileNs: quantile(samples, 0.75),
      toReference: ratioOfMedians(samples, reference),
      subjectTo: subjectSamples === undefined ? undefined : ratioOfMedians(subjectSamples, samples),
      requests: measurement.samples.find(({ slot: name }) => name === slot.name)?.requests,
    };
  });
  return { measurement, slots, noise: noiseOf(ratioOfMedians(samplesOf(measurement, slotOf('again')), reference)) };
}
