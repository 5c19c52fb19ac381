/**
 * Writes to standard output, and waits until it is written: a process that exits before would not hear of a full disk.
 * A reader that went away, such as `head`, has all that it wanted.
 *
 * @throws Error that says what failed
 */
export async function writeOut(text: string): Promise<void> {
  if (text === '') return;
  const failed = await new Promise<NodeJS.ErrnoException | null | undefined>((resolve) => {
    // Without a listener an error ends the process, with a stack trace.
    process.stdout.on('error', resolve);
    process.stdout.write(text, resolve);
  });
  if (failed && failed.code !== 'EPIPE')
    throw new Error(`standard output cannot be written: ${failed.message}`, { cause: failed });
}
