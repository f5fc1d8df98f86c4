package gitea

import (
	"context"
	"fmt"

	sdk "code.gitea.io/sdk/gitea"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// maxDescription is how much of a status is shown on Gitea's pages without being
// cut, in characters.
const maxDescription = 140

// SetCheck writes a commit status.
func (f *Forge) SetCheck(ctx context.Context, ref forge.RepoRef, k forge.Check) (int64, error) {
	op := fmt.Sprintf("write check %q on %s@%s", k.Name, ref, k.SHA)
	if !wire.IsSHA(k.SHA) {
		return 0, wire.Fail(op, invalid("%q is not a full SHA", k.SHA))
	}
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return 0, wire.Fail(op, err)
	}
	state := sdk.StatusState(k.State)
	if k.State == forge.ActionRequired {
		state = sdk.StatusFailure
	}
	s, _, err := f.client(ctx).CreateStatus(ref.Owner, ref.Name, k.SHA, sdk.CreateStatusOption{
		State: state, Context: k.Name, Description: clip(k.Title, maxDescription), TargetURL: k.DetailsURL,
	})
	if err != nil {
		return 0, wire.Fail(op, err)
	}
	return s.ID, nil
}

// Checks lists the commit statuses. Gitea keeps every status that was ever
// written; of each context the newest by each writer is listed.
func (f *Forge) Checks(ctx context.Context, ref forge.RepoRef, sha string) ([]forge.CheckResult, error) {
	op := fmt.Sprintf("list checks of %s@%s", ref, sha)
	if !wire.IsSHA(sha) {
		return nil, wire.Fail(op, invalid("%q is not a full SHA", sha))
	}
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	list, err := f.statuses(ctx, ref, sha)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	type writer struct {
		name string
		by   int64
	}
	seen := map[writer]bool{}
	var out []forge.CheckResult
	for _, s := range list {
		r := forge.CheckResult{Name: s.Context, State: result(s.State), By: toUser(s.Creator), URL: s.TargetURL}
		if w := (writer{r.Name, r.By.ID}); !seen[w] {
			seen[w] = true
			out = append(out, r)
		}
	}
	return out, nil
}

// statuses lists what was written to a commit, newest first: a status's number is
// its place in the order.
func (f *Forge) statuses(ctx context.Context, ref forge.RepoRef, sha string) ([]*sdk.Status, error) {
	list, err := pages(func(n int) (some []*sdk.Status, total int, err error) {
		q := pageQuery(n)
		q.Set("sort", "leastindex") // by the number, the highest first, whatever the word says
		total, err = f.get(ctx, at(ref, "/statuses/%s", sha), q, &some)
		return some, total, err
	})
	if err != nil {
		return nil, err
	}
	var out []*sdk.Status
	for _, s := range list {
		// A status written between two pages shifts the rest.
		if len(out) == 0 || s.ID < out[len(out)-1].ID {
			out = append(out, s)
		}
	}
	return out, nil
}

// result reads Gitea's word; one that Gitea adds tomorrow is no success. A warning
// keeps Gitea from merging, as a failure does.
func result(s sdk.StatusState) forge.CheckState {
	switch s {
	case sdk.StatusSuccess, sdk.StatusPending, "skipped":
		return forge.CheckState(s)
	}
	return forge.Failure
}
