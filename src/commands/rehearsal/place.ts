/** Where programs of a rehearsal run, and where those listen that another place must reach. */
export interface Place {
  /** For messages: `proxy 1`. */
  readonly name: string;
  /** Where its programs listen (IPv4). */
  readonly address: string;
  /** What stands before a command line so that it runs there; empty for the machine itself. */
  readonly enter: readonly string[];
  /** `shared`: a free port must be looked for. `own`: nobody else listens there, and programs get those of a cluster. */
  readonly ports: 'shared' | 'own';
}

/** The machine itself, of which a rehearsal uses loopback alone. */
export const THIS_MACHINE: Place = {
  name: 'this machine',
  address: '127.0.0.1',
  enter: [],
  ports: 'shared',
};
