//go:build !linux || !(amd64 || arm64)

package manifest

func probe() {}
