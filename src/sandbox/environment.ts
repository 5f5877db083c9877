const PROXY_VARIABLES = ['http_proxy', 'https_proxy', 'ftp_proxy', 'all_proxy', 'no_proxy'];

export interface EnvironmentOptions {
  readonly network: boolean;
  /** Set by the caller; wins over everything else. */
  readonly extra?: Readonly<Record<string, string>>;
  /** Environment of the host's process; only the terminal and, with network, the proxies are taken from it. */
  readonly host?: Readonly<Record<string, string | undefined>>;
}

/** The whole environment of a command in the sandbox: nothing of the host's leaks in but what stands here. */
export function sandboxEnvironment(options: EnvironmentOptions): Record<string, string> {
  const host = options.host ?? process.env;
  const environment: Record<string, string> = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    USER: 'root',
    LOGNAME: 'root',
    LANG: 'C.UTF-8',
    TERM: host['TERM'] ?? 'dumb',
    container: 'templatefs', // systemd and others read it: https://systemd.io/CONTAINER_INTERFACE
  };
  if (options.network) {
    for (const name of PROXY_VARIABLES.flatMap((lower) => [lower, lower.toUpperCase()])) {
      const value = host[name];
      if (value !== undefined && value !== '') environment[name] = value;
    }
  }
  return { ...environment, ...options.extra };
}
