/** Content types of TLS records (RFC 8446 §5.1, RFC 5246 §6.2.1). */
const CHANGE_CIPHER_SPEC = 20;
const ALERT = 21;
const HANDSHAKE = 22;
const APPLICATION_DATA = 23;

const RECORD_HEADER_BYTES = 5;
/** An encrypted alert of TLS 1.3: two bytes, the content type, and the tag (RFC 8446 §5.2). */
const TLS13_ALERT_BYTES = 19;

/**
 * Watches what a client sends, without holding it, for one question: was it a completed TLS handshake and nothing more? That is what
 * MTC's `nc -z` through stunnel leaves behind before every attempt. Only record headers are read, and only until the answer is no.
 *
 * In TLS 1.2 application data is told by its record type. TLS 1.3 hides its Finished and its alerts behind that same type, so there
 * the one record behind ChangeCipherSpec is taken for the Finished, and records of an alert's size for alerts.
 */
export class HandshakeOnly {
  readonly #header: number[] = [];
  /** Bytes of the present record that are still to come. */
  #rest = 0;
  #state: 'hello' | 'ciphers changed' | 'finished' | 'no' = 'hello';

  /** Whether all that was sent so far is a completed handshake, and perhaps an alert. */
  get value(): boolean {
    return this.#state === 'finished' && this.#rest === 0 && this.#header.length === 0;
  }

  /** Takes the next bytes. */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length && this.#state !== 'no'; ) {
      if (this.#rest > 0) {
        const step = Math.min(this.#rest, chunk.length - at);
        this.#rest -= step;
        at += step;
        continue;
      }
      this.#header.push(chunk[at] ?? 0);
      at += 1;
      if (this.#header.length === RECORD_HEADER_BYTES) this.#record();
    }
  }

  #record(): void {
    const [type = 0, major = 0, , high = 0, low = 0] = this.#header.splice(0);
    this.#rest = high * 256 + low;
    this.#state = major === 3 ? this.#next(type, this.#rest) : 'no';
  }

  #next(type: number, length: number): 'hello' | 'ciphers changed' | 'finished' | 'no' {
    if (this.#state === 'hello') {
      if (type === HANDSHAKE) return 'hello';
      return type === CHANGE_CIPHER_SPEC ? 'ciphers changed' : 'no';
    }
    if (this.#state === 'ciphers changed') {
      return type === HANDSHAKE || type === APPLICATION_DATA ? 'finished' : 'no';
    }
    return type === ALERT || (type === APPLICATION_DATA && length === TLS13_ALERT_BYTES) ? 'finished' : 'no';
  }
}
