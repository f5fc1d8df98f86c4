package drift

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	"lockkeeper/bot/report"
	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/writeback"
)

// Source is a tree to be edited: the targets that it lists, and what the one
// that drifted renders to.
type Source struct {
	Tree    fs.FS
	Targets []cluster.Target
	Objects []cluster.Object
}

// Adoption is what makes a tree render to what is live.
type Adoption struct {
	Edits   map[string]writeback.Edit
	Refused []report.Refusal // what cannot be said by an edit, or never is
}

// Adopt works out how a tree would have to be edited so that a target renders
// to what was found live of it, and no other target to anything else. Nothing is
// written.
func Adopt(ctx context.Context, w *writeback.Writer, in Source, t cluster.Target, findings []cluster.Finding) (Adoption, error) {
	names := namingOf(t.Namespace, in.Objects, findings)
	wants, refused := names.wanted()
	a := Adoption{Refused: refused}
	if len(wants) == 0 {
		return a, nil
	}
	var others []string
	for _, o := range in.Targets {
		// Another target of the same directory moves with it, and is told of too.
		if (o.Name != t.Name || o.Cluster != t.Cluster) && !slices.Contains(others, o.Path) {
			others = append(others, o.Path)
		}
	}
	made, err := w.Propose(ctx, in.Tree, t.Path, others, wants)
	if err != nil {
		return a, fmt.Errorf("find an edit: %w", err)
	}
	a.Edits = made.Edits
	for _, r := range made.Refused {
		a.Refused = append(a.Refused, report.Refusal{Ref: names.live(r.Ref), Path: r.Path, Reason: r.Reason, Patch: r.Patch})
	}
	return a, nil
}

// naming knows live objects by the names that rendering gives them.
type naming struct {
	namespace string // that the target gives
	findings  []cluster.Finding
	drifted   map[cluster.Ref]bool
	rendered  map[cluster.Ref]cluster.Ref // by their live names
}

func namingOf(namespace string, objects []cluster.Object, findings []cluster.Finding) naming {
	n := naming{namespace, findings, map[cluster.Ref]bool{}, map[cluster.Ref]cluster.Ref{}}
	for _, f := range findings {
		n.drifted[f.Ref] = true
	}
	for _, o := range objects {
		n.rendered[n.live(o.Ref)] = o.Ref
	}
	return n
}

// wanted is what Git would have to say, object by object, and what it never
// will.
func (n naming) wanted() ([]writeback.Want, []report.Refusal) {
	var wants []writeback.Want
	var refused []report.Refusal
	place := map[cluster.Ref]int{} // in wants
	for _, f := range n.findings {
		if f.Kind == cluster.Disowned {
			continue // Git says the value already; applying takes it back
		}
		if why := unwritable(f); why != "" {
			refused = append(refused, report.Refusal{Ref: f.Ref, Path: f.Field.Path, Reason: why})
			continue
		}
		ref := n.inGit(f.Ref)
		at, ok := place[ref]
		if !ok {
			at = len(wants)
			place[ref] = at
			wants = append(wants, writeback.Want{Ref: ref})
		}
		if f.Kind == cluster.Gone {
			wants[at].Delete = true
		} else {
			wants[at].Fields = append(wants[at].Fields, f.Field)
		}
	}
	return wants, refused
}

// inGit is what rendering calls a live object: it may leave out the namespace
// that the target gives.
func (n naming) inGit(live cluster.Ref) cluster.Ref {
	if ref, ok := n.rendered[live]; ok {
		return ref
	}
	return live
}

// live is what the cluster calls a rendered object that drifted.
func (n naming) live(ref cluster.Ref) cluster.Ref {
	if ref.Namespace != "" || n.namespace == "" {
		return ref
	}
	in := ref
	in.Namespace = n.namespace
	if n.drifted[in] {
		return in
	}
	return ref
}

// unwritable says why a finding is reported only, "" if Git can say it.
func unwritable(f cluster.Finding) string {
	switch {
	case f.Kind == cluster.Gone:
		return ""
	case f.Kind == cluster.Remade:
		return "something else made it again: Git says already what it should be, and `/restore` or `/sync` makes it lockkeeper's"
	case f.Kind == cluster.Orphan:
		return "Git has it no more: `/restore` or `/sync` deletes it, and adding it to Git keeps it"
	case f.Ref.Group == "" && f.Ref.Kind == "Secret":
		return "Secrets are never written to Git"
	case f.Field.Masked:
		return "a secret value is never written to Git"
	}
	return ""
}
