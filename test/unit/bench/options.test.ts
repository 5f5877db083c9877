import { describe, expect, test } from 'vitest';
import { parseBenchOptions, type BenchOptions } from '../../../bench/options.js';
import { TemplatefsError } from '../../../src/core/errors.js';

const KNOWN = { scenarios: ['read-root', 'walk-root'], peers: ['host', 'overlayfs', 'templatefs'] };

function parse(...argv: string[]): BenchOptions {
  const options = parseBenchOptions(argv, KNOWN);
  if (options === 'help') throw new Error('help');
  return options;
}

function refusal(...argv: string[]): TemplatefsError {
  try {
    parse(...argv);
  } catch (error) {
    if (error instanceof TemplatefsError) return error;
    throw error;
  }
  throw new Error('was not refused');
}

describe('parseBenchOptions', () => {
  test('measures everything by default', () => {
    expect(parse()).toEqual({
      quick: false, scenarios: [], peers: [], runs: undefined, jsonFile: 'bench/results/latest.json', from: undefined,
      pageFile: 'bench/results/latest.html', document: undefined, tar: undefined, list: false,
    });
  });

  test('takes several names after one option, each once', () => {
    const options = parse('--scenario', 'walk-root', 'read-root', 'walk-root', '--peer', 'host', '--peer', 'templatefs');
    expect(options.scenarios).toEqual(['walk-root', 'read-root']);
    expect(options.peers).toEqual(['host', 'templatefs']);
  });

  test('--runs holds for all scenarios, also with --quick', () => {
    expect(parse('--quick', '--runs', '7')).toMatchObject({ quick: true, runs: 7 });
  });

  test('takes files', () => {
    expect(parse('--json', 'a.json', '--tar', 'b.tar', '--list')).toMatchObject({ jsonFile: 'a.json', tar: 'b.tar', list: true });
    expect(parse('--from', 'a.json', '--page', 'a.html', '--document', 'R.md')).toMatchObject({ from: 'a.json', pageFile: 'a.html', document: 'R.md' });
  });

  test.each([
    [['--scenario', 'nothing'], 'no scenario named nothing'],
    [['--peer', 'zfs'], 'no peer named zfs'],
    [['--runs', '0'], 'a number of rounds, 1 or more'],
    [['--runs', '1.5'], 'a number of rounds, 1 or more'],
    [['--fast'], "unknown option '--fast'"],
    [['more'], 'too many arguments'],
  ])('refuses %j', (argv, message) => {
    const error = refusal(...argv);
    expect(error.code).toBe('USAGE');
    expect(error.message).toContain(message);
    expect(error.hint).toBeTruthy();
  });

  test('an unknown name is answered with those that there are', () => {
    expect(refusal('--peer', 'zfs').hint).toBe('there are: host, overlayfs, templatefs');
  });
});
