// Package rest holds the operations of the GitHub look-alike's REST API on
// pulls, checks, repositories, Git data, accounts, Apps, issues and hooks.
package rest

import (
	"slices"

	"lockkeeper/forge/forgetest/internal/api"
	"lockkeeper/forge/forgetest/internal/hub"
	"lockkeeper/forge/forgetest/internal/talk"
)

// The frame's nouns, by the names that handlers use all the time.
type (
	obj   = map[string]any
	call  = api.Call
	reply = api.Reply
	route = api.Route
)

// NewAPI gives the handler of the whole API, rooted at /.
func NewAPI(h *hub.Hub) *api.API { return api.New(h, routes()) }

// Routes lists every operation as "METHOD /path".
func Routes() []string {
	var list []string
	for _, rt := range routes() {
		list = append(list, rt.Pattern())
	}
	return list
}

func routes() []route {
	return slices.Concat(pullRoutes, talk.Routes, issueRoutes, checkRoutes, repoRoutes, accountRoutes, appRoutes, hookRoutes, dataRoutes)
}
