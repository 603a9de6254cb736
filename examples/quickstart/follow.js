/** Tells the process that started this one what happens in the life of `app`. */
export function follow(app) {
  const tell = (what, details) => process.connected && process.send({ what, ...details })

  app.addHook('onListen', async () => {
    tell('listening', { url: app.listeningOrigin })
  })
  app.readiness.on('change', ({ state, cause }) => {
    if (state === 'ready') tell('probed: it answers on every address it is bound to')
    const ms = Math.round(performance.now())
    tell(
      state === 'ready' ? `ready in ${ms} ms from the start of the process` : `${state}: ${cause}`
    )
  })
  app.registration.on('change', ({ state }) => {
    if (state !== 'registering') tell(state)
    if (state === 'registered') void tellFirstPing()
  })

  async function tellFirstPing() {
    const before = app.registration.lastPing
    while (app.registration.lastPing === before) {
      if (app.registration.state !== 'registered') return
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    tell('first ping answered')
  }
}
