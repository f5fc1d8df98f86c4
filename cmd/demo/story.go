package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"lockkeeper/forge"
)

// The shop's images.
const (
	image = "registry.example/shop/web:"
	cart  = "registry.example/shop/cart:2.1.3"
)

// bringUp takes two empty clusters to what main says, through the bot.
func (t *tour) bringUp(ctx context.Context) error {
	t.chapter("two empty clusters are brought to what main says")
	err := t.step(ctx, "a pull that touches no target is let through at once", func(ctx context.Context) error {
		err := t.open(ctx, ann, "readme", "Say what this repository is", "", map[string]string{
			"README.md": "# The shop\n\nWhat is on `main` runs. Changes come by pull request; lockkeeper plans and applies them.\n",
		}, "No target is affected")
		if err != nil {
			return err
		}
		return t.checked(ctx, forge.Success)
	})
	if err != nil {
		return err
	}
	if err := t.sync(ctx, "staging", func(ctx context.Context) error {
		return errors.Join(t.clusters[staging].runs(ctx, "web", image+"1.4.0", 1), t.clusters[staging].runs(ctx, "cart", cart, 1))
	}); err != nil {
		return err
	}
	if err := t.sync(ctx, "production", func(ctx context.Context) error {
		return errors.Join(t.clusters[production].runs(ctx, "web", image+"1.3.9", 3), t.clusters[production].runs(ctx, "cart", cart, 2))
	}); err != nil {
		return err
	}
	if err := t.sync(ctx, "platform", func(ctx context.Context) error {
		return t.clusters[production].reads(ctx, "pods", "services")
	}); err != nil {
		return err
	}
	return t.step(ctx, "the pull's own plan comes back, and anyone may merge it", func(ctx context.Context) error {
		if err := t.say(ctx, ann, "/plan", "No target is affected"); err != nil {
			return err
		}
		if err := t.checked(ctx, forge.Success); err != nil {
			return err
		}
		if _, err := t.forge.As(cho).Merge(ctx, shop, t.talk.number, "squash"); err != nil {
			return err
		}
		t.printf("  %s presses Merge\n", t.style(bold, cho))
		return t.talk.merged(ctx)
	})
}

// sync applies main to one target: planned, approved, applied.
func (t *tour) sync(ctx context.Context, target string, live func(context.Context) error) error {
	return t.step(ctx, fmt.Sprintf("/sync %s: planned, approved by bob, applied, and verified on the cluster", target), func(ctx context.Context) error {
		if target == staging {
			if err := errors.Join(t.clusters[staging].empty(ctx), t.clusters[production].empty(ctx)); err != nil {
				return err
			}
		}
		if err := t.say(ctx, cho, "/sync "+target, "planned the sync"); err != nil {
			return err
		}
		report, err := t.talk.report(ctx, "`/sync "+target+"`", "create")
		if err != nil {
			return err
		}
		if strings.Contains(report, "s3cr3t") {
			return errors.New("the report shows the value of a Secret")
		}
		if target == staging {
			t.box(t.bot(), report)
		}
		if err := t.say(ctx, bob, "/approve", "approved"); err != nil {
			return err
		}
		if err := t.say(ctx, ann, "/apply", "🚀"); err != nil {
			return err
		}
		return live(ctx)
	})
}

// release is the main thing: planned, refused, approved, applied, merged.
func (t *tour) release(ctx context.Context) error {
	t.chapter("a release: image, replicas and configuration on staging and production")
	for _, s := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"the plan is commented, and planning writes nothing", t.releaseOpened},
		{"/apply without an approval is refused", func(ctx context.Context) error {
			return t.untouched(ctx, func() error { return t.say(ctx, cho, "/apply", "refused", "1 approval") })
		}},
		{"somebody from outside can neither approve nor apply", func(ctx context.Context) error {
			return t.untouched(ctx, func() error {
				return errors.Join(t.say(ctx, eve, "/approve", "refused"), t.say(ctx, eve, "/apply", "refused"))
			})
		}},
		{"who wrote it cannot approve it", func(ctx context.Context) error {
			return t.untouched(ctx, func() error { return t.say(ctx, ann, "/approve", "refused", "opened it") })
		}},
		{"bob of acme/platform approves", func(ctx context.Context) error {
			if err := t.say(ctx, bob, "/approve", "approved"); err != nil {
				return err
			}
			_, err := t.talk.report(ctx, "ready for `/apply`", "bob")
			return err
		}},
		{"/apply: both clusters change, become healthy, and the pull is merged", t.releaseApplied},
	} {
		if err := t.step(ctx, s.title, s.do); err != nil {
			return err
		}
	}
	return nil
}

func (t *tour) releaseOpened(ctx context.Context) error {
	files := map[string]string{}
	err := errors.Join(
		t.edited(files, "base/web.yaml", "web:1.4.0", "web:1.5.0"),
		t.edited(files, "base/kustomization.yaml", "LOG_LEVEL=info", "LOG_LEVEL=warn"),
		t.edited(files, "overlays/production/kustomization.yaml", "newTag: 1.3.9", "newTag: 1.4.0", "count: 3", "count: 5"),
	)
	if err != nil {
		return err
	}
	return t.untouched(ctx, func() error {
		err := t.open(ctx, ann, "release", "web 1.5.0 to staging, 1.4.0 to production with 5 replicas", "", files,
			"not yet allowed", "web:1.5.0", "web:1.4.0", "replicas: 5", "LOG_LEVEL: warn", "`"+t.venue.typed("/approve")+"`")
		if err != nil {
			return err
		}
		return t.checked(ctx, forge.ActionRequired)
	})
}

func (t *tour) releaseApplied(ctx context.Context) error {
	if err := t.say(ctx, ann, "/apply", "🚀", "Merged as"); err != nil {
		return err
	}
	report, err := t.talk.report(ctx, "Applied and merged")
	if err != nil {
		return err
	}
	t.box(t.bot(), report)
	return errors.Join(
		t.clusters[staging].runs(ctx, "web", image+"1.5.0", 1),
		t.clusters[staging].configured(ctx, "LOG_LEVEL", "warn"),
		t.clusters[production].runs(ctx, "web", image+"1.4.0", 5),
		t.clusters[production].runs(ctx, "cart", cart, 2),
		t.clusters[production].configured(ctx, "LOG_LEVEL", "warn"),
		t.talk.merged(ctx),
		t.checked(ctx, forge.Success),
	)
}

// permissions is a change of what people may do, that changes after it was
// approved.
func (t *tour) permissions(ctx context.Context) error {
	t.chapter("a change of permissions, and what was approved is what is applied")
	const branch = "read-deployments"
	widened := map[string]string{}
	for _, s := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"cho lets developers read Deployments too", func(ctx context.Context) error {
			err := t.edited(widened, "platform/rbac.yaml", `rules:
  - apiGroups: [""]`, `rules:
  - apiGroups: [apps]
    resources: [deployments]
    verbs: [get, list, watch]
  - apiGroups: [""]`)
			if err != nil {
				return err
			}
			return t.open(ctx, cho, branch, "Developers may read Deployments", "", widened, "not yet allowed", "deployments", "ClusterRole")
		}},
		{"bob approves with a review", func(ctx context.Context) error { return t.reviewed(ctx, forge.Approved, "ready for `/apply`") }},
		{"cho pushes Secrets on top, and /apply is refused", func(ctx context.Context) error {
			sneaky := map[string]string{"platform/rbac.yaml": strings.Replace(widened["platform/rbac.yaml"], "[pods, services]", "[pods, services, secrets]", 1)}
			return t.untouched(ctx, func() error {
				if err := t.push(ctx, cho, branch, "and Secrets", sneaky); err != nil {
					return err
				}
				return t.say(ctx, cho, "/apply", "refused", "the head is now")
			})
		}},
		{"bob asks for changes; cho takes Secrets out again; bob approves", func(ctx context.Context) error {
			if err := t.reviewed(ctx, forge.ChangesRequested, "secrets", "bob"); err != nil {
				return err
			}
			if err := t.push(ctx, cho, branch, "without Secrets", widened); err != nil {
				return err
			}
			p, err := t.talk.pull(ctx)
			if err != nil {
				return err
			}
			if _, err := t.talk.report(ctx, "head `"+p.HeadSHA[:8]+"`", "deployments"); err != nil {
				return err
			}
			return t.reviewed(ctx, forge.Approved, "ready for `/apply`")
		}},
		{"/apply: applied as approved, and merged", func(ctx context.Context) error {
			return errors.Join(t.say(ctx, ann, "/apply", "🚀", "Merged as"),
				t.clusters[production].reads(ctx, "deployments", "pods", "services"), t.talk.merged(ctx))
		}},
	} {
		if err := t.step(ctx, s.title, s.do); err != nil {
			return err
		}
	}
	return nil
}

// reviewed has bob review the pull, and waits until the report says wants.
func (t *tour) reviewed(ctx context.Context, s forge.ReviewState, wants ...string) error {
	words := map[forge.ReviewState]string{forge.Approved: "Fine with me.", forge.ChangesRequested: "Nobody needs to read Secrets."}[s]
	if err := t.thinks(ctx); err != nil {
		return err
	}
	if _, err := t.forge.As(bob).Review(ctx, shop, t.talk.number, s, words); err != nil {
		return err
	}
	words = "“" + words + "”"
	if t.venue.wordless {
		words = t.style(faint, "(without words, which reviews do not have on this forge)")
	}
	t.printf("  %s reviews: %s %s\n", t.style(bold, bob), t.style(cyan, strings.ReplaceAll(string(s), "_", " ")), words)
	report, err := t.talk.report(ctx, wants...)
	if err == nil {
		t.box(t.bot(), report)
	}
	return err
}

// history shows what was written down.
func (t *tour) history(ctx context.Context) error {
	t.chapter("every decision and act was written down")
	return t.step(ctx, "lockkeeper audit list", func(ctx context.Context) error {
		list, err := t.auditList(ctx, t.talk.number)
		if err != nil {
			return err
		}
		for line := range strings.Lines(list) {
			t.printf("  %s", line)
		}
		return says(list, "ann", "bob", "cho")
	})
}
