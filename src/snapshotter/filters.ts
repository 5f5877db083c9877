import type { ContainerdFile } from '../catalog/containerd-file.js';
import { badFilter, filterTokens, type Token } from './filter-tokens.js';

/*
 * The filters of containerd's API (its package `filters`): `FIELD OPERATOR VALUE` with commas between, which all have to match. Operators are
 * `==`, `!=` and `~=` (a regular expression); a field alone asks whether it is there.
 */

export type Filter = (record: ContainerdFile) => boolean;

/** @returns undefined for a field that a snapshot does not have */
function fieldOf(record: ContainerdFile, path: readonly string[]): string | undefined {
  switch (path[0]) {
    case 'name':
      return record.key;
    case 'parent':
      return record.parent;
    case 'kind':
      return record.kind;
    case 'labels':
      return record.labels.get(path.slice(1).join('.'));
    default:
      return undefined;
  }
}

class Parser {
  readonly #filter: string;
  readonly #tokens: Token[];
  #next = 0;

  constructor(filter: string) {
    this.#filter = filter;
    this.#tokens = filterTokens(filter);
  }

  selectors(): Filter {
    const all = [this.#selector()];
    for (let token = this.#take(); token !== undefined; token = this.#take()) {
      if (token.kind !== 'separator' || token.text !== ',') throw badFilter(this.#filter, token.at, 'a comma should stand here');
      all.push(this.#selector());
    }
    return (record) => all.every((matches) => matches(record));
  }

  #take(): Token | undefined {
    return this.#tokens[this.#next++];
  }

  #selector(): Filter {
    const path = [this.#name()];
    while (this.#tokens[this.#next]?.kind === 'separator' && this.#tokens[this.#next]?.text === '.') {
      this.#next += 1;
      path.push(this.#name());
    }
    const following = this.#tokens[this.#next];
    if (following?.kind !== 'operator') return (record) => fieldOf(record, path) !== undefined;
    this.#next += 1;
    const value = this.#take();
    if (value === undefined || (value.kind !== 'text' && value.kind !== 'quoted')) {
      throw badFilter(this.#filter, value?.at ?? this.#filter.length, 'a value should stand here');
    }
    switch (following.text) {
      case '==':
        return (record) => fieldOf(record, path) === value.text;
      case '!=':
        return (record) => fieldOf(record, path) !== value.text;
      case '~=': {
        const pattern = this.#pattern(value);
        return (record) => {
          const field = fieldOf(record, path);
          return field !== undefined && pattern.test(field);
        };
      }
      default:
        throw badFilter(this.#filter, following.at, 'operators are ==, != and ~=');
    }
  }

  #name(): string {
    const token = this.#take();
    if (token !== undefined && (token.kind === 'text' || token.kind === 'quoted')) return token.text;
    throw badFilter(this.#filter, token?.at ?? this.#filter.length, 'the name of a field should stand here');
  }

  #pattern({ text, at }: Token): RegExp {
    try {
      return new RegExp(text, 'u');
    } catch (error) {
      throw badFilter(this.#filter, at, error instanceof Error ? error.message : 'no regular expression');
    }
  }
}

/** What matches one of the filters; everything, where there is none. @throws StatusError (invalid argument) */
export function parseFilters(filters: readonly string[]): Filter {
  const parsed = filters.map((filter): Filter => (filter === '' ? () => true : new Parser(filter).selectors()));
  return (record) => parsed.length === 0 || parsed.some((matches) => matches(record));
}
