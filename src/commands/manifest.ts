import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type AddressRange, parseRange } from '../access/addresses.js';
import { manifestHelp } from '../config/help.js';
import { ConfigError, loadConfig } from '../config/load.js';
import type { MTC_RELEASES } from '../config/manifest-options.js';
import { nearest } from '../config/nearest.js';
import { MANIFEST } from '../config/tables.js';
import { writeOut } from '../standard-output.js';
import { reportLint } from './manifests/lint/report.js';
import { type ExistingFile, type Manifest, ManifestFailure, type Material } from './manifests/manifest.js';
import { describeParts, NEEDS, PARTS, type Part } from './manifests/parts.js';
import { printManifests } from './manifests/print.js';
import { warningsOf } from './manifests/warnings.js';
import { TOOLKITS } from './mtc/toolkits.js';

/** The whole help of the command. */
export function manifestCommandHelp(): string {
  return manifestHelp(describeParts());
}

/**
 * Prints parts of what a migration needs, or with `--lint` the mistakes of what there is.
 *
 * @returns exit code: 0 printed, or no mistakes found; 1 mistakes found
 * @throws ConfigError where the options hold mistakes, or a part needs more of them; ManifestFailure where what was
 *   given does not fit together
 */
export async function manifest(
  argv: readonly string[],
  { env, version }: { readonly env: Readonly<Record<string, string | undefined>>; readonly version: string },
): Promise<number> {
  const { config, words, warnings } = loadConfig(MANIFEST, argv, env);
  for (const warning of warnings) process.stderr.write(`spliceway: ${warning}\n`);
  if (config.lint.length > 0) {
    const part = words.find((word) => Object.hasOwn(PARTS, word));
    if (part !== undefined)
      throw new ConfigError([
        `--lint prints no parts: leave ${part} out, or write ./${part} where it is a file`,
      ]);
    // As a shell writes several files: --lint *.yaml
    const { findings, said, code } = reportLint([...config.lint, ...words], {
      mtc: givenRelease(argv, env),
      proxy: config.proxy,
      proxyAddresses: rangesOf(config.proxyAddress),
      dnsServers: rangesOf(config.dnsServer),
      targetRouters: rangesOf(config.targetRouter),
      proxyNamespace: config.namespace,
      sourceNamespaces: config.sourceNamespace,
      targetNamespaces: config.targetNamespace,
    });
    await writeOut(findings);
    process.stderr.write(said);
    return code;
  }
  const parts = pickParts(words.length === 0 ? ['proxy'] : words);
  const idle = parts.find(({ merges }) => merges === undefined);
  if (config.unmerge.length > 0 && idle !== undefined)
    throw new ConfigError(['--unmerge is for the egress firewalls of source and proxy: print one of them']);
  const material: Material = withPassword(
    {
      ...config,
      version,
      toolkit: TOOLKITS[config.mtc],
      existing: [...config.merge, ...config.unmerge].map(readExisting),
    },
    parts,
  );
  for (const warning of warningsOf(material, parts)) process.stderr.write(`spliceway: ${warning}\n`);
  const made = parts.map(({ make }) => make(material));
  const texts = made.filter((each) => typeof each === 'string');
  if (texts.length > 0 && made.length > 1)
    throw new ConfigError([
      'inventory, stunnel, squid, haproxy and tinyproxy are files of their own: print one at a time',
    ]);
  const manifests: readonly Manifest[] = made.flatMap((each) => (typeof each === 'string' ? [] : each));
  await writeOut(texts[0] ?? printManifests(manifests));
  return 0;
}

function rangesOf(texts: readonly string[]): readonly AddressRange[] {
  return texts.flatMap((text) => parseRange(text) ?? []);
}

/** The release that somebody said: who checks manifests without saying one has them checked for all. */
function givenRelease(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): (typeof MTC_RELEASES)[number] | undefined {
  const { default: _byDefault, ...mtc } = MANIFEST.rows.mtc;
  return loadConfig({ ...MANIFEST, rows: { ...MANIFEST.rows, mtc }, contradictions: [] }, argv, env).config
    .mtc;
}

/** The parts of these names, each once, with all that is missing for them said at once. */
function pickParts(names: readonly string[]): readonly Part[] {
  const known = Object.keys(PARTS).join(', ');
  return [...new Set(names)].map((name) => {
    const part: Part | undefined = Object.hasOwn(PARTS, name) ? PARTS[name as keyof typeof PARTS] : undefined;
    if (part === undefined) {
      const meant = nearest(name, Object.keys(PARTS));
      const hint = meant === undefined ? `: write ${known}` : `; did you mean ${meant}?`;
      throw new ConfigError([`${JSON.stringify(name)} is not a part${hint}`]);
    }
    return part;
  });
}

function withPassword(material: Material, parts: readonly Part[]): Material {
  const missing = [...new Set(parts.flatMap(({ needs }) => needs))].filter((key) => {
    const value = material[key];
    return value === undefined || (Array.isArray(value) && value.length === 0);
  });
  // Who prints the proxy's Secret may have a password invented, and then it is in the other parts of the same output, too.
  const printsSecret =
    parts.includes(PARTS.proxy) && !material.without.includes('Secret') && material.unmerge.length === 0;
  const invents = printsSecret && material.password === undefined;
  const problems = missing
    .filter((key) => !(invents && key === 'password'))
    .map((key) => `--${MANIFEST.rows[key].name} is missing: ${NEEDS[key]}`);
  if (problems.length > 0) throw new ConfigError(problems);
  if (!invents) return material;
  process.stderr.write(
    'spliceway: the password is invented, and another one each time; spliceway manifest inventory writes a file that keeps it\n',
  );
  return { ...material, password: randomBytes(16).toString('hex') };
}

function readExisting(path: string): ExistingFile {
  return { path, text: readText(path) };
}

function readText(path: string): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw new ManifestFailure(
      `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}
