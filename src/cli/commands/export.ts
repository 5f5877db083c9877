import { Command } from 'commander';
import { examples, type CommandHost } from '../command-host.js';

interface ExportOptions {
  readonly tlsVerify: boolean;
  readonly base?: string;
}

export function exportCommand(host: CommandHost): Command {
  return new Command('export')
    .description('write a container as an image that podman, skopeo and others take')
    .argument('<ct>', 'the container; it is mounted for the time if need be')
    .argument('<target>', 'oci:DIR[:REF], oci-archive:FILE or FILE, docker://NAME:TAG')
    .option('--base <image>', 'the image that its template was made of (oci:DIR[:REF], oci-archive:FILE, docker://NAME): only what was changed becomes a layer above it')
    .option('--no-tls-verify', 'write to a registry without TLS, or with a certificate that nobody vouches for')
    .addHelpText('after', examples('templatefs export c1 c1.tar && podman load -i c1.tar', 'templatefs export c1 oci:/srv/images/c1:v1', 'templatefs export c1 docker://registry.example/c1:v1', 'templatefs export c1 oci:/srv/images/c1:v2 --base docker://registry.example/web:2'))
    .action((name: string, target: string, options: ExportOptions, command: Command) =>
      host.run(command, async (session) => {
        const { exportContainer } = await import('../../service/export-container.js');
        const exported = await exportContainer(session.context, { name, target, tlsVerify: options.tlsVerify, ...(options.base !== undefined && { base: options.base }) });
        session.result(exported, (one) => `${one.target} ${one.digest}\n`);
        return 0;
      }),
    );
}
