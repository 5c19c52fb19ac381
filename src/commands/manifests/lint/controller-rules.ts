import { readProxyUrl } from '../../mtc/proxy-url.js';
import { fusedSpec, readSettings, SETTING } from './settings.js';
import { type KubeObject, type Mistake, mistakeIn, ofKind, type Subject } from './subject.js';
import { entryAt, isTemplate, valueAt } from './value.js';

// Nothing here may quote a value: there is a password in it.

/** What becomes of a URL on its way to stunnel, where it is not what was meant. */
export function proxyUrl(subject: Subject): readonly Mistake[] {
  return settingsOf(subject).flatMap(({ object, set }) =>
    set.flatMap((entry) => {
      const { text, comment, map, list } = entry.value;
      if (map !== undefined || list !== undefined)
        return [
          mistakeIn(object, entry, {
            problem: `${SETTING} is not a text: YAML takes what is there for a map or a list`,
            fix: `put it into single quotes: ${SETTING}: 'http://USER:PASSWORD@HOST:PORT'`,
          }),
        ];
      // A variable that is filled in later; {{ }} means something to the operator, and is told.
      if (text === undefined || text === '' || isExample(text) || /\$\{\w+\}/.test(text)) return [];
      const read = readProxyUrl(text);
      const cut = comment !== undefined && ('problem' in read || comment.includes('@'));
      if (cut)
        return [
          mistakeIn(object, entry, {
            problem: `${SETTING} ends where a # stands behind a blank: the rest of the line is a comment to YAML`,
            fix: 'write %23 for # and %20 for a blank in the credentials',
          }),
        ];
      if ('problem' in read)
        return [mistakeIn(object, entry, { problem: `${SETTING}: ${read.problem}`, fix: read.fix })];
      return OWN_POD.test(read.host) ? [mistakeIn(object, entry, ITSELF)] : [];
    }),
  );
}

const OWN_POD = /^(?:localhost(?:\.localdomain)?\.?|127\.[\d.]+|0\.0\.0\.0)$/i;

const ITSELF = {
  problem: `${SETTING} names the machine that reads it, which is stunnel's own pod: no proxy is there`,
  fix: 'write the address of the proxy, as pods of the source reach it',
};

/** A URL without user and password, which spliceway always asks for. */
export function proxyUrlWithoutCredentials(subject: Subject): readonly Mistake[] {
  return settingsOf(subject).flatMap(({ object, set }) =>
    set.flatMap((entry) => {
      const text = entry.value.text ?? '';
      const read = readProxyUrl(text);
      // They are behind the #, which is told.
      if (entry.value.comment?.includes('@')) return [];
      if ('problem' in read || isExample(text) || isTemplate(text) || read.username !== '') return [];
      return [
        mistakeIn(object, entry, {
          problem: `${SETTING} holds no credentials, and spliceway answers 407 without them`,
          fix: 'print it with them: spliceway manifest host --proxy HOST:PORT; a proxy that asks for none is fine as it is',
        }),
      ];
    }),
  );
}

/** The example of the documents instead of a proxy. */
export function proxyUrlExample(subject: Subject): readonly Mistake[] {
  return settingsOf(subject).flatMap(({ object, set }) =>
    set
      .filter(({ value }) => isExample(value.text ?? ''))
      .map((entry) =>
        mistakeIn(object, entry, {
          problem: `${SETTING} is still the one of the documents, or a part of it is`,
          fix: 'print it with the credentials encoded: spliceway manifest host --proxy HOST:PORT',
        }),
      ),
  );
}

/** The setting where the operator does not look for it, or under another name. */
export function proxyUrlKey(subject: Subject): readonly Mistake[] {
  return settingsOf(subject).flatMap(({ object, astray }) => {
    const fused = fusedSpec(object);
    const joined = fused && [
      mistakeIn(object, fused, {
        problem: `spec is one long text: the blank behind the colon of ${SETTING} is missing`,
        fix: `write ${SETTING}: and a blank before the value`,
      }),
    ];
    return [
      ...(joined ?? []),
      ...astray.map((entry) => {
        const where = entry.where === '' ? 'at the top of the object' : `in ${entry.where}`;
        return mistakeIn(object, entry, {
          problem: `${entry.key} ${where} is a setting that nobody reads: MTC connects without a proxy, silently`,
          fix: `write it as\nspec:\n  ${SETTING}: http://USER:PASSWORD@HOST:PORT`,
        });
      }),
    ];
  });
}

/** The setting in camel case, which works, and which nobody looks for. */
export function proxyUrlSpelling(subject: Subject): readonly Mistake[] {
  return settingsOf(subject).flatMap(({ object, set }) =>
    set
      .filter(({ key }) => key !== SETTING)
      .map((entry) =>
        mistakeIn(object, entry, {
          problem: `the operator turns ${entry.key} into ${SETTING}; written both ways, either may win`,
          fix: `write ${SETTING}`,
        }),
      ),
  );
}

/** A MigrationController of a name or in a namespace that MTC does not look at. */
export function controllerName(subject: Subject): readonly Mistake[] {
  return ofKind(subject, 'MigrationController').flatMap((object) => {
    const name = entryAt(object.root, 'metadata', 'name');
    const namespace = entryAt(object.root, 'metadata', 'namespace');
    return [
      ...(object.name === 'migration-controller'
        ? []
        : [
            mistakeIn(object, name, {
              problem: 'MTC has one MigrationController, which is called migration-controller',
              fix: 'write name: migration-controller',
            }),
          ]),
      ...(namespace === undefined || object.namespace === 'openshift-migration'
        ? []
        : [
            mistakeIn(object, namespace, {
              problem: 'MTC runs in openshift-migration, and looks nowhere else',
              fix: 'write namespace: openshift-migration',
            }),
          ]),
    ];
  });
}

/** Settings from before MTC 1.6. */
export function settingWithoutEffect(subject: Subject): readonly Mistake[] {
  if (subject.mtc === '1.4' || subject.mtc === '1.5') return [];
  return ofKind(subject, 'MigrationController').flatMap((object) =>
    [...(valueAt(object.root, 'spec')?.map ?? [])]
      .filter(([key]) => /^stunnel_verify_ca(?:_level)?$/.test(key))
      .map(([key, entry]) =>
        mistakeIn(object, entry, {
          problem: `${key} has no effect since MTC 1.6: stunnel does not verify the certificate of the destination`,
          fix: 'leave it out; who may be connected to is up to the rules of the proxy',
        }),
      ),
  );
}

function settingsOf(subject: Subject) {
  return ofKind(subject, 'MigrationController').map((object: KubeObject) => ({
    object,
    ...readSettings(object),
  }));
}

/** `http://username:password@ip:port` and its likes. */
function isExample(text: string): boolean {
  return (
    /\/\/(?:<[^<>]*>|username):(?:<[^<>]*>|password)@/i.test(text) ||
    /[@/](?:<[^<>]*>|ip)(?::|\/|$)/i.test(text) ||
    /:(?:<[^<>]*>|port)\/?$/i.test(text) ||
    /^<.*>$/.test(text) ||
    // As the documents of spliceway write it.
    /\/\/USER(?:NAME)?:|:PASSWORD@|[@/]HOST(?::|\/|$)/.test(text)
  );
}
