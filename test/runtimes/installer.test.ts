import { runningContainerCases } from '../support/running-container-cases.js';

/* test/programs/installer-running.long.ts has more. */
runningContainerCases({ containers: { plain: '' }, signals: ['KILL'] });
