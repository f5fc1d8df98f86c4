package contract

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lockkeeper/forge"
)

// rounds is a transport made of a function.
type rounds func(*http.Request) (*http.Response, error)

func (f rounds) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// failing is the driver over a forge that, once bad is set, answers badly.
func (e *env) failing(t *testing.T, bad func(*http.Request) (*http.Response, error)) (forge.Forge, *atomic.Bool) {
	t.Helper()
	on := &atomic.Bool{}
	return e.Driver(t, func(next http.RoundTripper) http.RoundTripper {
		return rounds(func(r *http.Request) (*http.Response, error) {
			if on.Load() {
				if r.Body != nil {
					r.Body.Close()
				}
				return bad(r)
			}
			return next.RoundTrip(r)
		})
	}), on
}

// everything calls each method once, and gives the errors by name.
func (e *env) everything(t *testing.T, f forge.Forge, p forge.Pull, comment int64, author forge.User) map[string]error {
	ctx, ref, out := t.Context(), e.ref, map[string]error{}
	_, out["Repo"] = f.Repo(ctx, ref)
	_, out["OpenPulls"] = f.OpenPulls(ctx, ref)
	_, out["Pull"] = f.Pull(ctx, ref, p.Number)
	_, out["Commits"] = f.Commits(ctx, ref, p)
	_, out["Comments"] = f.Comments(ctx, ref, p.Number)
	_, out["Reviews"] = f.Reviews(ctx, ref, p.Number)
	_, out["CreateComment"] = f.CreateComment(ctx, ref, p.Number, "x")
	_, out["UpdateComment"] = f.UpdateComment(ctx, ref, p.Number, comment, "x")
	out["DeleteComment"] = f.DeleteComment(ctx, ref, p.Number, comment)
	out["React"] = f.React(ctx, ref, p.Number, comment, forge.Eyes)
	_, out["SetCheck"] = f.SetCheck(ctx, ref, forge.Check{Name: Own, SHA: p.Head.SHA, State: forge.Success, Title: "x"})
	_, out["Merge"] = f.Merge(ctx, ref, p.Number, p.Head.SHA, forge.MethodMerge)
	_, out["TeamMembers"] = f.TeamMembers(ctx, ref, forge.Team{Org: ref.Owner, Slug: "ops"})
	_, out["Permission"] = f.Permission(ctx, ref, author)
	_, out["Checks"] = f.Checks(ctx, ref, p.Head.SHA)
	out["RequestReview"] = f.RequestReview(ctx, ref, p.Number, []forge.User{author}, nil)
	_, out["CreateIssue"] = f.CreateIssue(ctx, ref, "x", "x")
	_, out["UpdateIssue"] = f.UpdateIssue(ctx, ref, p.Number, forge.IssueEdit{Close: true})
	_, out["Issues"] = f.Issues(ctx, ref)
	_, out["CommitPulls"] = f.CommitPulls(ctx, ref, p.Head.SHA)
	edits := map[string]forge.FileEdit{"a": {Content: []byte("x")}}
	_, out["Commit"] = f.Commit(ctx, ref, forge.NewCommit{Branch: "y", Base: p.Head.SHA, Message: "x", Edits: edits, Tree: p.Head.SHA})
	_, out["Commit to a branch"] = f.Commit(ctx, ref, forge.NewCommit{Branch: "x", Parent: p.Head.SHA, Message: "x", Edits: edits})
	out["DeleteBranch"] = f.DeleteBranch(ctx, ref, "x", p.Head.SHA)
	_, out["CreatePull"] = f.CreatePull(ctx, ref, forge.NewPull{Title: "x", Head: "y", Base: "main"})
	_, out["UpdatePull"] = f.UpdatePull(ctx, ref, p.Number, forge.PullEdit{Title: &p.Title})
	_, out["PullsOf"] = f.PullsOf(ctx, ref, "x")
	_, _, out["BranchPushes"] = f.BranchPushes(ctx, ref, "main", time.Time{})
	return out
}

// failures makes every call fail in every way: the code is right, the
// operation is named, and the credential is not.
func failures(t *testing.T, e *env) {
	p, comment, author := e.subject(t)
	for status, want := range map[int]forge.Code{
		401: forge.Unauthorized, 403: forge.Forbidden, 404: forge.NotFound, 409: forge.Conflict,
		422: forge.Invalid, 429: forge.RateLimited, 500: forge.Unavailable, 502: forge.Unavailable, 503: forge.Unavailable,
	} {
		f, on := e.failing(t, func(r *http.Request) (*http.Response, error) {
			h := http.Header{"Content-Type": {"application/json"}}
			if status == 429 {
				h.Set("Retry-After", "60")
			}
			return &http.Response{StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
				Header: h, Request: r, Body: io.NopCloser(strings.NewReader(`{"message":"no"}`))}, nil
		})
		auth := must[string](t)(f.GitAuth(t.Context(), e.ref)) // hold a token, so that the call itself fails
		on.Store(true)
		for name, err := range e.everything(t, f, p, comment, author) {
			if name == "Permission" && status == 404 {
				continue // no such account: no permission, which is an answer
			}
			if name == "BranchPushes" && (status == 403 || status == 404) {
				continue // the forge does not tell, which is an answer
			}
			wantCode(t, name+" at "+http.StatusText(status), err, want)
			inspect(t, name, err, auth, status)
		}
	}
}

func (e *env) subject(t *testing.T) (forge.Pull, int64, forge.User) {
	t.Helper()
	alice := e.person(t, "alice")
	e.Team(t, e.ref, "ops", "", alice)
	n := e.pull(t, alice, "x")
	return e.read(t, n), e.Comment(t, e.ref, n, alice, "hi"), alice
}

func inspect(t *testing.T, name string, err error, auth string, status int) {
	t.Helper()
	var fe *forge.Error
	if !errors.As(err, &fe) {
		t.Errorf("%s: %T is no *forge.Error", name, err)
		return
	}
	if fe.Op == "" || fe.Status != 0 && status != fe.Status && status != 429 {
		t.Errorf("%s: operation %q, status %d", name, fe.Op, fe.Status)
	}
	if status == 429 && time.Until(fe.RetryAfter) < 30*time.Second {
		t.Errorf("%s: told to wait until %v", name, fe.RetryAfter)
	}
	for _, secret := range secretsIn(auth) {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error holds the credential", name)
		}
	}
}

// cutConnection: reads are worth a second try, writes are not repeated, and
// a write without answer is not called harmless.
func cutConnection(t *testing.T, e *env) {
	p, comment, author := e.subject(t)
	var tries atomic.Int32
	f, on := e.failing(t, func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet {
			tries.Add(1)
		}
		return nil, io.ErrUnexpectedEOF
	})
	auth := must[string](t)(f.GitAuth(t.Context(), e.ref))
	on.Store(true)
	for name, err := range e.everything(t, f, p, comment, author) {
		wantCode(t, name, err, forge.Unavailable)
		inspect(t, name, err, auth, 0)
	}
	on.Store(false)
	must[forge.Repo](t)(f.Repo(t.Context(), e.ref)) // a driver may look what it is called first
	on.Store(true)
	tries.Store(0)
	_, err := f.CreateComment(t.Context(), e.ref, p.Number, "x")
	var fe *forge.Error
	if errors.As(err, &fe) && fe.Unsent || tries.Load() != 1 {
		t.Errorf("a cut write was tried %d times; %#v", tries.Load(), err)
	}
}
