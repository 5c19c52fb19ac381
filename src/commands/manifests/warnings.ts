import type { Material } from './manifest.js';
import { describeNeedless } from './merge.js';
import { PARTS, type Part } from './parts.js';
import { isOwnNamespace } from './proxy.js';

/** Shorter passwords can be guessed; the invented ones have 32 characters. */
const MIN_PASSWORD_LENGTH = 16;

/**
 * What is odd about what is asked for, and stops nothing: a sentence each, for standard error. Throws `ManifestFailure` for
 * files of `--merge` and `--unmerge` that hold something else.
 */
export function warningsOf(material: Material, parts: readonly Part[]): readonly string[] {
  const proxy = parts.includes(PARTS.proxy) && material.unmerge.length === 0;
  return [
    ...(proxy ? proxyWarnings(material) : []),
    ...(proxy || parts.includes(PARTS.host) ? passwordWarnings(material) : []),
    ...mergeWarnings(material, parts),
  ];
}

function proxyWarnings({ namespace, client, without }: Material): readonly string[] {
  const prints = !isOwnNamespace(namespace) && !without.includes('Namespace');
  return [
    ...(prints
      ? [
          `the namespace ${namespace} is the cluster's, not the proxy's: no Namespace is printed; better give the proxy one of its own (--namespace)`,
        ]
      : []),
    ...(client.length > 0 ? [] : ['nobody is kept from the proxy but by the password: --client narrows it']),
  ];
}

function passwordWarnings({ password }: Material): readonly string[] {
  return password === undefined || password.length >= MIN_PASSWORD_LENGTH
    ? []
    : [
        `the password is shorter than ${MIN_PASSWORD_LENGTH} characters, and can be guessed: take a longer one`,
      ];
}

function mergeWarnings(material: Material, parts: readonly Part[]): readonly string[] {
  const namespaces = parts.flatMap(({ merges }) => merges?.(material) ?? []);
  if (namespaces.length > 0) return describeNeedless(material, namespaces);
  return material.merge.length > 0
    ? ['--merge changes nothing here: source and proxy are the parts with egress firewalls']
    : [];
}
