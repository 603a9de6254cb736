// Stands for a model that takes its time to load.
import { setTimeout as pause } from 'node:timers/promises'

const LAYERS = 20

export async function loadModel(signal) {
  const layers = []
  while (layers.length < LAYERS) {
    await pause(75, undefined, { signal })
    layers.push(new Float32Array(10_000).map(Math.random))
  }
  return {
    score: (text) => layers.reduce((sum, layer) => sum + layer[text.length % layer.length], 0),
    unload: () => layers.splice(0)
  }
}

export async function loadLabels(signal) {
  await pause(100, undefined, { signal })
  return ['ham', 'spam']
}
