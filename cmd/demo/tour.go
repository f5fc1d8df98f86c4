package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"lockkeeper/forge"
)

// tour is the story, and how it went.
type tour struct {
	*world
	terminal
	started time.Time
	results []result
	talk    *conversation // the pull that the story is about just now

	toldLong bool // why commands are typed in their long form
}

// result is one step as it went.
type result struct {
	title string
	took  time.Duration
	err   error
}

// play tells the story until its end or the first step that is not as it
// should be, which is the error.
func (t *tour) play(ctx context.Context) error {
	for _, chapter := range []func(context.Context) error{t.bringUp, t.release, t.permissions, t.drift, t.history} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return t.step(ctx, t.venue.honest, t.forgeWasHonest)
}

// forgeWasHonest is an error if the forge did what its model would not do, or if
// an event of it was not taken.
func (t *tour) forgeWasHonest(ctx context.Context) error {
	if err := t.forge.Settle(ctx); err != nil {
		return err
	}
	told := t.forge.Delivered() // before looking what was taken: more may come at any time
	taken, err := t.taken()
	switch {
	case err != nil:
		return err
	case taken < told:
		return fmt.Errorf("%d webhooks were delivered, and lockkeeper took only %d", told, taken)
	}
	t.printf("  %s\n", t.style(faint, fmt.Sprintf("%d webhooks were delivered, and lockkeeper took each", told)))
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.violations) > 0 {
		return fmt.Errorf("%d times not, first: %s", len(t.violations), t.violations[0])
	}
	return nil
}

// taken counts the webhooks that lockkeeper says it took.
func (w *world) taken() (int, error) {
	log, err := os.ReadFile(w.serve.Log)
	if err != nil {
		return 0, err
	}
	n := 0
	for line := range bytes.Lines(log) {
		var entry struct{ Msg, Outcome string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg == "delivery" && (entry.Outcome == "accepted" || entry.Outcome == "doubled") {
			n++
		}
	}
	return n, nil
}

func (t *tour) chapter(title string) {
	t.printf("\n%s\n", t.style(bold, "═══ "+title+" "+strings.Repeat("═", max(3, 90-columns(title)))))
}

// step does one thing, says how long it took, and notes how it went.
func (t *tour) step(ctx context.Context, title string, do func(context.Context) error) error {
	t.printf("\n%s %s\n", t.style(cyan, fmt.Sprintf("%2d.", len(t.results)+1)), t.style(bold, title))
	start := time.Now()
	bounded, cancel := context.WithTimeoutCause(ctx, 2*patience, fmt.Errorf("the step took longer than %s", 2*patience))
	err := do(bounded)
	cancel()
	r := result{title, time.Since(start), err}
	t.results = append(t.results, r)
	if err != nil {
		t.printf("  %s %v\n", t.style(red, "✗ not as it should be:"), err)
		return fmt.Errorf("step %d, %s: %w", len(t.results), title, err)
	}
	t.printf("  %s %s\n", t.style(green, "✓"), t.style(faint, seconds(r.took)))
	return nil
}

// open opens a pull and shows the report once it says wants.
func (t *tour) open(ctx context.Context, login, branch, title, body string, files map[string]string, wants ...string) error {
	start := time.Now()
	c, err := t.world.open(ctx, login, branch, title, body, files)
	if err != nil {
		return err
	}
	t.talk = c
	opened := time.Now()
	t.printf("  %s opens %s%d “%s” %s\n", t.style(bold, login), t.venue.sign, c.number, title, t.style(faint, "(pushed and opened in "+took(start)+")"))
	report, err := c.report(ctx, wants...)
	if err != nil {
		return err
	}
	t.printf("  %s\n", t.style(faint, "the report stood "+took(opened)+" after the pull was opened"))
	t.box(t.bot(), report)
	return nil
}

// push pushes more to the pull's branch.
func (t *tour) push(ctx context.Context, login, branch, message string, files map[string]string) error {
	sha, err := t.world.push(ctx, login, branch, message, files)
	if err == nil {
		t.printf("  %s pushes %s “%s”\n", t.style(bold, login), t.style(cyan, sha[:8]), message)
	}
	return err
}

// say writes a comment and shows the bot's answer, which must say wants.
func (t *tour) say(ctx context.Context, login, body string, wants ...string) error {
	_, err := t.ask(ctx, login, body, wants...)
	return err
}

func (t *tour) ask(ctx context.Context, login, body string, wants ...string) (string, error) {
	if err := t.thinks(ctx); err != nil {
		return "", err
	}
	start := time.Now()
	short, body := body, t.venue.typed(body)
	id, err := t.forge.As(login).Comment(ctx, shop, t.talk.number, body)
	if err != nil {
		return "", err
	}
	t.printf("  %s: %s%s\n", t.style(bold, login), t.style(cyan, body), t.style(faint, t.whyLong(short, body)))
	if err := t.talk.acknowledged(ctx, id); err != nil {
		return "", err
	}
	seen := took(start)
	stop := t.follow(ctx)
	answer, err := t.talk.reply(ctx, id)
	stop()
	if err != nil {
		return "", err
	}
	t.printf("  %s\n", t.style(faint, "👀 after "+seen+", answered after "+took(start)))
	t.box(t.bot(), answer)
	return answer, says(answer, wants...)
}

// whyLong tells, once, why a command is not typed as short as it could be.
func (t *tour) whyLong(short, typed string) string {
	if short == typed || t.toldLong {
		return ""
	}
	t.toldLong = true
	return fmt.Sprintf("  (%s alone is a command of the forge's own, which it carries out and removes)", short)
}

// thinks has a person take a moment before they act, where otherwise the forge's
// clock would not tell that they acted after what they read.
func (w *world) thinks(ctx context.Context) error {
	if !w.venue.coarse {
		return nil
	}
	now := time.Now()
	select {
	case <-time.After(now.Truncate(time.Second).Add(time.Second).Sub(now)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checked waits until the bot's check on the pull's head is in a state, and shows
// it as the forge does.
func (t *tour) checked(ctx context.Context, want forge.CheckState) error {
	shown, folded := t.venue.folded[want]
	if !folded {
		shown = want
	}
	c, err := t.talk.check(ctx, shown)
	if err != nil {
		return err
	}
	t.printf("  the check %s: %s “%s”", t.style(bold, c.Name), t.style(cyan, string(c.State)), c.Title)
	if folded {
		t.printf(" %s", t.style(faint, fmt.Sprintf("(%q, for which this forge has no word)", want)))
	}
	t.printf("\n")
	return nil
}

// follow prints how an operation moves on in the report, until it is stopped.
func (t *tour) follow(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	talk, start, last := t.talk, time.Now(), ""
	go func() {
		defer close(done)
		_ = eventually(ctx, "the end of the operation", func(ctx context.Context) (bool, error) {
			body, err := talk.current(ctx)
			if now := progress(body); err == nil && now != "" && now != last {
				last = now
				t.printf("  %s %s\n", t.style(yellow, "⏳ "+now), t.style(faint, took(start)))
			}
			return false, nil
		})
	}()
	return func() { cancel(); <-done }
}

// progress is what a report says about a running operation, in a line.
func progress(report string) string {
	if !strings.Contains(report, ": running") {
		return ""
	}
	var parts []string
	for _, m := range summary.FindAllStringSubmatch(report, -1) {
		if s := plainHTML(m[1]); strings.HasSuffix(s, "done") {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ", ")
}

// summary shows all steps and how long each took.
func (t *tour) summary() {
	t.chapter("summary")
	t.printf("\n")
	failed := 0
	for i, r := range t.results {
		mark := t.style(green, "✓")
		if r.err != nil {
			failed++
			mark = t.style(red, "✗")
		}
		pad := strings.Repeat(" ", max(1, 84-columns(r.title)))
		t.printf("%s %2d. %s%s%8s\n", mark, i+1, r.title, pad, seconds(r.took))
	}
	verdict := t.style(green, "all as it should be")
	if failed > 0 {
		verdict = t.style(red, "the last step was not as it should be, and what follows it was not played")
	}
	t.printf("\n%d steps, %s in all: %s\n", len(t.results), took(t.started), verdict)
}

// stay opens one more pull to play with, and waits for Ctrl-C.
func (t *tour) stay(ctx context.Context) error {
	files := map[string]string{}
	if err := t.edited(files, "base/cart.yaml", "cart:2.1.3", "cart:2.2.0"); err != nil {
		return err
	}
	c, err := t.world.open(ctx, ann, "cart-2.2.0", "cart 2.2.0", "Yours to approve, apply, or break.", files)
	if err != nil {
		return err
	}
	t.printf("\n%s\n\n", t.style(bold, "Go on yourself: "+t.venue.sign+fmt.Sprint(c.number)+" waits for you, as any of ann, bob, cho, eve and olga"))
	for _, line := range t.goOn(c) {
		t.printf("%s\n", strings.TrimRight("  "+line, " "))
	}
	t.printf("\n")
	for _, name := range []string{staging, production} {
		t.printf("  bin/kubectl --kubeconfig %s get all -n %s\n", t.clusters[name].Kubeconfig, namespace)
	}
	t.printf("  bin/lockkeeper audit list --store %s\n  less %s %s\n\nCtrl-C ends everything.\n",
		t.store(), filepath.Join(t.dir, "server.yaml"), t.serve.Log)
	select {
	case <-ctx.Done():
		t.printf("\nending\n")
		return nil
	case <-t.serve.Done:
		return t.serve.Ended()
	}
}

func (w *world) store() string { return filepath.Join(w.dir, "lockkeeper.db") }

func (w *world) seed() string { return filepath.Join(w.root, "testdata", "shop") }

// auditList runs `lockkeeper audit list` for one pull.
func (w *world) auditList(ctx context.Context, number int) (string, error) {
	cmd := exec.CommandContext(ctx, w.binary, "audit", "list", "--store", w.store(), "--pull", fmt.Sprint(number))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return string(out), err
}
