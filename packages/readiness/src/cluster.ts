export {
  type ClusterReadiness,
  clusterReadiness,
  type ClusterReadinessOptions
} from './cluster-readiness.ts'
