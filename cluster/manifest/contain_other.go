//go:build !linux || !(amd64 || arm64)

package manifest

// contain does nothing here: outside Linux on amd64 and arm64 the child is
// held by its empty environment, the deadline, Go's own memory limit and the
// refusals by name.
func contain(int64) error { return nil }
