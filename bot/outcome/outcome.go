// Package outcome says what an operation did to clusters, from the steps of its
// targets.
package outcome

import (
	"fmt"
	"slices"

	"lockkeeper/cluster"
)

// Pending is the result of a plan of which nothing was tried yet.
func Pending(p *cluster.Plan) cluster.Result {
	r := cluster.Result{Target: p.Target}
	for _, c := range p.Changes {
		r.Steps = append(r.Steps, cluster.Step{Ref: c.Ref, Action: c.Action, State: cluster.Waiting})
	}
	return r
}

// Skipped is the result of a plan that was not tried, and why.
func Skipped(p *cluster.Plan, why string) cluster.Result {
	r := Pending(p)
	for i := range r.Steps {
		r.Steps[i].State, r.Steps[i].Message = cluster.Skipped, "not tried: "+why
	}
	return r
}

// Mark updates a result in place; the slice is shared with nobody meanwhile.
func Mark(r *cluster.Result, s cluster.Step) {
	for i := range r.Steps {
		if r.Steps[i].Ref == s.Ref {
			r.Steps[i] = s
			return
		}
	}
	r.Steps = append(r.Steps, s)
}

// Clone copies results, so that an operation can go on with its own.
func Clone(in []cluster.Result) []cluster.Result {
	out := slices.Clone(in)
	for i := range out {
		out[i].Steps = slices.Clone(out[i].Steps)
	}
	return out
}

// Cancelled is the word for an operation that somebody stopped.
const Cancelled = "cancelled"

// OfCancelled says what an operation had done when somebody stopped it.
func OfCancelled(results []cluster.Result, by string) string {
	changes, bad := tally(results)
	switch {
	case Untouched(results):
		return fmt.Sprintf("Cancelled by @%s before anything was changed. `/apply` begins anew.", by)
	case bad == 0:
		return fmt.Sprintf("Cancelled by @%s when everything was in place and healthy already (changes: %d). `/apply` goes on from here.", by, changes)
	}
	return fmt.Sprintf("Cancelled by @%s: %d of %d changes are in place and healthy, the rest is not. `/apply` goes on from here.", by, changes-bad, changes)
}

// tally counts the changes, and those that are not in place and healthy.
func tally(results []cluster.Result) (changes, bad int) {
	for _, r := range results {
		for _, s := range r.Steps {
			changes++
			if s.State != cluster.Healthy {
				bad++
			}
		}
	}
	return changes, bad
}

// Of sums up an operation in a word and a sentence.
func Of(results []cluster.Result, failure error) (string, string) {
	changes, bad := tally(results)
	switch {
	case failure != nil:
		return "failed", fmt.Sprintf("Stopped: %v.", failure)
	case bad > 0:
		return "failed", fmt.Sprintf("%d of %d changes are in place and healthy, the rest is not. `/apply` goes on from here.", changes-bad, changes)
	case changes == 0:
		return "succeeded", "There was nothing left to change."
	case changes == 1:
		return "succeeded", "The change is applied and healthy."
	}
	return "succeeded", fmt.Sprintf("All %d changes are applied and healthy.", changes)
}

// Untouched reports whether the clusters are as they were before.
func Untouched(results []cluster.Result) bool {
	for _, r := range results {
		for _, s := range r.Steps {
			if s.State != cluster.Failed && s.State != cluster.Skipped && s.State != cluster.Waiting {
				return false
			}
		}
	}
	return true
}

// Failures lists what went wrong, object by object.
func Failures(results []cluster.Result) []string {
	var out []string
	for _, r := range results {
		for _, s := range r.Steps {
			if s.State != cluster.Healthy {
				out = append(out, fmt.Sprintf("%s: %s %s: %s %s", r.Target.Name, s.Action, s.Ref, s.State, s.Message))
			}
		}
	}
	return out
}

// StepsOnly drops events from results: records hold outcomes, not what
// foreign programs printed.
func StepsOnly(results []cluster.Result) []cluster.Result {
	out := Clone(results)
	for i := range out {
		for j := range out[i].Steps {
			out[i].Steps[j].Events = nil
		}
	}
	return out
}
