#!/usr/bin/env node
import { readFileSync } from 'node:fs';

/** A command of the command line. What it takes to run it is loaded only then: the health check of a container starts twice a minute. */
interface Command {
  /** What it does, in one line. */
  readonly summary: string;
  /** The whole help; absent: the command prints its own on `--help`. */
  readonly help?: () => Promise<string>;
  /** @returns the exit code: 0 done, 1 failed, 64 wrong use */
  readonly run: (argv: readonly string[]) => Promise<number>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  serve: {
    summary: 'run the proxy',
    help: async () => (await import('./config/help.js')).serveHelp(),
    run: async (argv) =>
      (await import('./commands/serve.js')).serve(argv, { env: process.env, version: version() }),
  },
  forward: {
    summary: 'lead a local port to one target, through another proxy',
    help: async () => (await import('./config/help.js')).forwardHelp(),
    run: async (argv) =>
      (await import('./commands/forward.js')).forward(argv, { env: process.env, version: version() }),
  },
  manifest: {
    summary: 'print the Kubernetes and OpenShift objects that a migration needs, or check some',
    help: async () => (await import('./commands/manifest.js')).manifestCommandHelp(),
    run: async (argv) =>
      (await import('./commands/manifest.js')).manifest(argv, { env: process.env, version: version() }),
  },
  health: {
    summary: 'ask a proxy on this machine, or in this container, whether it lives',
    help: async () => (await import('./config/help.js')).healthHelp(),
    run: async (argv) => (await import('./commands/health.js')).health(argv, { env: process.env }),
  },
  rehearse: {
    summary: 'run a Direct Volume Migration on this machine, with the real programs',
    run: async (argv) => (await import('./commands/rehearse.js')).rehearse(argv),
  },
};

process.exitCode = await main(process.argv.slice(2));
process.exit();

async function main([name, ...argv]: readonly string[]): Promise<number> {
  if (name === '--version' || name === '-V') return say(`spliceway ${version()}\n`, 0);
  if (name === undefined) return complain(help(), 64);
  if (name === '--help' || name === '-h' || name === 'help') return say(help(), 0);
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    const hint = name.startsWith('-')
      ? '; options stand behind a command, as in spliceway serve --listen …'
      : '';
    return complain(`spliceway: ${JSON.stringify(name)} is not a command${hint}\n\n${help()}`, 64);
  }
  if (command.help !== undefined && argv.some((word) => word === '--help' || word === '-h'))
    return say(await command.help(), 0);
  try {
    return await command.run(argv);
  } catch (error) {
    const { ConfigError } = await import('./config/load.js');
    const wrongUse = error instanceof ConfigError;
    const message = error instanceof Error ? error.message : String(error);
    return complain(
      `spliceway: ${message.trimEnd()}\n${wrongUse ? `see spliceway ${name} --help\n` : ''}`,
      wrongUse ? 64 : 1,
    );
  }
}

function help(): string {
  const rows = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(10)} ${summary}\n`);
  return `spliceway: a transparent TCP tunnelling proxy (HTTP CONNECT, Basic credentials, tunnel untouched;
requests for http:// URLs, Upgrade, and other proxies on the way as well)

Usage: spliceway COMMAND [OPTIONS]

${rows.join('')}
spliceway COMMAND --help tells the options; spliceway --version the version.
`;
}

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}

async function say(text: string, code: number): Promise<number> {
  const { writeOut } = await import('./standard-output.js');
  try {
    await writeOut(text);
    return code;
  } catch (error) {
    return complain(`spliceway: ${error instanceof Error ? error.message : String(error)}\n`, 1);
  }
}

function complain(text: string, code: number): number {
  process.stderr.write(text);
  return code;
}
