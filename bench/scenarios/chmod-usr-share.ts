import { join } from 'node:path';
import { FRESH, type Scenario } from './scenario.js';

export const chmodUsrShare: Scenario = {
  name: 'chmod-usr-share',
  group: 'metadata',
  what: 'chmod -R g+w /usr/share on a fresh root: the attributes of thousands of template files change (--quick: /usr/share/doc)',
  meaning: 'chmod, chown and setfacl over a tree; ids of a container that are shifted',
  durability: 'the attributes are in memory only, on disk after some seconds; templatefs copies no content, overlayfs copies and fsyncs each file',
  variants: [FRESH],
  input: 'debian',
  weight: 'slow',
  also: ['overlayfs-metacopy', 'overlayfs-volatile'],
  run: (root, { driver, quick, signal }) => driver.run(['run', 'chmod', '-R', 'g+w', join(root.path, quick ? 'usr/share/doc' : 'usr/share')], signal),
};
