// Package said knows the words in which git tells of remotes.
package said

import (
	"strings"

	"lockkeeper/forge"
)

// remotes maps what git says of remotes to what the bot does about it; the first
// match counts.
var remotes = []struct {
	words  string
	code   forge.Code
	status int
}{
	{"terminal prompts disabled", forge.Unauthorized, 401},
	{"Authentication failed", forge.Unauthorized, 401},
	{"returned error: 401", forge.Unauthorized, 401},
	{"returned error: 403", forge.Forbidden, 403},
	{"returned error: 404", forge.NotFound, 404},
	{"returned error: 429", forge.RateLimited, 429},
	{"returned error: 3", forge.Invalid, 0}, // redirects are not followed
	{"unable to update url base from redirection", forge.Invalid, 0},
	{"couldn't find remote ref", forge.NotFound, 0},
	{"not our ref", forge.NotFound, 0},
	{"Server does not allow request for unadvertised object", forge.NotFound, 0},
	{"does not appear to be a git repository", forge.NotFound, 0},
	{"' not found", forge.NotFound, 404},
	{"unable to access", forge.Unavailable, 0},
	{"RPC failed", forge.Unavailable, 0},
	{"hung up", forge.Unavailable, 0},
	{"early EOF", forge.Unavailable, 0},
	{"returned error: 5", forge.Unavailable, 0},
	{"remote error", forge.Unavailable, 0},
	{"expected flush", forge.Unavailable, 0},
	{"not valid: is this a git repository", forge.Invalid, 0},
}

// OfRemote finds the code and the HTTP status, 0 if there was none, that git's
// standard error tells of a remote; known is false for trouble of another kind.
func OfRemote(stderr string) (code forge.Code, status int, known bool) {
	for _, r := range remotes {
		if strings.Contains(stderr, r.words) {
			return r.code, r.status, true
		}
	}
	return "", 0, false
}
