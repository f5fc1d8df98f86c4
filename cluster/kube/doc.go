// Package kube plans and applies targets on a Kubernetes API server.
//
// A plan asks only about objects whose rendering differs between base and
// merge result, or from what the inventory says was applied. For each it reads
// the live object and dry-runs a server-side apply: the difference is the
// change. Nothing is written. Apply carries out exactly that, each write bound
// to the uid and resourceVersion that the plan saw.
//
// Code tour: client.go (connection, counting, errors), kinds.go (discovery),
// scope.go (names and fences before discovery), inventory.go (what was
// applied), plan.go (which objects to ask about), predict.go (one object),
// replace.go (replaces and deletes), drift.go, adopt.go and overlay.go
// (ownership migration), crd.go (objects whose kind or namespace is in the same
// pull), diff.go and mask.go (fields); apply.go, order.go, apply_object.go,
// prune.go (carrying plans out), health.go and events.go (how they went).
package kube
