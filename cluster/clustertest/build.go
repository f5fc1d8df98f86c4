package clustertest

import (
	"context"
	"io"

	"lockkeeper/testdata/pinned"
)

var programs = pinned.Programs{
	Module: "controlplane", What: "the control plane", Takes: "~6 minutes",
	Packages: map[string]string{"controlplane": ".", "kwok": "./kwok"},
	Links:    map[string]string{"kubectl": "controlplane"}, // for people; the binary goes by its name
}

// Require names the first of the programs that is not installed.
func Require(names ...string) error { return pinned.Require(names...) }

// Binaries returns the directory that holds the control plane's programs (bin/
// of the repository around the working directory) and builds them when they are
// missing or older than their sources, saying so on progress. It is safe to call
// from several processes at once: one builds, the others wait.
func Binaries(ctx context.Context, progress io.Writer) (string, error) {
	return programs.Build(ctx, progress)
}
