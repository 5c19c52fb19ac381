import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** A program that somebody needs: the names it goes by, and the Debian package that brings it. */
export interface ProgramNeed {
  readonly executables: readonly string[];
  readonly debianPackage: string;
}

/** What a Direct Volume Migration on one machine is made of, besides spliceway itself. */
export const MIGRATION_PROGRAMS = {
  rsync: { executables: ['rsync'], debianPackage: 'rsync' },
  stunnel: { executables: ['stunnel4', 'stunnel'], debianPackage: 'stunnel4' },
  haproxy: { executables: ['haproxy'], debianPackage: 'haproxy' },
  nc: { executables: ['nc'], debianPackage: 'netcat-openbsd' },
  openssl: { executables: ['openssl'], debianPackage: 'openssl' },
} as const satisfies Record<string, ProgramNeed>;

/** What it takes besides to give each party a network namespace of its own. */
export const LINE_PROGRAMS = {
  ip: { executables: ['ip'], debianPackage: 'iproute2' },
  mount: { executables: ['mount'], debianPackage: 'mount' },
  nsenter: { executables: ['nsenter'], debianPackage: 'util-linux' },
  unshare: { executables: ['unshare'], debianPackage: 'util-linux' },
} as const satisfies Record<string, ProgramNeed>;

/** Squid, and the program that it asks whether a password is right. */
export const SQUID_PROGRAMS = {
  squid: { executables: ['squid'], debianPackage: 'squid' },
  ncsaAuth: {
    executables: ['/usr/lib/squid/basic_ncsa_auth', '/usr/lib64/squid/basic_ncsa_auth', 'basic_ncsa_auth'],
    debianPackage: 'squid',
  },
} as const satisfies Record<string, ProgramNeed>;

/** Where each program of a migration lies: absolute paths. */
export type MigrationPrograms = Readonly<Record<keyof typeof MIGRATION_PROGRAMS, string>>;

/** One or more programs are not installed. Its message names every one of them with its Debian package. */
export class ProgramsMissing extends Error {
  override readonly name = 'ProgramsMissing';
}

/**
 * Finds programs as the user's shell would, along `PATH`, and where system programs lie besides: a normal user's
 * `PATH` on Debian lacks `/usr/sbin`, where HAProxy is. Returns absolute paths.
 *
 * Throws `ProgramsMissing` that names all that are missing, not the first alone.
 */
export async function findPrograms<Name extends string>(
  needs: Readonly<Record<Name, ProgramNeed>>,
): Promise<Readonly<Record<Name, string>>> {
  const found: [string, string][] = [];
  const missing: string[] = [];
  for (const [name, need] of Object.entries<ProgramNeed>(needs)) {
    const path = await findExecutable(need.executables);
    if (path === undefined) missing.push(`${name} (Debian: apt-get install ${need.debianPackage})`);
    else found.push([name, path]);
  }
  if (missing.length > 0) throw new ProgramsMissing(missing.join(', '));
  // Object.fromEntries forgets the names; every name of `needs` is in it, or the line above has thrown.
  return Object.fromEntries(found) as Record<Name, string>;
}

/** The versions of the programs that speak on the wire, for the record: `rsync 3.2.7, stunnel 5.68, HAProxy 2.6.12`. */
export async function describePrograms(programs: MigrationPrograms): Promise<string> {
  const asked = [
    { name: 'rsync', file: programs.rsync, option: '--version' },
    { name: 'stunnel', file: programs.stunnel, option: '-version' },
    { name: 'HAProxy', file: programs.haproxy, option: '-v' },
  ];
  const described = await Promise.all(
    asked.map(
      async ({ name, file, option }) =>
        `${name} ${(await firstVersion(file, option)) ?? '(unknown version)'}`,
    ),
  );
  return described.join(', ');
}

const LOOK_UP = 'PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"; command -v "$1"';

async function findExecutable(names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    const path = await promisify(execFile)('/bin/sh', ['-c', LOOK_UP, 'sh', name]).then(
      ({ stdout }) => stdout.trim(),
      () => '',
    );
    if (path.startsWith('/')) return path;
  }
  return undefined;
}

async function firstVersion(file: string, option: string): Promise<string | undefined> {
  try {
    // stunnel prints its version on stderr.
    const { stdout, stderr } = await promisify(execFile)(file, [option], { timeout: 5_000 });
    return /\b\d+\.\d+[\w.]*/.exec(stdout + stderr)?.[0];
  } catch {
    return undefined;
  }
}
