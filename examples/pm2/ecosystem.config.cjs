module.exports = {
  apps: [
    {
      name: 'billing',
      script: 'server.js',
      cwd: __dirname,
      // "online" means ready: a reload stops the old process when the new one is ready.
      wait_ready: true,
      // ms: more than the `timeout` of readiness, so that its reasons get into the log.
      listen_timeout: 35_000,
      // ms: more than the budget of @muster/shutdown, which ends the process itself.
      kill_timeout: 30_000,
      env: { PORT: process.env.PORT ?? 3000 }
    }
  ]
}
