package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/bot/config"
	"lockkeeper/cmd/internal/house"
	"lockkeeper/forge/forgetest"
)

const (
	// namespace is where all targets' objects are.
	namespace = "shop"
	// targets are how many directories there are.
	targets = 5
	// openPulls is how many pulls are open at once.
	openPulls = 8
)

// kept is the file of a target that nobody deletes, or else there would be no
// target.
const kept = "a"

// letters name the files of a target and their objects.
var letters = []string{kept, "b", "c", "d", "e"}

func filePath(target int, letter string) string {
	return fmt.Sprintf("targets/t%d/%s.yaml", target, letter)
}

func fileText(target int, letter, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: t%d-%s\n  namespace: %s\ndata:\n  key: %q\n", target, letter, namespace, value)
}

// firstFiles are what the repository begins with: no target yet.
func firstFiles() map[string]string {
	return map[string]string{config.RepoFile: "targets:\n  - {path: \"targets/*\", cluster: main, environment: production}\n"}
}

// begin has all targets brought to the cluster by a first pull, while nothing
// breaks.
func (p *people) begin(ctx context.Context) error {
	files := map[string]string{}
	for t := range targets {
		for _, l := range letters[:3] {
			files[filePath(t, l)] = fileText(t, l, "first")
		}
	}
	number, err := p.propose(ctx, files)
	if err != nil {
		return err
	}
	for _, words := range [][2]string{{house.Reviewer, "/approve"}, {house.Applier, "/apply"}} {
		if err := p.settle(ctx); err != nil {
			return err
		}
		if err := p.say(ctx, words[0], number, words[1]); err != nil {
			return err
		}
	}
	if err := p.settle(ctx); err != nil {
		return err
	}
	merged, err := p.world.house.Merged(ctx, number)
	if err == nil && !merged {
		err = fmt.Errorf("the first pull, which adds all targets, was not applied and merged")
	}
	return err
}

// said is one command that somebody gave.
type said struct {
	pull    int
	comment int64
	who     string
	text    string
}

// pull is what the forge's list tells of one.
type pull struct {
	Number int
	User   struct{ Login string }
	Head   struct{ Ref string }
	State  string
	Merged string `json:"merged_at"` // "" if it was not
}

// people act as the members of a team do, all at once, without waiting for the
// bot.
type people struct {
	world    *world
	rng      *rand.Rand
	acts     int
	refused  int // by the forge, as when a pull was merged meanwhile
	branches int
	said     []said
}

func newPeople(w *world, rng *rand.Rand) *people { return &people{world: w, rng: rng} }

func (p *people) as(login string) *forgetest.Client { return p.world.house.Forge.As(login) }

func (p *people) repo() string { return p.world.house.Repo }

// anyone is a person at random.
func (p *people) anyone() string {
	return []string{house.Opener, house.Reviewer, house.Applier}[p.rng.IntN(3)]
}

// live lets people act until ctx ends.
func (p *people) live(ctx context.Context) error {
	for rest(ctx, time.Duration(p.rng.IntN(700))*time.Millisecond) {
		if err := p.act(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// act is one thing that somebody does. What the forge refuses is no error: the
// pull may have been merged or closed a moment before.
func (p *people) act(ctx context.Context) error {
	// What was begun is finished, so that it is known whether it was done.
	ctx = context.WithoutCancel(ctx)
	open, err := p.open(ctx)
	if err != nil {
		return err
	}
	p.acts++
	if len(open) == 0 || len(open) < openPulls && p.rng.IntN(6) == 0 {
		_, err = p.propose(ctx, p.edit())
	} else {
		err = p.about(ctx, open[p.rng.IntN(len(open))])
	}
	if refusal := (*forgetest.StatusError)(nil); errors.As(err, &refusal) && refusal.Status < 500 {
		p.refused++
		p.world.diary.whisper("refused: %s", refusal.Message())
		return nil
	}
	return err
}

func (p *people) open(ctx context.Context) ([]pull, error) { return p.list(ctx, "open") }

func (p *people) list(ctx context.Context, state string) ([]pull, error) {
	var all []pull
	for page := 1; ; page++ {
		var some []pull
		path := fmt.Sprintf("/repos/%s/pulls?state=%s&per_page=100&page=%d", p.repo(), state, page)
		if err := p.as(house.Opener).Do(ctx, "GET", path, nil, &some); err != nil {
			return nil, err
		}
		if all = append(all, some...); len(some) < 100 {
			return all, nil
		}
	}
}

// edit is a random change of a target or two.
func (p *people) edit() map[string]string {
	files := map[string]string{}
	for range 1 + p.rng.IntN(2) {
		t, l := p.rng.IntN(targets), letters[p.rng.IntN(len(letters))]
		files[filePath(t, l)] = fileText(t, l, fmt.Sprint(p.rng.IntN(1_000_000)))
		if l != kept && p.rng.IntN(5) == 0 {
			files[filePath(t, l)] = ""
		}
	}
	return files
}

// propose opens a pull.
func (p *people) propose(ctx context.Context, files map[string]string) (int, error) {
	p.branches++
	branch, ann := fmt.Sprintf("change-%d", p.branches), p.as(house.Opener)
	if _, err := ann.Push(ctx, p.repo(), branch, "main", forgetest.Commit{Message: branch, Files: forgetest.Text(files)}); err != nil {
		return 0, err
	}
	number, err := ann.OpenPull(ctx, p.repo(), "main", branch, branch, "")
	p.world.diary.whisper("ann opens #%d", number)
	return number, err
}

// about is something that somebody does about a pull.
func (p *people) about(ctx context.Context, l pull) error {
	switch n := p.rng.IntN(100); {
	case n < 10:
		return p.push(ctx, l)
	case n < 15:
		return p.chat(ctx, l)
	case n < 35:
		_, err := p.as(house.Reviewer).Review(ctx, p.repo(), l.Number, "APPROVE", "fine")
		return err
	case n < 40:
		return p.say(ctx, house.Reviewer, l.Number, "/approve")
	case n < 62:
		return p.say(ctx, house.Applier, l.Number, "/apply")
	case n < 66:
		return p.say(ctx, p.anyone(), l.Number, "/plan")
	case n < 76:
		some := []string{"/status", "/help", "/explain", "/hold let me look", "/unhold", "/unapprove", "/cancel", "/appply", "/status\n/help"}
		return p.say(ctx, p.anyone(), l.Number, some[p.rng.IntN(len(some))])
	case n < 79:
		if drifted(l) {
			return nil // closing one says that the drift may stay
		}
		return p.as(house.Opener).Close(ctx, p.repo(), l.Number)
	case n < 84:
		return p.reopen(ctx)
	case n < 86:
		_, err := p.as(house.Opener).UpdateBranch(ctx, p.repo(), l.Number)
		return err
	case n < 89:
		return p.rollback(ctx)
	default:
		return p.changeLive(ctx)
	}
}

// drifted reports whether a pull is the bot's, about drift.
func drifted(l pull) bool { return strings.HasPrefix(l.Head.Ref, "lockkeeper/drift/") }

// push adds a commit to a person's pull.
func (p *people) push(ctx context.Context, l pull) error {
	if l.User.Login != house.Opener {
		return nil
	}
	_, err := p.as(house.Opener).Push(ctx, p.repo(), l.Head.Ref, "", forgetest.Commit{Message: "more", Files: forgetest.Text(p.edit())})
	p.world.diary.whisper("ann pushes to #%d", l.Number)
	return err
}

func (p *people) chat(ctx context.Context, l pull) error {
	_, err := p.as(p.anyone()).Comment(ctx, p.repo(), l.Number, "I wonder whether\n> /apply\nwould do")
	return err
}

// say gives commands, one a line, and notes them.
func (p *people) say(ctx context.Context, who string, number int, text string) error {
	id, err := p.as(who).Comment(ctx, p.repo(), number, text)
	if err != nil {
		return err
	}
	p.world.diary.whisper("%s on #%d: %s", who, number, strings.ReplaceAll(text, "\n", ", "))
	p.said = append(p.said, said{number, id, who, text})
	return nil
}

// reopen opens a pull again that was closed and not merged.
func (p *people) reopen(ctx context.Context) error {
	closed, err := p.list(ctx, "closed")
	if err != nil || len(closed) == 0 {
		return err
	}
	l := closed[p.rng.IntN(len(closed))]
	if l.User.Login != house.Opener {
		return nil
	}
	return p.as(house.Opener).Reopen(ctx, p.repo(), l.Number)
}

// rollback asks for a merged pull to be undone.
func (p *people) rollback(ctx context.Context) error {
	closed, err := p.list(ctx, "closed")
	if err != nil {
		return err
	}
	closed = slices.DeleteFunc(closed, func(l pull) bool { return l.User.Login != house.Opener })
	if len(closed) == 0 {
		return nil
	}
	return p.say(ctx, house.Applier, closed[p.rng.IntN(len(closed))].Number, "/rollback")
}

// changeLive changes or deletes an object behind Git's back.
func (p *people) changeLive(ctx context.Context) error {
	name := fmt.Sprintf("t%d-%s", p.rng.IntN(targets), letters[p.rng.IntN(len(letters))])
	maps := p.world.api.CoreV1().ConfigMaps(namespace)
	var err error
	if p.rng.IntN(4) == 0 {
		err = maps.Delete(ctx, name, metav1.DeleteOptions{})
	} else {
		doc := fmt.Sprintf(`{"data":{"key":"live %d"}}`, p.rng.IntN(1000))
		_, err = maps.Patch(ctx, name, types.MergePatchType, []byte(doc), metav1.PatchOptions{})
	}
	p.world.diary.whisper("somebody changes %s live: %v", name, err)
	return nil // the API server may be down just now, or the object not there
}

func (p *people) summary() string {
	return fmt.Sprintf("%d acts, %d commands", p.acts, len(p.said))
}
