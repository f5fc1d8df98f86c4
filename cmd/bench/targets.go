package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
	"lockkeeper/cluster"
	"lockkeeper/cluster/kube"
	"lockkeeper/cluster/manifest"
	"lockkeeper/cmd/internal/house"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/git"
)

// manyTargets is what one target is compared with.
const manyTargets = 1000

// targets measures how much longer a pull waits because its repository has
// 1,000 targets and not one, in a bot that is warm: each pull edits one target,
// and the others have to be known as unaffected. People see the time from the
// webhook to the report; what the planner takes of it is measured as well.
func (b *bench) targets(ctx context.Context) error {
	var plans, reports [2]float64
	for i, n := range []int{1, manyTargets} {
		cold, warm, err := b.planOneOf(ctx, n)
		if err != nil {
			return err
		}
		if reports[i], err = b.reportOneOf(ctx, n); err != nil {
			return err
		}
		plans[i] = warm
		name := fmt.Sprintf("a pull that edits 1 of %d targets", n)
		b.report.add(figure{Name: name + ", warm: from the webhook to the report", Value: reports[i], Unit: "s"})
		b.report.add(figure{Name: name + ", warm: the plan alone", Value: warm, Unit: "s"})
		b.report.add(figure{Name: name + ", cold: the plan alone", Value: cold, Unit: "s"})
		if n == manyTargets {
			b.report.add(figure{Name: name + ": the plan, warm against cold", Value: cold / warm, Unit: "times", Want: 10})
		}
	}
	b.report.add(figure{
		Name: fmt.Sprintf("a report among %d targets takes, of one in a repository with one", manyTargets), Value: reports[1] / reports[0],
		Unit: "times", Want: 1.5, AtMost: true,
	})
	b.report.add(figure{Name: fmt.Sprintf("what one unaffected target among %d adds to a plan, warm", manyTargets), Value: (plans[1] - plans[0]) / manyTargets * 1e6, Unit: "µs"})
	return nil
}

// reportOneOf opens pulls of a repository with n targets, in a bot that planned
// one before, and returns the seconds of the median until its report.
func (b *bench) reportOneOf(ctx context.Context, n int) (seconds float64, err error) {
	files := map[string]string{config.RepoFile: repositoryFile}
	for _, f := range targetFiles(n) {
		files[f.Path] = string(f.Content)
	}
	h, err := house.Start(ctx, house.Options{
		Binary: b.binary, Plane: b.plane, Repo: forgetest.NewRepo{Owner: "acme", Name: "shop", Files: files},
	})
	defer func() { err = errors.Join(err, h.Close()) }()
	if err != nil {
		return 0, err
	}
	edited := func(value string) (string, string) {
		f := overlay(n/2, value)
		return f.Path, string(f.Content)
	}
	path, content := edited("warm")
	if _, _, err := b.onePull(ctx, h, "warm", forgetest.Text(map[string]string{path: content})); err != nil {
		return 0, err
	}
	seconds, _, err = b.reports(ctx, h, edited)
	return seconds, err
}

// targetFiles are n targets, each an overlay over one base.
func targetFiles(n int) []bare.File {
	files := []bare.File{
		{Path: "base/kustomization.yaml", Content: []byte("resources: [config.yaml]\n")},
		{Path: "base/config.yaml", Content: []byte("{apiVersion: v1, kind: ConfigMap, metadata: {name: config, namespace: default}, data: {key: one}}\n")},
	}
	for i := range n {
		files = append(files, overlay(i, "one"))
	}
	return files
}

func overlay(i int, value string) bare.File {
	text := fmt.Sprintf("resources: [../../base]\nnameSuffix: \"-n%d\"\ncommonAnnotations: {value: %s}\n", i, value)
	return bare.File{Path: fmt.Sprintf("targets/t%d/kustomization.yaml", i), Content: []byte(text)}
}

// planOneOf plans pulls of a repository with n targets, and returns the seconds of the first and of the median other.
func (b *bench) planOneOf(ctx context.Context, n int) (cold, warm float64, err error) {
	repo, err := bare.Init(ctx, filepath.Join(b.dir, fmt.Sprintf("targets-%d.git", n)), "main")
	if err != nil {
		return 0, 0, err
	}
	main, err := commit(ctx, repo, "main", "", withConfig(targetFiles(n)))
	if err != nil {
		return 0, 0, err
	}
	for i := range runs + 1 {
		if _, err := commit(ctx, repo, fmt.Sprintf("change-%d", i), main, []bare.File{overlay(n/2, fmt.Sprintf("value-%d", i))}); err != nil {
			return 0, 0, err
		}
	}
	return b.planPulls(ctx, repo.Dir)
}

func (b *bench) planPulls(ctx context.Context, dir string) (cold, warm float64, err error) {
	repo, err := git.Open(ctx, dir, git.Options{})
	if err != nil {
		return 0, 0, err
	}
	defer repo.Close()
	c, err := kube.New(kube.Config{Name: "main", REST: b.plane.RESTConfig()})
	if err != nil {
		return 0, 0, err
	}
	renderer := manifest.New(manifest.Limits{})
	defer renderer.Close()
	p := plan.Planner{Renderer: renderer, Clusters: func(string) (cluster.Cluster, error) { return c, nil }}
	var took []time.Duration
	for i := range runs + 1 {
		start := time.Now()
		base, err := treeOf(ctx, repo, "main")
		if err != nil {
			return 0, 0, err
		}
		merge, err := treeOf(ctx, repo, fmt.Sprintf("change-%d", i))
		if err != nil {
			return 0, 0, err
		}
		out, err := p.Run(ctx, plan.Input{Base: base, Merge: merge, MergeRevision: "change"})
		if err != nil {
			return 0, 0, err
		}
		if len(out.Targets) != 1 {
			return 0, 0, fmt.Errorf("want one affected target, got %d: %v", len(out.Targets), out.Problems)
		}
		if problems := out.Targets[0].Plan.Problems; len(problems) > 0 {
			return 0, 0, fmt.Errorf("want no problems, got %+v", problems)
		}
		took = append(took, time.Since(start))
	}
	return took[0].Seconds(), median(took[1:]), nil
}
