package outcome_test

import (
	"errors"
	"strings"
	"testing"

	"lockkeeper/bot/outcome"
	"lockkeeper/cluster"
)

func result(states ...cluster.StepState) cluster.Result {
	var r cluster.Result
	for _, s := range states {
		r.Steps = append(r.Steps, cluster.Step{State: s, Events: []string{"BackOff"}})
	}
	return r
}

func TestAnOperationIsSummedUp(t *testing.T) {
	for _, c := range []struct {
		results   []cluster.Result
		failure   error
		word      string
		says      string
		untouched bool
	}{
		{nil, nil, "succeeded", "nothing left", true},
		{[]cluster.Result{result(cluster.Healthy)}, nil, "succeeded", "The change is applied", false},
		{[]cluster.Result{result(cluster.Healthy), result(cluster.Healthy)}, nil, "succeeded", "All 2 changes", false},
		{[]cluster.Result{result(cluster.Healthy, cluster.Unhealthy), result(cluster.Skipped)}, nil, "failed", "1 of 3 changes", false},
		{[]cluster.Result{result(cluster.Failed, cluster.Waiting)}, nil, "failed", "0 of 2", true},
		{[]cluster.Result{result(cluster.Applying)}, errors.New("no route to host"), "failed", "Stopped: no route to host.", false},
	} {
		word, says := outcome.Of(c.results, c.failure)
		if word != c.word || !strings.Contains(says, c.says) || outcome.Untouched(c.results) != c.untouched {
			t.Errorf("%v: %s, %q, untouched %v", c.results, word, says, outcome.Untouched(c.results))
		}
	}
}

func TestCancelledOperationIsSummedUp(t *testing.T) {
	for _, c := range []struct {
		results []cluster.Result
		says    string
	}{
		{[]cluster.Result{result(cluster.Healthy, cluster.Applied), result(cluster.Skipped)}, "Cancelled by @bob: 1 of 3 changes are in place"},
		{[]cluster.Result{result(cluster.Skipped, cluster.Failed)}, "before anything was changed"},
		{[]cluster.Result{result(cluster.Healthy, cluster.Healthy)}, "everything was in place and healthy already (changes: 2)"},
	} {
		if says := outcome.OfCancelled(c.results, "bob"); !strings.Contains(says, c.says) || !strings.Contains(says, "`/apply`") {
			t.Errorf("%v: %q", c.results, says)
		}
	}
}

// Records hold outcomes, not what foreign programs printed.
func TestStepsOnlyLeavesTheOriginalAlone(t *testing.T) {
	in := []cluster.Result{result(cluster.Unhealthy)}
	if out := outcome.StepsOnly(in); len(out[0].Steps[0].Events) != 0 || len(in[0].Steps[0].Events) != 1 {
		t.Errorf("%v became %v", in, out)
	}
}
