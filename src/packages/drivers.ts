import { TemplatefsError } from '../core/errors.js';
import type { PackageManager } from '../templates/definition.js';
import { aptDriver } from './apt/apt-driver.js';
import type { PackageManagerDriver } from './package-manager.js';

const DRIVERS: Readonly<Partial<Record<PackageManager, PackageManagerDriver>>> = {
  apt: aptDriver,
};

/** The driver for a definition's package manager. @throws FAILED when there is none */
export function driverFor(manager: PackageManager): PackageManagerDriver {
  const driver = DRIVERS[manager];
  if (driver !== undefined) return driver;
  throw new TemplatefsError('FAILED', `templatefs cannot install with ${manager} yet`, { hint: 'use the package manager in the container: templatefs exec CT -- …' });
}
