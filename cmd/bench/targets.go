package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
	"lockkeeper/cluster"
	"lockkeeper/cluster/kube"
	"lockkeeper/cluster/manifest"
	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/git"
)

// targets measures how much longer a pull waits because its repository has
// 1,000 targets and not one, in a bot that is warm: each pull edits one target,
// and the others have to be known as unaffected.
func (b *bench) targets(ctx context.Context) error {
	const many = 1000
	var seconds, ratio [2]float64
	for i, n := range []int{1, many} {
		cold, warm, err := b.planOneOf(ctx, n)
		if err != nil {
			return err
		}
		seconds[i], ratio[i] = warm, cold/warm
		b.report.add(figure{Name: fmt.Sprintf("a pull that edits 1 of %d targets, warm", n), Value: warm, Unit: "s"})
		b.report.add(figure{Name: fmt.Sprintf("a pull that edits 1 of %d targets, cold", n), Value: cold, Unit: "s"})
	}
	b.report.add(figure{Name: fmt.Sprintf("a pull that edits 1 of %d targets, warm against cold", many), Value: ratio[1], Unit: "times", Want: 10})
	b.report.add(figure{Name: fmt.Sprintf("what one unaffected target among %d adds, warm", many), Value: (seconds[1] - seconds[0]) / many * 1e6, Unit: "µs"})
	return nil
}

// planOneOf plans pulls of a repository with n targets, each an overlay over
// one base, and returns the seconds of the first and of the median other.
func (b *bench) planOneOf(ctx context.Context, n int) (cold, warm float64, err error) {
	repo, err := bare.Init(ctx, filepath.Join(b.dir, fmt.Sprintf("targets-%d.git", n)), "main")
	if err != nil {
		return 0, 0, err
	}
	files := []bare.File{
		{Path: config.RepoFile, Content: []byte(repositoryFile)},
		{Path: "base/kustomization.yaml", Content: []byte("resources: [config.yaml]\n")},
		{Path: "base/config.yaml", Content: []byte("{apiVersion: v1, kind: ConfigMap, metadata: {name: config, namespace: default}, data: {key: one}}\n")},
	}
	overlay := func(i int, value string) bare.File {
		text := fmt.Sprintf("resources: [../../base]\nnameSuffix: \"-n%d\"\ncommonAnnotations: {value: %s}\n", i, value)
		return bare.File{Path: fmt.Sprintf("targets/t%d/kustomization.yaml", i), Content: []byte(text)}
	}
	for i := range n {
		files = append(files, overlay(i, "one"))
	}
	main, err := commit(ctx, repo, "main", "", files)
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
