// Package talk holds the operations of the GitHub look-alike's REST API on what
// people say about a pull: comments, reactions, reviews
// and requests for them.
package talk

import (
	"slices"

	"lockkeeper/forge/forgetest/internal/api"
)

// The frame's nouns, by the names that handlers use all the time.
type (
	obj   = map[string]any
	call  = api.Call
	reply = api.Reply
	route = api.Route
)

// Routes are the operations of this room.
var Routes = slices.Concat(commentRoutes, reviewRoutes, requestRoutes)
