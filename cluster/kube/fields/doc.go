// Package fields knows what the fields of one object are: how their paths and the
// items of their lists are named (path.go, keys.go), how two states differ
// (diff.go, shape.go), who owns them (owners.go, sets.go), and how ownership
// moves when lockkeeper adopts an object that others made (migration.go,
// overlay.go), or takes back what people added by hand (hands.go). It asks no
// server.
package fields
