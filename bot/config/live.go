package config

import (
	"maps"
	"slices"
	"sync/atomic"
)

// Live is the operator's file as it stands now: it may be exchanged while the
// bot runs. Whoever decides something reads it once, so that one decision
// follows one file.
type Live struct{ now atomic.Pointer[Server] }

// NewLive begins with a file.
func NewLive(s *Server) *Live {
	l := &Live{}
	l.now.Store(s)
	return l
}

// Load is the file in force. It must not be changed.
func (l *Live) Load() *Server { return l.now.Load() }

// Store puts another file in force, for whoever calls Load from now on.
func (l *Live) Store(s *Server) { l.now.Store(s) }

// Next is the file that follows s when the operator has written n, as far as
// it can be followed while the bot runs. Restart names what n says otherwise,
// and what stays as it is until then.
func (s *Server) Next(n *Server) (next *Server, restart []string) {
	next = new(Server)
	*next = *n
	keep := func(changed bool, what string) {
		if changed {
			restart = append(restart, what)
		}
	}
	keep(n.Listen != s.Listen, "listen")
	keep(n.Store != s.Store, "store")
	keep(n.StorePasswordFile != s.StorePasswordFile, "storePasswordFile")
	keep(n.Cache != s.Cache, "cache")
	keep(n.CacheLimit != s.CacheLimit, "cacheLimit")
	keep(n.Drain != s.Drain, "drain")
	keep(n.MaxDeletes != s.MaxDeletes, "maxDeletes")
	next.Listen, next.Store, next.StorePasswordFile, next.Cache = s.Listen, s.Store, s.StorePasswordFile, s.Cache
	next.CacheLimit, next.Drain, next.MaxDeletes = s.CacheLimit, s.Drain, s.MaxDeletes
	var more []string
	next.Forges, more = s.nextForges(n.Forges)
	restart = append(restart, more...)
	for _, name := range slices.Sorted(maps.Keys(union(s.Clusters, n.Clusters))) {
		before, was := s.Clusters[name]
		after, is := n.Clusters[name]
		keep(was != is || before != after, "clusters."+name)
	}
	next.Clusters = s.Clusters
	return next, restart
}

func union[V any](a, b map[string]V) map[string]V {
	all := map[string]V{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}
