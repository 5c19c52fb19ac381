import { chmod, cp, link, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import t from 'tap';

import { digestTree } from '../../src/commands/rehearsal/digest.js';
import { generateTree } from '../../src/commands/rehearsal/tree.js';

const { signal } = new AbortController();

const DIFFERENCES: Readonly<Record<string, (tree: string) => Promise<void>>> = {
  'a file with other contents': (tree) => writeFile(join(tree, 'files', '2', 'file-2.dat'), 'other'),
  'a file more': (tree) => writeFile(join(tree, 'more'), ''),
  'a file less': (tree) => rm(join(tree, 'empty file')),
  'another name': (tree) => rename(join(tree, 'empty file'), join(tree, 'empty  file')),
  'a directory less': (tree) => rm(join(tree, 'empty directory'), { recursive: true }),
  'another mode of a file': (tree) => chmod(join(tree, 'files', '2', 'file-2.dat'), 0o700),
  'another mode of a directory': (tree) => chmod(join(tree, 'empty directory'), 0o700),
  'another mode of the root': (tree) => chmod(tree, 0o711),
  'a symbolic link to elsewhere': async (tree) => {
    await rm(join(tree, 'current'));
    await symlink('elsewhere', join(tree, 'current'));
  },
  'a copy in place of a symbolic link': async (tree) => {
    await rm(join(tree, 'current'));
    await cp(join(tree, 'database', 'volume.img'), join(tree, 'current'));
  },
  'a copy in place of a hard link': async (tree) => {
    await rename(join(tree, 'second name'), join(tree, 'aside'));
    await cp(join(tree, 'aside'), join(tree, 'second name'));
    await rm(join(tree, 'aside'));
  },
  'a hard link in place of a copy': async (tree) => {
    await rm(join(tree, 'empty file'));
    await writeFile(join(tree, 'also empty'), '');
    await link(join(tree, 'also empty'), join(tree, 'empty file'));
  },
};

t.test('trees with equal digests are equal', async (t) => {
  const directory = t.testdir();
  const original = join(directory, 'original');
  await generateTree(original, { sizeBytes: 200_000, files: 12, signal });
  const { sha256, contentBytes } = await digestTree(original, signal);
  t.equal(contentBytes, 200_000);
  t.equal((await digestTree(original, signal)).sha256, sha256, 'the same tree, the same digest');

  for (const [what, change] of Object.entries(DIFFERENCES)) {
    const changed = join(directory, 'changed');
    // Made anew, since cp does not keep hard links: the contents are random, so both digests are taken here.
    await generateTree(changed, { sizeBytes: 200_000, files: 12, signal });
    const before = await digestTree(changed, signal);
    await change(changed);
    t.not((await digestTree(changed, signal)).sha256, before.sha256, what);
    await rm(changed, { recursive: true });
  }
});
