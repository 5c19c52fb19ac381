import type { AddressRange } from '../../../access/addresses.js';
import type { MTC_RELEASES } from '../../../config/manifest-options.js';
import type { Entry, Value } from './value.js';

/** An object of the Kubernetes API in a file. */
export interface KubeObject {
  readonly file: string;
  /** Where its kind stands, from 1. */
  readonly line: number;
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  /** Empty where the object does not say: kubectl's own. */
  readonly namespace: string;
  /** What it is called in messages: `NetworkPolicy shop/allow-rsync`. */
  readonly label: string;
  readonly root: Value;
}

/** A squid.conf. */
export interface SquidFile {
  readonly file: string;
  readonly directives: readonly SquidDirective[];
  /** The same by their names: there may be a list of a hundred thousand. */
  readonly named: ReadonlyMap<string, readonly SquidDirective[]>;
  /** The lines of each `acl`, by the names of the lists. */
  readonly acls: ReadonlyMap<string, readonly SquidDirective[]>;
}

/** A directive of a squid.conf: `acl`, `SSL_ports`, `port`, `443`. */
export interface SquidDirective {
  /** From 1. */
  readonly line: number;
  readonly name: string;
  readonly words: readonly string[];
}

/** A piece of a file that could not be read as what it is. */
export interface Unreadable {
  readonly file: string;
  readonly line: number;
  readonly problem: string;
  readonly fix: string;
}

/** What is known of the migration beside the files. */
export interface Surroundings {
  /** Undefined: nobody said which release, and all are looked at. */
  readonly mtc: (typeof MTC_RELEASES)[number] | undefined;
  /** Where pods of the source reach the proxy. */
  readonly proxy: { readonly host: string; readonly port: number } | undefined;
  /** The addresses behind it. */
  readonly proxyAddresses: readonly AddressRange[];
  /** Outside of the cluster of the source. */
  readonly dnsServers: readonly AddressRange[];
  readonly targetRouters: readonly AddressRange[];
  /** Where the proxy runs. */
  readonly proxyNamespace: string;
  readonly sourceNamespaces: readonly string[];
  readonly targetNamespaces: readonly string[];
}

/** All that the rules look at: the files of one call. */
export interface Subject extends Surroundings {
  /** Of the kinds that there are rules for, and of kinds that look like misspelt ones. */
  readonly objects: readonly KubeObject[];
  readonly squids: readonly SquidFile[];
  readonly unreadable: readonly Unreadable[];
}

/** What a rule found. */
export interface Mistake {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** What it is in. */
  readonly object: string;
  readonly problem: string;
  /** What to do; further lines of it are to be pasted. */
  readonly fix: string;
}

/** A row of the table of rules. */
export interface Rule {
  /** A mistake breaks the migration; advice does not, and leaves the exit code alone. */
  readonly level: 'mistake' | 'advice';
  /** What it finds, in a line of README. */
  readonly finds: string;
  /** What to do, in a line of README. */
  readonly fix: string;
  readonly check: (subject: Subject) => readonly Mistake[];
}

/** A mistake of an object. */
export function mistakeIn(
  object: KubeObject,
  at: Value | Entry | undefined,
  said: Pick<Mistake, 'problem' | 'fix'>,
): Mistake {
  return { file: object.file, line: at?.line ?? object.line, object: object.label, ...said };
}

/** The objects of a kind, whatever API they say they are of. */
export function ofKind(subject: Pick<Subject, 'objects'>, kind: string): readonly KubeObject[] {
  return subject.objects.filter((object) => object.kind === kind);
}

/** Values by what a function makes of them, in the order of their first ones. */
export function groupBy<T>(values: readonly T[], keyOf: (value: T) => string): readonly (readonly T[])[] {
  return [...indexBy(values, keyOf).values()];
}

/** The same, to be looked up. */
export function indexBy<T>(
  values: readonly T[],
  keyOf: (value: T) => string,
): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const value of values) {
    const key = keyOf(value);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [value]);
    else group.push(value);
  }
  return groups;
}
