// Who may import whom under src/: strictly downward, types included. Edit the table, not the rules below it.
//
//   5  cli
//   4  commands
//   3  config   server   observe/admin
//   2  handshake   access   upstream   relay     the stages: never import each other, neither log nor count
//   1  observe/metrics   observe/log, over observe/tunnel-record and observe/metric-rows
//   0  reasons   target   stop   standard-output

const level0 = ['^src/reasons\\.ts$', '^src/target\\.ts$', '^src/stop\\.ts$', '^src/standard-output\\.ts$'];
const record = '^src/observe/tunnel-record\\.ts$';
const rows = '^src/observe/metric-rows\\.ts$';
const level1 = ['^src/observe/metrics\\.ts$', '^src/observe/log\\.ts$', record, rows];
const stages = ['^src/handshake/', '^src/access/', '^src/upstream/', '^src/relay/'];
const level3 = ['^src/config/', '^src/server/', '^src/observe/admin\\.ts$'];
const commands = '^src/commands/[^/]+\\.ts$';
const rehearsal = '^src/commands/rehearsal/';
const manifests = '^src/commands/manifests/';
const mtc = '^src/commands/mtc/';
const service = '^src/commands/service/';

const belowStages = level0;
const belowLevel3 = [...stages, ...level1, ...level0];
const belowCommands = [...level3, ...belowLevel3];

/** Every module of src/ is matched by exactly one row; a folder's own files may import one another. */
const TABLE = [
  { name: 'cli', modules: '^src/cli\\.ts$', may: [commands, ...belowCommands] },
  // A command is one file and knows no other; the rehearsal and the manifests are too long for one file, and belong to their
  // commands. Commands that serve until a signal ends them share how they do it, and mtc/ is what several know of the toolkit.
  {
    name: 'commands',
    modules: '^src/commands/(?!rehearse\\.ts$|manifest\\.ts$)[^/]+\\.ts$',
    may: [service, ...belowCommands],
  },
  { name: 'service', modules: service, may: [service, ...belowCommands] },
  { name: 'rehearse', modules: '^src/commands/rehearse\\.ts$', may: [rehearsal, mtc, ...belowCommands] },
  { name: 'rehearsal', modules: rehearsal, may: [rehearsal, mtc, ...belowCommands] },
  { name: 'manifest', modules: '^src/commands/manifest\\.ts$', may: [manifests, mtc, ...belowCommands] },
  { name: 'manifests', modules: manifests, may: [manifests, mtc, ...belowCommands] },
  { name: 'mtc', modules: mtc, may: [mtc, ...level0] },
  // Only commands hand a Config on: each module below declares its own narrow options type.
  { name: 'config', modules: '^src/config/', may: ['^src/config/', ...belowLevel3] },
  { name: 'server', modules: '^src/server/', may: ['^src/server/', ...belowLevel3] },
  { name: 'admin', modules: '^src/observe/admin\\.ts$', may: ['^src/observe/page/', ...belowLevel3] },
  { name: 'page', modules: '^src/observe/page/', may: ['^src/observe/page/', ...belowLevel3] },
  { name: 'handshake', modules: '^src/handshake/', may: ['^src/handshake/', ...belowStages] },
  { name: 'access', modules: '^src/access/', may: ['^src/access/', ...belowStages] },
  { name: 'upstream', modules: '^src/upstream/', may: ['^src/upstream/', ...belowStages] },
  { name: 'relay', modules: '^src/relay/', may: ['^src/relay/', ...belowStages] },
  { name: 'metrics', modules: '^src/observe/metrics\\.ts$', may: [record, rows, ...level0] },
  { name: 'log', modules: '^src/observe/log\\.ts$', may: [record, ...level0] },
  { name: 'record', modules: record, may: level0 },
  { name: 'metric-rows', modules: rows, may: [] },
  { name: 'reasons', modules: '^src/reasons\\.ts$', may: [] },
  { name: 'target', modules: '^src/target\\.ts$', may: [] },
  { name: 'stop', modules: '^src/stop\\.ts$', may: [] },
  { name: 'standard-output', modules: '^src/standard-output\\.ts$', may: [] },
];

const known = TABLE.map((row) => row.modules);

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...TABLE.map(({ name, modules, may }) => ({
      name: `${name}-imports-only-downward`,
      severity: 'error',
      from: { path: modules },
      // An empty pathNot would match everything.
      to: { path: '^src/', ...(may.length > 0 && { pathNot: may }) },
    })),
    {
      name: 'module-has-no-level',
      comment: 'Give the new file or folder a row in the table of .dependency-cruiser.cjs.',
      severity: 'error',
      from: {},
      to: { path: '^src/', pathNot: known },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-orphans',
      comment: 'Nothing that starts at the command line leads to this module.',
      severity: 'error',
      from: { path: '^src/cli\\.ts$' },
      to: { path: '^src/', pathNot: '^src/cli\\.ts$|\\.d\\.ts$', reachable: false },
    },
    {
      name: 'product-stays-inside-src',
      comment: 'Tests and benchmarks import the product, never the other way round.',
      severity: 'error',
      from: { path: '^src/' },
      to: { pathNot: ['^src/', 'node_modules/'], dependencyTypesNot: ['core'], couldNotResolve: false },
    },
    {
      name: 'no-dev-dependencies',
      comment: 'The image has no devDependencies. Type packages of a dependency are gone after tsc.',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev'], pathNot: 'node_modules/(@types|kubernetes-types)/' },
    },
    {
      name: 'no-undeclared-dependencies',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown', 'npm-optional', 'npm-peer'] },
    },
    {
      name: 'resolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    // Imports that only carry types count too.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};
