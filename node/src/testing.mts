// The same for programs of ES modules.

export * from './testing.js'
