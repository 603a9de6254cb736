// Makes one file of each entry of the package in the current directory: a service that starts reads a dozen files, not
// ninety. The types come from tsc.
//   node ../../.ci/bundle.js [more entries] [--inline=<dependency>, of which the bundle holds what is used]
import { readFileSync, rmSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'

const { values, positionals } = parseArgs({
  options: { inline: { type: 'string', multiple: true, default: [] } },
  allowPositionals: true
})
const manifest = JSON.parse(readFileSync('package.json', 'utf8'))
const { exports, dependencies, devDependencies, peerDependencies } = manifest
const entries = Object.values(exports).flatMap(({ default: file }) =>
  file ? [file.replace('./dist/', '').replace('.js', '')] : []
)
const external = Object.keys({ ...dependencies, ...devDependencies, ...peerDependencies })

rmSync('dist', { recursive: true, force: true })
await build({
  entryPoints: [...entries, ...positionals].map((entry) => `src/${entry}.ts`),
  outdir: 'dist',
  bundle: true,
  external: external.filter((name) => !values.inline.includes(name)),
  platform: 'node',
  format: 'esm',
  target: 'node20.19',
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'warning'
})
