package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/store"
	"lockkeeper/forge/forgetest/bare"
)

// inspection collects what is not as it has to be.
type inspection struct {
	*world
	people *people
	broken []string
}

func (in *inspection) add(format string, args ...any) {
	in.broken = append(in.broken, fmt.Sprintf(format, args...))
}

// inspect checks what has to hold however much was broken, and returns a
// sentence for whatever does not.
func (w *world) inspect(ctx context.Context, p *people) ([]string, error) {
	in := &inspection{world: w, people: p}
	pulls, err := p.list(ctx, "all")
	if err != nil {
		return nil, err
	}
	for _, check := range []func(context.Context, []pull) error{
		in.talk, in.commands, in.operations, in.leases, in.trail, in.clusters, in.logs,
	} {
		if err := check(ctx, pulls); err != nil {
			return nil, err
		}
	}
	if len(in.broken) > 0 {
		return in.broken, in.keep(ctx, pulls)
	}
	return nil, nil
}

// comment is what people see on a pull.
type comment struct {
	ID   int64
	User struct{ Login string }
	Body string
	// Created is the forge's time.
	Created string `json:"created_at"`
}

func (in *inspection) comments(ctx context.Context, number int) ([]comment, error) {
	var all []comment
	for page := 1; ; page++ {
		var some []comment
		path := fmt.Sprintf("/repos/%s/issues/%d/comments?per_page=100&page=%d", in.people.repo(), number, page)
		if err := in.people.as("owner").Do(ctx, "GET", path, nil, &some); err != nil {
			return nil, err
		}
		if all = append(all, some...); len(some) < 100 {
			return all, nil
		}
	}
}

// talk: one report a pull, one reply to each command, and none to anything else.
func (in *inspection) talk(ctx context.Context, pulls []pull) error {
	given := map[string]int{} // marker of a reply: how often it may be there
	for _, s := range in.people.said {
		for i := range strings.Split(s.text, "\n") {
			given[fmt.Sprintf("<!-- lockkeeper:reply/%d/%d part=1 -->", s.comment, i)]++
		}
	}
	got := map[string]int{}
	for _, l := range pulls {
		comments, err := in.comments(ctx, l.Number)
		if err != nil {
			return err
		}
		reports := 0
		for _, c := range comments {
			marker, _, _ := strings.Cut(c.Body, "\n")
			switch {
			case c.User.Login != in.house.App.BotLogin():
			case strings.HasPrefix(marker, "<!-- lockkeeper:pull/"):
				reports++
			case strings.HasPrefix(marker, "<!-- lockkeeper:reply/"):
				got[marker]++
			}
		}
		// One that was closed before the bot came to look at it has none.
		unseen := l.State == "closed" && l.Merged == "" && reports == 0
		if reports != 1 && !unseen {
			in.add("#%d has %d reports, want 1", l.Number, reports)
		}
	}
	for _, s := range in.people.said {
		for i, line := range strings.Split(s.text, "\n") {
			marker := fmt.Sprintf("<!-- lockkeeper:reply/%d/%d part=1 -->", s.comment, i)
			if got[marker] != 1 {
				in.add("%s of %s on #%d (comment %d) was answered %d times, want once", line, s.who, s.pull, s.comment, got[marker])
			}
		}
	}
	for _, marker := range slices.Sorted(maps.Keys(got)) {
		if given[marker] == 0 {
			in.add("nobody gave the command that %s answers", marker)
		}
	}
	return nil
}

// keep writes what was said on every pull beside the logs.
func (in *inspection) keep(ctx context.Context, pulls []pull) error {
	var out strings.Builder
	for _, l := range pulls {
		comments, err := in.comments(ctx, l.Number)
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "======== #%d of %s, branch %s\n", l.Number, l.User.Login, l.Head.Ref)
		for _, c := range comments {
			fmt.Fprintf(&out, "---- %s, comment %d, %s\n%s\n", c.User.Login, c.ID, c.Created, c.Body)
		}
	}
	return os.WriteFile(filepath.Join(in.dir, "pulls.txt"), []byte(out.String()), 0o600)
}

// commands: each has its outcome.
func (in *inspection) commands(ctx context.Context, pulls []pull) error {
	for _, l := range pulls {
		all, err := in.store.Commands(ctx, in.house.Operator.ID, l.Number)
		if err != nil {
			return err
		}
		for _, c := range all {
			if c.Finished.IsZero() {
				in.add("/%s of comment %d on #%d has no outcome", c.Name, c.CommentID, l.Number)
			}
		}
	}
	return nil
}

// operations: none is left running, and none was begun twice by one command.
func (in *inspection) operations(ctx context.Context, pulls []pull) error {
	running, err := in.store.RunningOperations(ctx)
	if err != nil {
		return err
	}
	for _, op := range running {
		in.add("operation %s (%s of #%d) is still running", op.ID, op.Kind, op.Number)
	}
	for _, l := range pulls {
		all, err := in.store.Operations(ctx, in.house.Operator.ID, l.Number)
		if err != nil {
			return err
		}
		by := map[int64]int{}
		for _, op := range all {
			if by[op.CommentID]++; op.CommentID != 0 && by[op.CommentID] == 2 {
				in.add("comment %d on #%d began more than one operation", op.CommentID, l.Number)
			}
		}
		in.records(ctx, l.Number, all)
	}
	return nil
}

// records: of each operation, one of its intent and one of its end.
func (in *inspection) records(ctx context.Context, number int, ops []store.Operation) {
	all, err := in.store.Records(ctx, store.Filter{RepoID: in.house.Operator.ID, Number: number})
	if err != nil {
		in.add("the records of #%d cannot be read: %v", number, err)
	}
	count := map[string]int{}
	merges := 0
	for _, r := range all {
		count[string(r.Type)+" "+r.Operation]++
		if r.Type == audit.Merge && r.Outcome == "merged" {
			merges++
		}
	}
	for _, op := range ops {
		for _, kind := range []audit.Type{audit.ApplyStart, audit.ApplyEnd} {
			if n := count[string(kind)+" "+op.ID]; n != 1 {
				in.add("operation %s of #%d (%s) has %d records %s, want 1", op.ID, number, op.State, n, kind)
			}
		}
	}
	if merges > 1 {
		in.add("#%d was recorded as merged %d times", number, merges)
	}
}

// leases: nobody holds a target when no pull is open.
func (in *inspection) leases(ctx context.Context, _ []pull) error {
	leases, err := in.store.Leases(ctx)
	for _, l := range leases {
		if strings.HasPrefix(l.Key, "watch/") {
			continue // who watches a cluster, which somebody always does
		}
		in.add("%s is held by %s (%s) since %s", l.Key, l.Holder, l.Purpose, l.Acquired)
	}
	return err
}

// trail: the chain of records is whole.
func (in *inspection) trail(ctx context.Context, _ []pull) error {
	all, err := in.store.Records(ctx, store.Filter{})
	if err != nil {
		return err
	}
	if _, err := audit.Verify(audit.Genesis, all); err != nil {
		in.add("the audit trail: %v", err)
	}
	return nil
}

// clusters: what is live is what the base branch says, and nothing else.
func (in *inspection) clusters(ctx context.Context, _ []pull) error {
	want, err := in.base(ctx)
	if err != nil {
		return err
	}
	live, err := in.api.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	got := map[string]string{}
	for _, o := range live.Items {
		got[o.Name] = fmt.Sprint(o.Data)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if data, there := got[name]; there && data != want[name] {
			in.add("%s is live %s, and the base branch says %s", name, data, want[name])
		} else if !there {
			in.add("%s is not live, and the base branch says %s", name, want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if want[name] == "" {
			in.add("%s is live %s, and the base branch does not have it", name, got[name])
		}
	}
	return nil
}

// base reads the objects of the base branch, without any code of the bot.
func (in *inspection) base(ctx context.Context) (map[string]string, error) {
	repo := &bare.Repo{Dir: in.house.Forge.Dir(in.people.repo())}
	names, err := repo.Git(ctx, nil, "", "ls-tree", "-r", "--name-only", "main", "targets/")
	if err != nil {
		return nil, err
	}
	want := map[string]string{}
	for _, name := range strings.Fields(names) {
		text, err := repo.Git(ctx, nil, "", "show", "main:"+name)
		if err != nil {
			return nil, err
		}
		var o struct {
			Metadata struct{ Name string }
			Data     map[string]string
		}
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			return nil, fmt.Errorf("%s of the base branch: %w", name, err)
		}
		if o.Metadata.Name != "" { // a file whose only object was taken out stays, empty
			want[o.Metadata.Name] = fmt.Sprint(o.Data)
		}
	}
	return want, nil
}

// logs: nothing panicked.
func (in *inspection) logs(context.Context, []pull) error {
	for _, r := range in.replicas {
		data, err := os.ReadFile(r.log)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(data) {
			var entry struct{ Level, Msg string }
			switch err := json.Unmarshal(line, &entry); {
			case err != nil && bytes.Contains(line, []byte("panic")), strings.Contains(entry.Msg, "panicked"):
				in.add("replica %s: %.300s", r.name, line)
			}
		}
	}
	return nil
}
