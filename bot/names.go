package bot

import (
	"maps"
	"slices"

	"lockkeeper/cluster"
)

func named(name string) func(cluster.Target) bool {
	return func(t cluster.Target) bool { return t.Name == name }
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
