// Package kinds knows which kinds there are: those a server serves (discovery),
// those Kubernetes brings, and those that CRDs of the same pull define, with the
// scope of each, and whether an object fits its definition.
package kinds
