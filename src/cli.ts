#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { FORWARD_SUMMARY, forward } from './commands/forward.js';
import { HEALTH_SUMMARY, health } from './commands/health.js';
import { MANIFEST_SUMMARY, manifest, manifestCommandHelp } from './commands/manifest.js';
import { REHEARSE_SUMMARY, rehearse } from './commands/rehearse.js';
import { SERVE_SUMMARY, serve } from './commands/serve.js';
import { forwardHelp, healthHelp, serveHelp } from './config/help.js';
import { ConfigError } from './config/load.js';

/** A command of the command line. */
interface Command {
  readonly summary: string;
  /** The whole help; absent: the command prints its own on `--help`. */
  readonly help?: () => string;
  /** @returns the exit code: 0 done, 1 failed, 64 wrong use */
  readonly run: (argv: readonly string[]) => Promise<number>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  serve: {
    summary: SERVE_SUMMARY,
    help: serveHelp,
    run: (argv) => serve(argv, { env: process.env, version: version() }),
  },
  forward: {
    summary: FORWARD_SUMMARY,
    help: forwardHelp,
    run: (argv) => forward(argv, { env: process.env, version: version() }),
  },
  manifest: {
    summary: MANIFEST_SUMMARY,
    help: manifestCommandHelp,
    run: (argv) => manifest(argv, { env: process.env, version: version() }),
  },
  health: {
    summary: HEALTH_SUMMARY,
    help: healthHelp,
    run: (argv) => health(argv, { env: process.env }),
  },
  rehearse: { summary: REHEARSE_SUMMARY, run: rehearse },
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
    return say(command.help(), 0);
  try {
    return await command.run(argv);
  } catch (error) {
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

function say(text: string, code: number): number {
  process.stdout.write(text);
  return code;
}

function complain(text: string, code: number): number {
  process.stderr.write(text);
  return code;
}
