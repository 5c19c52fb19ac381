import type { IncomingMessage } from 'node:http';
import { headerFields } from './head.js';

/** Header fields for one hop only, whether `Connection` names them or not (RFC 9110 §7.6.1). */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'te',
  'transfer-encoding',
  'upgrade',
]);

/**
 * The fields of a message that are meant for whoever is behind the next hop, in their order and spelling: without those of one hop,
 * without those that `Connection` names, and without everything that begins with `Proxy-`.
 *
 * @param raw names and values in turn, as in `rawHeaders`
 * @param dropped names in lower case that the caller writes itself
 */
export function endToEnd(raw: readonly string[], dropped: readonly string[]): string[] {
  const nominated = new Set([...tokensOf(raw, 'connection'), ...dropped]);
  const kept: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || nominated.has(lower) || lower.startsWith('proxy-')) continue;
    kept.push(name, raw[i + 1] ?? '');
  }
  return kept;
}

/** The elements of a list-valued field in lower case, of all its lines. */
export function tokensOf(raw: readonly string[], field: string): readonly string[] {
  const tokens: string[] = [];
  for (const [name, value] of headerFields(raw)) {
    if (name !== field) continue;
    tokens.push(...value.split(',').map((token) => token.trim().toLowerCase()));
  }
  return tokens.filter((token) => token !== '');
}

/** The fields with our entry behind those of the proxies before us; unchanged where there is to be none. */
export function withVia(
  fields: readonly string[],
  { httpVersion }: Pick<IncomingMessage, 'httpVersion'>,
  pseudonym: string | undefined,
): string[] {
  return pseudonym === undefined ? [...fields] : [...fields, 'Via', `${httpVersion} ${pseudonym}`];
}
