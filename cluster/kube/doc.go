// Package kube plans and applies targets on a Kubernetes API server.
//
// A plan asks only about objects whose rendering differs between base and
// merge result, or from what the inventory says was applied. For each it reads
// the live object and dry-runs a server-side apply: the difference is the
// change. Nothing is written. Apply carries out exactly that, each write bound
// to the uid and resourceVersion that the plan saw.
//
// Code tour: cluster.go (the way in), check.go (what is refused unasked), plan.go
// (which objects to ask about), predict.go (one object), replace.go (replaces
// and deletes), drift.go, crd.go (objects whose kind is in the same pull);
// apply.go, order.go, apply_object.go, prune.go (carrying plans out).
//
// The rooms below do not know of plans: client (the connection), kinds (what
// the server serves), fields (one object's fields and who owns them), secret
// (what must not be shown), ask (questions about one object: what is there, what
// an apply would make of it, what the server has against it), inventory (what
// was applied), proof (what metadata alone proves), watch (the census), drift
// (the exact check, cluster.Cluster's Drift) and health (how it went).
package kube
