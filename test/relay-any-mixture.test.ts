import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { readUntilEnd } from './fixtures/endings.js';
import { unacknowledged } from './fixtures/flood.js';
import { generator, type Random } from './fixtures/random.js';
import { eachRelay, type Side } from './fixtures/relay-pair.js';

const ROUNDS = 60;
const STEPS = 12;
const SEED = 20_240_229;
/** What both sides send, from its beginning. */
const TEXT = randomBytes(4 * 1024 * 1024);

/** What one side did, and what it saw of the other. */
interface Story {
  sent: number;
  /** How it ended its own half. */
  ended?: 'fin' | 'reset';
  /** So many of the bytes sent the relay's kernel had when the side reset the connection. */
  accepted: number;
  readonly received: Buffer[];
  /** How the other's half ended, as the side saw it. */
  saw?: 'fin' | 'reset';
  /** Node closed its connection for an error, with what the test had not read: of a paused peer, or when a write failed. */
  deaf?: boolean;
  readonly steps: string[];
}

t.jobs = 3;

eachRelay('whatever the two sides do, neither is told what the other did not do', async (t, relay) => {
  const random = generator(SEED);
  const causes = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round += 1) {
    const early = TEXT.subarray(0, random() < 0.3 ? 200_000 * random() : 0);
    const stories = { client: newStory(early.length), upstream: newStory(0) };
    const pair = await relay.pair(t, {
      early,
      before: async ({ client, upstream }) => {
        if (random() < 0.3) await behave(client, stories.client, 2, random);
        if (random() < 0.3) await behave(upstream, stories.upstream, 2, random);
      },
    });
    const seen = (['client', 'upstream'] as const).map(async (side) => {
      pair[side].on('error', ({ syscall }: NodeJS.ErrnoException) => {
        if (syscall !== 'read' || pair[side].readableLength > 0) stories[side].deaf = true;
      });
      stories[side].saw = await readUntilEnd(pair[side], (chunk) => stories[side].received.push(chunk));
    });
    await Promise.all([
      behave(pair.client, stories.client, STEPS, random),
      behave(pair.upstream, stories.upstream, STEPS, random),
    ]);
    for (const side of ['client', 'upstream'] as const) {
      if (stories[side].ended === undefined && !pair[side].destroyed) end(pair[side], stories[side]);
      pair[side].resume();
    }
    const { cause } = await pair.end;
    causes.set(cause, (causes.get(cause) ?? 0) + 1);
    await Promise.all(seen);

    const wasReset = Object.values(stories).some(({ ended }) => ended === 'reset');
    const wrong = [
      ...wrongs('client', stories.client, stories.upstream),
      ...wrongs('upstream', stories.upstream, stories.client),
      ...(wasReset === /_reset$/.test(cause) ? [] : [`the cause is ${cause}`]),
    ];
    if (wrong.length > 0) t.fail(`round ${round}: ${wrong.join(', ')}`, { steps: stepsOf(stories) });
    pair.client.destroy();
    pair.upstream.destroy();
  }
  t.ok(causes.size >= 4, `${ROUNDS} tunnels: ${JSON.stringify(Object.fromEntries(causes))}`);
});

/** What the first side saw that the second did not do. */
function wrongs(side: Side, { received, saw, ended, deaf }: Story, other: Story): readonly string[] {
  const bytes = Buffer.concat(received);
  const wrong: string[] = [];
  if (!bytes.equals(TEXT.subarray(0, bytes.length))) wrong.push(`the ${side} read other bytes`);
  if (bytes.length > other.sent) wrong.push(`the ${side} read more than was sent`);
  if (saw === 'fin') {
    if (other.ended !== 'fin') wrong.push(`the ${side} read an end of file that nobody sent`);
    if (bytes.length < other.sent) wrong.push(`the ${side} read an end of file too early`);
  }
  if (ended === 'fin' && other.ended === 'fin' && saw !== 'fin') wrong.push(`the ${side} saw ${saw}`);
  if (ended !== 'reset' && other.ended === 'reset' && !deaf && bytes.length < other.accepted)
    wrong.push(`the ${side} read only ${bytes.length} of ${other.accepted} bytes`);
  return wrong;
}

/** Some steps at random, until the end of the side's half. */
async function behave(peer: Socket, story: Story, steps: number, random: Random): Promise<void> {
  for (let step = 0; step < steps && story.ended === undefined && !peer.destroyed; step += 1) {
    const choice = random();
    if (choice < 0.5) {
      const bytes = TEXT.subarray(story.sent, story.sent + Math.floor(random() ** 3 * 300_000));
      story.sent += bytes.length;
      peer.write(bytes);
      story.steps.push(`write ${bytes.length}`);
    } else if (choice < 0.58) {
      end(peer, story);
    } else if (choice < 0.66) {
      story.steps.push('reset');
      story.ended = 'reset';
      // What was sent before the other's reset came is nobody's promise.
      story.accepted = story.sent - (unacknowledged(peer) ?? story.sent);
      resetNow(peer);
    } else if (choice < 0.8) {
      peer.pause();
    } else if (choice < 0.95) {
      peer.resume();
    } else {
      await sleep(5 * random());
    }
    if (random() < 0.5) await new Promise(setImmediate);
  }
}

function end(peer: Socket, story: Story): void {
  story.steps.push('fin');
  story.ended = 'fin';
  peer.end();
}

function newStory(sent: number): Story {
  return { sent, accepted: 0, received: [], steps: [] };
}

function stepsOf(stories: Readonly<Record<Side, Story>>): object {
  return Object.fromEntries(Object.entries(stories).map(([side, { steps }]) => [side, steps.join(', ')]));
}
