// Sees to it that programs are on this machine: those that the tests talk to, or those named as arguments.
// Plain JavaScript without dependencies, because it runs before anything is installed or built.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Program, or one of several that come together → its package, where that has another name. */
const PACKAGES = {
  'pg_createcluster|initdb': { apt: 'postgresql', brew: 'postgresql' },
  'redis-server': { brew: 'redis' },
  's6-supervise': { apt: 's6', brew: 's6' },
  'systemd-notify': { apt: 'systemd' },
  'systemd-analyze': { apt: 'systemd' }
}
const TESTED = [...Object.keys(PACKAGES), 'python3']

const folders = [...process.env.PATH.split(delimiter), '/usr/sbin']
const has = (program) =>
  program.split('|').some((name) => folders.some((folder) => existsSync(join(folder, name))))
const packageOf = (program, manager) => PACKAGES[program]?.[manager] ?? program

const managers = {
  apt: {
    usable: () => has('apt-get') && process.getuid?.() === 0,
    install(packages) {
      run('apt-get', 'update', '-qq')
      run('apt-get', 'install', '-y', '-qq', '--no-install-recommends', ...packages)
    }
  },
  brew: { usable: () => has('brew'), install: (packages) => run('brew', 'install', ...packages) }
}

const wanted = process.argv.length > 2 ? process.argv.slice(2) : TESTED
const missing = wanted.filter((program) => !has(program))
if (missing.length > 0) {
  console.log(`Needed here, and not on this machine: ${missing.join(', ')}.`)
  const [name, manager] = Object.entries(managers).find(([, { usable }]) => usable()) ?? []
  if (!manager) {
    const packages = missing.map((program) => packageOf(program, 'apt')).join(' ')
    console.error(`Install them once, then try again:\n  sudo apt-get install ${packages}`)
    process.exit(1)
  }
  manager.install([...new Set(missing.map((program) => packageOf(program, name)))])
}

function run(command, ...args) {
  console.log(`$ ${command} ${args.join(' ')}`)
  execFileSync(command, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  })
}
