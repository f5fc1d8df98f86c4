package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lockkeeper/bot/plan"
	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/kube"
	"lockkeeper/cmd/internal/house"
)

// Who makes the first state.
const (
	byLockkeeper = "lockkeeper"
	byKubectl    = "kubectl"
)

// replay is one run.
type replay struct {
	options
	binary   string
	history  *history
	backend  *backend
	plane    *clustertest.ControlPlane
	observer *observer
	house    *house.House
	cluster  *kube.Cluster  // for second plans
	target   cluster.Target // the one there is
	table    *table

	now     *state               // what the base branch says
	earlier map[cluster.Ref]bool // what any state before said
	adopted bool                 // every object is in the inventory
}

// play goes through the states. What is not as it should be goes into the
// table, and makes the outcome an error.
func (r *replay) play(ctx context.Context) error {
	r.earlier = map[cluster.Ref]bool{}
	if err := r.begin(ctx); err != nil {
		return err
	}
	for i := 1; i < len(r.history.states); i++ {
		next, err := r.history.state(ctx, i)
		if err != nil {
			return err
		}
		if err := r.step(ctx, next); err != nil {
			return fmt.Errorf("state %d (%s): %w", next.number, subject(next), err)
		}
	}
	if !r.adopted {
		if err := r.sync(ctx, "adopt the rest"); err != nil {
			return err
		}
	}
	return r.table.outcome()
}

func subject(s *state) string {
	line, _, _ := strings.Cut(s.commit.Message, "\n")
	return line
}

// begin brings the first state to the cluster.
func (r *replay) begin(ctx context.Context) error {
	if r.first == byKubectl {
		return r.kubectlApply(ctx)
	}
	return r.sync(ctx, "first state")
}

// sync has a pull that changes no manifest sync the target.
func (r *replay) sync(ctx context.Context, name string) error {
	s := *r.now
	number, err := r.open(ctx, &s, "sync-"+strings.ReplaceAll(name, " ", "-"))
	if err != nil {
		return err
	}
	if reply, err := r.house.Say(ctx, house.Applier, number, "/sync replay"); err != nil || !strings.Contains(reply, "✅") && !strings.Contains(reply, "planned") {
		return errors.Join(fmt.Errorf("/sync was answered: %s", reply), err)
	}
	r.adopted = true
	if err := r.apply(ctx, number, &s, name); err != nil {
		return err
	}
	if err := r.house.Forge.As(house.Opener).Close(ctx, r.house.Repo, number); err != nil {
		return err
	}
	return r.house.Settle(ctx)
}

// step makes a state a pull and follows it until it is merged.
func (r *replay) step(ctx context.Context, next *state) error {
	number, err := r.open(ctx, next, fmt.Sprintf("state-%d", next.number))
	if err != nil {
		return err
	}
	return r.apply(ctx, number, next, "")
}

// open pushes a state and opens a pull from it. It returns when the bot has
// said what it thinks of it.
func (r *replay) open(ctx context.Context, s *state, branch string) (int, error) {
	r.table.begin()
	r.house.Forge.ForgetCalls()
	parent := r.house.Forge.Head(r.house.Repo, "main")
	if _, err := r.history.git.Git(ctx, nil, "", "fetch", "-q", r.house.Forge.Dir(r.house.Repo), "refs/heads/main"); err != nil {
		return 0, err
	}
	if err := r.history.branch(ctx, s, branch, parent, house.Opener+"@example.com"); err != nil {
		return 0, err
	}
	ann := r.house.Forge.As(house.Opener)
	if err := ann.PushFrom(ctx, r.history.git.Dir, r.house.Repo, "refs/heads/"+branch); err != nil {
		return 0, err
	}
	number, err := ann.OpenPull(ctx, r.house.Repo, "main", branch, subject(s), "")
	if err != nil {
		return 0, err
	}
	return number, r.house.Settle(ctx)
}

// apply has the pull approved, applied and merged, and judges the outcome.
func (r *replay) apply(ctx context.Context, number int, next *state, name string) error {
	out, err := r.house.Plan(ctx, number)
	if err != nil {
		return err
	}
	before, err := r.observer.snapshot(ctx, r.now, next)
	if err != nil {
		return err
	}
	if len(out.Targets) > 0 {
		r.target = out.Targets[0].Plan.Target
	}
	row := newRow(next, name, out)
	row.planned = r.table.lap()
	row.wrong = problems(out)
	if _, err := r.house.Say(ctx, house.Reviewer, number, "/approve"); err != nil {
		return err
	}
	r.table.lap()
	reply, err := r.house.Say(ctx, house.Applier, number, "/apply")
	if err != nil {
		return err
	}
	row.applied = r.table.lap()
	after, err := r.observer.snapshot(ctx, r.now, next)
	if err != nil {
		return err
	}
	if err := r.happened(ctx, number, name == "", reply); err != nil {
		return err
	}
	row.wrong = append(row.wrong, compare(out, before, after)...)
	if err := r.count(ctx, number, row); err != nil {
		return err
	}
	if err := r.settled(ctx, next, after, row); err != nil {
		return err
	}
	r.table.add(row)
	return nil
}

// happened makes sure that the pull was applied and, unless it is there to sync,
// merged: without that, no later state can be tried.
func (r *replay) happened(ctx context.Context, number int, merge bool, reply string) error {
	merged, err := r.house.Merged(ctx, number)
	if err != nil || strings.Contains(reply, "🚀") && merged == merge {
		return err
	}
	report, err := r.house.Report(ctx, number)
	return errors.Join(fmt.Errorf("/apply was answered: %s\n%s\n%s", reply, report, r.house.Log(5)), err)
}

func changesOf(out *plan.Output) []cluster.Change {
	var changes []cluster.Change
	for _, t := range out.Targets {
		changes = append(changes, t.Plan.Changes...)
	}
	return changes
}

// problems are what a plan of real input should not have: reasons that keep it
// from being applied, and drift, where nobody but lockkeeper wrote.
func problems(out *plan.Output) []string {
	wrong := slices.Clone(out.Problems)
	for _, t := range out.Targets {
		for _, p := range t.Plan.Problems {
			wrong = append(wrong, fmt.Sprintf("problem: %s %s", p.Source, p.Message))
		}
		for _, d := range t.Plan.Drift {
			wrong = append(wrong, fmt.Sprintf("drift: %s: %v", d.Ref, d.Fields))
		}
	}
	return wrong
}

// count adds what the step cost.
func (r *replay) count(ctx context.Context, number int, row *row) error {
	row.forge = len(r.house.Forge.Calls(r.house.App.BotLogin(), r.house.App.Slug))
	ops, err := r.house.Operations(ctx, number)
	if err != nil {
		return err
	}
	for _, op := range ops {
		var results []cluster.Result
		if err := json.Unmarshal(op.Detail, &results); err != nil {
			return fmt.Errorf("read operation %s: %w", op.ID, err)
		}
		for _, res := range results {
			row.applyRequests += res.Stats.Requests
		}
	}
	return nil
}

// settled checks that nothing is left over: what Git has is live, what it has
// no more is gone, and there is nothing more to plan.
func (r *replay) settled(ctx context.Context, next *state, after snapshot, row *row) error {
	for _, s := range []*state{r.now, next} {
		for _, o := range s.objects {
			r.earlier[o.Ref] = true
		}
	}
	r.now = next
	row.wrong = append(row.wrong, leftOver(next, r.earlier, after)...)
	again, err := r.replan(ctx)
	if err != nil {
		return err
	}
	for _, ch := range changesOf(again) {
		row.wrong = append(row.wrong, fmt.Sprintf("left to do: %s %s %v", ch.Action, ch.Ref, ch.Fields))
	}
	row.wrong = append(row.wrong, problems(again)...)
	for _, t := range again.Targets {
		if r.adopted && t.Plan.Unadopted > 0 {
			row.wrong = append(row.wrong, fmt.Sprintf("%d objects are not in the inventory", t.Plan.Unadopted))
		}
	}
	return nil
}

// thorough is how often a step is followed by a look at every object, which
// costs more than the step; the others look at what the inventory does not show
// as applied.
const thorough = 10

// replan plans the base branch, which is what is live.
func (r *replay) replan(ctx context.Context) (*plan.Output, error) {
	if last := r.history.from + len(r.history.states) - 1; r.adopted && (r.now.number%thorough == 1 || r.now.number == last) {
		return r.planAll(ctx)
	}
	p, err := r.cluster.Plan(ctx, cluster.Request{Target: r.target, Base: r.now.objects, Merge: r.now.objects, Revision: "again"})
	return &plan.Output{Targets: []plan.Target{{Plan: p}}}, err
}

// planAll runs the command that people have for it.
func (r *replay) planAll(ctx context.Context) (*plan.Output, error) {
	head := r.house.Forge.Head(r.house.Repo, "main")
	cmd := exec.CommandContext(ctx, r.binary, "plan", "--repo", r.house.Forge.Dir(r.house.Repo), "--base", head, "--head", head,
		"--config", r.house.ServerFile, "--kubeconfig", r.plane.Kubeconfig, "--all", "-o", "json")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	doc, err := cmd.Output()
	var out plan.Output
	if decode := json.Unmarshal(doc, &out); decode != nil {
		return nil, fmt.Errorf("lockkeeper plan: %w: %s", errors.Join(err, decode), stderr.String())
	}
	return &out, nil
}

// kubectlApply makes the first state as its project's instructions say:
// definitions of kinds on the server's side, because they are too large for
// an annotation, and the rest on the client's.
func (r *replay) kubectlApply(ctx context.Context) error {
	r.table.begin()
	start := time.Now()
	dir := filepath.Join(r.history.dir, "first")
	if err := r.export(dir); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "-f", filepath.Join(dir, "0")},
		{"wait", "--for=condition=Established", "--all", "crd", "--timeout=60s"},
		{"apply", "-f", filepath.Join(dir, "1")},
	} {
		if out, err := r.plane.Kubectl(ctx, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("kubectl %s: %w\n%s", args[0], err, out)
		}
	}
	r.table.say("the first state, %d objects, was made by kubectl apply in %.1f s\n", len(r.now.objects), time.Since(start).Seconds())
	return nil
}

// export writes the first state's objects as files: definitions of kinds and
// namespaces into the directory 0, the rest into 1.
func (r *replay) export(dir string) error {
	for i, o := range r.now.objects {
		part := "1"
		if o.Ref.Kind == "CustomResourceDefinition" || o.Ref.Kind == "Namespace" {
			part = "0"
		}
		if err := os.MkdirAll(filepath.Join(dir, part), 0o755); err != nil {
			return err
		}
		doc, err := json.Marshal(o.Content)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, part, fmt.Sprintf("%03d.json", i)), doc, 0o600); err != nil {
			return err
		}
	}
	return nil
}
