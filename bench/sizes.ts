/** How much each measure does. Times in milliseconds. */
export interface Sizes {
  /** Bytes that are checked before every measurement, in each direction, over all tunnels together. */
  readonly checkBytes: number;
  readonly bulkWarmupMs: number;
  readonly bulkWindowMs: number;
  readonly handshakesWarmupMs: number;
  readonly handshakesWindowMs: number;
  readonly latencyWarmupMs: number;
  readonly latencyWindowMs: number;
  readonly roundTrips: number;
  readonly idleTunnels: number;
  /** Memory counts once it has not moved for so long. */
  readonly settleMs: number;
  /** It counts after so long whether it moves or not. */
  readonly settleMostMs: number;
}

/** For figures. */
export const FULL: Sizes = {
  checkBytes: 64 << 20,
  bulkWarmupMs: 500,
  bulkWindowMs: 2500,
  handshakesWarmupMs: 3000,
  handshakesWindowMs: 2500,
  latencyWarmupMs: 500,
  latencyWindowMs: 2500,
  roundTrips: 20_000,
  idleTunnels: 2000,
  settleMs: 800,
  settleMostMs: 3000,
};

/** `--quick`: so that everything has run once. */
export const QUICK: Sizes = {
  checkBytes: 4 << 20,
  bulkWarmupMs: 50,
  bulkWindowMs: 150,
  handshakesWarmupMs: 50,
  handshakesWindowMs: 150,
  latencyWarmupMs: 50,
  latencyWindowMs: 150,
  roundTrips: 500,
  idleTunnels: 100,
  settleMs: 50,
  settleMostMs: 200,
};
