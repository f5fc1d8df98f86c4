package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lockkeeper/forge"
	"lockkeeper/forge/git"
	"lockkeeper/forge/people"
)

// The image that somebody puts on production by hand.
const handmade = "registry.example/shop/cart:2.1.4-hotfix"

// drift is what happens when somebody changes production behind Git's back: the
// bot opens a pull, and people choose.
func (t *tour) drift(ctx context.Context) error {
	t.chapter("somebody changes production by hand, and a pull opens by itself")
	prod := t.clusters[production]
	for _, s := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"kubectl scale on production: the bot opens a pull that says so", func(ctx context.Context) error {
			return t.byHand(ctx, []string{"scale", "deployment/web", "--replicas=7"}, "spec.replicas", "5", "7")
		}},
		{"it may have been bob's own change, so that his approval alone is not enough", func(ctx context.Context) error {
			return t.say(ctx, bob, "/approve", "approved", "1 more approval")
		}},
		{"adopted: olga approves too, /apply changes nothing live, and Git says what runs", func(ctx context.Context) error {
			return errors.Join(t.untouchedSpec(ctx, func() error {
				return errors.Join(t.say(ctx, olga, "/approve", "approved"), t.say(ctx, ann, "/apply", "🚀", "Merged as"))
			}), prod.runs(ctx, "web", image+"1.4.0", 7), t.talk.merged(ctx), t.mainSays(ctx, "overlays/production/kustomization.yaml", "count: 7"))
		}},
		{"kubectl set image on production: another pull", func(ctx context.Context) error {
			return t.byHand(ctx, []string{"set", "image", "deployment/cart", "cart=" + handmade}, "cart", handmade)
		}},
		{"/restore plans to put back what was applied; bob approves; /apply does it, and the pull closes by itself", t.restored},
	} {
		if err := t.step(ctx, s.title, s.do); err != nil {
			return err
		}
	}
	return nil
}

// byHand runs kubectl on production as somebody at a terminal, and waits for the
// bot's pull about it, whose body must say wants.
func (t *tour) byHand(ctx context.Context, args []string, wants ...string) error {
	out, err := t.clusters[production].Kubectl(ctx, append([]string{"-n", namespace}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("kubectl: %w\n%s", err, out)
	}
	start := time.Now()
	t.printf("  %s $ %s\n", t.style(bold, "somebody"), t.style(cyan, "kubectl -n "+namespace+" "+strings.Join(args, " ")))
	p, err := t.driftPull(ctx, wants...)
	if err != nil {
		return err
	}
	t.talk = &conversation{world: t.world, number: p.Number, shown: map[int64]string{}}
	t.printf("  %s\n", t.style(faint, fmt.Sprintf("%s opened %s%d “%s” %s after that", t.bot(), t.venue.sign, p.Number, p.Title, took(start))))
	t.box(t.bot(), p.Body)
	_, err = t.talk.report(ctx, "not yet allowed")
	return err
}

// driftPull waits for the open drift pull of production.
func (t *tour) driftPull(ctx context.Context, wants ...string) (people.Pull, error) {
	var found people.Pull
	err := eventually(ctx, fmt.Sprintf("the bot's pull about the drift of %s, which says %q", production, wants), func(ctx context.Context) (bool, error) {
		pulls, err := t.forge.As(ann).Pulls(ctx, shop)
		if err != nil {
			return false, err
		}
		for _, p := range pulls {
			if p.State == forge.Open && p.Author == t.bot() && strings.HasPrefix(p.Head, "lockkeeper/drift/") && says(p.Body, wants...) == nil {
				found = p
				return true, nil
			}
		}
		return false, t.serve.Ended()
	})
	return found, err
}

// untouchedSpec is an error if f changed what a Deployment of production should
// be. Who owns its fields may change.
func (t *tour) untouchedSpec(ctx context.Context, f func() error) error {
	spec := func() (string, error) {
		out, err := t.clusters[production].Kubectl(ctx, "-n", namespace, "get", "deployments",
			"-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.generation}{"\n"}{end}`).Output()
		return string(out), err
	}
	before, err := spec()
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	after, err := spec()
	if err == nil && before != after {
		err = fmt.Errorf("a Deployment changed:\nbefore\n%safter\n%s", before, after)
	}
	return err
}

// mainSays is an error unless a file on main has the text.
func (t *tour) mainSays(ctx context.Context, path, want string) error {
	content, err := t.onMain(ctx, path)
	if err != nil {
		return err
	}
	return says(string(content), want)
}

// onMain is a file of the branch main, fetched as ann fetches.
func (w *world) onMain(ctx context.Context, path string) ([]byte, error) {
	dir, err := os.MkdirTemp(w.dir, "clone-")
	if err != nil {
		return nil, err
	}
	cache, err := git.OpenCache(ctx, filepath.Join(dir, "mirrors"), git.Options{})
	if err != nil {
		return nil, err
	}
	defer cache.Close() //nolint:errcheck // only read from
	mirror := cache.Mirror(ctx, shop)
	heads, err := mirror.Fetch(ctx, w.forge.CloneURL(shop), w.forge.As(ann).GitAuth(), "refs/heads/main")
	if err != nil {
		return nil, err
	}
	sha, err := mirror.TreeOf(ctx, heads[0])
	if err != nil {
		return nil, err
	}
	tree, err := mirror.Tree(ctx, sha)
	if err != nil {
		return nil, err
	}
	return tree.ReadFile(path)
}

// forgeSection is the forge's part of the operator's file.
func (v venue) forgeSection(url string, app int64) string {
	args := []any{url, app}
	return fmt.Sprintf(v.section, args[:strings.Count(v.section, "%")]...)
}

func (t *tour) restored(ctx context.Context) error {
	if err := t.say(ctx, cho, "/restore", "put back"); err != nil {
		return err
	}
	report, err := t.talk.report(ctx, handmade, "not yet allowed")
	if err != nil {
		return err
	}
	t.box(t.bot(), report)
	if err := t.say(ctx, bob, "/approve", "approved"); err != nil {
		return err
	}
	if err := t.say(ctx, ann, "/apply", "🚀"); err != nil {
		return err
	}
	if err := t.clusters[production].runs(ctx, "cart", cart, 2); err != nil {
		return err
	}
	return eventually(ctx, fmt.Sprintf("#%d to be closed", t.talk.number), func(ctx context.Context) (bool, error) {
		p, err := t.talk.pull(ctx)
		return p.State == forge.Closed && !p.Merged, errOr(err, t.serve.Ended())
	})
}
