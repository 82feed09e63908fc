// The same for programs of ES modules: one implementation, so that its classes are the same for all.

export * from './index.js'
