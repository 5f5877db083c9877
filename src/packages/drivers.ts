import type { PackageManager } from '../templates/definition.js';
import { aptDriver } from './apt/apt-driver.js';
import type { PackageManagerDriver } from './package-manager.js';
import { dnfDriver } from './rpm/dnf.js';
import { zypperDriver } from './rpm/zypper.js';

const DRIVERS: Readonly<Record<PackageManager, PackageManagerDriver>> = {
  apt: aptDriver,
  dnf: dnfDriver,
  zypper: zypperDriver,
};

/** The driver for a definition's package manager. */
export function driverFor(manager: PackageManager): PackageManagerDriver {
  return DRIVERS[manager];
}
