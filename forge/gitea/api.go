package gitea

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	sdk "code.gitea.io/sdk/gitea"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// client is the SDK for calls that end with ctx. It is not to ask for the
// server's version, which Forgejo tells in a way of its own.
func (f *Forge) client(ctx context.Context) *sdk.Client {
	c, err := sdk.NewClient(f.root, sdk.SetGiteaVersion(""), sdk.SetHTTPClient(f.http), sdk.SetContext(ctx))
	if err != nil {
		panic("gitea: the SDK does without a call: " + err.Error()) // nothing is asked that could fail
	}
	return c
}

// get reads what the SDK has no call or no field for. total is how many entries a
// list has, -1 where it is not told.
func (f *Forge) get(ctx context.Context, path string, q url.Values, into any) (total int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.root+"/api/v1"+path+"?"+q.Encode(), nil)
	if err != nil {
		return -1, err
	}
	resp, err := f.http.Do(req)
	if err != nil {
		return -1, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return -1, err
	}
	return count(resp), json.Unmarshal(body, into)
}

// count is the length of the list that a page is from, -1 where it is not told.
func count(resp *http.Response) int {
	n, err := strconv.Atoi(resp.Header.Get("X-Total-Count"))
	if err != nil {
		return -1
	}
	return n
}

// perPage is the longest page that Gitea gives unless it is set up otherwise.
const perPage = 50

// page is where a list is read next.
func page(n int) sdk.ListOptions { return sdk.ListOptions{Page: n, PageSize: perPage} }

func pageQuery(n int) url.Values {
	return url.Values{"page": {strconv.Itoa(n)}, "limit": {strconv.Itoa(perPage)}}
}

// pages reads a list to its end. Pages may be shorter than asked for: a server may
// be set up to give less, and leaves out of a page what is not for our eyes.
func pages[T any](read func(n int) (some []T, total int, err error)) ([]T, error) {
	var all []T
	longest := 1 // page
	for n := 1; ; n++ {
		some, total, err := read(n)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		longest = max(longest, len(some))
		// An empty page may be one of which nothing is for us.
		if total >= 0 && len(all) >= total || len(some) == 0 && n*longest >= total {
			return all, nil
		}
	}
}

// listed adapts a list call of the SDK.
func listed[T any](some []T, resp *sdk.Response, err error) ([]T, int, error) {
	if err != nil {
		return nil, -1, err
	}
	return some, count(resp.Response), nil
}

// code is the kind of a failed call, "" for none.
func code(err error) forge.Code {
	if err == nil {
		return ""
	}
	return forge.CodeOf(wire.Fail("", err))
}

func invalid(format string, args ...any) error {
	return &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf(format, args...)}
}

// Accounts that Gitea has no row for.
const (
	ghostID   = -1
	actionsID = -2
)

// toUser reads an account. Gitea does not tell programs from people.
func toUser(u *sdk.User) forge.User {
	switch {
	case u == nil || u.ID == 0:
		return forge.User{}
	case u.ID == ghostID:
		return forge.User{Login: u.UserName, Type: forge.Deleted}
	case u.ID == actionsID:
		return forge.User{ID: u.ID, Login: u.UserName, Type: forge.Bot}
	}
	return forge.User{ID: u.ID, Login: u.UserName, Type: forge.Person}
}

// clip shortens s to n characters.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
