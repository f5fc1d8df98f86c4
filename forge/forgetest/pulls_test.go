package forgetest_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"lockkeeper/forge/forgetest"
)

func asStatus(err error, into **forgetest.StatusError) bool { return errors.As(err, into) }

type pullAnswer struct {
	State, Title   string
	Merged         bool
	Mergeable      *bool
	MergeableState string `json:"mergeable_state"`
	MergeCommitSHA string `json:"merge_commit_sha"`
	Commits        int
	ChangedFiles   int `json:"changed_files"`
	Head, Base     struct{ Ref, SHA string }
}

func (w *world) read(n int) pullAnswer {
	w.t.Helper()
	var p pullAnswer
	w.must(w.As("ann").Do(w.ctx, "GET", fmt.Sprintf("/api/v3/repos/%s/pulls/%d", shop, n), nil, &p))
	return p
}

func TestPushOpensAndSynchronizesPull(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	n := w.pull("ann", "feature", map[string]string{"app/config.yaml": "replicas: 2\n"})
	if got, want := w.events(), []string{"create", "push", "pull_request opened"}; !slices.Equal(got, want) {
		t.Errorf("events of opening: %q, want %q", got, want)
	}
	p := w.read(n)
	if p.State != "open" || p.Mergeable == nil || !*p.Mergeable || p.MergeableState != "clean" || p.Commits != 1 || p.ChangedFiles != 1 {
		t.Errorf("opened pull: %+v", p)
	}
	head, err := w.As("ann").Push(w.ctx, shop, "feature", "", forgetest.Commit{Files: forgetest.Text(map[string]string{"a.txt": "a"})})
	w.must(err)
	if got, want := w.events(), []string{"push", "pull_request synchronize"}; !slices.Equal(got, want) {
		t.Errorf("events of pushing: %q, want %q", got, want)
	}
	if p = w.read(n); p.Head.SHA != head || p.Commits != 2 {
		t.Errorf("pushed pull: %+v, want head %s", p, head)
	}
	_, err = w.As("ann").ForcePush(w.ctx, shop, "feature", "main", forgetest.Commit{Files: forgetest.Text(map[string]string{"b.txt": "b"})})
	w.must(err)
	if p = w.read(n); p.Commits != 1 {
		t.Errorf("after the force push the pull has %d commits, want 1", p.Commits)
	}
}

func TestMergeMethodsMakeTheirCommits(t *testing.T) {
	for method, parents := range map[string]int{"merge": 2, "squash": 1, "rebase": 1} {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t, forgetest.Options{})
			n := w.pull("ann", "feature", map[string]string{"app/config.yaml": "replicas: 2\n"})
			_, err := w.As("ann").Push(w.ctx, shop, "feature", "", forgetest.Commit{Files: forgetest.Text(map[string]string{"a.txt": "a"})})
			w.must(err)
			_, err = w.As("carol").Push(w.ctx, shop, "main", "", forgetest.Commit{Files: forgetest.Text(map[string]string{"c.txt": "c"})})
			w.must(err)
			w.events()
			sha, err := w.As("bob").Merge(w.ctx, shop, n, method)
			w.must(err)
			if got, want := w.events(), []string{"pull_request closed", "push"}; !slices.Equal(got, want) {
				t.Errorf("events: %q, want %q", got, want)
			}
			if tip := w.Head(shop, "main"); tip != sha {
				t.Errorf("main is at %s, want the merge %s", tip, sha)
			}
			var c struct{ Parents []struct{ SHA string } }
			w.must(w.As("ann").Do(w.ctx, "GET", "/repos/"+shop+"/commits/"+sha, nil, &c))
			if len(c.Parents) != parents {
				t.Errorf("%d parents, want %d", len(c.Parents), parents)
			}
			for _, path := range []string{"a.txt", "c.txt"} {
				w.must(w.As("ann").Do(w.ctx, "GET", "/repos/"+shop+"/contents/"+path, nil, nil))
			}
			if p := w.read(n); !p.Merged || p.State != "closed" || p.MergeCommitSHA != sha {
				t.Errorf("merged pull: %+v", p)
			}
		})
	}
}

func TestConflictingPullIsNotMerged(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	n := w.pull("ann", "feature", map[string]string{"app/config.yaml": "replicas: 2\n"})
	_, err := w.As("carol").Push(w.ctx, shop, "main", "", forgetest.Commit{Files: forgetest.Text(map[string]string{"app/config.yaml": "replicas: 3\n"})})
	w.must(err)
	if p := w.read(n); p.Mergeable == nil || *p.Mergeable || p.MergeableState != "dirty" {
		t.Errorf("conflicting pull: %+v", p)
	}
	for _, method := range []string{"merge", "squash", "rebase"} {
		_, err := w.As("bob").Merge(w.ctx, shop, n, method)
		if got := status(t, err); got != 405 {
			t.Errorf("%s of a conflict: HTTP %d, want 405", method, got)
		}
	}
}

func TestMergePinsTheHead(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	n := w.pull("ann", "feature", map[string]string{"a.txt": "a"})
	err := w.As("bob").Do(w.ctx, "PUT", fmt.Sprintf("/repos/%s/pulls/%d/merge", shop, n), map[string]string{"sha": w.Head(shop, "main")}, nil)
	if got := status(t, err); got != 409 {
		t.Errorf("merge with another head: HTTP %d, want 409", got)
	}
}

func TestProtectedBranchAsksForReviewsAndChecks(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	w.Protect(shop, "main", forgetest.Protection{Reviews: 1, Checks: []string{"lockkeeper"}, EnforceAdmins: true})
	n := w.pull("ann", "feature", map[string]string{"a.txt": "a"})
	if p := w.read(n); p.MergeableState != "blocked" {
		t.Errorf("mergeable_state %q, want blocked", p.MergeableState)
	}
	_, err := w.As("bob").Merge(w.ctx, shop, n, "merge")
	if got := status(t, err); got != 405 {
		t.Errorf("unreviewed merge: HTTP %d, want 405", got)
	}
	if _, err := w.As("ann").Review(w.ctx, shop, n, "APPROVE", ""); status(t, err) != 422 {
		t.Errorf("own approval: %v, want 422", err)
	}
	_, err = w.As("bob").Review(w.ctx, shop, n, "APPROVE", "")
	w.must(err)
	w.must(w.bot().Do(w.ctx, "POST", "/repos/"+shop+"/check-runs", map[string]any{
		"name": "lockkeeper", "head_sha": w.read(n).Head.SHA, "conclusion": "success", "output": map[string]string{"title": "ok", "summary": "ok"}}, nil))
	if p := w.read(n); p.MergeableState != "clean" {
		t.Errorf("mergeable_state %q, want clean", p.MergeableState)
	}
	if _, err := w.As("carol").Push(w.ctx, shop, "main", "", forgetest.Commit{Files: forgetest.Text(map[string]string{"x": "x"})}); err == nil {
		t.Error("a direct push to the protected branch went through")
	}
	_, err = w.As("bob").Merge(w.ctx, shop, n, "merge")
	w.must(err)
}

func TestPullFromForkIsFollowed(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	_, err := w.ForkRepo(w.ctx, shop, "eve")
	w.must(err)
	eve := w.As("eve")
	if _, err := eve.Push(w.ctx, shop, "mine", "main", forgetest.Commit{Files: forgetest.Text(map[string]string{"e": "e"})}); err == nil {
		t.Error("an outsider pushed to the repository")
	}
	_, err = eve.Push(w.ctx, "eve/shop", "mine", "main", forgetest.Commit{Files: forgetest.Text(map[string]string{"e": "e"})})
	w.must(err)
	n, err := eve.OpenPull(w.ctx, shop, "main", "eve:mine", "From outside", "")
	w.must(err)
	head, err := eve.Push(w.ctx, "eve/shop", "mine", "", forgetest.Commit{Files: forgetest.Text(map[string]string{"e": "f"})})
	w.must(err)
	if p := w.read(n); p.Head.SHA != head || p.Commits != 2 {
		t.Errorf("pull from the fork: %+v, want head %s", p, head)
	}
	if _, err := eve.Merge(w.ctx, shop, n, "merge"); status(t, err) != 403 {
		t.Errorf("an outsider's merge: %v, want 403", err)
	}
	w.DeleteRepo("eve/shop")
	if p := w.read(n); p.Head.SHA != head {
		t.Errorf("the pull lost its head with its fork: %+v", p)
	}
}

func TestPullStates(t *testing.T) {
	w := newWorld(t, forgetest.Options{LazyMergeable: true})
	ann := w.As("ann")
	_, err := ann.Push(w.ctx, shop, "feature", "main", forgetest.Commit{Files: forgetest.Text(map[string]string{"a": "a"})})
	w.must(err)
	n, err := ann.OpenDraft(w.ctx, shop, "main", "feature", "Draft", "")
	w.must(err)
	w.events()
	w.must(ann.CreateBranch(w.ctx, shop, "release", "main"))
	w.must(ann.MarkReady(w.ctx, shop, n))
	w.must(ann.EditPull(w.ctx, shop, n, "New title", "New body"))
	w.must(ann.Retarget(w.ctx, shop, n, "release"))
	w.must(ann.Close(w.ctx, shop, n))
	w.must(ann.Reopen(w.ctx, shop, n))
	w.must(ann.DeleteBranch(w.ctx, shop, "feature"))
	want := []string{"create", "push", "pull_request ready_for_review", "pull_request edited", "pull_request edited", "pull_request closed",
		"pull_request reopened", "delete", "push", "pull_request closed"}
	if got := w.events(); !slices.Equal(got, want) {
		t.Errorf("events: %q, want %q", got, want)
	}
	if err := ann.Reopen(w.ctx, shop, n); status(t, err) != 422 {
		t.Errorf("reopening without a branch: %v, want 422", err)
	}
}

func TestMergeableIsUnknownAtFirst(t *testing.T) {
	w := newWorld(t, forgetest.Options{LazyMergeable: true})
	n := w.pull("ann", "feature", map[string]string{"a": "a"})
	_, err := w.As("carol").Push(w.ctx, shop, "main", "", forgetest.Commit{Files: forgetest.Text(map[string]string{"x": "x"})})
	w.must(err)
	if p := w.read(n); p.Mergeable != nil || p.MergeableState != "unknown" {
		t.Errorf("first read: %+v, want unknown", p)
	}
	if p := w.read(n); p.Mergeable == nil || !*p.Mergeable {
		t.Errorf("second read: %+v, want mergeable", p)
	}
}
