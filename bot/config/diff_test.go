package config

import (
	"slices"
	"testing"
)

func TestWhatChangesAboutTargetsIsSaid(t *testing.T) {
	before := &File{Targets: []Target{
		{Path: "a", Cluster: "main", Environment: "staging"},
		{Path: "b", Name: "bee", Cluster: "main", Environment: "production"},
		{Path: "same", Cluster: "main", Environment: "staging", Namespace: "x"},
	}}
	after := &File{Targets: []Target{
		{Path: "same", Cluster: "main", Environment: "staging", Namespace: "x"},
		{Path: "b", Name: "bee", Cluster: "main", Environment: "staging", Timeout: Duration(60e9)},
		{Path: "c/*", Cluster: "other", Environment: "staging"},
	}}
	want := []string{
		"target bee changes: it was b on cluster main as production, and becomes b on cluster main as staging, timeout 1m0s",
		"target c/* is added: c/* on cluster other as staging",
		"target a is removed: it was a on cluster main as staging",
	}
	if got := DiffTargets(before, after); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := DiffTargets(before, before); got != nil {
		t.Errorf("nothing changes, got %q", got)
	}
	if got := DiffTargets(nil, after); len(got) != 3 {
		t.Errorf("a first file: %q", got)
	}
}
