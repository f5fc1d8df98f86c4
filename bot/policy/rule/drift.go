package rule

import (
	"time"

	"lockkeeper/bot/policy/match"
	"lockkeeper/cluster"
)

// Watching is what is looked at, and what is left out, when live objects are
// compared with what was applied. What the operator lists is added to what a
// repository does.
type Watching struct {
	// Ignore are differences that are no drift.
	Ignore []cluster.IgnoreRule `json:"ignore,omitempty"`
	// Humans are field managers behind which people are, beside those that are
	// known: the fields that they add are drift.
	Humans []string `json:"humans,omitempty"`
}

// Drift is what an environment makes of drift.
type Drift struct {
	// AutoHeal lets the bot put back what was applied last, through the gate;
	// nil is not said, which means no where nobody says it.
	AutoHeal *bool `json:"autoHeal,omitempty"`
	// Silence is how long a drift pull that an approver closed is left closed
	// while nothing new is found; 0 is not said.
	Silence time.Duration `json:"silence,omitempty"`
	// From are people of whom one approves what somebody unknown contributed
	// to, in place of one approval more than otherwise.
	From People `json:"from,omitzero"`
}

// DefaultSilence is Drift.Silence where nobody says it.
const DefaultSilence = 720 * time.Hour

// Heals reports whether drift in an environment is healed without being asked
// for: somebody says so, and nobody says otherwise.
func (p Policy) Heals(environment string) bool {
	var heal *bool
	for _, d := range p.drifts(environment) {
		heal = both(heal, d.AutoHeal)
	}
	return heal != nil && *heal
}

// Silence is how long a drift pull of an environment stays closed: the shortest
// time that somebody says.
func (p Policy) Silence(environment string) time.Duration {
	var out time.Duration
	for _, d := range p.drifts(environment) {
		if d.Silence > 0 && (out == 0 || d.Silence < out) {
			out = d.Silence
		}
	}
	if out == 0 {
		return DefaultSilence
	}
	return out
}

// drifts are all that is said of drift in an environment.
func (p Policy) drifts(environment string) []Drift {
	var out []Drift
	for _, e := range p.Environments {
		if e.Drift != nil && match.Glob(e.Name, environment) {
			out = append(out, *e.Drift)
		}
	}
	return out
}
