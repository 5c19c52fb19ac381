import leven from 'leven';

/**
 * The candidate that is spelled most like what was written, where one is meant in all likelihood.
 *
 * @param spelled how a candidate would have been written; default as it is
 */
export function nearest(
  written: string,
  candidates: readonly string[],
  spelled: (candidate: string) => string = (candidate) => candidate,
): string | undefined {
  return candidates
    .map((name) => ({ name, distance: leven(spelled(name), written) }))
    .filter(({ name, distance }) => distance <= Math.min(3, Math.ceil(name.length / 3)))
    .sort((a, b) => a.distance - b.distance)[0]?.name;
}
