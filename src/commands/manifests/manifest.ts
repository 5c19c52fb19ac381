import type { Document } from 'yaml';
import type { Inventory } from '../../config/manifest-options.js';
import type { Toolkit } from '../mtc/toolkits.js';

/** An object of the Kubernetes API; what is in it is typed where it is made. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

/** One object to print, with what a reader should know of it. */
export interface Manifest {
  /** What it is for, in a line or a few; printed above it as a comment. */
  readonly comment: string;
  readonly object: KubernetesObject;
  /** The same object as somebody else wrote it, which is printed: with his comments, in his order. */
  readonly document?: Document;
}

/** What parts are made from: the options, and what the command adds to them. */
export interface Material extends Inventory {
  /** Of spliceway itself. */
  readonly version: string;
  /** What `--mtc` puts into the clusters. */
  readonly toolkit: Toolkit;
  /** Objects that exist already, from `--merge` or `--unmerge`: the texts of the files by their paths. */
  readonly existing: readonly ExistingFile[];
}

/** A file given with `--merge` or `--unmerge`. */
export interface ExistingFile {
  readonly path: string;
  readonly text: string;
}

/** Something cannot be made from what was given; the message says what to do. Exit code 1. */
export class ManifestFailure extends Error {
  override readonly name = 'ManifestFailure';
}
