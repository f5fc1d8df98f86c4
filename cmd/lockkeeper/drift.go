package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lockkeeper/bot/config"
	"lockkeeper/bot/drift"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/report"
	"lockkeeper/bot/report/escape"
	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest"
	"lockkeeper/cluster/manifest/writeback"
	"lockkeeper/forge/git"
)

// driftFlags are what `lockkeeper drift` is asked.
type driftFlags struct {
	repo, ref, kubeconfig, context, config, name, format string
	targets                                              names
	full, write                                          bool
}

// driftTarget is what was found out about one target.
type driftTarget struct {
	*cluster.DriftReport
	// Applied counts the objects that the inventory holds of the target.
	Applied int `json:"applied"`
	// Edits are the files that --write changes, Refused what it cannot say in
	// them.
	Edits   []string         `json:"edits,omitempty"`
	Refused []report.Refusal `json:"refused,omitempty"`

	objects []cluster.Object // that it renders to, if that was asked
}

// driftOutput is the outcome for people and programs.
type driftOutput struct {
	Targets []driftTarget `json:"targets"`
}

func driftCommand(ctx context.Context, c *call) error {
	var f driftFlags
	c.flags.StringVar(&f.repo, "repo", ".", "the local clone, a `DIR`ectory; it is written to only with --write")
	c.flags.StringVar(&f.ref, "ref", "HEAD", "the branch or commit that was applied, a `REF`")
	c.flags.Var(&f.targets, "target", "look only at this target, by `NAME`; may be repeated")
	c.flags.StringVar(&f.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the kubeconfig `FILE`")
	c.flags.StringVar(&f.context, "context", "", "the `CONTEXT` in the kubeconfig; default: the one a cluster is named after, else the current one")
	c.flags.StringVar(&f.config, "config", "", "the operator's `FILE`, for its fences; default: none apply")
	c.flags.StringVar(&f.name, "name", "", "which `OWNER/NAME` of the operator's file this is; default: the only one")
	c.flags.BoolVar(&f.full, "full", false, "compare every object by value, also those that metadata proves clean")
	c.flags.BoolVar(&f.write, "write", false, "edit the work tree so that it says what is live; nothing is committed")
	c.flags.StringVar(&f.format, "o", "text", "text or json")
	if err := c.parse(); err != nil {
		return err
	}
	write, ok := map[string]func(io.Writer, *driftOutput) error{"text": driftText, "json": driftJSON}[f.format]
	if !ok {
		return fmt.Errorf("drift: -o %s: want text or json", f.format)
	}
	out, err := offlineDrift(ctx, f)
	if err != nil {
		return err
	}
	if err := write(c.stdout, out); err != nil {
		return fmt.Errorf("drift: write what was found: %w", err)
	}
	return driftExit(out)
}

// driftExit makes the exit code: 1 where something could not be looked at, 2
// for drift, 0 if all is proven to be as it was applied.
func driftExit(out *driftOutput) error {
	problems, findings := 0, 0
	for _, t := range out.Targets {
		problems += len(t.Problems)
		findings += len(t.Findings)
	}
	switch {
	case problems > 0:
		return exitError{1, fmt.Sprintf("lockkeeper: not everything could be looked at: %s", countProblems(problems))}
	case findings > 0:
		return exitError{2, ""}
	}
	return nil
}

// driftLook is one run of the command.
type driftLook struct {
	f        driftFlags
	op       *config.Repository // nil without --config
	repo     *git.Repo
	renderer *manifest.Renderer
	clusters func(string) (cluster.Cluster, error)
	commit   string
	tree     *git.Tree // of the commit
	edited   *git.Tree // what is to be written
	all      []cluster.Target
	watching policy.Watching
	censuses map[string]*cluster.Census
}

func offlineDrift(ctx context.Context, f driftFlags) (*driftOutput, error) {
	l := &driftLook{f: f, renderer: manifest.New(manifest.Limits{}), censuses: map[string]*cluster.Census{}}
	defer l.renderer.Close()
	var err error
	if l.repo, err = git.Open(ctx, f.repo, git.Options{}); err != nil {
		return nil, err
	}
	defer l.repo.Close()
	if err := l.read(ctx); err != nil {
		return nil, err
	}
	out := &driftOutput{Targets: []driftTarget{}}
	var paths []string
	for _, t := range l.all {
		if len(f.targets) > 0 && !slices.Contains(f.targets, t.Name) {
			continue
		}
		found, err := l.look(ctx, t)
		if err == nil && f.write {
			err = l.adopt(ctx, t, found)
		}
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", t.Name, err)
		}
		out.Targets = append(out.Targets, *found)
		paths = append(paths, found.Edits...)
	}
	slices.Sort(paths)
	return out, l.write(slices.Compact(paths))
}

// read reads the commit and what it says of targets and policy.
func (l *driftLook) read(ctx context.Context) (err error) {
	l.clusters = clusterFinder(planFlags{kubeconfig: l.f.kubeconfig, context: l.f.context})
	server := &config.Server{}
	if l.f.config != "" {
		if server, err = readServer(l.f.config); err != nil {
			return err
		}
		if l.op, err = operatorEntry(server, l.f.config, l.f.name); err != nil {
			return fmt.Errorf("drift: %w", err)
		}
	}
	if l.commit, err = l.repo.ResolveCommit(ctx, l.f.ref); err != nil {
		return err
	}
	if l.tree, err = l.treeOf(ctx, l.commit); err != nil {
		return err
	}
	l.edited = l.tree
	file, all, err := plan.Load(l.tree, l.op)
	if err != nil {
		return err
	}
	l.all, l.watching = all, config.Compile(file, server).Watching
	for _, name := range l.f.targets {
		if !slices.ContainsFunc(l.all, func(t cluster.Target) bool { return t.Name == name }) {
			return fmt.Errorf("drift: %s of %s has no target %q", config.RepoFile, l.f.ref, name)
		}
	}
	return nil
}

func (l *driftLook) treeOf(ctx context.Context, commit string) (*git.Tree, error) {
	sha, err := l.repo.TreeOf(ctx, commit)
	if err != nil {
		return nil, err
	}
	return l.repo.Tree(ctx, sha)
}

// look finds out how one target drifted. What metadata proves to be as it was
// applied is not asked for, unless --full says so.
func (l *driftLook) look(ctx context.Context, t cluster.Target) (*driftTarget, error) {
	c, err := l.clusters(t.Cluster)
	if err != nil {
		return nil, err
	}
	census, err := l.census(ctx, t.Cluster, c)
	if err != nil {
		return nil, err
	}
	owner, err := ownerOf(census, t)
	if err != nil {
		return nil, err
	}
	t.RepoID = owner.RepoID
	found := &driftTarget{DriftReport: &cluster.DriftReport{Target: t, Findings: []cluster.Finding{}}, Applied: census.Owners[owner]}
	if only := census.Suspects[owner]; found.Applied > 0 && (l.f.full || len(only) > 0) {
		if err := l.exactly(ctx, c, t, found, only); err != nil {
			return nil, err
		}
	}
	for _, u := range census.Unknown {
		what := cmp.Or(u.Kind, "the whole cluster")
		found.Problems = append(found.Problems, cluster.Problem{Message: what + " cannot be looked at: " + u.Reason})
	}
	return found, nil
}

// exactly compares objects by value.
func (l *driftLook) exactly(ctx context.Context, c cluster.Cluster, t cluster.Target, found *driftTarget, only []cluster.Ref) error {
	rendering, err := l.renderer.Render(ctx, l.tree, t.Path)
	if err != nil {
		return fmt.Errorf("render %s: %w", t.Path, err)
	}
	found.objects = rendering.Objects
	r := cluster.DriftRequest{Target: t, Objects: found.objects, Only: only, Ignore: l.watching.Ignore, Humans: l.watching.Humans}
	if l.f.full {
		r.Only = nil
	}
	if r.Applied, err = l.wasApplied(ctx, c, t, found.objects); err != nil {
		return err
	}
	report, err := c.Drift(ctx, r)
	if err != nil {
		return err
	}
	if report.Findings == nil {
		report.Findings = []cluster.Finding{}
	}
	for _, ref := range report.Pending {
		if slices.Contains(only, ref) { // not proven, and not to be compared either
			report.Problems = append(report.Problems, cluster.Problem{
				Ref: &ref, Message: fmt.Sprintf("%s: %s has it otherwise than it was applied, and this clone cannot render what was applied last: fetch that revision, or say it with --ref", ref, l.f.ref),
			})
		}
	}
	found.DriftReport = report
	return nil
}

func (l *driftLook) census(ctx context.Context, name string, c cluster.Cluster) (*cluster.Census, error) {
	if known, ok := l.censuses[name]; ok {
		return known, nil
	}
	census, err := c.Census(ctx)
	if err != nil {
		return nil, err
	}
	l.censuses[name] = census
	return census, nil
}

// ownerOf finds how the inventory names the target: without the operator's file
// nobody knows the forge's number of the repository.
func ownerOf(census *cluster.Census, t cluster.Target) (cluster.Owner, error) {
	if t.RepoID != 0 {
		return t.Owner(), nil
	}
	var found []cluster.Owner
	for o := range census.Owners {
		if o.Target == t.Name {
			found = append(found, o)
		}
	}
	switch len(found) {
	case 0:
		return t.Owner(), nil
	case 1:
		return found[0], nil
	}
	return cluster.Owner{}, fmt.Errorf("%d repositories have a target %s on cluster %s: say which this is with --config", len(found), t.Name, t.Cluster)
}

// wasApplied renders the revision that was applied last, nil where this clone
// does not have it.
func (l *driftLook) wasApplied(ctx context.Context, c cluster.Cluster, t cluster.Target, now []cluster.Object) ([]cluster.Object, error) {
	applied, err := c.Applied(ctx)
	if err != nil {
		return nil, err
	}
	revision := applied[t.Owner()].Revision
	if revision == l.commit {
		return now, nil
	}
	tree, err := l.treeOf(ctx, revision)
	if err != nil {
		return nil, ctx.Err()
	}
	_, targets, err := plan.Load(tree, l.op)
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		return nil, ctx.Err()
	}
	i := slices.IndexFunc(targets, func(x cluster.Target) bool { return x.Name == t.Name && x.Cluster == t.Cluster })
	if i < 0 {
		return nil, ctx.Err()
	}
	rendering, err := l.renderer.Render(ctx, tree, targets[i].Path)
	if err != nil {
		return nil, ctx.Err()
	}
	return rendering.Objects, nil
}

// adopt works out the edits after which the tree says what is live of a target,
// and makes them the tree that the next target begins with.
func (l *driftLook) adopt(ctx context.Context, t cluster.Target, found *driftTarget) error {
	w := &writeback.Writer{Renderer: l.renderer}
	made, err := drift.Adopt(ctx, w, drift.Source{Tree: l.edited, Targets: l.all, Objects: found.objects}, t, found.Findings)
	if err != nil {
		return err
	}
	found.Refused = made.Refused
	edits := map[string]git.Edit{}
	for path, e := range made.Edits {
		found.Edits = append(found.Edits, path)
		edits[path] = git.Edit{Content: e.Content, Delete: e.Delete}
	}
	slices.Sort(found.Edits)
	if len(edits) == 0 {
		return nil
	}
	sha, err := l.repo.WriteTree(ctx, l.edited.SHA(), edits)
	if err != nil {
		return err
	}
	l.edited, err = l.repo.Tree(ctx, sha)
	return err
}

// write brings the work tree to the edited tree: all files or, where one of them
// is otherwise than the commit has it, none.
func (l *driftLook) write(paths []string) error {
	root, err := os.OpenRoot(l.f.repo)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, p := range paths {
		var was []byte
		_, known := l.tree.Hash(p)
		if known {
			if was, err = l.tree.ReadFile(p); err != nil {
				return err
			}
		}
		is, err := root.ReadFile(filepath.FromSlash(p))
		if !known && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if !known || err != nil || !bytes.Equal(is, was) {
			return fmt.Errorf("drift: %s in the work tree is not as %s has it: commit or undo what changed there first; nothing was written", p, l.f.ref)
		}
	}
	for _, p := range paths {
		name := filepath.FromSlash(p)
		if _, kept := l.edited.Hash(p); !kept {
			err = root.Remove(name)
		} else if content, rerr := l.edited.ReadFile(p); rerr != nil {
			err = rerr
		} else if err = root.MkdirAll(filepath.Dir(name), 0o755); err == nil {
			err = root.WriteFile(name, content, 0o644) // an existing file keeps its mode
		}
		if err != nil {
			return fmt.Errorf("drift: write %s: %w", p, err)
		}
	}
	return nil
}

func driftJSON(w io.Writer, out *driftOutput) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

// driftText is the outcome for people: target by target, object by object.
func driftText(w io.Writer, out *driftOutput) error {
	var b strings.Builder
	for _, t := range out.Targets {
		fmt.Fprintf(&b, "%s on %s: %s\n", t.Target.Name, t.Target.Cluster, driftHeadline(t))
		ref := cluster.Ref{}
		for _, f := range t.Findings {
			if f.Ref != ref {
				ref = f.Ref
				fmt.Fprintf(&b, "  %s%s\n", f.Ref, parenthesis(escape.OneLine(f.Source)))
			}
			fmt.Fprintf(&b, "    %s%s\n", escape.OneLine(findingLine(f)), parenthesis(escape.OneLine(findingBy(f))))
		}
		for _, p := range t.Problems {
			fmt.Fprintf(&b, "  not known: %s\n", escape.OneLine(p.Message))
		}
		for _, p := range t.Edits {
			fmt.Fprintf(&b, "  edited: %s\n", escape.OneLine(p))
		}
		for _, r := range t.Refused {
			fmt.Fprintf(&b, "  not written: %s %s: %s\n", r.Ref, escape.OneLine(r.Path), escape.OneLine(r.Reason))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func driftHeadline(t driftTarget) string {
	refs := map[cluster.Ref]bool{}
	for _, f := range t.Findings {
		refs[f.Ref] = true
	}
	var parts []string
	if len(refs) > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d objects are not as they were applied", len(refs), t.Applied))
	} else if len(t.Problems) == 0 && t.Applied == 0 {
		parts = append(parts, "lockkeeper applied nothing here")
	} else if len(t.Problems) == 0 {
		parts = append(parts, "as it was applied")
	}
	if n := len(t.Pending); n > 0 {
		parts = append(parts, fmt.Sprintf("%d pending", n))
	}
	if n := len(t.Problems); n > 0 {
		parts = append(parts, fmt.Sprintf("%d not known", n))
	}
	return strings.Join(parts, ", ")
}

func parenthesis(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

func findingLine(f cluster.Finding) string {
	if f.Field.Path == "" {
		return string(f.Kind)
	}
	return fmt.Sprintf("%s %s: %s -> %s", f.Kind, f.Field.Path, shownValue(f.Field.Before), shownValue(f.Field.After))
}

func findingBy(f cluster.Finding) string {
	who := strings.Join(f.Managers, ", ")
	if who != "" && !f.At.IsZero() {
		who += " at " + f.At.UTC().Format("2006-01-02 15:04:05Z")
	}
	return who
}

func shownValue(v any) string {
	if v == nil {
		return "(none)"
	}
	doc, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(doc)
}
