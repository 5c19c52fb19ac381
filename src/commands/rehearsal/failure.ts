/** What one program wrote about the failure: lines of its log. */
export interface Excerpt {
  readonly program: string;
  readonly lines: readonly string[];
}

/**
 * The rehearsal failed for a reason that its user can read: the message says what failed, `excerpts` are the
 * relevant lines of the logs, `remedy` is what to do next.
 */
export class RehearsalFailure extends Error {
  override readonly name = 'RehearsalFailure';
  readonly excerpts: readonly Excerpt[];
  readonly remedy: string;

  constructor(message: string, details: { readonly excerpts?: readonly Excerpt[]; readonly remedy: string }) {
    super(message);
    this.excerpts = details.excerpts ?? [];
    this.remedy = details.remedy;
  }
}

/** The failure as text for a terminal: what failed, who said what, what to do. Ends with a newline. */
export function describeFailure(failure: RehearsalFailure): string {
  const said = failure.excerpts
    .filter(({ lines }) => lines.length > 0)
    .flatMap(({ program, lines }) => [`  ${program} said:`, ...lines.map((line) => `    | ${line}`)]);
  return [`rehearse: ${failure.message}`, ...said, `  What to do: ${failure.remedy}`, ''].join('\n');
}
