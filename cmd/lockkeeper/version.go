package main

import (
	"context"
	"fmt"
	"runtime/debug"
)

// version is set by the linker for releases; other builds tell their commit.
var version = ""

func versionCommand(_ context.Context, c *call) error {
	if err := c.parse(); err != nil {
		return err
	}
	fmt.Fprintln(c.stdout, "lockkeeper "+buildVersion())
	return nil
}

func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v += " " + s.Value
		}
	}
	return v
}
