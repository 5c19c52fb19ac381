/** How far rsync says it is, as its `--info=progress2` has it: `percent` 0 to 100, speed and time as rsync words them. */
export interface Progress {
  readonly percent: number;
  readonly speed: string;
  readonly time: string;
}

/** Where a progress bar is drawn: `process.stdout`, or anything that can be written to and is no terminal. */
export interface ProgressOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** The last progress in a piece of rsync's output, `undefined` when there is none in it. */
export function parseProgress(output: string): Progress | undefined {
  const all = [...output.matchAll(/\s(\d{1,3})%\s+([\d.,]+[kKMGT]?B\/s)\s+(\d+:\d\d:\d\d)/g)];
  const [, percent, speed, time] = all.at(-1) ?? [];
  if (percent === undefined || speed === undefined || time === undefined) return undefined;
  return { percent: Math.min(Number(percent), 100), speed, time };
}

/**
 * Shows progress: on a terminal one line that is drawn anew, elsewhere a line at every tenth. It never goes back,
 * although rsync does whenever it finds more files.
 */
export class ProgressBar {
  readonly #output: ProgressOutput;
  #percent = 0;
  #drawn = false;

  constructor(output: ProgressOutput) {
    this.#output = output;
  }

  /** Shows this, if it is any further. */
  show(progress: Progress): void {
    const percent = Math.max(progress.percent, this.#percent);
    const said = `${progress.speed.padStart(11)}  ${progress.time}`;
    if (this.#output.isTTY === true) {
      const width = Math.max(10, Math.min(50, (this.#output.columns || 80) - said.length - 14));
      const full = Math.round((percent / 100) * width);
      const bar = '#'.repeat(full) + '.'.repeat(width - full);
      this.#output.write(`\r  [${bar}] ${String(percent).padStart(3)} %  ${said}`);
      this.#drawn = true;
    } else if (Math.floor(percent / 10) > Math.floor(this.#percent / 10)) {
      this.#output.write(`  ${String(Math.floor(percent / 10) * 10).padStart(3)} %  ${said}\n`);
    }
    this.#percent = percent;
  }

  /** Leaves the line, so that what follows starts on a new one. */
  done(): void {
    if (this.#drawn) this.#output.write('\n');
    this.#drawn = false;
  }
}
