// Sees to it that the programs the tests talk to are on this machine: today a redis-server.
// Plain JavaScript without dependencies, because it runs before anything is installed or built.
import { execFileSync, spawnSync } from 'node:child_process'

const has = (program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined
const run = (command, ...args) => {
  console.log(`$ ${command} ${args.join(' ')}`)
  execFileSync(command, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  })
}

const installers = [
  {
    usable: () => has('apt-get') && process.getuid?.() === 0,
    install() {
      run('apt-get', 'update', '-qq')
      run('apt-get', 'install', '-y', '-qq', '--no-install-recommends', 'redis-server')
    }
  },
  { usable: () => has('brew'), install: () => run('brew', 'install', 'redis') }
]

if (!has('redis-server')) {
  console.log('The tests run against real Redis servers, and there is no redis-server here.')
  const installer = installers.find(({ usable }) => usable())
  if (!installer) {
    console.error('Install it once, then run npm test again:\n  sudo apt-get install redis-server')
    process.exit(1)
  }
  installer.install()
}
