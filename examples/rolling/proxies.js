// HAProxy with its own health checks, and nginx, whose list of upstreams is rewritten by whoever checks health.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

const CHECK_INTERVAL = 200

export async function startHaproxy(port, upstreams) {
  const directory = mkdtempSync(join(tmpdir(), 'muster-haproxy-'))
  const file = join(directory, 'haproxy.cfg')
  writeFileSync(
    file,
    `
global
  maxconn 2000
defaults
  mode http
  retries 0
  timeout connect 2s
  timeout client 30s
  timeout server 30s
frontend all
  bind 127.0.0.1:${port}
  default_backend instances
backend instances
  balance roundrobin
  option httpchk GET /readyz
  http-check expect status 200
${upstreams.map((at, i) => `  server s${i} 127.0.0.1:${at} check inter ${CHECK_INTERVAL} fall 2 rise 1`).join('\n')}
`
  )
  return run('haproxy', ['-db', '-f', file], directory)
}

export async function startNginx(port, upstreams) {
  const directory = mkdtempSync(join(tmpdir(), 'muster-nginx-'))
  const file = join(directory, 'nginx.conf')
  let healthy = []
  configure(upstreams)
  const nginx = run('nginx', ['-p', directory, '-c', file], directory)
  const checking = new AbortController()
  void check(checking.signal)
  return {
    async stop() {
      checking.abort()
      await nginx.stop()
    }
  }

  function configure(up) {
    healthy = up
    writeFileSync(
      file,
      `
daemon off;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log;
worker_processes 1;
worker_shutdown_timeout 30s;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path ${directory};
  proxy_temp_path ${directory};
  fastcgi_temp_path ${directory};
  uwsgi_temp_path ${directory};
  scgi_temp_path ${directory};
  upstream instances {
${up.map((at) => `    server 127.0.0.1:${at} max_fails=0;`).join('\n')}
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://instances;
      proxy_http_version 1.1;
      proxy_set_header connection "";
      proxy_buffering off;
      proxy_next_upstream off;
    }
  }
}
`
    )
  }

  async function check(signal) {
    while (!signal.aborted) {
      const answers = await Promise.all(upstreams.map(isReady))
      const up = upstreams.filter((_, i) => answers[i])
      if (up.length > 0 && up.join() !== healthy.join()) {
        configure(up)
        nginx.child.kill('SIGHUP')
      }
      await pause(CHECK_INTERVAL, undefined, { signal }).catch(() => {})
    }
  }
}

export function isReady(port) {
  return new Promise((resolve) => {
    const call = get(
      { port, host: '127.0.0.1', path: '/readyz', agent: false, timeout: 1_000 },
      (answer) => {
        answer.resume()
        resolve(answer.statusCode === 200)
      }
    )
    call.on('timeout', () => call.destroy())
    call.on('error', () => resolve(false))
  })
}

function run(command, args, directory) {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  const exited = once(child, 'exit')
  process.once('exit', () => child.kill('SIGKILL'))
  return {
    child,
    async stop() {
      child.kill('SIGKILL')
      await exited
      rmSync(directory, { recursive: true, force: true })
    }
  }
}
