// Runs the benchmarks of every package, or of those named, and writes what they print to docs/benchmarks.md.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const report = join(root, 'docs/benchmarks.md')
/** Other versions have sections of their own. */
const MAIN = '20'
const named = process.argv.slice(2)
const names = readdirSync(join(root, 'packages')).filter(
  (name) =>
    existsSync(join(root, 'packages', name, 'bench/run.js')) &&
    (named.length === 0 || named.includes(name))
)
const sections = readSections()
const [major] = process.versions.node.split('.')
for (const name of names) {
  console.log(`\n== ${name}`)
  const script = `packages/${name}/bench/run.js`
  const title = major === MAIN ? name : `${name}, Node ${major}`
  sections.set(
    title,
    `\`${script}\`, Node ${process.version}\n\n\`\`\`text\n${await bench(script)}\`\`\`\n`
  )
}
writeFileSync(report, render())

function readSections() {
  if (!existsSync(report)) return new Map()
  const [, ...parts] = readFileSync(report, 'utf8').split('\n## ')
  return new Map(
    parts.map((part) => [part.slice(0, part.indexOf('\n')), part.slice(part.indexOf('\n') + 2)])
  )
}

async function bench(script) {
  const child = spawn(process.execPath, [join(root, script)], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
    process.stdout.write(chunk)
  })
  const [code] = await once(child, 'close')
  if (code !== 0) process.exitCode = 1
  return text
}

function render() {
  const intro = `# Benchmarks

Written by \`npx -y pnpm@10.34.9 bench\` (\`bench <name>\` for one package). Each figure stands beside its baseline from the
same run; on another machine compare the ratios. Last run on ${cpus().length} cores.
`
  const parts = [...sections].toSorted(([one], [other]) => (one < other ? -1 : 1))
  return intro + parts.map(([title, body]) => `\n## ${title}\n\n${body}`).join('')
}
