// Runs the benchmarks of every package, or of those named, and writes what they print to docs/benchmarks.md.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const report = join(root, 'docs/benchmarks.md')
const named = process.argv.slice(2)
const names = readdirSync(join(root, 'packages')).filter(
  (name) =>
    existsSync(join(root, 'packages', name, 'bench/run.js')) &&
    (named.length === 0 || named.includes(name))
)
const sections = readSections()
for (const name of names) {
  console.log(`\n== ${name}`)
  sections.set(name, await bench(name))
}
writeFileSync(report, render())

function readSections() {
  if (!existsSync(report)) return new Map()
  const found = readFileSync(report, 'utf8').matchAll(/^## (\w+)\n[^]*?```text\n([^]*?)```/gm)
  return new Map(Array.from(found, ([, name, text]) => [name, text]))
}

async function bench(name) {
  const script = join(root, 'packages', name, 'bench/run.js')
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] })
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
same run; on another machine compare the ratios. Last run with Node ${process.version} on ${cpus().length} cores.
`
  const parts = [...sections]
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(
      ([name, text]) =>
        `\n## ${name}\n\n\`packages/${name}/bench/run.js\`\n\n\`\`\`text\n${text}\`\`\`\n`
    )
  return intro + parts.join('')
}
