import { TemplatefsError } from '../core/errors.js';
import type { RuntimeUser } from './runtime-config.js';

const MAX_ID = 0xffff_fffe;

function parseId(word: string): number | undefined {
  return /^\d{1,10}$/.test(word) && Number(word) <= MAX_ID ? Number(word) : undefined;
}

/** The lines of passwd(5) and group(5) that can be used, split into fields. */
function records(text: string, fields: number): string[][] {
  return text.split('\n').map((line) => line.split(':')).filter((line) => line.length >= fields && line[0] !== '');
}

/**
 * Finds the numbers of the user that an image names: `user`, `uid`, `user:group`, `uid:gid` and so on, as runtimes do. A
 * number without a record stands for itself, with group 0; a name without one is an error.
 *
 * @param passwd content of /etc/passwd in the root; empty when it has none
 * @throws FAILED
 */
export function resolveUser(user: string, passwd: string, group: string): RuntimeUser {
  const colon = user.indexOf(':');
  const [name, groupName] = colon < 0 ? [user, ''] : [user.slice(0, colon), user.slice(colon + 1)];
  const refuse = (what: string): never => {
    throw new TemplatefsError('FAILED', `the image wants to run as ${JSON.stringify(user)}, but its root has no ${what}`, {
      hint: 'name a user that is there, by number if need be: --user 1000:1000',
    });
  };
  const id = parseId(name);
  const users = records(passwd, 4);
  const found = users.find((line) => line[0] === name) ?? (id === undefined ? undefined : users.find((line) => parseId(line[2] ?? '') === id));
  const uid = found === undefined ? id : parseId(found[2] ?? '');
  if (name !== '' && uid === undefined) return refuse(`user ${JSON.stringify(name)}`);
  const groups = records(group, 3);
  if (groupName !== '') {
    const gid = parseId(groups.find((line) => line[0] === groupName)?.[2] ?? '') ?? parseId(groupName);
    if (gid === undefined) return refuse(`group ${JSON.stringify(groupName)}`);
    return { uid: uid ?? 0, gid, additionalGids: [] };
  }
  const gid = parseId(found?.[3] ?? '') ?? 0;
  // A group that is named with the user is the only one; else the user's groups count, too.
  const login = found?.[0];
  const additional = groups.flatMap((line) => (login !== undefined && (line[3] ?? '').split(',').includes(login) ? [parseId(line[2] ?? '') ?? gid] : []));
  return { uid: uid ?? 0, gid, additionalGids: [...new Set(additional)].filter((other) => other !== gid) };
}
