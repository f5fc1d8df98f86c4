// Package watch tells, from metadata alone, which objects of a cluster's
// inventory are not proven to be as they were applied.
//
// The proof itself is package proof's; here is where its facts come from: one
// metadata-only list per kind (take.go), or watches that keep the same facts in
// memory (follow.go, on client-go's reflectors: reflect.go). Both fill one world
// (world.go) of which a census is read. Only objects of the inventory are kept;
// what else there is on the cluster is dropped as it comes.
//
// An account that may not list a kind cluster-wide is asked for one list or watch
// per namespace that the inventory has objects of the kind in (lot).
//
// A part that cannot be looked at is unknown, with reason and since when: its
// objects are neither clean nor drifted.
package watch
