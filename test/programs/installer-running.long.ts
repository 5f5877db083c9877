import { runningContainerCases } from '../support/running-container-cases.js';

runningContainerCases({ containers: { plain: '', 'with ids mapped': '--idmap 0:100000:65536' }, signals: ['KILL', 'INT'] });
