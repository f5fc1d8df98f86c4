package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/cmd/internal/house"
	"lockkeeper/forge/forgetest"
)

// maxForgeCalls is how many calls a report may take.
const maxForgeCalls = 12

// pull measures how long people wait for the report, and how many calls of the
// forge's API it takes.
func (b *bench) pull(ctx context.Context) (err error) {
	h, err := house.Start(ctx, house.Options{Binary: b.binary, Plane: b.plane, Repo: forgetest.NewRepo{
		Owner: "acme", Name: "shop", Files: map[string]string{
			config.RepoFile:          repositoryFile,
			"targets/shop/shop.yaml": shop("one"),
		},
	}})
	defer func() { err = errors.Join(err, h.Close()) }()
	if err != nil {
		return err
	}
	took, calls, err := b.reports(ctx, h, func(value string) (string, string) { return "targets/shop/shop.yaml", shop(value) })
	if err != nil {
		return err
	}
	b.report.add(figure{Name: "a pull of one target: from the webhook to the report", Value: took, Unit: "s"})
	b.report.add(figure{Name: "a pull of one target: forge API calls, until nothing is left to do", Value: float64(calls), Unit: "calls", Want: maxForgeCalls, AtMost: true})
	return nil
}

// reports opens pulls that change one file each, and returns the median of the
// seconds until the report and the most calls that one cost.
func (b *bench) reports(ctx context.Context, h *house.House, file func(value string) (path, content string)) (seconds float64, calls int, err error) {
	var took []time.Duration
	for i := range runs {
		branch := fmt.Sprintf("change-%d", i)
		path, content := file(branch)
		d, n, err := b.onePull(ctx, h, branch, forgetest.Text(map[string]string{path: content}))
		if err != nil {
			return 0, 0, err
		}
		took, calls = append(took, d), max(calls, n)
	}
	return median(took), calls, nil
}

func shop(value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop, namespace: shop}\ndata: {key: %s}\n", value)
}

func (b *bench) onePull(ctx context.Context, h *house.House, branch string, files map[string][]byte) (time.Duration, int, error) {
	ann := h.Forge.As(house.Opener)
	if _, err := ann.Push(ctx, h.Repo, branch, "main", forgetest.Commit{Message: branch, Files: files}); err != nil {
		return 0, 0, err
	}
	if err := h.Settle(ctx); err != nil {
		return 0, 0, err
	}
	h.Forge.ForgetCalls()
	start := time.Now()
	number, err := ann.OpenPull(ctx, h.Repo, "main", branch, branch, "")
	if err != nil {
		return 0, 0, err
	}
	for {
		text, err := h.Report(ctx, number)
		if err != nil {
			return 0, 0, err
		}
		if text != "" {
			break
		}
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	took := time.Since(start)
	err = h.Settle(ctx)
	return took, len(h.Forge.Calls(h.App.BotLogin(), h.App.Slug)), err
}
