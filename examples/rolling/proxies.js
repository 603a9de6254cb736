// HAProxy with health checks, and nginx without.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

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

/**
 * nginx without its commercial part has no health checks: it learns from an answer. What is refused, or answered 503
 * because the instance is going, goes to the next one; ours answers 503 only to what can be sent again.
 */
export async function startNginx(port, upstreams) {
  const directory = mkdtempSync(join(tmpdir(), 'muster-nginx-'))
  const file = join(directory, 'nginx.conf')
  writeFileSync(
    file,
    `
daemon off;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log;
worker_processes 1;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path ${directory};
  proxy_temp_path ${directory};
  fastcgi_temp_path ${directory};
  uwsgi_temp_path ${directory};
  scgi_temp_path ${directory};
  keepalive_requests 1000000;
  upstream instances {
${upstreams.map((at) => `    server 127.0.0.1:${at} max_fails=1 fail_timeout=1s;`).join('\n')}
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://instances;
      proxy_http_version 1.1;
      proxy_set_header connection "";
      proxy_buffering off;
      proxy_next_upstream error http_503 non_idempotent;
    }
  }
}
`
  )
  return run('nginx', ['-p', directory, '-c', file], directory)
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
