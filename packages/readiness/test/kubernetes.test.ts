import { Deployment } from 'kubernetes-models/apps/v1'
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1'
import { type IContainer, Service } from 'kubernetes-models/v1'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { createService, get, listen } from './service.ts'

const file = new URL('../../../docs/kubernetes/deployment.yaml', import.meta.url)
const parsed = parseAllDocuments(readFileSync(file, 'utf8'), { strict: true })
const documents = parsed.map((document) => document.toJS())
const models = { Deployment, Service, PodDisruptionBudget }
const deployment = () => new Deployment(documents.find(({ kind }) => kind === 'Deployment'))
const container = () => deployment().spec?.template.spec?.containers[0] as IContainer

describe('the Kubernetes manifests', () => {
  it('are YAML', () => {
    expect(parsed.flatMap(({ errors }) => errors)).toEqual([])
  })

  it.each(documents.map((document) => [document.kind, document]))(
    '%s is valid',
    (kind, document) => {
      const Model = models[kind as keyof typeof models]
      expect(() => new Model(document).validate()).not.toThrow()
      // Contrast: the schema is looked at.
      expect(() => new Model({ ...document, spec: 1 }).validate()).toThrow('must be object')
    }
  )

  it('probe paths that are there', async () => {
    const app = await createService()
    const origin = await listen(app)
    await app.readiness.whenReady()
    const { startupProbe, readinessProbe, livenessProbe } = container()
    for (const probe of [startupProbe, readinessProbe, livenessProbe]) {
      expect((await get(`${origin}${probe?.httpGet?.path}`)).status).toBe(200)
    }
  })

  it('leave the start more time than readiness does, and the end its budget', () => {
    const { periodSeconds = 0, failureThreshold = 0 } = container().startupProbe ?? {}
    expect(periodSeconds * failureThreshold).toBeGreaterThan(30)
    expect(deployment().spec?.template.spec?.terminationGracePeriodSeconds).toBeGreaterThan(28)
  })
})
