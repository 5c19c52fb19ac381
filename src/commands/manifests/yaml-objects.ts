import {
  isCollection,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  visit,
  type YAMLMap,
} from 'yaml';
import { type ExistingFile, ManifestFailure } from './manifest.js';

/** An object in a file, as YAML. */
export interface YamlObject {
  /** For messages: `firewall.yaml:3`. */
  readonly where: string;
  readonly node: YAMLMap;
  /** What stands above it, as yaml keeps it: without `#`. */
  readonly commentBefore: string | undefined;
  /** What stands below it. */
  readonly comment: string | undefined;
}

/**
 * The objects of a file: a stream of YAML documents, or lists as `kubectl get -o yaml` and `-o json` print them. No
 * object refers to another: aliases are replaced by what they mean. Throws `ManifestFailure` where it is not that.
 */
export function readYamlObjects({ path, text }: ExistingFile): readonly YamlObject[] {
  const lines = new LineCounter();
  return parseAllDocuments(text, { lineCounter: lines }).flatMap((document): readonly YamlObject[] => {
    const whereIs = (offset = 0): string => `${path}:${lines.linePos(offset).line}`;
    const [error] = document.errors;
    if (error !== undefined)
      throw new ManifestFailure(`${whereIs(error.pos[0])}: not YAML: ${error.message.split('\n')[0]}`);
    const { contents } = document;
    if (contents === null || (isScalar(contents) && contents.value === null)) return [];
    if (!isMap(contents))
      throw new ManifestFailure(`${whereIs(contents.range[0])}: not an object of Kubernetes`);
    visit(document, {
      Alias: (_key, alias) => {
        const meant = alias.resolve(document)?.clone();
        return isNode(meant) ? meant : undefined;
      },
    });
    const comment = document.comment ?? undefined;
    const commentBefore = document.commentBefore ?? undefined;
    const items = contents.get('items');
    if (!String(contents.get('kind')).endsWith('List') || !isSeq(items))
      return [{ where: whereIs(contents.range[0]), node: written(contents), commentBefore, comment }];
    return items.items.map((item, index) => {
      if (!isMap(item)) throw new ManifestFailure(`${whereIs(items.range?.[0])}: a list of something else`);
      // What stands above a list is about the whole file: it stays with the first.
      const above = index === 0 ? [commentBefore, firstComment(contents), items.commentBefore] : [];
      return {
        where: whereIs(item.range?.[0]),
        node: written(item),
        commentBefore: above.filter(Boolean).join('\n'),
        comment: undefined,
      };
    });
  });
}

/** JSON becomes YAML as people write it, and an anchor that nobody refers to any more is noise. */
function written(node: YAMLMap): YAMLMap {
  const isJson = node.flow === true;
  visit(node, {
    Value: (_key, value) => {
      delete value.anchor;
      if (isJson && isCollection(value)) value.flow = false;
    },
  });
  return node;
}

/** The comment above a mapping belongs to its first key. */
export function firstComment(node: YAMLMap): string | undefined {
  const key = node.items[0]?.key;
  return isScalar(key) ? (key.commentBefore ?? undefined) : undefined;
}
