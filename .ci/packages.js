// Packs every public package, checks the tarballs with publint and attw, and installs them into an empty
// project outside the workspace, where they must compile under strict without skipLibCheck and run.
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const work = mkdtempSync(join(tmpdir(), 'muster-packages-'))
const bin = (name) => join(root, 'node_modules/.bin', name)

const run = (command, args, cwd = root) => execFileSync(command, args, { cwd, stdio: 'inherit' })

const folders = readdirSync(join(root, 'packages')).filter((folder) => !manifest(folder).private)
const tarballs = folders.map(pack)
for (const tarball of tarballs) check(tarball)
consume(tarballs)
rmSync(work, { recursive: true })
console.log(`${tarballs.length} packages: packed, checked, installed, compiled and run`)

function manifest(folder) {
  return JSON.parse(readFileSync(join(root, 'packages', folder, 'package.json'), 'utf8'))
}

function pack(folder) {
  const cwd = join(root, 'packages', folder)
  const args = ['-y', 'pnpm@10.34.9', 'pack', '--json', '--pack-destination', work]
  const { filename } = JSON.parse(execFileSync('npx', args, { cwd, encoding: 'utf8' }))
  return filename
}

function check(tarball) {
  run(bin('publint'), ['--strict', tarball])
  run(bin('attw'), ['--quiet', '--profile', 'esm-only', tarball])
}

function consume(files) {
  const consumer = join(work, 'consumer')
  cpSync(join(root, '.ci/consumer'), consumer, { recursive: true })
  const dependencies = {
    ...Object.fromEntries(folders.map((folder, i) => [manifest(folder).name, `file:${files[i]}`])),
    '@types/node': '^20.19.0',
    fastify: '^5.12.1',
    typescript: '7.0.2'
  }
  const project = { name: 'consumer', private: true, type: 'module', dependencies }
  writeFileSync(join(consumer, 'package.json'), JSON.stringify(project))
  run('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error'], consumer)
  run('npx', ['tsc', '-p', '.'], consumer)
  refuse('wrong-options.ts', consumer)
  run('node', ['out/usage.js'], consumer)
  run('node', ['usage.cjs'], consumer)
}

/** Each `// wrong` line, and no other, must be a type error. */
function refuse(file, cwd) {
  const wrong = readFileSync(join(cwd, file), 'utf8')
    .split('\n')
    .flatMap((line, i) => (line.endsWith('// wrong') ? [i + 1] : []))
  const { stdout } = spawnSync('npx', ['tsc', '-p', 'tsconfig.wrong.json'], {
    cwd,
    encoding: 'utf8'
  })
  const found = [...stdout.matchAll(/^[^(\n]+\((\d+),\d+\): error/gm)].map((match) =>
    Number(match[1])
  )
  if (wrong.join() === found.join()) return
  throw new Error(
    `type errors expected on lines ${wrong.join()}, found on ${found.join()}:\n${stdout}`
  )
}
